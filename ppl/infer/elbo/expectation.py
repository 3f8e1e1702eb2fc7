r"""Expectations over a guide whose sites are enumerated, drawn several times, or drawn once.

A cost is a term of the bound as an array over plates and over the guide's enumerated sites. Each site of the guide has a weight:
its probabilities if all its values are there, equal weights if they were drawn. A weight of drawn values is multiplied by
:math:`q(z) / \bot q(z)`, one in value, whose derivative is the score function (Foerster et al. 2018, where :math:`\bot` stops
gradients). So the sum of costs times weights has the value of the estimate and the gradient of its expectation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from ppl import ops
from ppl.distributions.score_parts import is_zero
from ppl.errors import InferenceError
from ppl.handlers.packed import Packed, Symbols
from ppl.infer.elbo.downstream import Plates, Sites, influence
from ppl.infer.enum.pairs import SEQUENTIAL_COUNT
from ppl.infer.latents import is_latent
from ppl.ops import autodiff, elimination
from ppl.typing import Message


class Cost(NamedTuple):
    """A term of the bound.

    :param term: its array over plates and enumerated sites of the guide.
    :param sites: keys of the sites whose log densities it is made of: ``("model", name)`` or ``("guide", name)``.
    """

    term: Packed
    sites: tuple[tuple[str, str], ...]


class Weight(NamedTuple):
    """The weight of the values of one site of the guide.

    :param name: the site.
    :param log: logarithm of the weight; for values along a dimension a density over it.
    :param symbol: the symbol of that dimension, empty for a single value.
    :param num_runs: for one of several runs, how many there are; else 0.
    :param reach: the sites that a single value may influence, each with its plates whose elements stay apart.
    """

    name: str
    log: Packed
    symbol: str
    num_runs: int
    reach: dict[tuple[str, str], Plates]


def weight_of(name: str, site: Message, pack: Any, symbols: Symbols, guide_sites: Sites, model_sites: Sites) -> Weight | None:
    """Return the weight of a guide's site, ``None`` if it is one throughout.

    :param pack: ``pack(site, array)`` returns the array with symbols.
    """
    if not is_latent(site):
        return None
    score = site["score_parts"].score_function
    dim, count = site["infer"].get("_enumerate_dim"), site["infer"].get(SEQUENTIAL_COUNT, 0)
    if dim is not None:
        symbol, num_samples = symbols.of_variable(name), site["infer"].get("num_samples")
        if num_samples is None:
            return Weight(name, pack(site, _density(site)), symbol, 0, {})
        if is_zero(score):
            return Weight(name, Packed(ops.full((num_samples,), -math.log(num_samples)), symbol), symbol, 0, {})
        drawn = pack(site, score - autodiff.stop_gradient(score))
        if num_samples > 1:
            return Weight(name, Packed(drawn.array - math.log(num_samples), drawn.dims), symbol, 0, {})
        # An axis of length one does not show which costs depend on the draw.
        single = Packed(ops.sum(drawn.array, axis=drawn.dims.index(symbol)), drawn.dims.replace(symbol, ""))
        return Weight(name, single, "", 0, _reach(name, site, guide_sites, model_sites))
    if count:
        return Weight(name, pack(site, _density(site)), "", count, _reach(name, site, guide_sites, model_sites))
    if is_zero(score):
        return None
    drawn = pack(site, score - autodiff.stop_gradient(score))
    return Weight(name, drawn, "", 0, _reach(name, site, guide_sites, model_sites))


def _density(site: Message) -> Any:
    # A mask silences the site's own term, not the choice of its value.
    score = site["score_parts"].score_function
    return site["fn"].log_prob(site["value"]) if is_zero(score) else score


def _reach(name: str, site: Message, guide_sites: Sites, model_sites: Sites) -> dict[tuple[str, str], Plates]:
    in_guide, in_model = influence(name, site, guide_sites, model_sites)
    return {**{("guide", key): p for key, p in in_guide.items()}, **{("model", key): p for key, p in in_model.items()}}


def expectation(costs: Iterable[Cost], weights: list[Weight], plates: dict[str, str]) -> Any:
    """Return the sum of the costs, each times the weights of the sites that it may depend on: a scalar.

    :param plates: the name of each plate by symbol.
    :raises InferenceError: if a cost outside of a plate may depend on a site inside that is enumerated in sequence.
    """
    by_symbol = {weight.symbol: weight for weight in weights if weight.symbol}
    single = [weight for weight in weights if not weight.symbol]
    cache: dict[Any, Packed | None] = {}
    total: Any = 0.0
    for cost in costs:
        array, dims = cost.term
        chosen = _with_ancestors(dims, by_symbol)
        within = {symbol for weight in chosen for symbol in weight.log.dims} | set(dims)
        for weight in chosen:
            outside = [plates[symbol] for symbol in weight.log.dims if symbol in plates and symbol not in dims]
            if outside:
                raise InferenceError(
                    f"site {weight.name!r} is enumerated inside of plate {outside[0]!r} in the guide, but {cost.sites[0][1]!r} "
                    f"of the {cost.sites[0][0]} depends on it from outside of that plate; expected the same plates around it in "
                    f"model and guide, and what depends on it inside; try to move {cost.sites[0][1]!r} into the plate"
                )
        share, factors, held = 1.0, [weight.log for weight in chosen], []
        for weight in single:
            apart = _stays_apart(weight, cost, plates)
            if apart is None or any(s in by_symbol and s not in within for s in weight.log.dims):
                share = share / weight.num_runs if weight.num_runs else share
                continue
            factors.append(_over(weight, cost, apart, plates, by_symbol))
            held.append((weight.name, factors[-1].dims))
        key = (tuple(sorted(weight.symbol for weight in chosen)), frozenset(dims), tuple(held))
        if key not in cache:
            cache[key] = _product(factors, {symbol for symbol in within if symbol in by_symbol and symbol not in dims})
        total = total + share * _weighted(array, dims, cache[key])
    return total


def _with_ancestors(dims: str, by_symbol: dict[str, Weight]) -> list[Weight]:
    """Return the weights of the sites that run along ``dims``, and of those that these depend on."""
    waiting, found = [symbol for symbol in dims if symbol in by_symbol], {}
    while waiting:
        symbol = waiting.pop()
        if symbol not in found:
            found[symbol] = by_symbol[symbol]
            waiting += [other for other in by_symbol[symbol].log.dims if other in by_symbol]
    return list(found.values())


def _stays_apart(weight: Weight, cost: Cost, plates: dict[str, str]) -> set[str] | None:
    """Return the symbols of the plates whose elements a cost keeps apart from a value, ``None`` if it does not depend on it."""
    reached = [weight.reach[site] for site in cost.sites if site in weight.reach]
    if not reached:
        return None
    names = set.intersection(*(set(apart.values()) for apart in reached))
    return {symbol for symbol in cost.term.dims if plates.get(symbol) in names}


def _over(weight: Weight, cost: Cost, apart: set[str], plates: dict[str, str], by_symbol: dict[str, Weight]) -> Packed:
    """Return the logarithm of a weight with the axes that a cost keeps apart."""
    array, dims = weight.log
    merged = [axis for axis, symbol in enumerate(dims) if symbol in plates and symbol not in apart]
    if not merged:
        return weight.log
    names = ", ".join(repr(plates[dims[axis]]) for axis in merged)
    if weight.num_runs or any(symbol in by_symbol for symbol in dims):
        raise InferenceError(
            f"site {weight.name!r} of the guide is enumerated for each element of plate {names} by itself, but "
            f"{cost.sites[0][1]!r} of the {cost.sites[0][0]} lies outside of it and comes later, so it may depend on all "
            "elements at once; expected sites outside of a plate before those inside; try to move it to the front"
        )
    kept = "".join(symbol for axis, symbol in enumerate(dims) if axis not in merged)
    return Packed(ops.sum(array, axis=tuple(merged)), kept)


def _product(factors: list[Packed], summed: set[str]) -> Packed | None:
    """Return the product of weights given by their logarithms, some axes summed over."""
    if not factors:
        return None
    if summed:
        # What is no variable stays: a plate's elements are told apart.
        factors = [Packed(*factor) for factor in elimination.eliminate(factors, summed, set())]
    dims = "".join(dict.fromkeys(symbol for factor in factors for symbol in factor.dims))
    total: Any = 0.0
    for factor in factors:
        total = total + aligned(factor, dims)
    return Packed(ops.exp(total), dims)


def aligned(factor: Packed, dims: str) -> Any:
    """Return the array of ``factor`` with an axis for each symbol of ``dims``, of length one where it has none."""
    order = sorted(range(len(factor.dims)), key=lambda axis: dims.index(factor.dims[axis]))
    array = factor.array if order == list(range(len(order))) else ops.permute_dims(factor.array, tuple(order))
    sizes = dict(zip((factor.dims[axis] for axis in order), tuple(array.shape), strict=True))
    return ops.reshape(array, tuple(sizes.get(symbol, 1) for symbol in dims))


def _weighted(array: Any, dims: str, weight: Packed | None) -> Any:
    if weight is None:
        return ops.sum(array)
    both = dims + "".join(symbol for symbol in weight.dims if symbol not in dims)
    cost, factor = aligned(Packed(array, dims), both), aligned(weight, both)
    # A value of probability zero counts for nothing, whatever its cost.
    possible = factor > 0.0
    cost = ops.where(possible, cost, ops.zeros_like(cost))
    return ops.sum(cost * factor)
