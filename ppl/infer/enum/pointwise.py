"""The log likelihood of each observation by itself, discrete sites summed out of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ppl import ops
from ppl.distributions.score_parts import scale_and_mask
from ppl.errors import InferenceError
from ppl.handlers.packed import Packed, unpack
from ppl.infer.enum import loops, runs
from ppl.infer.latents import is_latent
from ppl.ops import elimination
from ppl.typing import Message, Shape


def log_likelihoods(trace: Any, batch_shapes: Mapping[str, Shape]) -> dict[str, Any]:
    r"""Return the log density of each element of the observed sites, not scaled and zero where masked.

    :param trace: of a run in which discrete sites take all their values, such as
        :class:`~ppl.infer.enum.elimination.ParallelElimination` makes it.
    :param batch_shapes: the batch shapes of the observed sites in a run with single values, by name.
    :raises InferenceError: if a discrete site bears on several observations, so that these are not independent given the others.

    With :math:`z_i` the discrete sites that bear on :math:`y_i`, which are summed out, and :math:`\theta` all others,

    .. math:: \log p(y_i \mid \theta) = \log \sum_{z_i} p(y_i, z_i, \theta) - \log \sum_{z_i} p(z_i, \theta)
    """
    loops.refuse(trace, "log_likelihood")
    trace.compute_log_prob()
    density = runs.collect(trace)
    # The scales of minibatches and handlers do not count, nor do they matter to what hangs together.
    density = density._replace(scales=[1.0] * len(density.scales), plate_scales={})
    found: dict[str, Any] = {}
    for group in runs.components(density) if density.factors else ():
        observed = [name for name in group.names if name in batch_shapes]
        if observed:
            (name, *others), site = observed, trace.nodes[observed[0]]
            plates = frozenset(group.factors[group.names.index(name)].dims).intersection(density.plates)
            shared = plates - runs.common_plates(density, group)
            if others or shared:
                raise InferenceError(_shared(density, group, name, others, shared))
            found[name] = _masked(site, _of_group(trace, density, group, name, plates), batch_shapes[name])
    for name in batch_shapes:
        if name not in found:
            site = trace.nodes[name]
            found[name] = scale_and_mask(site["unscaled_log_prob"], 1.0, site["mask"])
    return {name: found[name] for name in batch_shapes}


def _of_group(trace: Any, density: runs.Enumerated, group: runs.Component, name: str, plates: frozenset[str]) -> Any:
    """Return the log density of an observed site given the sites around that have draws, over the dimensions of its plates."""
    pairs = list(zip(group.names, group.factors, strict=True))
    total = _summed(density, [factor for _, factor in pairs], group.variables, plates)
    if any(is_latent(trace.nodes[other]) and other not in density.variables.values() for other in group.names):
        # Draws of other sites tell of the discrete ones before the observation does.
        rest = [factor for other, factor in pairs if other != name]
        total = total + [Packed(-factor.array, factor.dims) for factor in _summed(density, rest, group.variables, plates)]
    site = trace.nodes[name]
    places = {density.symbols.of_plate(frame.name): frame.dim for frame in site["cond_indep_stack"] if frame.dim is not None}
    return sum((unpack(factor, places) for factor in total), 0.0)


def _summed(density: runs.Enumerated, factors: list[Packed], variables: Iterable[str], plates: frozenset[str]) -> list[Packed]:
    inside = set(density.plates) - plates
    with runs.by_name(density):
        return [Packed(*factor) for factor in elimination.eliminate(factors, set(variables), inside)]


def _masked(site: Message, log_prob: Any, batch_shape: Shape) -> Any:
    return scale_and_mask(ops.broadcast_to(log_prob, batch_shape), 1.0, site["mask"])


def _shared(density: runs.Enumerated, group: runs.Component, name: str, others: list[str], plates: Iterable[str]) -> str:
    discrete = [density.variables[symbol] for symbol in sorted(group.variables)]
    if others:
        between = f"sites {name!r} and {', '.join(map(repr, others[:3]))}{' and others' if len(others) > 3 else ''}"
        joint = "one observed site"
    else:
        between = f"the elements of {name!r} along plate {', '.join(repr(density.plates[plate]) for plate in sorted(plates))}"
        joint = f".to_event on the distribution of {name!r}"
    return (
        f"log_likelihood cannot tell the observations of {between} apart: {', '.join(map(repr, discrete[:3]))}"
        f"{' and others' if len(discrete) > 3 else ''}, summed out, bear on several of them, which are not independent given the "
        f"draws; expected discrete sites that bear on one observation each, inside of all its plates; try {joint} for "
        "several observations, draws of the discrete sites by infer.Predictive(..., infer_discrete=True) among the posterior "
        "samples, or log_likelihood=False in to_arviz"
    )
