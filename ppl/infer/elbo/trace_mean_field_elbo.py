"""The evidence lower bound with analytic Kullback-Leibler divergences."""

from __future__ import annotations

import warnings
from typing import Any

from ppl import distributions as dist
from ppl import ops
from ppl.distributions.score_parts import is_zero, scale_and_mask
from ppl.errors import InferenceError, PplWarning
from ppl.infer.elbo.downstream import are_apart, sample_sites
from ppl.infer.elbo.trace_elbo import Trace_ELBO
from ppl.infer.latents import is_latent
from ppl.infer.objective import Estimate
from ppl.ops import autodiff
from ppl.runtime import is_distribution
from ppl.typing import Message


class TraceMeanField_ELBO(Trace_ELBO):
    r"""The evidence lower bound with analytic Kullback-Leibler divergences where they are known.

    .. math:: \mathcal{L} = \mathbb{E}_q[\log p(x \mid z)]
        - \sum_i \mathbb{E}_q\left[KL(q_i(z_i \mid \cdot) \,\|\, p_i(z_i \mid \cdot))\right]

    A site whose pair of distributions has no rule of :func:`ppl.distributions.register_kl`, or whose scale or mask differ
    between model and guide, is estimated at its draw instead. Each draw of the guide must be reparameterised.

    The sum is right if no site's prior in the model depends on what the guide draws from that site on: for instance if the guide
    is a product over its sites, or has the dependencies of the model. The order of the sites proves it; a guide whose order does
    not is warned of, once at each run. See :class:`~ppl.infer.elbo.base.ELBO` for the parameters.

    :raises InferenceError: if the guide has a site that is not reparameterised, through each method.

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> def model():
    ...     ppl.sample("z", dist.Normal(0.0, 1.0))
    >>> def guide():
    ...     ppl.sample("z", dist.Normal(1.0, 1.0))
    >>> round(float(infer.TraceMeanField_ELBO().loss(model, guide)), 4)  # whatever was drawn
    0.5
    """

    def particle(self, model_trace: Any, guide_trace: Any) -> Estimate:
        """Return the estimate from one pair of traces."""
        model_trace.compute_log_prob()
        guide_trace.compute_score_parts()
        refuse_score_functions(guide_trace, type(self).__name__)
        elbo, surrogate, terms, analytic = 0.0, 0.0, {}, []
        for name, site in sample_sites(model_trace):
            terms[f"model site {name}"] = autodiff.stop_gradient(site["log_prob_sum"])
            if not is_latent(site):
                elbo, surrogate = elbo + site["log_prob_sum"], surrogate + site["log_prob_sum"]
        for name, site in sample_sites(guide_trace):
            terms[f"guide site {name}"] = autodiff.stop_gradient(site["log_prob_sum"])
            target = model_trace.nodes.get(name)
            paired = target is not None and is_latent(site) and is_latent(target)
            if paired and _has_analytic_term(site, target):
                divergence = scale_and_mask(dist.kl_divergence(site["fn"], target["fn"]), site["scale"], site["mask"])
                elbo = elbo - ops.sum(divergence)
                surrogate = surrogate - ops.sum(divergence)
                analytic.append(name)
                continue
            entropy = site["log_prob"] if site["is_observed"] else site["score_parts"].entropy_term
            elbo = elbo - site["log_prob_sum"]
            surrogate = surrogate if is_zero(entropy) else surrogate - ops.sum(entropy)
            if paired:
                elbo, surrogate = elbo + target["log_prob_sum"], surrogate + target["log_prob_sum"]
        _warn_of_order(analytic, model_trace, guide_trace)
        return Estimate(-autodiff.stop_gradient(ops.array(elbo)), -ops.array(surrogate), terms)


def refuse_score_functions(guide_trace: Any, loss: str) -> None:
    """Raise unless each draw of the guide is reparameterised; its score parts are computed.

    :param loss: what needs it.
    :raises InferenceError: naming the site.
    """
    for name, site in sample_sites(guide_trace):
        if not site["is_observed"] and not is_zero(site["score_parts"].score_function):
            raise InferenceError(
                f"{loss} needs reparameterised draws, but the guide draws site {name!r} from {type(site['fn']).__name__}, which "
                "has a score function; expected a distribution with has_rsample; try Trace_ELBO or TraceGraph_ELBO, or sum a "
                "discrete site out of the model"
            )


def _has_analytic_term(proposed: Message, target: Message) -> bool:
    guide_fn, model_fn = proposed["fn"], target["fn"]
    if not (is_distribution(guide_fn) and is_distribution(model_fn)):
        return False
    if len(guide_fn.event_shape) != len(model_fn.event_shape):
        return False
    counted_alike = _are_equal(proposed["scale"], target["scale"]) and _are_equal(
        _truth(proposed["mask"]), _truth(target["mask"])
    )
    return counted_alike and dist.has_kl(guide_fn, model_fn)


def _truth(mask: Any) -> Any:
    return True if mask is None else mask


def _are_equal(first: Any, second: Any) -> bool:
    """Return whether two scales or masks are known to be equal."""
    if first is second:
        return True
    if not ops.is_array(first) and not ops.is_array(second):
        return bool(first == second)
    if autodiff.is_tracing() or ops.shape(first) != ops.shape(second):
        return False
    return bool(ops.all(ops.equal(ops.array(first), ops.array(second))))


def _warn_of_order(analytic: list[str], model_trace: Any, guide_trace: Any) -> None:
    """Warn if the prior of an analytic site may depend on what the guide draws after it."""
    in_guide = [name for name, site in sample_sites(guide_trace) if is_latent(site)]
    in_model = {name: place for place, (name, _) in enumerate(sample_sites(model_trace))}
    places = [in_model.get(name, len(in_model)) for name in in_guide]
    if places == sorted(places):
        return
    for index, name in enumerate(in_guide):
        later = [other for other, place in zip(in_guide[index:], places[index:], strict=True) if place < places[index]]
        doubtful = [other for other in later if not are_apart(guide_trace.nodes[name], guide_trace.nodes[other])]
        if name in analytic and doubtful:
            order = [site for site in in_model if site in in_guide]
            warnings.warn(
                f"TraceMeanField_ELBO cannot tell that its divergence at site {name!r} is right: the model samples "
                f"{doubtful[0]!r} before {name!r}, the guide after it; order in the model: {order}, in the guide: {in_guide}; "
                "expected the model's order in the guide unless its sites are independent; try to reorder the guide, or "
                "Trace_ELBO",
                PplWarning,
                stacklevel=2,
            )
            return
