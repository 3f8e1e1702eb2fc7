"""The effect handlers under their documented name; :mod:`ppl.handlers` is the same by another name."""

from ppl.handlers import Trace, block, condition, mask, replay, scale, scale_and_mask, seed, substitute, trace
from ppl.poutine import (
    block_messenger,
    condition_messenger,
    indep_messenger,
    messenger,
    replay_messenger,
    runtime,
    scale_messenger,
    trace_messenger,
    util,
)
from ppl.poutine.runtime import NonlocalExit, apply_stack, effectful
from ppl.primitives.markov import markov

__all__ = ["NonlocalExit", "Trace", "apply_stack", "block", "block_messenger", "condition", "condition_messenger", "effectful",
           "indep_messenger", "markov", "mask", "messenger", "replay", "replay_messenger", "runtime", "scale", "scale_and_mask",
           "scale_messenger", "seed", "substitute", "trace", "trace_messenger", "util"]  # fmt: skip
