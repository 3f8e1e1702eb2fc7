"""Utilities of handlers under their documented path."""

from __future__ import annotations

from ppl.handlers.trace_struct import Trace
from ppl.primitives.validation import enable_validation, is_validation_enabled
from ppl.typing import Message

__all__ = ["enable_validation", "is_validation_enabled", "prune_subsample_sites", "site_is_subsample"]


def site_is_subsample(site: Message) -> bool:
    """Return whether a site of a trace holds the indices of a plate."""
    return bool(site["type"] == "subsample")


def prune_subsample_sites(trace: Trace) -> Trace:
    """Return a copy of ``trace`` without the indices of plates."""
    pruned = trace.copy()
    for name, site in trace.nodes.items():
        if site_is_subsample(site):
            pruned.remove_node(name)
    return pruned
