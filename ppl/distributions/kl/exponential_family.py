"""Divergences within an exponential family that states its natural parameters and log normalizer."""

from ppl import ops
from ppl.distributions.exponential_family import ExponentialFamily
from ppl.distributions.kl.registry import register_kl


def _one_family(p, q):
    family = type(p).definition
    return family is type(q).definition and family._natural_params is not ExponentialFamily._natural_params


@register_kl(ExponentialFamily, ExponentialFamily, when=_one_family)
def exponential_family(p, q):
    """The Bregman divergence of the log normalizer (Banerjee et al. 2005, *Clustering with Bregman divergences*, sec. 4)."""
    natural, other = tuple(p._natural_params), tuple(q._natural_params)
    slopes = ops.autodiff.grad(lambda parameters: ops.sum(p._log_normalizer(*parameters)))(natural)
    divergence = q._log_normalizer(*other) - p._log_normalizer(*natural)
    for mine, theirs, slope in zip(natural, other, slopes, strict=True):
        divergence = divergence - ops.sum_rightmost((theirs - mine) * slope, len(mine.shape) - len(p.batch_shape))
    return divergence
