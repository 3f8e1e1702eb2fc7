"""``torch.distributions.kl_divergence`` of two distributions of this library is this library's."""

from __future__ import annotations

import itertools

from torch.distributions import register_kl

from ppl import distributions
from ppl_torch.native import TorchDistributionMixin


def divergence(p, q):
    """Return :func:`ppl.distributions.kl_divergence`, which is read, with all families, when it is first asked for."""
    return distributions.kl_divergence(p, q)


def register(families):
    """Tell torch about all of this library's classes; ``families`` are those that torch has formulas of its own for.

    A pair of exactly these classes is more specific than torch's, so torch finds no ambiguity.
    """
    for pair in [(TorchDistributionMixin, TorchDistributionMixin), *itertools.product(families, repeat=2)]:
        register_kl(*pair)(divergence)
