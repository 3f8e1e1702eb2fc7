"""Rows of the families of counts and categories; oracles from scipy.stats, and sums by brute force where it has none."""

import itertools

import numpy as np
from scipy import stats

from cases.oracles import EachCategory, categorical, expit
from ppl.testing.case import Case

PROBS = [0.2, 0.5, 0.3]
LOGITS = [0.0, 1.0, -2.0, 0.5]
CUTPOINTS = [-1.0, 0.3, 2.0]


class Inflated:
    """A distribution of counts behind a gate that adds zeros."""

    def __init__(self, gate, base):
        self.gate, self.base = np.asarray(gate), base

    def rvs(self, size, random_state):
        return np.where(random_state.uniform(size=size) < self.gate, 0, self.base.rvs(size=size, random_state=random_state))

    def logpmf(self, value):
        return np.log(self.gate * (np.asarray(value) == 0) + (1.0 - self.gate) * self.base.pmf(value))

    def cdf(self, value):
        return np.where(np.asarray(value) < 0, 0.0, self.gate + (1.0 - self.gate) * self.base.cdf(value))

    def mean(self):
        return (1.0 - self.gate) * self.base.mean()

    def var(self):
        return (1.0 - self.gate) * (self.base.var() + self.base.mean() ** 2) - self.mean() ** 2


class Counts:
    """A distribution of vectors of counts, one frozen distribution of scipy for each element of a batch."""

    def __init__(self, rows, batch_shape):
        self.rows, self.batch_shape = rows, batch_shape

    def _each(self, values):
        return np.reshape(np.stack(values), (*self.batch_shape, *np.shape(values[0])))

    def rvs(self, size, random_state):
        draws = [row.rvs(size=size, random_state=random_state) for row in self.rows]
        draws = np.stack(draws, axis=len(size))
        return draws.reshape((*size, *self.batch_shape, draws.shape[-1]))

    def logpmf(self, value):
        value = np.asarray(value)
        flat = value.reshape((-1, len(self.rows), value.shape[-1]))
        scores = np.array([[row.logpmf(point) for row, point in zip(self.rows, points, strict=True)] for points in flat])
        return scores.reshape(value.shape[:-1])

    def mean(self):
        return self._each([row.mean() for row in self.rows])

    def var(self):
        return self._each([np.diag(row.cov()) for row in self.rows])

    def entropy(self):
        return self._each([row.entropy() for row in self.rows])


class PolyaCounts:
    """scipy's Dirichlet-multinomial distribution, with draws in two stages and its entropy as a sum over all counts."""

    def __init__(self, concentration, total_count):
        self.concentration, self.total_count = concentration, total_count
        self.frozen = stats.dirichlet_multinomial(concentration, total_count)
        self.mean, self.cov = self.frozen.mean, self.frozen.cov

    def rvs(self, size, random_state):
        probs = random_state.dirichlet(self.concentration, size)
        return random_state.multinomial(self.total_count, probs)

    def logpmf(self, value):
        return self.frozen.logpmf(np.asarray(value, int))

    def entropy(self):
        every = itertools.product(range(self.total_count + 1), repeat=len(self.concentration))
        log_mass = np.array([self.logpmf(counts) for counts in every if sum(counts) == self.total_count])
        return -np.sum(np.exp(log_mass) * log_mass)


class Numbers(EachCategory):
    """Categories that are taken for numbers."""

    def mean(self):
        return np.array([row.mean() for row in self.rows])

    def var(self):
        return np.array([row.var() for row in self.rows])


def weights(probs, logits):
    table = np.exp(logits - np.max(logits, axis=-1, keepdims=True)) if probs is None else np.asarray(probs)
    return table / table.sum(-1, keepdims=True)


def counts(make, table, total_count):
    """Return ``make(row, count)`` for each row of a table of vectors and its count."""
    batch_shape = np.broadcast_shapes(np.shape(table)[:-1], np.shape(total_count))
    size = np.shape(table)[-1]
    rows = np.broadcast_to(table, (*batch_shape, size)).reshape(-1, size)
    totals = np.broadcast_to(total_count, batch_shape).reshape(-1)
    return Counts([make(row, int(total)) for row, total in zip(rows, totals, strict=True)], batch_shape)


def multinomial(total_count=1, probs=None, logits=None):
    return counts(lambda row, total: stats.multinomial(total, row), weights(probs, logits), total_count)


