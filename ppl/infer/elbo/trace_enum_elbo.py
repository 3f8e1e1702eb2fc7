"""The evidence lower bound with discrete sites summed out, of the model and of the guide."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import isfinite, prod
from typing import Any

from ppl import distributions as dist
from ppl import handlers, ops
from ppl.distributions.score_parts import is_zero
from ppl.errors import InferenceError, PplWarning
from ppl.handlers.packed import Packed, unpack
from ppl.infer.elbo.base import ELBO, check_plates
from ppl.infer.elbo.downstream import sample_sites
from ppl.infer.elbo.expectation import Cost, expectation, weight_of
from ppl.infer.elbo.matching import check_match
from ppl.infer.elbo.trace_elbo import Trace_ELBO
from ppl.infer.enum import loops, runs
from ppl.infer.enum.assignment import Series
from ppl.infer.enum.pairs import SEQUENTIAL_COUNT, run_pairs
from ppl.infer.enum.probe import probe
from ppl.infer.latents import is_latent
from ppl.infer.objective import Estimate
from ppl.infer.particles import has_explicit_keys, run_pair
from ppl.infer.proposal import innermost
from ppl.ops import autodiff, elimination, random
from ppl.primitives.validation import is_validation_enabled
from ppl.typing import Message, Model

PAIRS_KNOWN = 8
"""How many pairs of a model and a guide a bound remembers to have looked at."""


class TraceEnum_ELBO(ELBO):
    r"""The evidence lower bound, discrete sites summed out exactly.

    .. math:: -\mathcal{L} = -\mathbb{E}_{q(z)}\Big[\log \sum_{x} p(x, y, z) - \log q(z)\Big]

    Sites of the model that are marked ``infer={"enumerate": "parallel"}`` and that the guide does not have are the :math:`x`: all
    their values are summed over by tensor variable elimination (Obermeyer et al. 2019), whose cost is polynomial or refused.
    Sites of the guide that are marked are in :math:`z`, and their part of the expectation is taken exactly: ``"parallel"`` gives
    all values a dimension of their own, ``"sequential"`` runs guide and model once a value. ``"parallel"`` with
    ``"num_samples"`` draws so many values instead, of discrete and continuous sites alike. Other sites are sampled once; their
    gradients are pathwise or, where a draw has none, score functions of what follows from it (Foerster et al. 2018).
    :func:`~ppl.infer.config_enumerate` marks many sites.

    Sites outside of a plate may not depend on enumerated sites inside. See :class:`~ppl.infer.elbo.base.ELBO` for the parameters;
    ``max_plate_nesting`` says where the dimensions of enumerated sites begin. Where nothing is enumerated this is
    :class:`~ppl.infer.Trace_ELBO`, and ``strict_enumeration_warning`` says so.

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> def model():
    ...     x = ppl.sample("x", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
    ...     ppl.sample("y", dist.Normal(x, 1.0), obs=1.0)
    >>> elbo = infer.TraceEnum_ELBO(max_plate_nesting=0)
    >>> round(float(elbo.loss(model, lambda: None)), 4)
    1.138
    >>> round(float(elbo.compute_marginals(model, lambda: None)["x"].probs), 4)
    0.6225
    """

    repetitive = True

    def estimate(
        self, model: Model, guide: Model, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, key: Any = None
    ) -> Estimate:
        """Return the estimate at the current parameters; pure in ``key`` where randomness is explicit.

        :raises InferenceError: if the sites of model and guide do not match, or a sum over values cannot be taken.
        :raises ShapeError: if a site has a batch dimension that is no plate's and no enumerated site's.
        :raises PlateCollision: if a plate uses a dimension to the left of ``max_plate_nesting``.
        """
        self.prepare(model, guide, args, {} if kwargs is None else kwargs)
        return super().estimate(model, guide, args, kwargs, key)

    def prepare(self, model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Find the nesting of plates and, where sites are checked, how values are indexed: once for a model and a guide.

        :raises EnumerationError: if a site has another density with all values of a site at once than with one of them.
        """
        self._nesting(model, guide, args, kwargs)
        known: list[tuple[Model, Model]] = self.__dict__.setdefault("_probed", [])
        if is_validation_enabled() and not autodiff.is_tracing() and (model, guide) not in known:
            first_available_dim = -1 - int(self.max_plate_nesting)
            with handlers.block():
                probe(model, args, kwargs, first_available_dim=first_available_dim, guide=guide)
            # The functions are kept, so that no other one can take over their identity.
            known[:] = [*known[1 - PAIRS_KNOWN :], (model, guide)]

    def _nesting(self, model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        if not isfinite(self.max_plate_nesting):
            self.max_plate_nesting = runs.plate_nesting(lambda: run_pair(model, guide, args, kwargs))
        return int(self.max_plate_nesting)

    def _first_available_dim(self) -> int:
        in_plate = self.vectorize_particles and not has_explicit_keys()
        return -1 - int(self.max_plate_nesting) - int(in_plate)

    def _one(self, model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any) -> Estimate:
        pairs = run_pairs(model, guide, self._first_available_dim(), args, kwargs, key)
        total: Estimate | None = None
        for model_trace, guide_trace in pairs:
            check_match(model_trace, guide_trace)
            estimate = self.particle(model_trace, guide_trace)
            total = estimate if total is None else _sum(total, estimate)
        return Estimate(0.0, 0.0, {}) if total is None else total

    def particle(self, model_trace: Any, guide_trace: Any) -> Estimate:
        """Return the estimate from one pair of traces: one of the terms to be added up if sites are enumerated in sequence."""
        if not _is_enumerated(model_trace) and not _is_enumerated(guide_trace):
            if self.strict_enumeration_warning:
                warnings.warn(
                    "TraceEnum_ELBO found no site to enumerate, so it is Trace_ELBO; expected a discrete site of model or guide "
                    "that is marked; try infer.config_enumerate(model), Trace_ELBO, or strict_enumeration_warning=False",
                    PplWarning,
                    stacklevel=4,
                )
            estimate = Trace_ELBO().particle(model_trace, guide_trace)
            check_plates(model_trace, guide_trace)
            return estimate
        _refuse_draws(model_trace, guide_trace)
        guide_trace.compute_score_parts()
        density = runs.collect(model_trace, given=guide_trace.nodes)
        if all(_is_plain(site) for _, site in sample_sites(guide_trace)):
            return _without_weights(density, model_trace, guide_trace)
        return _with_weights(density, model_trace, guide_trace)

    def compute_marginals(self, model: Model, guide: Model, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the posterior distribution of each enumerated site of the model by itself, given the data and the guide's draws.

        :param args: arguments of model and guide.
        :returns: by site name a distribution whose batch dimensions are the site's plates, behind one of the steps for a site
            inside of :func:`~ppl.contrib.control_flow.scan`.
        :raises InferenceError: if a site of the guide is enumerated, or there are several particles.
        :raises EnumerationError: if a plate inside of the step of a scan is a minibatch.

        Where a plate is a minibatch, each of its elements tells of the sites outside as much as all those that it stands for.
        """
        model_trace, guide_trace, density = self._run_once(model, guide, args, kwargs, "compute_marginals")
        # A common scale multiplies the logarithm of the sum, and says nothing of what is summed; others are refused.
        runs.components(density)
        with runs.by_name(density):
            found = elimination.marginals(density.factors, set(density.variables), set(density.plates), density.plate_scales)
        marginals = {
            name: _distribution(model_trace.nodes[name], Packed(*found[symbol]), density)
            for symbol, name in density.variables.items()
        }
        # The last values of a loop are sites of the trace, their marginals the last row of those of all steps.
        tables = loops.marginals(model_trace, lambda other: runs.log_evidence(runs.collect(other, given=guide_trace.nodes)))
        series = loops.series_of(model_trace)
        return {**marginals, **{name: _distribution_of_steps(series[name], table) for name, table in tables.items()}}

    def sample_posterior(self, model: Model, guide: Model, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns at a joint posterior draw of its enumerated sites, given the data and the guide's draws.

        :param args: arguments of model and guide.
        :raises InferenceError: if a site of the guide is enumerated, or there are several particles.
        """
        model_trace, guide_trace, density = self._run_once(model, guide, args, kwargs, "sample_posterior")
        key = random.next_key("sample_posterior")
        with runs.by_name(density):
            drawn = elimination.sample(
                density.factors, set(density.variables), set(density.plates), key=key, plate_scales=density.plate_scales
            )
        indices = runs.indices_of(model_trace, drawn, density)
        values = {name: runs.value_at(model_trace.nodes[name], indices) for name in indices}
        values.update(loops.drawn(model_trace, indices, 1, None))
        fixed = handlers.substitute(handlers.replay(model, trace=guide_trace), data=values)
        return fixed(*args, **kwargs)

    def _run_once(
        self, model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], method: str
    ) -> tuple[Any, Any, runs.Enumerated]:
        if self.num_particles != 1:
            raise InferenceError(
                f"{method} got num_particles={self.num_particles}; expected one run of the guide; try TraceEnum_ELBO() for it"
            )
        self.prepare(model, guide, args, kwargs)
        model_trace, guide_trace = next(run_pairs(model, guide, self._first_available_dim(), args, kwargs))
        check_match(model_trace, guide_trace)
        marked = [name for name, site in sample_sites(guide_trace) if _is_marked(site)]
        if marked:
            raise InferenceError(
                f"{method} needs single values of the guide's sites, but {marked} are enumerated there; expected sites that are "
                "enumerated in the model alone; try to leave them out of the guide, or out of config_enumerate"
            )
        _refuse_draws(model_trace, guide_trace)
        return model_trace, guide_trace, runs.collect(model_trace, given=guide_trace.nodes)


def _sum(first: Estimate, second: Estimate) -> Estimate:
    terms = {name: first.terms.get(name, 0.0) + term for name, term in second.terms.items()}
    return Estimate(first.loss + second.loss, first.surrogate + second.surrogate, {**first.terms, **terms})


def _is_marked(site: Message) -> bool:
    """Return whether a site of a trace stands for one or all of several values."""
    return not site["is_observed"] and ("_enumerate_dim" in site["infer"] or SEQUENTIAL_COUNT in site["infer"])


def _is_enumerated(trace: Any) -> bool:
    return any(_is_marked(site) for _, site in sample_sites(trace))


def _is_plain(site: Message) -> bool:
    """Return whether a site of the guide is drawn once, and by a pathwise derivative."""
    return not is_latent(site) or (not _is_marked(site) and is_zero(site["score_parts"].score_function))


def _refuse_draws(model_trace: Any, guide_trace: Any) -> None:
    for name, site in sample_sites(model_trace):
        if name not in guide_trace and _is_marked(site) and site["infer"].get("num_samples") is not None:
            raise InferenceError(
                f"site {name!r} of the model has infer={{'num_samples': {site['infer']['num_samples']}}}, but draws from a prior "
                "do not sum it out; expected all its values; try to leave num_samples out, or a site of the guide with it"
            )


def _entropy(site: Message) -> Any:
    """Return the log density of a guide's site, with the gradient that its part of the bound has."""
    log_prob = site["log_prob"]
    if not is_latent(site) or (_is_marked(site) and site["infer"].get("num_samples") is None):
        return log_prob
    entropy = site["score_parts"].entropy_term
    if is_zero(entropy):
        return autodiff.stop_gradient(log_prob)
    return log_prob if entropy is log_prob else entropy + autodiff.stop_gradient(log_prob - entropy)


def _terms(density: runs.Enumerated, summed: Any, guide_trace: Any) -> dict[str, Any]:
    """Return what may be infinite or no number, by what it is."""
    terms = {f"model site {name}": autodiff.stop_gradient(ops.sum(term.array)) for name, term in density.others.items()}
    for name, site in sample_sites(guide_trace):
        terms[f"guide site {name}"] = autodiff.stop_gradient(site["log_prob_sum"])
    if density.names:
        first, last = density.names[0], density.names[-1]
        terms[f"model sites {first!r} to {last!r}, summed over enumerated values"] = autodiff.stop_gradient(summed)
    return terms


def _without_weights(density: runs.Enumerated, model_trace: Any, guide_trace: Any) -> Estimate:
    """Return the estimate where the guide has single values that carry gradients."""
    summed = ops.array(runs.sum_out(density))
    elbo = summed
    for term in density.others.values():
        elbo = elbo + ops.sum(term.array)
    for _, site in sample_sites(guide_trace):
        elbo = elbo - ops.sum(_entropy(site))
    return Estimate(-autodiff.stop_gradient(elbo), -elbo, _terms(density, summed, guide_trace))


def _with_weights(density: runs.Enumerated, model_trace: Any, guide_trace: Any) -> Estimate:
    """Return the estimate as an expectation over values of the guide."""
    guide_sites, model_sites = sample_sites(guide_trace), sample_sites(model_trace)

    def pack(site: Message, array: Any) -> Packed:
        return runs.packed_as(guide_trace, site, ops.array(array), density)

    # Checks that the guide, too, has nothing outside of a plate that depends on the inside.
    runs.collect(guide_trace, symbols=density.symbols)
    weights = [weight_of(name, site, pack, density.symbols, guide_sites, model_sites) for name, site in guide_sites]
    known = [weight for weight in weights if weight is not None]
    homes = {weight.symbol: {s for s in weight.log.dims if s in density.plates} for weight in known if weight.symbol}
    costs = [Cost(term, (("model", name),)) for name, term in density.others.items()]
    summed = _marginal_costs(density, homes)
    costs += summed
    for name, site in guide_sites:
        if not site["infer"].get("_deterministic"):
            log_prob = pack(site, _entropy(site))
            costs.append(Cost(Packed(-log_prob.array, log_prob.dims), (("guide", name),)))
    elbo = ops.array(expectation(costs, known, density.plates))
    total = sum((ops.sum(cost.term.array) for cost in summed), 0.0)
    return Estimate(-autodiff.stop_gradient(elbo), -elbo, _terms(density, ops.array(total), guide_trace))


def _marginal_costs(density: runs.Enumerated, homes: dict[str, set[str]]) -> list[Cost]:
    """Return what is left of the factors once the model's own variables are summed out, the guide's kept as axes.

    :param homes: the plates in which each variable of the guide lives.
    """
    costs = []
    for group in runs.components(density):
        shared = runs.common_plates(density, group)
        local = {symbol: home for factor in group.factors for symbol, home in homes.items() if symbol in factor.dims}
        for symbol, home in local.items():
            if not home <= shared:
                raise InferenceError(_more_global(density, group, symbol, home - shared))
        plates = set(density.plates) - shared
        with runs.by_name(density):
            results = elimination.eliminate(group.factors, group.variables, plates, plate_scales=density.plate_scales)
        for array, dims in results:
            factor = prod(density.plate_scales.get(symbol, 1.0) for symbol in dims)
            term = runs.scaled(Packed(array if factor == 1.0 else factor * array, dims), group.scale)
            costs.append(Cost(term, tuple(("model", name) for name in group.names)))
    return costs


def _more_global(density: runs.Enumerated, group: runs.Component, symbol: str, plates: set[str]) -> str:
    inside = next(name for name, known in density.symbols.variables.items() if known == symbol)
    names = sorted(density.variables[variable] for variable in group.variables)
    return (
        f"site {inside!r} is enumerated in the guide inside of plate {', '.join(repr(density.plates[p]) for p in plates)}, but "
        f"the sum over {names} in the model joins its elements, so that all joint values of {inside!r} would have to be tried; "
        f"expected sites of the guide that are at least as far out as these; try to leave {inside!r} to the model, or to draw it"
    )


def _distribution(site: Message, marginal: Packed, density: runs.Enumerated) -> Any:
    """Return the distribution of a site's values given the logarithms of their probabilities."""
    places = {density.symbols.of_plate(frame.name): frame.dim - 1 for frame in site["cond_indep_stack"] if frame.dim is not None}
    logits = unpack(marginal, {**places, density.symbols.of_variable(site["name"]): -1})
    return _over_values(site["fn"], logits, lambda: runs.support_of(site))


def _distribution_of_steps(series: Series, table: Any) -> Any:
    """Return the distribution of the values in each step given multiples of their probabilities: steps, plates, values."""
    plates = tuple(series.plates.get(dim, 1) for dim in range(min(series.plates, default=0), 0))
    # What counts for a whole plate has as many times the derivative of one element.
    probs = (table / table.sum(-1, keepdims=True)).reshape((series.length, *plates, series.size))
    return _over_values(series.fn, ops.log(ops.array(probs)), lambda: series.support)


def _over_values(fn: Any, logits: Any, support: Callable[[], Any]) -> Any:
    """Return the distribution over the support of ``fn`` whose probabilities have these logarithms, along the last axis."""
    fn = innermost(fn)
    if isinstance(fn, dist.Bernoulli):
        return dist.Bernoulli(logits=logits[..., 1] - logits[..., 0])
    for family in (dist.Categorical, dist.OneHotCategorical):
        if isinstance(fn, family):
            return family(logits=logits)
    values, batch = support(), tuple(logits.shape)
    return dist.Empirical(ops.broadcast_to(values, (*batch, *tuple(values.shape)[1:])), logits)
