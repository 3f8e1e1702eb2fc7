"""Whether what a guide proposes at a site fits the model's site, and runs of models at what guides proposed."""

from __future__ import annotations

from typing import Any

from ppl import constraints, handlers
from ppl.distributions import (
    Delta,
    ExpandedDistribution,
    Independent,
    MaskedDistribution,
    RelaxedBernoulliStraightThrough,
    RelaxedOneHotCategoricalStraightThrough,
)
from ppl.errors import InferenceError, ShapeError
from ppl.infer.latents import is_latent
from ppl.runtime import is_distribution, is_validation_enabled
from ppl.transforms import as_constraint
from ppl.typing import Message, Model

_WRAPPERS = (Independent, MaskedDistribution, ExpandedDistribution)
_CORNERS = (RelaxedBernoulliStraightThrough, RelaxedOneHotCategoricalStraightThrough)


def trace_proposed(model: Model, guide_trace: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the trace of a model that takes the values of ``guide_trace``.

    :raises ShapeError, InferenceError: if the model fails after a site where the guide proposes what does not fit.

    Such a value makes trouble further down, often by chance: its cause is told in place of it.
    """
    tracer = handlers.trace(model)
    try:
        tracer(*args, **kwargs)
    except Exception:
        for name, site in tracer.trace.nodes.items():
            if is_latent(site) and name in guide_trace:
                check_site(name, guide_trace.nodes[name], site, (tracer.trace, guide_trace))
        raise
    return tracer.trace


def check_site(name: str, proposed: Message, target: Message, traces: tuple[Any, Any]) -> None:
    """Raise if the guide's site ``proposed`` has another shape than the model's site ``target``, or draws from another support.

    :raises ShapeError: naming the site and both shapes.
    :raises InferenceError: naming the site and both supports.
    """
    guide_fn, model_fn = proposed["fn"], target["fn"]
    if not (is_distribution(guide_fn) and is_distribution(model_fn)):
        return
    ours, theirs = _shape(guide_fn), _shape(model_fn)
    if ours != theirs and not any(_is_enumerated(trace) for trace in traces):
        raise ShapeError(
            f"site {name!r} has shape {ours} in the guide ({_describe(guide_fn)}) but {theirs} in the model "
            f"({_describe(model_fn)}); expected one shape; try the same plates around it in both, and .expand or .to_event on "
            "its distribution in the guide"
        )
    if type(guide_fn) is not type(model_fn) or isinstance(guide_fn, _WRAPPERS):
        if is_validation_enabled():
            _check_support(name, guide_fn, model_fn)


def _shape(fn: Any) -> tuple[int, ...]:
    return (*fn.batch_shape, *fn.event_shape)


def _is_enumerated(trace: Any) -> bool:
    """Return whether sites have dimensions of their own that stand for several values at once."""
    return any("_enumerate_dim" in site.get("infer", {}) for site in trace.nodes.values())


def _describe(fn: Any) -> str:
    return f"{type(fn).__name__} of batch shape {tuple(fn.batch_shape)} and event shape {tuple(fn.event_shape)}"


def innermost(fn: Any) -> Any:
    """Return the distribution within those that only rearrange, silence or repeat it."""
    while isinstance(fn, _WRAPPERS):
        fn = fn.base_dist
    return fn


def _check_support(name: str, guide_fn: Any, model_fn: Any) -> None:
    proposed, target = innermost(guide_fn), innermost(model_fn)
    if type(proposed) is type(target) or isinstance(proposed, Delta) or isinstance(target, Delta):
        return
    ours, theirs = _support(proposed), _support(target)
    if ours is None or theirs is None:
        return
    if ours.is_discrete != theirs.is_discrete:
        # A draw that is rounded to a corner fits a discrete site.
        unfit = not isinstance(proposed, _CORNERS)
    else:
        unfit = not ours.is_discrete and ours is constraints.real and theirs is not constraints.real
    if unfit:
        raise InferenceError(
            f"site {name!r} is drawn by the guide from {type(proposed).__name__} of support {ours!r}, but the model's "
            f"{type(target).__name__} has support {theirs!r}; expected draws inside the model's support; try a distribution of "
            f"that support in the guide, such as {type(target).__name__} itself or a TransformedDistribution"
        )


def _support(fn: Any) -> Any:
    """Return the support, that of one coordinate where coordinates are alike, or ``None`` if it says nothing in general."""
    support = as_constraint(fn.support)
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    known = isinstance(support, constraints.Constraint) and not constraints.is_dependent(support)
    return support if known else None