def dirichlet_multinomial(concentration, total_count=1, is_sparse=False):
    return counts(PolyaCounts, np.asarray(concentration), total_count)


def one_hot(probs=None, logits=None):
    return multinomial(1, probs, logits)


def bernoulli(probs=None, logits=None):
    return stats.bernoulli(expit(logits) if probs is None else probs)


def binomial(total_count=1, probs=None, logits=None):
    return stats.binom(np.asarray(total_count, int), expit(logits) if probs is None else probs)


def geometric(probs=None, logits=None):
    return stats.geom(expit(logits) if probs is None else probs, loc=-1)


def negative_binomial(total_count, probs=None, logits=None):
    return stats.nbinom(total_count, expit(-np.asarray(logits)) if probs is None else 1.0 - np.asarray(probs))


def gamma_poisson(concentration, rate=1.0):
    return stats.nbinom(concentration, rate / (1.0 + np.asarray(rate)))


def beta_binomial(concentration1, concentration0, total_count=1):
    return stats.betabinom(np.asarray(total_count, int), concentration1, concentration0)


def inflated_poisson(rate=1.0, gate=None, gate_logits=None):
    return Inflated(expit(gate_logits) if gate is None else gate, stats.poisson(rate))


def inflated_negative_binomial(total_count, probs=None, logits=None, gate=None, gate_logits=None):
    return Inflated(expit(gate_logits) if gate is None else gate, negative_binomial(total_count, probs, logits))


def ordered_logistic(predictor, cutpoints):
    batch_shape = np.broadcast_shapes(np.shape(predictor), np.shape(cutpoints)[:-1])
    steps = stats.logistic(np.asarray(predictor)[..., None]).cdf(cutpoints)
    ones = np.ones_like(steps[..., :1])
    table = np.diff(np.concatenate([0.0 * ones, steps, ones], axis=-1))
    rows = [stats.rv_discrete(values=(np.arange(len(row)), row)) for row in table.reshape(-1, table.shape[-1])]
    return Numbers(rows) if batch_shape else rows[0]


def first_binomial(total_count=1, probs=None, logits=None):
    return stats.binom(total_count, weights(probs, logits)[0])


def first_beta_binomial(concentration, total_count=1, is_sparse=False):
    return stats.betabinom(total_count, concentration[0], np.sum(concentration[1:]))


def any_below_one(rng, shape):
    """Return probabilities for a constraint that the generated tests do not know."""
    return rng.uniform(0.05, 0.95, shape)


BELOW_ONE = {"generate": {"probs": any_below_one}, "extremes": {"probs": (1e-6, 0.5, 1.0 - 1e-6)}}
INCREASING = {"generate": {"cutpoints": lambda rng, shape: np.sort(rng.uniform(-3.0, 3.0, (*shape, 3)), axis=-1)}}

