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
# Directions of a low-rank metric, whether they are needed or not, so that compiled code has one shape.
NUM_DIRECTIONS = 32


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
    def squared_norm(self, mass: Mass, offset: Any) -> Any:
        """Return the squared length of each ``offset (C, D)`` in coordinates whose inverse mass is the unit matrix."""

    @abstractmethod
    def estimate(self, draws: Any, gradients: Any) -> Mass:
        """Return the metric estimated from what the chains visited, host arrays of shape ``(n, D)``."""

    def inverse_mass(self, mass: Mass) -> Any:
        """Return the inverse mass: ``(D,)`` variances or a ``(D, D)`` covariance."""
        return mass.inverse

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

    def squared_norm(self, mass: Mass, offset: Any) -> Any:
        """Divide by the variances."""
        whitened = offset * mass.factor
        return ops.sum(whitened * whitened, axis=-1)

    def estimate(self, draws: Any, gradients: Any) -> Mass:
        """Return variances."""
        by_gradients = self.by_gradients
        return self.from_inverse(
            estimates.variances_by_gradients(draws, gradients) if by_gradients else estimates.variances(draws)
        )


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

    def squared_norm(self, mass: Mass, offset: Any) -> Any:
        """Multiply by the factor, which takes the covariance to the unit matrix."""
        whitened = ops.matmul(offset, ops.matrix_transpose(mass.factor))
        return ops.sum(whitened * whitened, axis=-1)

    def estimate(self, draws: Any, gradients: Any) -> Mass:
        """Return a covariance."""
        return self.from_inverse(self.covariance(draws, gradients))

    def covariance(self, draws: Any, gradients: Any) -> Any:
        """Return an estimate of the covariance; from few draws the shrunken one, which gradients cannot improve."""
        if self.by_gradients and estimates.enough(draws):
            return estimates.covariance_by_gradients(draws, gradients)
        return estimates.covariance(draws)


class Automatic(Dense):
    """Independent coordinates until the draws show correlations that a matrix repays, along few directions at first."""

    def covariance(self, draws: Any, gradients: Any) -> Any:
        """Return variances or a covariance."""
        return estimates.worthwhile(draws, gradients)


class LowRank(Metric):
    r"""Independent coordinates, corrected along few directions: covariance :math:`\sigma (I + U (\Lambda - I) U^T) \sigma`.

    Every product costs ``O(K D)``. ``inverse`` has shape ``(1 + K, D)``: the variances :math:`\sigma^2` and the rows of
    :math:`(\sigma U)^T`, zero where a direction is not needed; ``factor (K,)`` holds :math:`\Lambda`, there 1
    (Seyboldt, Carlson and Carpenter 2026, arXiv 2603.18845, sec. 4).

    :param num_directions: how many directions there are, at most the dimension.
    """

    def __init__(self, by_gradients: bool = True, num_directions: int = NUM_DIRECTIONS) -> None:
        super().__init__(by_gradients)
        self.num_directions = num_directions

    def identity(self, size: int) -> Mass:
        """Return unit masses."""
        return self.from_inverse(ops.ones(size))

    def from_inverse(self, inverse: Any) -> Mass:
        """Return the metric of these variances."""
        size, dtype = ops.shape(inverse)[0], ops.dtype_name(inverse)
        rank = min(self.num_directions, size)
        return Mass(ops.concat([inverse[None], ops.zeros((rank, size), dtype=dtype)]), ops.ones(rank, dtype=dtype))

    def velocity(self, mass: Mass, momentum: Any) -> Any:
        """Scale each coordinate and add what the directions have beyond that."""
        variances, directions = mass.inverse[0], mass.inverse[1:]
        along = ops.matmul(momentum, ops.matrix_transpose(directions))
        return variances * momentum + ops.matmul(along * (mass.factor - 1.0), directions)

    def draw(self, key: Any, mass: Mass, shape: Shape) -> Any:
        r"""Multiply standard normals by :math:`\sigma^{-1} (I + U (\Lambda^{-1/2} - I) U^T)`."""
        variances, directions = mass.inverse[0], mass.inverse[1:]
        scaled = random.normal(key, shape) / ops.sqrt(variances)
        along = ops.matmul(scaled, ops.matrix_transpose(directions))
        return scaled + ops.matmul(along * (1.0 / ops.sqrt(mass.factor) - 1.0), directions) / variances

    def squared_norm(self, mass: Mass, offset: Any) -> Any:
        """Divide by the variances and correct along the directions."""
        scaled = offset / mass.inverse[0]
        along = ops.matmul(scaled, ops.matrix_transpose(mass.inverse[1:]))
        return ops.sum(scaled * offset, axis=-1) + ops.sum(along * along * (1.0 / mass.factor - 1.0), axis=-1)

    def estimate(self, draws: Any, gradients: Any) -> Mass:
        """Return variances with the directions that differ most from them."""
        rank = min(self.num_directions, ops.shape(draws)[1])
        found = estimates.low_rank(draws, gradients, rank)
        return Mass(ops.concat([found.variances[None], found.directions]), found.stretches)

    def inverse_mass(self, mass: Mass) -> Any:
        """Return the covariance, shape ``(D, D)``."""
        return estimates.assemble(mass.inverse[0], mass.inverse[1:], mass.factor)


def automatic(size: int, matrix: bool = False) -> Metric:
    """Return the metric for ``size`` dimensions where the user named none.

    :param matrix: whether it must hold any covariance, because the user gave one to begin with.
    """
    return Automatic() if matrix or size <= LARGEST_MATRIX else LowRank()
