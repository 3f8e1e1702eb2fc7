"""Rows of the families with estimators of their own: mixtures of normals, and normals with other velocities."""

import numpy as np
from scipy import special, stats

from cases.oracles import Each, multivariate_normal
from ppl.testing.case import Case


class Mixture:
    """A mixture of frozen distributions of scipy.stats, scalar or vector, with logarithms of weights up to a constant."""

    def __init__(self, logits, components):
        self.weights = special.softmax(logits)
        self.components = components

    def rvs(self, size, random_state):
        count = int(np.prod(size))
        chosen = random_state.choice(len(self.weights), size=count, p=self.weights)
        draws = np.stack([np.atleast_1d(self.components[k].rvs(random_state=random_state)) for k in chosen])
        return draws.reshape(*size, -1)

    def logpdf(self, value):
        each = np.stack([component.logpdf(value) for component in self.components], axis=-1)
        return special.logsumexp(each, b=self.weights, axis=-1)

    def cdf(self, value):
        return sum(weight * component.cdf(value) for weight, component in zip(self.weights, self.components, strict=True))

    def _moment(self, power):
        """Return the raw moment of each coordinate."""
        means = [np.asarray(component.mean) for component in self.components]
        squares = [np.diag(component.cov) + mean**2 for component, mean in zip(self.components, means, strict=True)]
        return self.weights @ np.stack(means if power == 1 else squares)

    def mean(self):
        return self._moment(1)

    def var(self):
        return self._moment(2) - self._moment(1) ** 2


def normals(logits, locs, scales):
    """Return the mixture of vectors, one for each row of a batch."""
    if np.ndim(locs) > 2:
        return Each([normals(*row) for row in zip(logits, locs, scales, strict=True)])
    return Mixture(logits, [stats.multivariate_normal(m, np.diag(s**2)) for m, s in zip(locs, scales, strict=True)])


def mixture(locs, coord_scale, component_logits):
    return normals(component_logits, locs, coord_scale)


def shared(locs, coord_scale, component_logits):
    return normals(component_logits, locs, np.broadcast_to(np.expand_dims(coord_scale, -2), np.shape(locs)))


def scale_mixture(coord_scale, component_logits, component_scale):
    scales = np.expand_dims(component_scale, -1) * np.expand_dims(coord_scale, -2)
    logits = np.broadcast_to(component_logits, scales.shape[:-1])
    return normals(logits, np.zeros(scales.shape), scales)


def first_coordinate(oracle):
    """Return a function from parameters to the mixture of normals that coordinate 0 follows."""

    def marginal(**parameters):
        joint = oracle(**parameters)
        parts = [stats.norm(part.mean[0], part.cov[0, 0] ** 0.5) for part in joint.components]
        return Mixture(np.log(joint.weights), parts)

    return marginal


def controlled_normal(loc, scale_tril, control_var):
    """The control variate changes gradients only."""
    return multivariate_normal(loc, scale_tril=scale_tril)


def first_of_normal(loc, scale_tril, control_var=None):
    return stats.norm(loc[0], scale_tril[0, 0])


LOC = [0.4, -1.0, 0.3]
FACTOR = [[1.2, 0.0, 0.0], [-0.4, 0.7, 0.0], [0.3, 0.2, 0.9]]
FACTORS = [FACTOR, [[0.5, 0.0, 0.0], [1.0, 2.0, 0.0], [-0.6, 0.0, 1.0]]]
CONTROL = [[[0.3, -0.2, 0.5], [0.1, 0.4, 0.0]], [[0.7, 0.2, -0.1], [0.0, -0.3, 0.6]]]

LOCS = [[0.5, -1.0], [1.5, 0.4], [-0.8, 0.6]]
SCALES = [[0.7, 1.4], [1.1, 0.6], [0.9, 0.9]]
LOGITS = [0.4, -0.6, 0.1]

CASES = [
    Case("MixtureOfDiagNormals", {"locs": LOCS, "coord_scale": SCALES, "component_logits": LOGITS}, mixture, (), (2,),
         marginal=first_coordinate(mixture)),
    Case("MixtureOfDiagNormals",
         {"locs": [LOCS, SCALES], "coord_scale": [SCALES, SCALES], "component_logits": [LOGITS, [0.0, 0.0, 2.0]]}, mixture,
         (2,), (2,)),
    Case("MixtureOfDiagNormals", {"locs": [[0.5], [-1.0]], "coord_scale": [[0.7], [1.2]], "component_logits": [0.4, -0.6]},
         mixture, (), (1,), marginal=first_coordinate(mixture), label="line"),
    Case("MixtureOfDiagNormalsSharedCovariance", {"locs": LOCS, "coord_scale": [0.7, 1.3], "component_logits": LOGITS}, shared,
         (), (2,), marginal=first_coordinate(shared)),
    Case("MixtureOfDiagNormalsSharedCovariance",
         {"locs": [LOCS, SCALES], "coord_scale": [[0.7, 1.3], [1.0, 0.2]], "component_logits": [LOGITS, [0.0, 0.0, 2.0]]}, shared,
         (2,), (2,)),
    Case("GaussianScaleMixture", {"coord_scale": [0.7, 1.3, 2.0], "component_logits": LOGITS, "component_scale": [0.5, 1.0, 3.0]},
         scale_mixture, (), (3,), marginal=first_coordinate(scale_mixture)),
    Case("GaussianScaleMixture", {"coord_scale": [0.7, 1.3], "component_logits": [0.3, -0.5], "component_scale": [0.6, 1.8]},
         scale_mixture, (), (2,), marginal=first_coordinate(scale_mixture), label="even"),
    Case("GaussianScaleMixture",
         {"coord_scale": [[0.7, 1.3], [2.0, 0.4]], "component_logits": [0.2, -0.4], "component_scale": [[0.5, 2.0], [1.0, 1.5]]},
         scale_mixture, (2,), (2,)),
    Case("OMTMultivariateNormal", {"loc": LOC, "scale_tril": FACTOR}, multivariate_normal, (), (3,), smooth=("loc",),
         marginal=first_of_normal),
    Case("OMTMultivariateNormal", {"loc": LOC, "scale_tril": FACTORS}, multivariate_normal, (2,), (3,), smooth=("loc",)),
    Case("AVFMultivariateNormal", {"loc": LOC, "scale_tril": FACTOR, "control_var": CONTROL}, controlled_normal, (), (3,),
         smooth=("loc",), marginal=first_of_normal),
    Case("AVFMultivariateNormal", {"loc": [LOC, LOC], "scale_tril": FACTORS, "control_var": CONTROL}, controlled_normal,
         (2,), (3,), smooth=("loc",)),
]  # fmt: skip
