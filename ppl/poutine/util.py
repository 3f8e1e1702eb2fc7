"""Utilities of handlers under their documented path."""

from __future__ import annotations

from ppl.handlers.escape import all_escape, discrete_escape, enum_extend, mc_extend
from ppl.handlers.trace_struct import Trace
from ppl.primitives.validation import enable_validation, is_validation_enabled
from ppl.typing import Message

__all__ = ["all_escape", "discrete_escape", "enable_validation", "enum_extend", "is_validation_enabled", "mc_extend",
           "prune_subsample_sites", "site_is_subsample"]  # fmt: skip


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
