"""Where in a user's own code an error arose."""

from __future__ import annotations

import os
import re
import traceback

from ppl import registry

# What the names of files of this library and of Python's begin with; backends lie beside it or among the installed packages.
_LIBRARIES = tuple(os.path.join(os.path.dirname(file), "") for file in (__file__, os.__file__))
_OTHERS = re.compile(r"[\\/]ppl_(numpy|torch|jax|funsor)[\\/]|[\\/](site|dist)-packages[\\/]|[\\/]lib[\\/]python3")


def is_library(file: str) -> bool:
    """Return whether a file of code is this library's, the active backend's, Python's or an installed package's."""
    backend = getattr(registry.active().ops, "__file__", None)
    if backend is not None and file.startswith(os.path.join(os.path.dirname(backend), "")):
        return True
    return file.startswith(_LIBRARIES) or _OTHERS.search(file) is not None


def failing_line(error: BaseException) -> str:
    """Return the innermost line of the user's code on the way to an error, with its place, or nothing if it is not known."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not is_library(frame.filename)]
    frames = [frame for frame in frames if not frame.filename.startswith("<")]
    if not frames or not frames[-1].line:
        return ""
    return f"`{frames[-1].line}` ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})"
