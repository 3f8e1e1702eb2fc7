"""Rows of the positive families, of the truncated ones and of the directions."""

import mpmath
import numpy as np
from scipy import integrate, special, stats

from cases.oracles import Each
from ppl.testing.case import Case


def chi2(df):
    return stats.chi2(df)


def inverse_gamma(concentration, rate=1.0):
    return stats.invgamma(concentration, scale=rate)


def fisher(df1, df2):
    return stats.f(df1, df2)


class TruncatedNormal:
    """scipy's truncated normal, with moments and entropy by their closed forms in 60 digits: scipy's cancel or overflow."""

    def __init__(self, loc=0.0, scale=1.0, low=-np.inf, high=np.inf):
        self.params = np.broadcast_arrays(loc, scale, low, high)
        self.row = stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale)
        self.rvs, self.pdf, self.logpdf, self.ppf = self.row.rvs, self.row.pdf, self.row.logpdf, self.row.ppf

    def cdf(self, value):
        loc, scale, low, high = self.params
        start, here, end = (low - loc) / scale, (value - loc) / scale, (high - loc) / scale
        # In the right tail by ratios of upper tails, since both differences would be zero there; the same as scipy's, but quick.
        tails = [np.exp(special.log_ndtr(-x) - special.log_ndtr(-np.maximum(start, 0.0))) for x in (here, end)]
        plain = [special.ndtr(x) - special.ndtr(start) for x in (here, end)]
        return np.where(start > 0, (1.0 - tails[0]) / (1.0 - tails[1]), plain[0] / np.where(start > 0, 1.0, plain[1]))

    def mean(self):
        return self._each(0)

    def var(self):
        return self._each(1)

    def entropy(self):
        return self._each(2)

    def _each(self, which):
        return np.vectorize(lambda *params: float(_truncated_normal_moments(*params)[which]), otypes=[float])(*self.params)


def _truncated_normal_moments(loc, scale, low, high):
    with mpmath.workdps(60):
        loc, scale, low, high = (mpmath.mpf(float(x)) for x in (loc, scale, low, high))
        start, end = (low - loc) / scale, (high - loc) / scale
        upper = [mpmath.erfc(x / mpmath.sqrt(2)) / 2 for x in (start, end)]
        density = [mpmath.npdf(x) for x in (start, end)]
        weighted = [0 if mpmath.isinf(x) else x * d for x, d in zip((start, end), density, strict=True)]
        mass = upper[0] - upper[1]
        shift, stretch = (density[0] - density[1]) / mass, (weighted[0] - weighted[1]) / mass
        entropy = mpmath.log(mpmath.sqrt(2 * mpmath.pi) * scale * mass) + (1 + stretch) / 2
        return loc + scale * shift, scale**2 * (1 + stretch - shift**2), entropy


class TruncatedCauchy:
    """A Cauchy variable given an interval: its conditional distribution function, and moments by quadrature."""

    def __init__(self, loc=0.0, scale=1.0, low=-np.inf, high=np.inf):
        self.parent = stats.cauchy(loc, scale)
        self.params = np.broadcast_arrays(loc, scale, low, high)
        self.low, self.high = np.asarray(low), np.asarray(high)
        self.start, self.mass = self.parent.cdf(self.low), self.parent.cdf(self.high) - self.parent.cdf(self.low)

    def rvs(self, size, random_state):
        return self.ppf(random_state.uniform(size=size))

    def logpdf(self, value):
        return self.parent.logpdf(value) - np.log(self.mass)

    def pdf(self, value):
        return np.exp(self.logpdf(value))

    def cdf(self, value):
        return (self.parent.cdf(value) - self.start) / self.mass

    def ppf(self, share):
        return self.parent.ppf(self.start + share * self.mass)

    def mean(self):
        return self._each(lambda x: x, lambda low, high: np.inf if np.isfinite(low) else -np.inf)

    def var(self):
        mean = self.mean()
        second = self._each(lambda x: x * x, lambda low, high: np.inf)
        finite = np.isfinite(second)
        return np.where(finite, second - np.where(finite, mean, 0.0) ** 2, np.inf)

    def _each(self, moment, otherwise):
        def one(loc, scale, low, high):
            if not np.isfinite(low) or not np.isfinite(high):
                return otherwise(low, high)
            d = stats.cauchy(loc, scale)
            mass = integrate.quad(d.pdf, low, high, epsabs=1e-14, epsrel=1e-13)[0]
            return integrate.quad(lambda x: moment(x) * d.pdf(x), low, high, epsabs=1e-14, epsrel=1e-13)[0] / mass

        return np.vectorize(one, otypes=[float])(*self.params)


