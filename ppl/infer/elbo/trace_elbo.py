"""The evidence lower bound from traces of guide and model."""

from __future__ import annotations

from typing import Any

from ppl import ops
from ppl.infer.elbo.downstream import Plates, Sites, common, influence, plates_of
from ppl.infer.elbo.score_function import ScoreFunctionELBO, gather
from ppl.ops import autodiff
from ppl.typing import Message


class Trace_ELBO(ScoreFunctionELBO):
    r"""The evidence lower bound, estimated by sampling the guide.

    .. math:: -\mathcal{L} = -\mathbb{E}_{q}\left[\log p(x, z) - \log q(z)\right]

    A reparameterised site contributes its pathwise gradient; any other site :math:`z_i` contributes
    :math:`\nabla \log q(z_i)\, R_i` (Ranganath, Gerrish and Blei 2014), where :math:`R_i` leaves out the terms that plates
    declare independent of it. A site outside of a plate that the guide samples after the elements may collect them, so that terms
    behind it count for all elements. See :class:`~ppl.infer.elbo.base.ELBO` for the parameters. Model and guide may have any
    dependency structure, and sites of both kinds may be mixed.

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> def model():
    ...     ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.5)
    >>> round(float(infer.Trace_ELBO().loss(model, lambda: None)), 4)
    1.0439
    """

    def weigh(self, name: str, site: Message, score: Any, guide_sites: Sites, model_sites: Sites) -> Any:
        """Return the score function times all terms, but those of other elements of the plates around the site."""
        own = plates_of(site)
        in_guide, in_model = influence(name, site, guide_sites, model_sites)
        reward = gather(model_sites, _with_rest(model_sites, in_model, own), 1.0)
        reward = reward + gather(guide_sites, _with_rest(guide_sites, in_guide, own), -1.0)
        return ops.sum(autodiff.stop_gradient(reward) * score)


def _with_rest(sites: Sites, found: dict[str, Plates], own: Plates) -> dict[str, Plates]:
    return {name: found[name] if name in found else common(own, plates_of(site)) for name, site in sites}
