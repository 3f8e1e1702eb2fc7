"""Euclidean metrics: how momenta are drawn and what velocity and kinetic energy they have (Betancourt 2017, sec. 4.2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ppl import ops
from ppl.infer.adapt import mass as estimates
from ppl.infer.mcmc.state import Mass
from ppl.ops import random
from ppl.typing import Shape

# Up to this dimension a product with a matrix costs little beside a gradient, so that any metric may be a matrix.
LARGEST_MATRIX = 128


class Metric(ABC):
    """The interface: a metric is stateless, its numbers are a :class:`~ppl.infer.mcmc.state.Mass`.

    :param by_gradients: whether it is estimated from draws and gradients, or from draws alone as Stan does.
    """

    def __init__(self, by_gradients: bool = True) -> None:
        self.by_gradients = by_gradients

    @abstractmethod
    def identity(self, size: int) -> Mass:
        """Return the unit metric on ``size`` dimensions."""

    @abstractmethod
    def from_inverse(self, inverse: Any) -> Mass:
        """Return the metric of the given inverse mass."""

    @abstractmethod
    def velocity(self, mass: Mass, momentum: Any) -> Any:
        """Return the velocity of ``momentum``, shape ``(C, D)``."""

    @abstractmethod
    def draw(self, key: Any, mass: Mass, shape: Shape) -> Any:
        """Return momenta of covariance ``inverse**-1``."""

    @abstractmethod
    def estimate(self, draws: Any, gradients: Any) -> Any:
        """Return an inverse mass from what the chains visited, host arrays of shape ``(n, D)``."""

    def kinetic_energy(self, mass: Mass, momentum: Any) -> Any:
        """Return the kinetic energy of each chain, shape ``(C,)``."""
        return 0.5 * ops.sum(momentum * self.velocity(mass, momentum), axis=-1)


class Diagonal(Metric):
    """Independent coordinates: ``inverse`` has shape ``(D,)``."""

    def identity(self, size: int) -> Mass:
        """Return unit masses."""
        return Mass(ops.ones(size), ops.ones(size))

    def from_inverse(self, inverse: Any) -> Mass:
        """Return the metric of these variances."""
        return Mass(inverse, 1.0 / ops.sqrt(inverse))

    def velocity(self, mass: Mass, momentum: Any) -> Any:
        """Scale each coordinate."""
        return mass.inverse * momentum

    def draw(self, key: Any, mass: Mass, shape: Shape) -> Any:
        """Scale standard normals by the root of the mass."""
        return mass.factor * random.normal(key, shape)

    def estimate(self, draws: Any, gradients: Any) -> Any:
        """Return variances."""
        return estimates.variances_by_gradients(draws, gradients) if self.by_gradients else estimates.variances(draws)


class Dense(Metric):
    """Correlated coordinates: ``inverse`` has shape ``(D, D)``; ``factor`` is the inverse of its Cholesky factor."""

    def identity(self, size: int) -> Mass:
        """Return unit masses."""
        return Mass(ops.eye(size), ops.eye(size))

    def from_inverse(self, inverse: Any) -> Mass:
        """Return the metric of this covariance, or of these variances."""
        if ops.ndim(inverse) == 1:
            inverse = inverse * ops.eye(ops.shape(inverse)[0])
        return Mass(inverse, ops.inv(ops.cholesky(inverse)))

    def velocity(self, mass: Mass, momentum: Any) -> Any:
        """Multiply by the covariance."""
        return ops.matmul(momentum, mass.inverse)

    def draw(self, key: Any, mass: Mass, shape: Shape) -> Any:
        """Multiply standard normals by the factor, so that the covariance is the inverse of ``inverse``."""
        return ops.matmul(random.normal(key, shape), mass.factor)

    def estimate(self, draws: Any, gradients: Any) -> Any:
        """Return a covariance; from few draws the shrunken one, which gradients cannot improve."""
        if self.by_gradients and estimates.enough(draws):
            return estimates.covariance_by_gradients(draws, gradients)
        return estimates.covariance(draws)


class Automatic(Dense):
    """Independent coordinates until the draws show correlations that a matrix repays."""

    def estimate(self, draws: Any, gradients: Any) -> Any:
        """Return variances or a covariance."""
        return estimates.worthwhile(draws, gradients)


def automatic(size: int) -> Metric:
    """Return the metric for ``size`` dimensions where the user named none."""
    return Automatic() if size <= LARGEST_MATRIX else Diagonal()
