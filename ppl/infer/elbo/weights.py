"""Log importance weights of all particles at once, for bounds that are no average over particles."""

from __future__ import annotations

from typing import Any, NamedTuple

from ppl import ops
from ppl.distributions.score_parts import is_zero
from ppl.errors import InferenceError
from ppl.infer.elbo.base import ELBO, check_plates
from ppl.infer.elbo.downstream import sample_sites
from ppl.infer.elbo.matching import check_match
from ppl.infer.particles import has_explicit_keys, run_pair, run_stacked
from ppl.ops import autodiff
from ppl.typing import Model


class Particles(NamedTuple):
    """What is summed up of each of the particles, arrays of shape ``(num_particles,)``.

    :param log_model: log density of the model's sites.
    :param log_guide: log density of the guide's sites.
    :param score: score functions of the guide's sites that are not reparameterised.
    :param terms: log density of each site, a scalar each.
    """

    log_model: Any
    log_guide: Any
    score: Any
    terms: dict[str, Any]


class WeightedELBO(ELBO):
    """A bound made of the importance weights of all particles together."""

    def particle(self, model_trace: Any, guide_trace: Any) -> Any:
        """Return the sums of one pair of traces, scalars."""
        return self._sums(model_trace, guide_trace, None)

    def particles(self, model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any = None) -> Particles:
        """Return the sums of all particles."""

        def one(own: Any) -> Particles:
            return self._pair(model, guide, args, kwargs, own, None)

        if self.vectorize_particles and not has_explicit_keys():
            *inside, dim = self._in_plates(model, guide, args, kwargs)
            return self._pair(inside[0], inside[1], args, kwargs, key, dim)
        if self.vectorize_particles:
            sums = self._mapped(one, model, guide, args, kwargs, key)
        else:
            sums = run_stacked(one, key, self.num_particles)
        return sums._replace(terms={name: ops.sum(term) for name, term in sums.terms.items()})

    def _pair(self, model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any, dim: Any) -> Particles:
        model_trace, guide_trace = run_pair(model, guide, args, kwargs, key)
        check_match(model_trace, guide_trace)
        guide_trace.compute_score_parts()
        sums = self._sums(model_trace, self.density_trace(guide, guide_trace, args, kwargs), dim)
        check_plates(model_trace, guide_trace)
        return sums

    def density_trace(self, guide: Model, guide_trace: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the trace of the guide that its log densities are taken from."""
        return guide_trace

    def _sums(self, model_trace: Any, guide_trace: Any, dim: int | None) -> Particles:
        model_trace.compute_log_prob()
        guide_trace.compute_score_parts()
        self.check_traces(model_trace, guide_trace)
        log_model, log_guide, score, terms = 0.0, 0.0, 0.0, {}
        for name, site in sample_sites(model_trace):
            log_model = log_model + self._per_particle(site["log_prob"], dim)
            terms[f"model site {name}"] = autodiff.stop_gradient(site["log_prob_sum"])
        for name, site in sample_sites(guide_trace):
            log_guide = log_guide + self._per_particle(site["log_prob"], dim)
            terms[f"guide site {name}"] = autodiff.stop_gradient(site["log_prob_sum"])
            own = site["score_parts"].score_function
            if not site["is_observed"] and not is_zero(own):
                score = score + self._per_particle(own, dim)
        shape = () if dim is None else (self.num_particles,)
        log_model, log_guide, score = (ops.broadcast_to(ops.array(part), shape) for part in (log_model, log_guide, score))
        return Particles(log_model, log_guide, score, terms)

    def _per_particle(self, term: Any, dim: int | None) -> Any:
        """Return the sum of a term, apart from the dimension of the particles; one without it belongs to each of them."""
        if dim is None or ops.ndim(term) < -dim:
            return ops.sum(term)
        axes = tuple(axis for axis in range(ops.ndim(term)) if axis != ops.ndim(term) + dim)
        return ops.sum(term, axis=axes) if axes else term

    def check_traces(self, model_trace: Any, guide_trace: Any) -> None:
        """Raise if the bound has no sense for these traces.

        :raises InferenceError: if a plate is subsampled: weights of a minibatch are not those of the data.
        """
        for trace in (model_trace, guide_trace):
            for name, site in sample_sites(trace):
                for frame in site["cond_indep_stack"]:
                    if frame.size != frame.full_size:
                        raise InferenceError(
                            f"{type(self).__name__} cannot be estimated from a minibatch: plate {frame.name!r} around site "
                            f"{name!r} holds {frame.size} of {frame.full_size} elements; expected all of them; try Trace_ELBO, "
                            "or a plate of the whole data"
                        )
