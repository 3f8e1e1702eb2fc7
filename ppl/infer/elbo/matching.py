"""Checks that a guide proposes what the model asks for: the same sites, of the same shapes, in the same space."""

from __future__ import annotations

from typing import Any

from ppl import constraints
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
from ppl.typing import Message

_WRAPPERS = (Independent, MaskedDistribution, ExpandedDistribution)
_CORNERS = (RelaxedBernoulliStraightThrough, RelaxedOneHotCategoricalStraightThrough)


def check_match(model_trace: Any, guide_trace: Any) -> None:
    """Raise unless the guide proposes exactly the latent sites of the model, each of its shape and within its support.

    :raises InferenceError: names the first site that one of them lacks, and lists both; or a site whose supports differ.
    :raises ShapeError: names a site whose shapes differ, and both shapes.
    """
    # What is enumerated in the model needs no site in the guide.
    in_model = {name for name, site in model_trace.nodes.items() if is_latent(site) and not _is_summed(name, site, guide_trace)}
    in_guide = {name for name, site in guide_trace.nodes.items() if is_latent(site) and not site["infer"].get("is_auxiliary")}
    if in_model != in_guide:
        _explain_sites(model_trace, in_model, in_guide)
    for name, proposed in guide_trace.nodes.items():
        if name in in_model:
            _check_site(name, proposed, model_trace.nodes[name], (model_trace, guide_trace))


def _explain_sites(model_trace: Any, in_model: set[str], in_guide: set[str]) -> None:
    lists = f"latent sites of the model: {sorted(in_model)}; sites of the guide: {sorted(in_guide)}"
    extra = sorted(in_guide - in_model)
    if extra:
        observed = {name for name, site in model_trace.nodes.items() if site["type"] == "sample" and site["is_observed"]}
        why = "observes" if extra[0] in observed else "does not have"
        raise InferenceError(
            f"the guide samples {extra[0]!r}, which the model {why}; {lists}; "
            "try to drop it, or mark it infer={'is_auxiliary': True}"
        )
    missing = sorted(in_model - in_guide)
    advice = "try to sample it in the guide, or to observe it in the model"
    if getattr(model_trace.nodes[missing[0]]["fn"], "is_discrete", False):
        advice += (
            "; it is discrete, and this loss neither enumerates it nor has a score function for it without a guide site: "
            "TraceEnum_ELBO sums it out if the model marks it with infer={'enumerate': 'parallel'}"
        )
    raise InferenceError(f"the guide lacks {missing[0]!r}, a latent site of the model; {lists}; {advice}")


def _check_site(name: str, proposed: Message, target: Message, traces: tuple[Any, Any]) -> None:
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


def _is_summed(name: str, site: Message, guide_trace: Any) -> bool:
    return "_enumerate_dim" in site["infer"] and name not in guide_trace


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
