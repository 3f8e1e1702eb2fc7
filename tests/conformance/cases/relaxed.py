"""Rows of the relaxed families. The densities are those of the papers, written with scipy; the moments are quadratures."""

import numpy as np
from scipy import integrate, special, stats

from ppl.testing.case import Case


class RelaxedBernoulliOracle:
    """``expit(Y)`` for ``Y`` logistic with location ``logits / temperature`` and scale ``1 / temperature``."""

    def __init__(self, temperature, probs=None, logits=None):
        logits = special.logit(probs) if logits is None else np.asarray(logits, dtype=float)
        temperature = np.asarray(temperature, dtype=float)
        self.logit = stats.logistic(logits / temperature, 1.0 / temperature)

    def rvs(self, size, random_state):
        return special.expit(self.logit.rvs(size=size, random_state=random_state))

    def logpdf(self, value):
        return self.logit.logpdf(special.logit(value)) - np.log(value) - np.log1p(-value)

    def pdf(self, value):
        return np.exp(self.logpdf(value))

    def cdf(self, value):
        return self.logit.cdf(special.logit(value))

    def ppf(self, probability):
        return special.expit(self.logit.ppf(probability))


class RelaxedCategoricalOracle:
    """Equation 10 of Maddison, Mnih and Teh (2017); draws are scaled powers of exponential variables, normalised."""

    def __init__(self, temperature, probs=None, logits=None):
        self.weights = np.exp(logits) if probs is None else np.asarray(probs, dtype=float)
        self.weights = self.weights / self.weights.sum(-1, keepdims=True)
        self.temperature = np.asarray(temperature, dtype=float)[..., None]

    def rvs(self, size, random_state):
        weights = np.broadcast_to(self.weights, np.broadcast_shapes(self.weights.shape, self.temperature.shape))
        logs = (np.log(weights) - np.log(random_state.exponential(size=(*size, *weights.shape)))) / self.temperature
        return special.softmax(logs, axis=-1)

    def logpdf(self, value):
        size = self.weights.shape[-1]
        log_power = np.log(self.weights) - self.temperature * np.log(value)
        normalizer = special.gammaln(size) + (size - 1) * np.log(self.temperature[..., 0])
        return normalizer + (log_power - np.log(value)).sum(-1) - size * special.logsumexp(log_power, axis=-1)

    def mean(self):
        r"""E[w_k / sum_j w_j] = \int E[w_k e^{-t w_k}] \prod_{j != k} E[e^{-t w_j}] dt, each by the trapezoid rule in log t."""
        weights, temperature = np.broadcast_arrays(self.weights, self.temperature)
        flat = [array.reshape(-1, weights.shape[-1]) for array in (weights, temperature)]
        return np.reshape([_softmax_mean(*row) for row in zip(*flat, strict=True)], weights.shape)


def _softmax_mean(weights, temperature):
    log_time, log_noise = np.linspace(-60.0, 60.0, 1201), np.linspace(-40.0, 5.0, 1801)
    density = np.exp(log_noise - np.exp(log_noise))
    log_power = (np.log(weights)[:, None] - log_noise) / temperature[:, None]
    exponent = np.exp(np.clip(log_time[:, None, None] + log_power, -700.0, 700.0))
    absent = integrate.trapezoid(density * np.exp(-exponent), log_noise)
    present = integrate.trapezoid(density * exponent * np.exp(-exponent), log_noise)
    others = [np.prod(np.delete(absent, k, axis=1), axis=1) for k in range(len(weights))]
    return [integrate.trapezoid(present[:, k] * others[k], log_time) for k in range(len(weights))]


def first_of_two(temperature, probs=None, logits=None):
    """Coordinate 0 of two is relaxed Bernoulli."""
    log_odds = np.log(probs[0] / probs[1]) if logits is None else logits[0] - logits[1]
    return RelaxedBernoulliOracle(temperature, logits=log_odds)


