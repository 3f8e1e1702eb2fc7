"""The evidence lower bound from traces of guide and model."""

from __future__ import annotations

from typing import Any

from ppl import ops
from ppl.distributions.score_parts import is_zero
from ppl.infer.elbo.base import ELBO
from ppl.infer.objective import Estimate
from ppl.ops import autodiff


class Trace_ELBO(ELBO):
    r"""The evidence lower bound, estimated by sampling the guide.

    .. math:: -\mathcal{L} = -\mathbb{E}_{q}\left[\log p(x, z) - \log q(z)\right]

    A reparameterised site contributes its pathwise gradient; any other site :math:`z_i` contributes
    :math:`\nabla \log q(z_i)\, R_i` (Ranganath, Gerrish and Blei 2014), where :math:`R_i` leaves out the terms that plates
    declare independent of it. See :class:`~ppl.infer.elbo.base.ELBO` for the parameters. Model and guide may have any
    dependency structure, and sites of both kinds may be mixed.

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> def model():
    ...     ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.5)
    >>> round(float(infer.Trace_ELBO().loss(model, lambda: None)), 4)
    1.0439
    """

    def particle(self, model_trace: Any, guide_trace: Any) -> Estimate:
        """Return the estimate from one pair of traces."""
        model_trace.compute_log_prob()
        guide_trace.compute_score_parts()
        elbo, surrogate, rewards, terms = 0.0, 0.0, [], {}
        for name, site in _sample_sites(model_trace):
            elbo, surrogate = elbo + site["log_prob_sum"], surrogate + site["log_prob_sum"]
            rewards.append((site["log_prob"], site))
            terms[f"model site {name}"] = autodiff.stop_gradient(site["log_prob_sum"])
        guide_sites = _sample_sites(guide_trace)
        rewards += [(-site["log_prob"], site) for _, site in guide_sites]
        for name, site in guide_sites:
            elbo = elbo - site["log_prob_sum"]
            terms[f"guide site {name}"] = autodiff.stop_gradient(site["log_prob_sum"])
            _, score, entropy = site["score_parts"]
            if not is_zero(entropy):
                surrogate = surrogate - ops.sum(entropy)
            if not is_zero(score):
                surrogate = surrogate + ops.sum(autodiff.stop_gradient(reward_of(site, rewards)) * score)
        return Estimate(-autodiff.stop_gradient(ops.array(elbo)), -ops.array(surrogate), terms)


def reward_of(site: dict, rewards: list[tuple[Any, dict]]) -> Any:
    """Return the sum of the terms that ``site`` may influence, one for each element of the plates that it stands in.

    A plate around both sites keeps their elements apart; every other dimension of a term is summed.
    """
    plates = {frame.dim: frame.name for frame in site["cond_indep_stack"] if frame.vectorized}
    return sum(_sum_outside(term, other, plates) for term, other in rewards)


def _sum_outside(term: Any, site: dict, plates: dict[int, str]) -> Any:
    own = {frame.dim: frame.name for frame in site["cond_indep_stack"] if frame.vectorized}
    axes = tuple(dim for dim in range(-ops.ndim(term), 0) if dim not in plates or own.get(dim) != plates[dim])
    return ops.sum(term, axis=axes, keepdims=True) if axes else term


def _sample_sites(trace: Any) -> list[tuple[str, dict]]:
    return [(name, site) for name, site in trace.nodes.items() if site["type"] == "sample"]
