"""Relaxed discrete families and mixtures, as ``torch.distributions`` has them.

There they are built from others, whose own checks cannot be switched off, and clip at probability 0 and 1. So torch's classes
lend their types, and ``base_dist`` and ``transforms`` are made for those who read them.
"""

from __future__ import annotations

from torch import distributions as native

from ppl import distributions
from ppl_torch.native import Lent


class _RelaxedBernoulli:
    # A plain attribute in place of torch's property.
    temperature = None
    transforms = (native.transforms.SigmoidTransform(),)

    @property
    def base_dist(self):
        """The distribution of the logit of a draw."""
        return native.relaxed_bernoulli.LogitRelaxedBernoulli(self.temperature, **{self._given: getattr(self, self._given)})


class _RelaxedOneHotCategorical:
    temperature = None
    transforms = (native.transforms.ExpTransform(),)

    @property
    def base_dist(self):
        """The distribution of the logarithm of a draw."""
        return native.relaxed_categorical.ExpRelaxedCategorical(self.temperature, **{self._given: getattr(self, self._given)})


class RelaxedBernoulli(_RelaxedBernoulli, distributions.RelaxedBernoulli, Lent, native.RelaxedBernoulli):
    pass


class RelaxedBernoulliStraightThrough(
    _RelaxedBernoulli, distributions.RelaxedBernoulliStraightThrough, Lent, native.RelaxedBernoulli
):
    pass


class RelaxedOneHotCategorical(
    _RelaxedOneHotCategorical, distributions.RelaxedOneHotCategorical, Lent, native.RelaxedOneHotCategorical
):
    pass


class RelaxedOneHotCategoricalStraightThrough(
    _RelaxedOneHotCategorical, distributions.RelaxedOneHotCategoricalStraightThrough, Lent, native.RelaxedOneHotCategorical
):
    pass


class LogisticNormal(distributions.LogisticNormal, Lent, native.LogisticNormal):
    loc = scale = None
    transforms = (native.transforms.StickBreakingTransform(),)

    @property
    def base_dist(self):
        """The distribution of the stick-breaking coordinates."""
        return native.Independent(native.Normal(self.loc, self.scale), 1)


class MixtureSameFamily(distributions.MixtureSameFamily, Lent, native.MixtureSameFamily):
    mixture_distribution = component_distribution = None
