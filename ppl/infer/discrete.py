"""Discrete sites drawn from their joint posterior, or put at its mode."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from ppl import handlers, ops
from ppl.errors import InferenceError
from ppl.handlers.messenger import Handler
from ppl.infer.enum import loops, runs
from ppl.infer.enum.elimination import mark
from ppl.infer.enum.probe import probe
from ppl.infer.particles import deepest_plate
from ppl.ops import autodiff, elimination, random
from ppl.primitives.validation import is_validation_enabled, validation_enabled
from ppl.runtime import STACK
from ppl.typing import Message, Model


def infer_discrete(
    fn: Model | None = None, first_available_dim: int | None = None, temperature: int = 1, *, rng_key: Any = None
) -> Callable[..., Any]:
    """Return ``fn`` such that its sites marked ``infer={"enumerate": "parallel"}`` are drawn from their joint posterior.

    :param fn: a model; without it, the result decorates one.
    :param first_available_dim: the rightmost batch dimension, negative, that no plate uses; if ``None`` found by one run at the
        first call.
    :param temperature: 1 for an exact joint draw given the observations, 0 for the jointly most probable values.
    :param rng_key: an int or key that makes the draws reproducible.
    :raises InferenceError: for another temperature; or if an observed or enumerated site depends on a latent one that is not
        enumerated itself but depends on one that is, since then the posterior has no closed form.
    :raises EnumerationError: for a model that means something else when its discrete sites take all their values at once.

    The model runs twice: with all values of the marked sites, by which their posterior is computed, and with those that were
    chosen. The value of ``fn`` and what handlers outside record belong to the second run. Other latent sites are drawn from their
    priors, before the marked sites if these depend on them and after if they depend on these; what comes before is as given. The
    model is checked at the first call outside of compiled code; inside nothing is.

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> @infer.infer_discrete(first_available_dim=-1, temperature=0)
    ... @infer.config_enumerate
    ... def nearest(data):
    ...     states = [0]
    ...     for t in ppl.markov(range(len(data))):
    ...         stay = ops.array([[0.9, 0.1], [0.1, 0.9]])
    ...         states.append(ppl.sample(f"state_{t}", dist.Categorical(stay[states[-1]])))
    ...         ppl.sample(f"y_{t}", dist.Normal(ops.array([0.0, 3.0])[states[-1]], 1.0), obs=data[t])
    ...     return states[1:]
    >>> [int(state) for state in nearest(ops.array([0.2, 1.9, 2.8, 3.1]))]
    [0, 1, 1, 1]
    """
    if isinstance(temperature, bool) or temperature not in (0, 1):
        raise InferenceError(
            f"infer_discrete takes temperature=1, a draw from the posterior, or temperature=0, its mode; got {temperature!r}"
        )
    if fn is None:
        return functools.partial(
            infer_discrete, first_available_dim=first_available_dim, temperature=temperature, rng_key=rng_key
        )
    learned = Learned(first_available_dim)

    def posterior(*args: Any, **kwargs: Any) -> Any:
        with nullcontext() if rng_key is None else random.scope(rng_key):
            return run_at_posterior(fn, args, kwargs, temperature, learned)

    return functools.update_wrapper(posterior, fn, updated=())


@dataclass
class Learned:
    """What the first run of a model under :func:`infer_discrete` tells of the others.

    :param first_available_dim: the rightmost dimension that no plate uses, ``None`` before it is known.
    :param checked: whether the model was found to mean the same where discrete sites take all their values.
    """

    first_available_dim: int | None = None
    checked: bool = False


def run_at_posterior(fn: Model, args: tuple[Any, ...], kwargs: dict[str, Any], temperature: int, learned: Learned) -> Any:
    """Return ``fn(*args, **kwargs)``, its marked sites drawn as :func:`infer_discrete` says."""
    with unrecorded():
        if learned.first_available_dim is None:
            with random.scope(0):
                learned.first_available_dim = -1 - deepest_plate([handlers.trace(fn).get_trace(*args, **kwargs)])
        checks = not learned.checked and is_validation_enabled() and not autodiff.is_tracing()
        run = _EnumeratedRun(fn, learned.first_available_dim, args, kwargs, checks)
        learned.checked = learned.checked or checks
        chosen = BackwardSampleMessenger(run.trace, temperature=temperature)
    with chosen:
        return handlers.substitute(fn, data=run.given)(*args, **kwargs)


def infer_every_discrete(fn: Model, learned: Learned) -> Callable[..., Any]:
    """Return ``fn``, every latent site of finite support drawn from the joint posterior."""
    marked = handlers.infer_config(fn, mark)
    return lambda *args, **kwargs: run_at_posterior(marked, args, kwargs, 1, learned)


class BackwardSampleMessenger(Handler):
    """Give the enumerated sites of a trace a joint draw from their posterior, or its mode, when the model runs again.

    :param enum_trace: a trace of the model under :class:`ppl.handlers.enum`.
    :param guide_trace: the trace that the model took its other latent values from, if it did; nothing in it may be enumerated.
    :param temperature: 1 for a draw, 0 for the mode.
    :param rng_key: the key of the draw; ``None`` for the ambient source of randomness.
    :raises InferenceError: if the guide has an enumerated site.

    The draw is made here and now: forward filtering by elimination of the variables, then backward sampling.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> from ppl.infer.discrete import BackwardSampleMessenger
    >>> def model():
    ...     side = ppl.sample("side", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
    ...     ppl.sample("y", dist.Normal(4.0 * side, 1.0), obs=4.2)
    ...     return side
    >>> trace = handlers.trace(handlers.enum(model, first_available_dim=-1)).get_trace()
    >>> with BackwardSampleMessenger(trace, temperature=0):
    ...     float(model())
    1.0
    """

    def __init__(self, enum_trace: Any, guide_trace: Any = None, *, temperature: int = 1, rng_key: Any = None) -> None:
        super().__init__()
        for name, site in {} if guide_trace is None else guide_trace.nodes.items():
            if "_enumerate_dim" in (site.get("infer") or {}):
                raise InferenceError(
                    f"site {name!r} is enumerated in the guide; expected all enumerated sites in the model; try to leave "
                    f"{name!r} out of the guide, or to drop its infer={{'enumerate': ...}}"
                )
        self.values = _draw(enum_trace, temperature, rng_key)

    def on_sample(self, message: Message) -> None:
        """Give the site its value."""
        value = self.values.get(message["name"])
        if value is not None and not message["is_observed"]:
            # A plate that encloses this handler has not widened the distribution yet.
            shape = tuple(message["fn"].batch_shape) + tuple(message["fn"].event_shape)
            message["value"] = ops.broadcast_to(value, ops.broadcast_shapes(tuple(ops.shape(value)), shape))


def _draw(trace: Any, temperature: int, key: Any) -> dict[str, Any]:
    """Return a joint draw of the enumerated sites by name, each broadcast over plates on which it does not depend."""
    density = runs.collect(trace if temperature else loops.at_best(trace))
    if not density.variables:
        return loops.drawn(trace, {}, temperature, key)
    # A common scale multiplies the logarithm of the sum, and says nothing of what is summed; others are refused.
    runs.components(density)
    if temperature and key is None:
        key = random.next_key("infer_discrete")
    with runs.by_name(density):
        drawn = elimination.sample(
            density.factors, set(density.variables), set(density.plates), temperature, key, density.plate_scales
        )
    indices = runs.indices_of(trace, drawn, density)
    values = {name: runs.value_at(trace.nodes[name], indices) for name in indices}
    return {**values, **loops.drawn(trace, indices, temperature, key)}


@contextmanager
def unrecorded() -> Iterator[None]:
    """Hide the sites of a block from the handlers outside that record or enumerate, and from no others."""
    stack = STACK.get()
    STACK.set(tuple(handler for handler in stack if not isinstance(handler, (handlers.trace, handlers.enum))))
    try:
        yield
    finally:
        STACK.set(stack)


class _EnumeratedRun:
    """A run of a model with all values of its marked sites, and what of it the next run is to keep.

    ``trace`` holds the sites that the posterior depends on, ``given`` the values of latent sites and of plates that do not depend
    on an enumerated site.
    """

    def __init__(
        self, fn: Model, first_available_dim: int, args: tuple[Any, ...], kwargs: dict[str, Any], checks: bool = False
    ) -> None:
        # Exact whatever the model was marked for: no draws in place of the support, and one copy of it for all of a plate.
        self.fn = handlers.infer_config(fn, lambda site: {"num_samples": None, "expand": False})
        self.first_available_dim, self.args, self.kwargs = first_available_dim, args, kwargs
        if checks:
            # Before the run, which may fail where the sentence says why.
            probe(self.fn, args, kwargs, first_available_dim=first_available_dim)
        self.trace = self._traced(self.fn)
        self.given: dict[str, Any] = {}
        self.later: list[str] = []
        for name, site in list(self.trace.nodes.items()):
            infer = site.get("infer") or {}
            if site["type"] == "subsample" and infer.get("_subsampled"):
                self.given[name] = site["value"]
            elif site["type"] == "sample" and not site["is_observed"] and "_enumerate_dim" not in infer:
                if _is_enumerated(site):
                    self.later.append(name)
                    self.trace.remove_node(name)
                else:
                    self.given[name] = site["value"]
        if checks and self.later:
            self._require_leaves(self.later)

    def _traced(self, fn: Model) -> Any:
        return handlers.trace(handlers.enum(fn, first_available_dim=self.first_available_dim)).get_trace(
            *self.args, **self.kwargs
        )

    def _require_leaves(self, names: Sequence[str]) -> None:
        """Refuse a factor that depends on a site which is drawn after the enumerated ones: the factor would say more of them."""

        def unknown(site: Message) -> Any:
            if site["type"] == "sample" and site["name"] in names:
                return ops.full(tuple(site["fn"].batch_shape) + tuple(site["fn"].event_shape), float("nan"))
            return self.given.get(site["name"])

        self.trace.compute_log_prob()
        with validation_enabled(False):
            trace = self._traced(handlers.substitute(self.fn, substitute_fn=unknown))
            trace.compute_log_prob()
        for name in self.trace.nodes:
            before, now = (found.nodes[name].get("log_prob_sum") for found in (self.trace, trace))
            if before is not None and bool(ops.isnan(now)) and not bool(ops.isnan(before)):
                raise InferenceError(
                    f"site {name!r} depends on one of {list(names)}, which is latent, is not enumerated and depends on an "
                    "enumerated site, so that the posterior of the enumerated sites has no closed form; expected such a site to "
                    f"be observed, or nothing observed below it; try handlers.condition to give {names[0]!r} a value"
                )


def _is_enumerated(site: Message) -> bool:
    """Return whether a site was drawn once for each value of an enumerated one."""
    shape = tuple(ops.shape(site["value"]))
    batch = shape[: len(shape) - len(site["fn"].event_shape)]
    return any(-dim <= len(batch) and batch[dim] != 1 for dim in site["infer"].get("_dim_to_id", ()))
