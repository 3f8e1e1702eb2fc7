"""Families of counts and categories, as ``torch.distributions`` has them."""

from __future__ import annotations

from torch import distributions as native

from ppl import distributions
from ppl_torch.families.foundation import Bernoulli, Binomial, Categorical
from ppl_torch.native import Lent


class Geometric(distributions.Geometric, Lent, native.Geometric):
    pass


class NegativeBinomial(distributions.NegativeBinomial, Lent, native.NegativeBinomial):
    pass


class OneHotCategorical(distributions.OneHotCategorical, Lent, native.OneHotCategorical):
    # What torch's divergences between two of these read.
    _categorical = property(lambda self: native.Categorical(logits=self.logits, validate_args=False))


class Multinomial(distributions.Multinomial, Lent, native.Multinomial):
    pass


class MultinomialLogits(distributions.MultinomialLogits, Lent, native.Multinomial):
    pass


class MultinomialProbs(distributions.MultinomialProbs, Lent, native.Multinomial):
    pass


class BernoulliLogits(Bernoulli, distributions.BernoulliLogits):
    def __init__(self, logits, *, validate_args=None):
        Bernoulli.__init__(self, logits=logits, validate_args=validate_args)


class BernoulliProbs(Bernoulli, distributions.BernoulliProbs):
    def __init__(self, probs, *, validate_args=None):
        Bernoulli.__init__(self, probs=probs, validate_args=validate_args)


class BinomialLogits(Binomial, distributions.BinomialLogits):
    def __init__(self, logits, total_count=1, *, validate_args=None):
        Binomial.__init__(self, total_count, logits=logits, validate_args=validate_args)


class BinomialProbs(Binomial, distributions.BinomialProbs):
    def __init__(self, probs, total_count=1, *, validate_args=None):
        Binomial.__init__(self, total_count, probs=probs, validate_args=validate_args)


class CategoricalLogits(Categorical, distributions.CategoricalLogits):
    def __init__(self, logits, *, validate_args=None):
        Categorical.__init__(self, logits=logits, validate_args=validate_args)


class CategoricalProbs(Categorical, distributions.CategoricalProbs):
    def __init__(self, probs, *, validate_args=None):
        Categorical.__init__(self, probs=probs, validate_args=validate_args)