class VonMises:
    """The circle's normal distribution from -pi, by the Fourier series of its density; scipy's own has six digits from 50 on.

    The series: Abramowitz and Stegun 9.6.34.
    """

    def __init__(self, loc, concentration):
        self.loc, self.concentration = np.asarray(loc, float), np.asarray(concentration, float)
        self.terms = np.arange(1, 30 + int(10 * np.sqrt(self.concentration.max())))
        scale = special.ive(0, self.concentration[..., None]) * self.terms * np.pi
        self.waves = special.ive(self.terms, self.concentration[..., None]) / scale
        self.start = self._unrolled(-np.pi)

    def rvs(self, size, random_state):
        return stats.vonmises(self.concentration, loc=self.loc).rvs(size=size, random_state=random_state)

    def logpdf(self, value):
        angle = np.asarray(value) - self.loc
        return self.concentration * special.cosm1(angle) - np.log(2 * np.pi * special.ive(0, self.concentration))

    def pdf(self, value):
        return np.exp(self.logpdf(value))

    def cdf(self, value):
        return self._unrolled(value) - self.start

    def _unrolled(self, value):
        angle = np.asarray(value) - self.loc
        return 0.5 + angle / (2 * np.pi) + (self.waves * np.sin(self.terms * angle[..., None])).sum(-1)

    def ppf(self, share):
        low = np.full(np.broadcast_shapes(np.shape(share), self.loc.shape), -np.pi)
        high = -low
        for _ in range(14):
            middle = 0.5 * (low + high)
            below = self.cdf(middle) < share
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        point = 0.5 * (low + high)
        for _ in range(4):
            point = point - (self.cdf(point) - share) / self.pdf(point)
        return point

    def mean(self):
        return self.loc

    def var(self):
        return 1.0 - special.ive(1, self.concentration) / special.ive(0, self.concentration)

    def entropy(self):
        return stats.vonmises(self.concentration).entropy()


class VonMisesFisher:
    """scipy's von Mises-Fisher distribution, with moments by quadrature over the height along the mean direction."""

    def __init__(self, concentration):
        self.concentration = np.linalg.norm(concentration)
        self.direction = concentration / self.concentration
        self.row = stats.vonmises_fisher(self.direction, self.concentration)

    def rvs(self, size, random_state):
        return self.row.rvs(size=int(np.prod(size)), random_state=random_state).reshape(*size, 3)

    def logpdf(self, value):
        return self.row.logpdf(value)

    def entropy(self):
        return self.row.entropy()

    def _height(self, power):
        weight = lambda w: w**power * np.exp(self.concentration * (w - 1.0))  # noqa: E731
        total = integrate.quad(lambda w: np.exp(self.concentration * (w - 1.0)), -1.0, 1.0, epsabs=1e-14)[0]
        return integrate.quad(weight, -1.0, 1.0, epsabs=1e-14)[0] / total

    def mean(self):
        return self._height(1) * self.direction

    def var(self):
        square, along = self._height(2), self.direction**2
        return square * along + 0.5 * (1.0 - square) * (1.0 - along) - self.mean() ** 2


def von_mises_fisher(concentration):
    if np.ndim(concentration) == 1:
        return VonMisesFisher(concentration)
    return Each([VonMisesFisher(row) for row in concentration])


