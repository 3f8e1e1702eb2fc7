"""Kullback-Leibler divergences in closed form.

>>> from ppl import distributions as dist
>>> round(float(dist.kl_divergence(dist.Gamma(2.0, 1.0), dist.Gamma(3.0, 1.0))), 4)
0.2704
"""

from ppl.distributions.kl import discrete, expectations, exponential_family, truncated, univariate, vectors, wrappers
from ppl.distributions.kl.registry import RULES, has_kl, kl_divergence, register_kl

__all__ = [
    "RULES",
    "discrete",
    "expectations",
    "exponential_family",
    "has_kl",
    "kl_divergence",
    "register_kl",
    "truncated",
    "univariate",
    "vectors",
    "wrappers",
]

expectations.register_pairs()
