"""The evidence lower bound with score functions that see only the costs they may cause, less a baseline."""

from __future__ import annotations

from typing import Any

from ppl import ops
from ppl.distributions.score_parts import is_zero
from ppl.infer.elbo.baselines import baseline, declare_average
from ppl.infer.elbo.downstream import Sites, influence, sample_sites
from ppl.infer.elbo.score_function import ScoreFunctionELBO, gather
from ppl.ops import autodiff
from ppl.typing import Message


class TraceGraph_ELBO(ScoreFunctionELBO):
    r"""The evidence lower bound whose score functions see only the costs downstream of them.

    .. math:: \nabla \log q(z_i)\, (C_i - b_i), \quad C_i = \sum_{j \in D_i} \log p_j - \log q_j

    is the contribution of a site :math:`z_i` that is not reparameterised (Schulman, Heess, Weber and Abbeel 2015, theorem 1).
    :math:`D_i` leaves out what provably does not depend on :math:`z_i`: what the guide samples before it, what the model samples
    before any value that the guide drew from :math:`z_i` on, other steps of a sequential plate, and other elements of the plates
    around :math:`z_i`. A site outside a plate may collect the elements inside: if the guide samples it after them, their costs
    are no longer told apart behind it. So let a guide sample what is outside of a plate first.

    The baseline :math:`b_i` is asked for at the guide's site by ``infer={"baseline": {...}}`` (Mnih and Gregor 2014):

    - ``"use_decaying_avg_baseline": True`` takes a decaying average of :math:`C_i`; ``"baseline_beta"``, 0.9 by default, weighs
      the past. The average is the param ``__baseline_avg_downstream_cost_NAME`` of the param store. Each step of
      :class:`~ppl.infer.SVI` and each :meth:`loss_and_grads` moves it, and no optimizer does. Particles, and the elements of a
      minibatch, share theirs.
    - ``"baseline_value"`` is an array of one's own, computed from what is known before the draw.
    - ``"nn_baseline"`` is a function, such as a module given to ``ppl.module``, of ``"nn_baseline_input"``.

    Several add up. The gradient of the squared error of the last two trains the params in them. Each broadcasts to the batch
    shape of the site. At a reparameterised site they do nothing. See :class:`~ppl.infer.elbo.base.ELBO` for the parameters.

    :raises InferenceError: for an unknown option of a baseline.
    :raises ShapeError: if a baseline does not broadcast to the batch shape of its site.

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> def model():
    ...     ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.5)
    >>> round(float(infer.TraceGraph_ELBO().loss(model, lambda: None)), 4)
    1.0439
    """

    def weigh(self, name: str, site: Message, score: Any, guide_sites: Sites, model_sites: Sites) -> Any:
        """Return the score function times the cost downstream less the baseline, less the loss of the baseline."""
        in_guide, in_model = influence(name, site, guide_sites, model_sites)
        cost = gather(model_sites, in_model, 1.0) + gather(guide_sites, in_guide, -1.0)
        cost = autodiff.stop_gradient(cost)
        value, loss = baseline(name, site, cost)
        return ops.sum((cost - value) * score) - loss

    def declare(self, guide_trace: Any) -> None:
        """Meet the params of the decaying averages, so that a compiled step finds them."""
        guide_trace.compute_score_parts()
        for name, site in sample_sites(guide_trace):
            if not site["is_observed"] and not is_zero(site["score_parts"].score_function):
                declare_average(name, site)