CASES = [
    Case("BernoulliLogits", {"logits": 0.4}, bernoulli),
    Case("BernoulliLogits", {"logits": [-1.2, 0.0, 2.5]}, bernoulli, (3,)),
    Case("BernoulliProbs", {"probs": 0.3}, bernoulli),
    Case("BernoulliProbs", {"probs": [0.3, 0.9]}, bernoulli, (2,)),
    Case("BinomialLogits", {"logits": 0.4, "total_count": 7}, binomial),
    Case("BinomialLogits", {"logits": [0.5, -2.0], "total_count": [3.0, 40.0]}, binomial, (2,), smooth=("logits",),
         mixed_counts=True),
    Case("BinomialProbs", {"probs": 0.3, "total_count": 7}, binomial),
    Case("BinomialProbs", {"probs": [0.3, 0.9], "total_count": 5}, binomial, (2,)),
    Case("CategoricalLogits", {"logits": LOGITS}, categorical, dtype="int64", moments=False),
    Case("CategoricalLogits", {"logits": [LOGITS, [1.0, 1.0, 1.0, 3.0]]}, categorical, (2,), dtype="int64", moments=False),
    Case("CategoricalProbs", {"probs": PROBS}, categorical, dtype="int64", moments=False),
    Case("CategoricalProbs", {"probs": [PROBS, [0.6, 0.3, 0.1]]}, categorical, (2,), dtype="int64", moments=False),
    Case("OneHotCategorical", {"probs": PROBS}, one_hot, (), (3,), marginal=lambda probs: stats.bernoulli(probs[0])),
    Case("OneHotCategorical", {"logits": LOGITS}, one_hot, (), (4,), label="logits"),
    Case("OneHotCategorical", {"logits": [LOGITS, [1.0, 1.0, 1.0, 3.0]]}, one_hot, (2,), (4,), label="logits"),
    Case("Geometric", {"probs": 0.3}, geometric),
    Case("Geometric", {"logits": -0.4}, geometric, label="logits"),
    Case("Geometric", {"logits": [-1.2, 0.5]}, geometric, (2,), label="logits"),
    Case("NegativeBinomial", {"total_count": 5.5, "probs": 0.3}, negative_binomial, **BELOW_ONE),
    Case("NegativeBinomial", {"total_count": 2.0, "logits": 0.8}, negative_binomial, label="logits"),
    Case("NegativeBinomial", {"total_count": [0.5, 30.0], "probs": [[0.8], [0.1]]}, negative_binomial, (2, 2)),
    Case("GammaPoisson", {"concentration": 2.5, "rate": 0.7}, gamma_poisson),
    Case("GammaPoisson", {"concentration": [0.4, 20.0], "rate": [0.2, 3.0]}, gamma_poisson, (2,)),
    Case("BetaBinomial", {"concentration1": 2.0, "concentration0": 0.7, "total_count": 9}, beta_binomial),
    Case("BetaBinomial", {"concentration1": [0.5, 8.0], "concentration0": 3.0, "total_count": [4.0, 30.0]}, beta_binomial, (2,),
         smooth=("concentration1", "concentration0"), mixed_counts=True),
    Case("Multinomial", {"total_count": 6, "probs": PROBS}, multinomial, (), (3,), marginal=first_binomial),
    Case("Multinomial", {"total_count": 6, "logits": LOGITS}, multinomial, (), (4,), marginal=first_binomial, label="logits"),
    Case("Multinomial", {"total_count": [3.0, 20.0], "probs": [PROBS, [0.6, 0.3, 0.1]]}, multinomial, (2,), (3,),
         smooth=("probs",)),
    Case("MultinomialLogits", {"logits": LOGITS, "total_count": 6}, multinomial, (), (4,), marginal=first_binomial),
    Case("MultinomialProbs", {"probs": PROBS, "total_count": 6}, multinomial, (), (3,), marginal=first_binomial),
    Case("DirichletMultinomial", {"concentration": [0.7, 2.0, 5.0], "total_count": 6}, dirichlet_multinomial, (), (3,),
         marginal=first_beta_binomial),
    Case("DirichletMultinomial", {"concentration": [0.7, 2.0, 5.0], "total_count": 6, "is_sparse": True}, dirichlet_multinomial,
         (), (3,), smooth=("concentration",), marginal=first_beta_binomial, label="sparse"),
    Case("DirichletMultinomial", {"concentration": [[0.7, 2.0, 5.0], [1.0, 1.0, 0.2]], "total_count": [3.0, 8.0]},
         dirichlet_multinomial, (2,), (3,), smooth=("concentration",)),
    Case("ZeroInflatedPoisson", {"gate": 0.3, "rate": 2.5}, inflated_poisson),
    Case("ZeroInflatedPoisson", {"gate_logits": -0.4, "rate": 2.5}, inflated_poisson, label="logits"),
    Case("ZeroInflatedPoisson", {"gate": [0.1, 0.8], "rate": [0.3, 20.0]}, inflated_poisson, (2,)),
    Case("ZeroInflatedNegativeBinomial", {"gate": 0.3, "total_count": 5.5, "probs": 0.3}, inflated_negative_binomial,
         **BELOW_ONE),
    Case("ZeroInflatedNegativeBinomial", {"gate_logits": [-0.4, 1.0], "total_count": 2.0, "logits": 0.8},
         inflated_negative_binomial, (2,), label="logits"),
    Case("OrderedLogistic", {"predictor": 0.5, "cutpoints": CUTPOINTS}, ordered_logistic, dtype="int64", **INCREASING),
    Case("OrderedLogistic", {"predictor": [0.5, -2.0], "cutpoints": CUTPOINTS}, ordered_logistic, (2,), dtype="int64"),
]  # fmt: skip
