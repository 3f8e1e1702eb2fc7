"""The estimator behind the bounds that mix pathwise derivatives and score functions."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Iterable
from functools import reduce
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
        terms = {f"model site {name}": site["log_prob_sum"] for name, site in model_sites}
        model_total = _total(terms.values())
        # The negative bound is the guide's terms less the model's.
        densities, pathwise, weighed = [], [], [0.0]
        for name, site in guide_sites:
            terms[f"guide site {name}"] = density = site["log_prob_sum"]
            densities.append(density)
            _, score, entropy = site["score_parts"]
            if site["is_observed"] or entropy is site["log_prob"]:
                pathwise.append(density)
            else:
                pathwise.append(0.0 if is_zero(entropy) else ops.sum(entropy))
            if not site["is_observed"] and not is_zero(score):
                weighed.append(self.weigh(name, site, score, guide_sites, model_sites))
        loss = surrogate = ops.array(_total(densities) - model_total)
        # As long as all terms are pathwise, the bound is its own surrogate and is summed up once.
        if len(weighed) > 1 or not all(map(operator.is_, pathwise, densities)):
            surrogate = ops.array(_total(pathwise) - model_total - _total(weighed))
        return Estimate(autodiff.stop_gradient(loss), surrogate, terms)

    @abstractmethod
    def weigh(self, name: str, site: Message, score: Any, guide_sites: Sites, model_sites: Sites) -> Any:
        """Return what the ``score`` function of a guide's site adds to the surrogate, a scalar."""


def _total(terms: Iterable[Any]) -> Any:
    """Return the sum of the terms, with no operation more than it takes; zero if there are none."""
    first, *rest = terms or (0.0,)
    return reduce(operator.add, rest, first)


def gather(sites: Sites, found: dict[str, Plates], sign: float) -> Any:
    """Return the sum of ``sign`` times the log densities of the sites in ``found``, elements apart as it says."""
    total: Any = 0.0
    for name, site in sites:
        if name in found:
            total = total + sign * sum_outside(site["log_prob"], found[name])
    return total
