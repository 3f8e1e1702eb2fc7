"""The multivariate normal distribution with derivatives of least motion."""

from ppl import constraints, ops
from ppl.distributions.gaps import CONTINUOUS, VECTOR
from ppl.distributions.multivariate_normal import MultivariateNormal
from ppl.ops import random
from ppl.ops.autodiff import stop_gradient


class OMTMultivariateNormal(MultivariateNormal):
    r"""Multivariate normal of mean :math:`\mu` and covariance :math:`L L^T` whose draws follow parameters by optimal transport.

    .. math:: \log p(x) = -\tfrac12 \|L^{-1} (x - \mu)\|^2 - \sum_i \log L_{ii} - \tfrac n2 \log 2 \pi

    :param loc: :math:`\mu`, of shape ``(..., n)``; a scalar stands for a constant vector.
    :param scale_tril: :math:`L`, of shape ``(..., n, n)``, lower triangular with positive diagonal.
    :raises ConstraintError: if a parameter leaves its constraint.

    Density and draws are those of ``MultivariateNormal``; gradients with respect to ``scale_tril`` differ draw by draw and agree
    on average. Of all velocities that change the covariance by :math:`d\Sigma = dL \, L^T + L \, dL^T` the one of least mean
    square is :math:`S (x - \mu)`, symmetric :math:`S` being the solution of :math:`S \Sigma + \Sigma S = d\Sigma` (Jankowiak and
    Obermeyer 2018, arXiv:1806.01851, the section on the multivariate normal). It costs one decomposition of :math:`L`, of order
    :math:`n^3`, however many draws there are.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.OMTMultivariateNormal(ops.zeros((2,)), ops.array([[1.0, 0.0], [0.5, 2.0]]))
    >>> round(float(d.log_prob(ops.array([1.0, -1.0]))), 4)
    -3.3123
    """

    arg_constraints = {"loc": constraints.real_vector, "scale_tril": constraints.lower_cholesky}
    gaps = {**VECTOR, **CONTINUOUS}

    def __init__(self, loc, scale_tril, *, validate_args=None):
        super().__init__(loc, scale_tril=scale_tril, validate_args=validate_args)

    def sample(self, sample_shape=(), rng_key=None):
        noise = random.normal(rng_key, self.shape(sample_shape), self.dtype)
        return stop_gradient(self.loc + ops.squeeze(self.scale_tril @ ops.expand_dims(noise, -1), -1))

    def rsample(self, sample_shape=(), rng_key=None):
        return self._attach_gradients(self.sample(sample_shape, rng_key))

    def _attach_gradients(self, value):
        """Return ``value`` with the velocities of the parameters as its derivatives."""
        loc, factor = stop_gradient((self.loc, self.scale_tril))
        change = ops.tril(self.scale_tril - factor)
        # In the axes of the covariance the equation for S falls apart into numbers. With L = U s V^T they are those of U, and
        # dL L^T becomes (U^T dL V) s there; the covariance itself, worse conditioned than L, is never formed.
        axes, sizes, input_axes = ops.svd(factor)
        turned = ops.matrix_transpose(axes) @ change @ ops.matrix_transpose(input_axes) * ops.expand_dims(sizes, -2)
        squared = ops.square(sizes)
        stretch = (turned + ops.matrix_transpose(turned)) / (ops.expand_dims(squared, -1) + ops.expand_dims(squared, -2))
        symmetric = axes @ stretch @ ops.matrix_transpose(axes)
        moved = ops.squeeze(symmetric @ ops.expand_dims(value - loc, -1), -1)
        return value + (self.loc - loc) + moved
