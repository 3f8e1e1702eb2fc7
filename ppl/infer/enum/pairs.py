"""Runs of a guide and a model under enumeration: in parallel along dimensions, in sequence one run a value."""

from __future__ import annotations

from collections.abc import Iterator
from queue import LifoQueue
from typing import Any

from ppl import handlers, ops
from ppl.errors import InferenceError
from ppl.infer.enum.runs import beside
from ppl.infer.proposal import trace_proposed
from ppl.ops import random
from ppl.typing import Message, Model

SEQUENTIAL_COUNT = "_sequential_count"
"""Key of ``infer`` for how many values a site has of which a run follows one."""


def run_pairs(
    model: Model, guide: Model, first_available_dim: int, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any = None
) -> Iterator[tuple[Any, Any]]:
    """Iterate over the traces ``(of the model, of the guide)``, one pair for each joint value of the guide's sequential sites.

    :param first_available_dim: the rightmost batch dimension that no plate uses.
    :param key: source of randomness; ``None`` for the ambient one.

    A minibatch is drawn once: all pairs have the same.
    """
    if key is not None:
        key_guide, key_model = random.split(key)
        guide = handlers.seed(guide, rng_seed=key_guide)
        model = handlers.seed(model, rng_seed=key_model)
    minibatches = handlers.Trace()

    def followed(*args: Any, **kwargs: Any) -> Any:
        enumerated = handlers.enum(guide, first_available_dim=first_available_dim)
        return handlers.trace(handlers.replay(enumerated, trace=minibatches)).get_trace(*args, **kwargs)

    partial: LifoQueue[Any] = LifoQueue()
    partial.put(handlers.Trace())
    next_guide = handlers.queue(followed, queue=partial, escape_fn=_is_sequential, extend_fn=_extended)
    while not partial.empty():
        guide_trace = next_guide(*args, **kwargs)
        replayed = handlers.replay(handlers.replay(model, trace=minibatches), trace=guide_trace)
        model_trace = trace_proposed(beside(replayed, first_available_dim, guide_trace), guide_trace, args, kwargs)
        for trace in (guide_trace, model_trace):
            for name, node in trace.nodes.items():
                if node["type"] == "subsample" and name not in minibatches:
                    minibatches.record(name, node)
        yield model_trace, guide_trace


def _is_sequential(partial: Any, site: Message) -> bool:
    infer = site["infer"]
    return (
        site["type"] == "sample"
        and infer.get("enumerate") == "sequential"
        and not site["is_observed"]
        and not infer.get("_deterministic")
        and site["name"] not in partial
    )


def _extended(partial: Any, site: Message, num_samples: int | None = None) -> list[Any]:
    """Return ``partial`` with each value of the site, which notes how many there are."""
    fn, infer, name = site["fn"], site["infer"], site["name"]
    if infer.get("num_samples") is not None:
        raise InferenceError(
            f"site {name!r} has infer={{'enumerate': 'sequential', 'num_samples': {infer['num_samples']}}}; draws lie along a "
            "dimension of their own; try infer={'enumerate': 'parallel', 'num_samples': ...}"
        )
    if not getattr(fn, "has_enumerate_support", False):
        raise InferenceError(
            f"site {name!r} is marked infer={{'enumerate': 'sequential'}}, but {type(fn).__name__} has no finite support; "
            "expected one; try infer={'enumerate': 'parallel', 'num_samples': 10} to draw values, or leave the mark out"
        )
    values = fn.enumerate_support(expand=True)
    count = int(ops.shape(values)[0])
    result = []
    for index in range(count):
        extended = partial.copy()
        node = {**site, "infer": {**infer, SEQUENTIAL_COUNT: count}, "value": values[index], "done": True, "stop": False}
        node["continuation"] = None
        extended.add_node(name, **node)
        result.append(extended)
    return result
