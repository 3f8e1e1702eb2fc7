"""The documented path of :class:`InferConfigMessenger`."""

from __future__ import annotations

from typing import Any

from ppl.handlers.infer_config import infer_config


class InferConfigMessenger(infer_config):
    """The handler :class:`ppl.handlers.infer_config` without a function."""

    def __init__(self, config_fn: Any) -> None:
        super().__init__(config_fn=config_fn)