class HeightOfTheFirstAxis:
    """The first coordinate when the concentration points along it: one less a truncated exponential."""

    def __init__(self, concentration):
        self.fall = stats.truncexpon(2.0 * concentration[0], scale=1.0 / concentration[0])

    def cdf(self, value):
        return self.fall.sf(1.0 - value)


def between(low, high):
    return lambda rng, shape: rng.uniform(low, high, size=shape)


BOUNDS = {"low": between(-3.0, -0.5), "high": between(0.5, 3.0), "loc": between(-1.0, 1.0), "scale": between(0.3, 3.0)}
KEPT = {"low": (), "high": ()}

CASES = [
    Case("Chi2", {"df": 3.5}, chi2),
    Case("Chi2", {"df": [1.6, 2.0, 40.0]}, chi2, (3,)),
    Case("InverseGamma", {"concentration": 3.4, "rate": 2.1}, inverse_gamma),
    Case("InverseGamma", {"concentration": 5.0}, inverse_gamma, label="unit-rate"),
    Case("InverseGamma", {"concentration": [2.5, 20.0], "rate": [[0.5], [3.0]]}, inverse_gamma, (2, 2)),
    Case("FisherSnedecor", {"df1": 3.5, "df2": 6.2}, fisher),
    Case("FisherSnedecor", {"df1": [1.5, 2.0, 30.0], "df2": [5.0, 12.0, 40.0]}, fisher, (3,)),
    Case("TruncatedNormal", {"loc": 0.3, "scale": 1.7, "low": -0.5, "high": 2.5}, TruncatedNormal, generate=BOUNDS,
         extremes=KEPT, label="both"),
    Case("TruncatedNormal", {"low": 0.4, "loc": 0.3, "scale": 1.7}, TruncatedNormal, generate=BOUNDS, extremes=KEPT,
         label="low"),
    Case("TruncatedNormal", {"loc": 0.3, "scale": 1.7, "high": -2.5}, TruncatedNormal, generate=BOUNDS, extremes=KEPT,
         label="high"),
    Case("TruncatedNormal", {"loc": 0.3, "scale": 1.7}, TruncatedNormal, generate=BOUNDS, label="none"),
    Case("TruncatedNormal", {"loc": [0.0, 3.0, -30.0], "scale": 0.8, "low": [[-1.0], [0.5]], "high": 4.0}, TruncatedNormal,
         (2, 3), generate=BOUNDS, extremes=KEPT, label="both"),
    Case("TruncatedCauchy", {"loc": 0.3, "scale": 1.7, "low": -0.5, "high": 2.5}, TruncatedCauchy, generate=BOUNDS,
         extremes=KEPT, label="both"),
    Case("TruncatedCauchy", {"low": 0.4, "loc": 0.3, "scale": 1.7}, TruncatedCauchy, generate=BOUNDS, extremes=KEPT,
         label="low"),
    Case("TruncatedCauchy", {"loc": 0.3, "scale": 1.7, "high": -2.5}, TruncatedCauchy, generate=BOUNDS, extremes=KEPT,
         label="high"),
    Case("TruncatedCauchy", {"loc": [0.0, 3.0], "scale": 0.8, "low": [[-1.0], [0.5]], "high": 4.0}, TruncatedCauchy,
         (2, 2), generate=BOUNDS, extremes=KEPT, label="both"),
    Case("VonMises", {"loc": 0.4, "concentration": 9.0}, VonMises),
    Case("VonMises", {"loc": [3.0, -1.0, 0.5], "concentration": [0.3, 2.0, 80.0]}, VonMises, (3,)),
    Case("VonMises3D", {"concentration": [2.0, 0.0, 0.0]}, von_mises_fisher, (), (3,), marginal=HeightOfTheFirstAxis),
    Case("VonMises3D", {"concentration": [[0.1, 0.2, -0.05], [3.0, 0.0, 4.0]]}, von_mises_fisher, (2,), (3,)),
]  # fmt: skip
