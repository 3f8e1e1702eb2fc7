"""Euclidean metrics: how momenta are drawn and what velocity and kinetic energy they have (Betancourt 2017, sec. 4.2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ppl import ops
from ppl.infer.mcmc.state import Mass
from ppl.ops import random
from ppl.typing import Shape


class Metric(ABC):
    """The interface: a metric is stateless, its numbers are a :class:`~ppl.infer.mcmc.state.Mass`."""

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
        """Return an inverse mass from ``draws`` and their gradients of shape ``(n, D)``."""

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
        """Return shrunken sample variances."""
        count = ops.shape(draws)[0]
        return _shrink(ops.var(draws, axis=0, correction=1), count, 1.0)


class Dense(Metric):
    """Correlated coordinates: ``inverse`` has shape ``(D, D)`` and ``factor`` is its Cholesky factor."""

    def identity(self, size: int) -> Mass:
        """Return unit masses."""
        return Mass(ops.eye(size), ops.eye(size))

    def from_inverse(self, inverse: Any) -> Mass:
        """Return the metric of this covariance."""
        return Mass(inverse, ops.cholesky(inverse))

    def velocity(self, mass: Mass, momentum: Any) -> Any:
        """Multiply by the covariance."""
        return ops.matmul(momentum, mass.inverse)

    def draw(self, key: Any, mass: Mass, shape: Shape) -> Any:
        """Solve against the factor, so that the covariance is the inverse of ``inverse``."""
        normals = ops.matrix_transpose(random.normal(key, shape))
        return ops.matrix_transpose(ops.solve_triangular(mass.factor, normals, transpose=True))

    def estimate(self, draws: Any, gradients: Any) -> Any:
        """Return the shrunken sample covariance."""
        count, size = ops.shape(draws)
        centred = draws - ops.mean(draws, axis=0)
        return _shrink(ops.matmul(ops.matrix_transpose(centred), centred) / (count - 1), count, ops.eye(size))


def _shrink(covariance: Any, count: int, target: Any) -> Any:
    return covariance * (count / (count + 5.0)) + 1e-3 * (5.0 / (count + 5.0)) * target
