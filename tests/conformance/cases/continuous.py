"""Rows of the continuous families, and of the spanning trees."""

import itertools

import mpmath
import numpy as np
from scipy import special, stats

from ppl.testing.case import Case


def pareto(scale, alpha):
    return stats.pareto(alpha, scale=scale)


def weibull(scale, concentration):
    return stats.weibull_min(concentration, scale=scale)


def log_uniform(low, high):
    return stats.loguniform(low, high)


def asymmetric_laplace(loc, scale, asymmetry):
    return stats.laplace_asymmetric(asymmetry, loc, scale)


def skew_laplace(loc, left_scale, right_scale):
    """Scipy's scale is the geometric mean of the two and its kappa the root of their ratio."""
    left, right = np.asarray(left_scale), np.asarray(right_scale)
    return stats.laplace_asymmetric(np.sqrt(left / right), loc, np.sqrt(left * right))


class Kumaraswamy:
    """``x ** a`` is beta with parameters 1 and ``b``: scipy's beta, and the density and moments by mpmath in 30 digits."""

    def __init__(self, concentration1, concentration0):
        self.a, self.b = np.asarray(concentration1, float), np.asarray(concentration0, float)
        self.power = stats.beta(1.0, self.b)

    def rvs(self, size, random_state):
        return self.power.rvs(size=size, random_state=random_state) ** (1.0 / self.a)

    def pdf(self, value):
        return np.exp(self.logpdf(value))

    def logpdf(self, value):
        def one(x, a, b):
            x, a, b = mpmath.mpf(float(x)), mpmath.mpf(float(a)), mpmath.mpf(float(b))
            return float(mpmath.log(a * b) + (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log1p(-(x**a)))

        return self._each(one, value, self.a, self.b)

    def cdf(self, value):
        return self.power.cdf(np.asarray(value) ** self.a)

    def ppf(self, probability):
        return self.power.ppf(probability) ** (1.0 / self.a)

    def mean(self):
        return self._each(lambda a, b: float(self._moment(a, b, 1)), self.a, self.b)

    def var(self):
        return self._each(lambda a, b: float(self._moment(a, b, 2) - self._moment(a, b, 1) ** 2), self.a, self.b)

    def entropy(self):
        def one(a, b):
            def surprise(u):
                y = 1 - (1 - u) ** (1 / mpmath.mpf(b))
                return -mpmath.log(a * b) - (1 - 1 / mpmath.mpf(a)) * mpmath.log(y) - (1 - 1 / mpmath.mpf(b)) * mpmath.log1p(-u)

            return float(mpmath.quad(surprise, [0, 1]))

        return self._each(one, self.a, self.b)

    @staticmethod
    def _moment(a, b, order):
        return mpmath.quad(lambda u: (1 - (1 - u) ** (1 / mpmath.mpf(b))) ** (order / mpmath.mpf(a)), [0, 1])

    @staticmethod
    def _each(fn, *arguments):
        with mpmath.workdps(30):
            return np.vectorize(fn, otypes=[float])(*arguments)


def brute_force_trees(num_vertices):
    """All sets of ``V - 1`` edges of the complete graph that leave no vertex unreached, edges in colexicographic order."""
    edges = [(i, j) for j in range(num_vertices) for i in range(j)]
    return [tree for tree in itertools.combinations(edges, num_vertices - 1) if _reaches_all(tree, num_vertices)]


def _reaches_all(tree, num_vertices):
    reached = {0}
    for _ in tree:
        reached |= {end for edge in tree if reached & set(edge) for end in edge}
    return len(reached) == num_vertices


class SpanningTrees:
    """The table of all trees and of their probabilities, by brute force."""

    def __init__(self, edge_logits):
        self.logits = np.asarray(edge_logits)
        self.num_vertices = {1: 2, 3: 3, 6: 4, 10: 5}[self.logits.shape[-1]]
        self.trees = np.array(brute_force_trees(self.num_vertices))
        ranks = self.trees[..., 0] + self.trees[..., 1] * (self.trees[..., 1] - 1) // 2
        scores = self.logits[..., ranks].sum(-1)
        self.log_probs = scores - special.logsumexp(scores, axis=-1, keepdims=True)

    def rvs(self, size, random_state):
        noise = random_state.gumbel(size=(*size, *self.log_probs.shape))
        return self.trees[(self.log_probs + noise).argmax(-1)]

    def logpmf(self, value):
        same = (np.asarray(value)[..., None, :, :] == self.trees).all((-2, -1))
        return np.where(same, self.log_probs, 0.0).sum(-1) + np.where(same.any(-1), 0.0, -np.inf)

    def mean(self):
        """The average of the array that is drawn; the family gives it no meaning, the test of draws does."""
        return self.trees[0] + np.tensordot(np.exp(self.log_probs), self.trees - self.trees[0], 1)

    def entropy(self):
        return -(np.exp(self.log_probs) * self.log_probs).sum(-1)


def location_scale(name, oracle, moments=True):
    return [
        Case(name, {"loc": 0.3, "scale": 1.7}, oracle, moments=moments),
        Case(name, {"loc": [0.0, -2.0, 3.0], "scale": 0.4}, oracle, (3,), moments=moments),
    ]


def _ascending(low, high):
    return lambda rng, batch_shape: rng.uniform(low, high, size=batch_shape)


LOG_UNIFORM = {"generate": {"low": _ascending(0.1, 1.0), "high": _ascending(1.5, 20.0)},
               "extremes": {"low": (1e-6,), "high": (1e6,)}}  # fmt: skip
TREES = {"dtype": "int64", "moments": False, "extremes": {"edge_logits": ()},
         "generate": {"edge_logits": lambda rng, batch_shape: rng.normal(size=(*batch_shape, 6))}}  # fmt: skip

CASES = [
    *location_scale("Cauchy", stats.cauchy, moments=False),
    *location_scale("Laplace", stats.laplace),
    *location_scale("Gumbel", stats.gumbel_r),
    *location_scale("SoftLaplace", stats.hypsecant),
    Case("AsymmetricLaplace", {"loc": 0.3, "scale": 1.7, "asymmetry": 0.6}, asymmetric_laplace),
    Case("AsymmetricLaplace", {"loc": [0.0, -2.0], "scale": 0.4, "asymmetry": [[1.0], [3.0]]}, asymmetric_laplace, (2, 2)),
    Case("SkewLaplace", {"loc": 0.3, "left_scale": 0.5, "right_scale": 2.0}, skew_laplace),
    Case("SkewLaplace", {"loc": [0.0, -2.0], "left_scale": [1.0, 4.0], "right_scale": 0.7}, skew_laplace, (2,)),
    Case("Pareto", {"scale": 1.3, "alpha": 3.5}, pareto),
    Case("Pareto", {"scale": [0.2, 4.0], "alpha": [2.5, 9.0]}, pareto, (2,)),
    Case("Weibull", {"scale": 1.3, "concentration": 1.8}, weibull),
    Case("Weibull", {"scale": [0.2, 4.0, 1.0], "concentration": [0.7, 5.0, 60.0]}, weibull, (3,)),
    Case("Kumaraswamy", {"concentration1": 1.8, "concentration0": 2.6}, Kumaraswamy),
    Case("Kumaraswamy", {"concentration1": [0.6, 4.0, 60.0], "concentration0": [0.8, 2.5, 1.5]}, Kumaraswamy, (3,)),
    Case("LogUniform", {"low": 0.4, "high": 6.0}, log_uniform, **LOG_UNIFORM),
    Case("LogUniform", {"low": [0.01, 5.0], "high": [100.0, 5.5]}, log_uniform, (2,), **LOG_UNIFORM),
    Case("SpanningTree", {"edge_logits": [0.2, -0.5, 1.0, 0.3, -1.2, 0.7]}, SpanningTrees, (), (3, 2), **TREES),
    Case("SpanningTree", {"edge_logits": [[0.2, -0.5, 1.0], [2.0, 0.0, -1.0]]}, SpanningTrees, (2,), (2, 2), **TREES),
]  # fmt: skip
