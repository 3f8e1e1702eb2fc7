"""Where in a user's own code an error arose."""

from __future__ import annotations

import os
import sys
import traceback

from ppl import registry

_LIBRARIES = tuple({os.path.join(os.path.dirname(module.__file__ or ""), "") for module in (sys.modules["ppl"], os)})


def failing_line(error: BaseException) -> str:
    """Return the innermost line of the user's code on the way to an error, with its place, or nothing if it is not known."""
    backend = getattr(registry.active().ops, "__file__", None)
    libraries = _LIBRARIES if backend is None else (*_LIBRARIES, os.path.join(os.path.dirname(backend), ""))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(libraries)]
    frames = [frame for frame in frames if "site-packages" not in frame.filename and not frame.filename.startswith("<")]
    if not frames or not frames[-1].line:
        return ""
    return f"`{frames[-1].line}` ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})"