class LogisticNormalOracle:
    """Sticks broken in turn: piece ``i`` is ``expit(x_i - log(n - i))`` of what is left, ``x`` independent normals."""

    def __init__(self, loc, scale):
        self.loc, self.scale = np.broadcast_arrays(np.asarray(loc, dtype=float), np.asarray(scale, dtype=float))
        self.offset = np.log(np.arange(self.loc.shape[-1], 0, -1))

    def rvs(self, size, random_state):
        shares = special.expit(random_state.normal(self.loc, self.scale, (*size, *self.loc.shape)) - self.offset)
        left = np.cumprod(1.0 - shares, axis=-1)
        before = np.concatenate([np.ones_like(left[..., :1]), left[..., :-1]], axis=-1)
        return np.concatenate([shares * before, left[..., -1:]], axis=-1)

    def logpdf(self, value):
        left = 1.0 - np.cumsum(value, axis=-1)[..., :-1]
        before = np.concatenate([np.ones_like(left[..., :1]), left[..., :-1]], axis=-1)
        # The last piece left over is known without the cancellation.
        left[..., -1] = value[..., -1]
        shares = value[..., :-1] / before
        x = np.log(value[..., :-1]) - np.log(left) + self.offset
        volume = np.log(shares) + np.log(left / before) + np.log(before)
        return (stats.norm.logpdf(x, self.loc, self.scale) - volume).sum(-1)

    def mean(self):
        """The shares are independent; the mean of each is one integral."""
        shares = np.empty(self.loc.shape)
        for index in np.ndindex(*self.loc.shape):
            normal, offset = stats.norm(self.loc[index], self.scale[index]), self.offset[index[-1]]
            shares[index] = integrate.quad(lambda u, n=normal, o=offset: special.expit(n.ppf(u) - o), 0.0, 1.0)[0]
        left = np.cumprod(1.0 - shares, axis=-1)
        before = np.concatenate([np.ones_like(left[..., :1]), left[..., :-1]], axis=-1)
        return np.concatenate([shares * before, left[..., -1:]], axis=-1)


class FirstShare:
    """Coordinate 0 of a logistic-normal variable."""

    def __init__(self, loc, scale):
        self.normal, self.offset = stats.norm(loc[0], scale[0]), np.log(len(loc))

    def cdf(self, value):
        return self.normal.cdf(special.logit(value) + self.offset)


CASES = [
    Case("RelaxedBernoulli", {"temperature": 0.7, "probs": 0.3}, RelaxedBernoulliOracle, moments=False),
    Case("RelaxedBernoulli", {"temperature": 1.6, "logits": -0.4}, RelaxedBernoulliOracle, moments=False, label="logits"),
    Case("RelaxedBernoulli", {"temperature": [[0.4], [2.0]], "logits": [-1.0, 0.0, 1.5]}, RelaxedBernoulliOracle, (2, 3),
         moments=False, label="logits"),
    Case("RelaxedOneHotCategorical", {"temperature": 0.7, "probs": [0.3, 0.7]}, RelaxedCategoricalOracle, (), (2,),
         marginal=first_of_two, moments=False),
    Case("RelaxedOneHotCategorical", {"temperature": 1.3, "logits": [0.2, -0.5]}, RelaxedCategoricalOracle, (), (2,),
         marginal=first_of_two, moments=False, label="logits"),
    Case("RelaxedOneHotCategorical", {"temperature": 0.8, "probs": [0.2, 0.3, 0.5]}, RelaxedCategoricalOracle, (), (3,),
         moments=False, label="three"),
    Case("RelaxedOneHotCategorical", {"temperature": [0.5, 2.0], "logits": [[0.2, -0.5, 1.0], [0.0, 0.0, -2.0]]},
         RelaxedCategoricalOracle, (2,), (3,), moments=False, label="logits"),
    Case("LogisticNormal", {"loc": [0.4], "scale": [1.3]}, LogisticNormalOracle, (), (2,), marginal=FirstShare, moments=False),
    Case("LogisticNormal", {"loc": [0.4, -1.0], "scale": [1.3, 0.5]}, LogisticNormalOracle, (), (3,), marginal=FirstShare,
         moments=False, label="three"),
    Case("LogisticNormal", {"loc": [[0.0, 0.5], [1.0, -1.0]], "scale": [0.7, 1.2]}, LogisticNormalOracle, (2,), (3,),
         moments=False),
]  # fmt: skip
