"""The effect handlers under their documented name; :mod:`ppl.handlers` is the same by another name."""

from ppl.handlers import (
    Trace,
    block,
    broadcast,
    condition,
    do,
    enum,
    escape,
    infer_config,
    lift,
    mask,
    queue,
    reparam,
    replay,
    scale,
    scale_and_mask,
    seed,
    substitute,
    trace,
    uncondition,
)
from ppl.poutine import (
    block_messenger,
    broadcast_messenger,
    condition_messenger,
    do_messenger,
    enum_messenger,
    escape_messenger,
    indep_messenger,
    infer_config_messenger,
    lift_messenger,
    messenger,
    replay_messenger,
    runtime,
    scale_messenger,
    trace_messenger,
    util,
)
from ppl.poutine.runtime import NonlocalExit, apply_stack, effectful
from ppl.primitives.markov import markov

__all__ = ["NonlocalExit", "Trace", "apply_stack", "block", "block_messenger", "broadcast", "broadcast_messenger", "condition",
           "condition_messenger", "do", "do_messenger", "effectful", "enum", "enum_messenger", "escape", "escape_messenger",
           "indep_messenger", "infer_config", "infer_config_messenger", "lift", "lift_messenger", "markov", "mask", "messenger",
           "queue", "reparam", "replay", "replay_messenger", "runtime", "scale", "scale_and_mask", "scale_messenger", "seed",
           "substitute", "trace", "trace_messenger", "uncondition", "util"]  # fmt: skip
