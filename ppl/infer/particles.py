"""Many runs of a model at once: mapped over keys where randomness is explicit, inside an outer plate elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ppl import handlers, ops, tree
from ppl.errors import InferenceError
from ppl.infer.proposal import trace_proposed
from ppl.ops import autodiff, random
from ppl.primitives import plate
from ppl.typing import Message, Model, Tree

PARTICLE_PLATE = "num_particles_vectorized"


def has_explicit_keys() -> bool:
    """Return whether the active backend draws from explicit keys, so that runs can be mapped over them."""
    key = random.key(0)
    return random.fold_in(key, 1) is not key


def deepest_plate(traces: Iterable[Any]) -> int:
    """Return how many batch dimensions the vectorized plates of ``traces`` reach to the left."""
    return max(
        (
            -frame.dim
            for trace in traces
            for site in trace.nodes.values()
            for frame in site.get("cond_indep_stack") or ()
            if frame.dim
        ),
        default=0,
    )


def map_over_keys(run: Callable[..., Any], key: Any, num: int, *batched: Any) -> Any:
    """Return ``run(key, *slices)`` for ``num`` keys at once, results stacked; ``batched`` are trees of leading size ``num``."""
    # Keys made inside of the mapped function: to stack thousands of them would take minutes to compile.
    return autodiff.vmap(lambda index, *slices: run(random.fold_in(key, index), *slices))(ops.arange(num), *batched)


def run_stacked(run: Callable[[Any], Tree], key: Any, num: int) -> Tree:
    """Return the results of ``run(key)`` for ``num`` particles one after another, stacked along a new first axis.

    :param key: source of randomness; ``None`` for the ambient one.
    """
    keys = [None] * num if key is None else random.split(key, num)
    results = [run(own) for own in keys]
    return tree.map(lambda *leaves: ops.stack([ops.array(leaf) for leaf in leaves]), results[0], *results[1:])


def in_plate(model: Model, name: str, num: int, nesting: int) -> Model:
    """Return ``model`` inside a plate of size ``num`` left of ``nesting`` batch dimensions."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with _Outermost(name, num, dim=-1 - nesting):
            return model(*args, **kwargs)

    return run


class _Outermost(plate):
    """A plate left of all others."""

    def process_message(self, message: Message) -> None:
        """Add the frame, unless a plate inside found no dimension right of it, which would mistake data for particles."""
        own = self.frame.dim or 0
        for frame in message["cond_indep_stack"]:
            if frame.dim is not None and frame.dim < own:
                raise InferenceError(
                    f"plate {frame.name!r} at site {message['name']!r} has dim={frame.dim}, left of the particles at dim={own}; "
                    f"expected all plates of model and guide right of them; try max_plate_nesting={-own} or more, or leave it out"
                )
        super().process_message(message)


def run_pair(model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any = None) -> tuple[Any, Any]:
    """Return the traces ``(of the model, of the guide)`` where the model takes the guide's values.

    :param key: source of randomness; ``None`` for the ambient one.
    :raises ShapeError, InferenceError: if the model fails after a site where the guide proposes what does not fit.
    """
    if key is not None:
        key_guide, key_model = random.split(key)
        guide = handlers.seed(guide, rng_seed=key_guide)
        model = handlers.seed(model, rng_seed=key_model)
    guide_trace = handlers.trace(guide).get_trace(*args, **kwargs)
    return trace_proposed(handlers.replay(model, trace=guide_trace), guide_trace, args, kwargs), guide_trace
