"""The estimator behind the bounds that mix pathwise derivatives and score functions."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ppl import ops
from ppl.distributions.score_parts import is_zero
from ppl.infer.elbo.base import ELBO
from ppl.infer.elbo.downstream import Plates, Sites, sample_sites, sum_outside
from ppl.infer.objective import Estimate
from ppl.ops import autodiff
from ppl.typing import Message


class ScoreFunctionELBO(ELBO):
    """A bound whose gradient is pathwise at reparameterised sites and, at others, a score function times a cost."""

    def particle(self, model_trace: Any, guide_trace: Any) -> Estimate:
        """Return the estimate from one pair of traces."""
        model_trace.compute_log_prob()
        guide_trace.compute_score_parts()
        model_sites, guide_sites = sample_sites(model_trace), sample_sites(guide_trace)
        elbo: Any = 0.0
        terms = {f"model site {name}": site["log_prob_sum"] for name, site in model_sites}
        for term in terms.values():
            elbo = elbo + term
        surrogate = elbo
        for name, site in guide_sites:
            terms[f"guide site {name}"] = density = site["log_prob_sum"]
            before, elbo = elbo, elbo - density
            _, score, entropy = site["score_parts"]
            if site["is_observed"] or entropy is site["log_prob"]:
                # As long as all terms are pathwise, the bound is its own surrogate and is summed up once.
                surrogate = elbo if surrogate is before else surrogate - density
            elif not is_zero(entropy):
                surrogate = surrogate - ops.sum(entropy)
            if not site["is_observed"] and not is_zero(score):
                surrogate = surrogate + self.weigh(name, site, score, guide_sites, model_sites)
        loss = -ops.array(elbo)
        return Estimate(autodiff.stop_gradient(loss), loss if surrogate is elbo else -ops.array(surrogate), terms)

    @abstractmethod
    def weigh(self, name: str, site: Message, score: Any, guide_sites: Sites, model_sites: Sites) -> Any:
        """Return what the ``score`` function of a guide's site adds to the surrogate, a scalar."""


def gather(sites: Sites, found: dict[str, Plates], sign: float) -> Any:
    """Return the sum of ``sign`` times the log densities of the sites in ``found``, elements apart as it says."""
    total: Any = 0.0
    for name, site in sites:
        if name in found:
            total = total + sign * sum_outside(site["log_prob"], found[name])
    return total
