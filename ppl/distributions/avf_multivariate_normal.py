"""The multivariate normal distribution with derivatives that learn to vary less."""

from ppl import constraints, ops
from ppl.distributions.gaps import CONTINUOUS, VECTOR
from ppl.distributions.multivariate_normal import MultivariateNormal
from ppl.errors import ShapeError
from ppl.ops import random
from ppl.ops.autodiff import stop_gradient


class AVFMultivariateNormal(MultivariateNormal):
    r"""Multivariate normal of mean :math:`\mu` and covariance :math:`L L^T` whose gradients carry an adaptive control variate.

    .. math:: \log p(x) = -\tfrac12 \|L^{-1} (x - \mu)\|^2 - \sum_i \log L_{ii} - \tfrac n2 \log 2 \pi

    :param loc: :math:`\mu`, of shape ``(..., n)``.
    :param scale_tril: :math:`L`, of shape ``(..., n, n)``, lower triangular with positive diagonal.
    :param control_var: the two factors :math:`B, C` of the control variate, of shape ``(..., 2, M, n)`` with any :math:`M`; real.
        The density and the mean of every gradient are the same for all values. Start from small random numbers: where both
        factors are zero the loss below has no slope.
    :raises ConstraintError: if a parameter leaves its constraint.
    :raises ShapeError: if ``control_var`` has another shape.

    Density and draws are those of ``MultivariateNormal``. The noise :math:`\epsilon = L^{-1} (x - \mu)` is as likely after any
    rotation, so a velocity that rotates it adds nothing to the mean of a gradient, but can lower its variance. The one of
    :math:`L_{ab}` is (Jankowiak and Karaletsos 2018, arXiv:1806.01856, the section on adaptive velocity fields)

    .. math:: v_{ab} = e_a \epsilon_b + W_{ab} (L e_a \epsilon_b - L e_b \epsilon_a), \quad W = \sum_m B_m C_m^T.

    The control variate is learnt along with the rest: :meth:`gradient_second_moment` is what it should make small, and has a
    gradient with respect to ``control_var``. As the mean of a gradient does not depend on it, less second moment is less
    variance. On torch, ``backward`` of any loss leaves half that slope, for the gradient summed over draws, in
    ``control_var.grad`` by itself; elsewhere, draws have no gradient with respect to ``control_var``.

    >>> from ppl import distributions as dist, ops
    >>> loc, factor = ops.zeros((2,)), ops.array([[1.0, 0.0], [0.5, 2.0]])
    >>> d = dist.AVFMultivariateNormal(loc, factor, 0.1 * ops.ones((2, 1, 2)))
    >>> round(float(d.log_prob(ops.array([1.0, -1.0]))), 4)
    -3.3123
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "scale_tril": constraints.lower_cholesky,
        "control_var": constraints.independent(constraints.real, 3),
    }
    gaps = {**VECTOR, **CONTINUOUS}

    def __init__(self, loc, scale_tril, control_var, *, validate_args=None):
        loc, scale_tril = self._promoted(loc, scale_tril, control_var)
        super().__init__(loc, scale_tril=scale_tril, validate_args=validate_args)

    def _promoted(self, loc, scale_tril, control_var):
        """Keep the control variate, and return the other two with the batch shape of all."""
        (loc, scale_tril, self.control_var), _ = self.promote_events((loc, 1), (scale_tril, 2), (control_var, 3))
        received = tuple(self.control_var.shape[-3:])
        if received[0] != 2 or received[2] != loc.shape[-1]:
            raise ShapeError(
                f"AVFMultivariateNormal: 'control_var' has the wrong shape; expected (..., 2, M, {loc.shape[-1]}), "
                f"received (..., {', '.join(map(str, received))})"
            )
        return loc, scale_tril

    def sample(self, sample_shape=(), rng_key=None):
        return stop_gradient(self._place(random.normal(rng_key, self.shape(sample_shape), self.dtype)))

    def rsample(self, sample_shape=(), rng_key=None):
        return self._attach_gradients(random.normal(rng_key, self.shape(sample_shape), self.dtype))

    def gradient_second_moment(self, function, sample_shape=(), rng_key=None):
        r"""Return an estimate of :math:`E \|\partial f(x) / \partial L\|^2` to be minimised over ``control_var``.

        :param function: :math:`f`, from draws ``(..., n)`` to values; each may depend on its own draw only.
        :param sample_shape: how many draws to average over.
        :param rng_key: as in ``sample``.

        The result has the batch shape, and is quadratic in :math:`W`.

        >>> from ppl import distributions as dist, ops
        >>> loc, factor = ops.zeros((2,)), ops.array([[1.0, 0.0], [0.5, 2.0]])
        >>> def loss(control_var):
        ...     d = dist.AVFMultivariateNormal(loc, factor, control_var)
        ...     return d.gradient_second_moment(lambda x: x[..., 0] * x[..., 1], (100,), ops.random.key(0))
        >>> tuple(ops.autodiff.grad(loss)(0.1 * ops.ones((2, 1, 2))).shape)
        (2, 1, 2)
        """
        noise = random.normal(rng_key, self.shape(sample_shape), self.dtype)
        slope = ops.autodiff.grad(lambda x: ops.sum(function(x)))(stop_gradient(self._place(noise)))
        rotated = ops.squeeze(ops.matrix_transpose(stop_gradient(self.scale_tril)) @ ops.expand_dims(slope, -1), -1)
        swirl = _outer(rotated, noise) - _outer(noise, rotated)
        gradients = ops.tril(_outer(slope, noise) + self._control() * swirl)
        squares = ops.sum(ops.square(gradients), axis=(-2, -1))
        return ops.mean(squares, axis=tuple(range(len(sample_shape)))) if sample_shape else squares

    def _attach_gradients(self, noise):
        """Return the draws for ``noise`` with the velocities of the parameters as their derivatives."""
        factor = stop_gradient(self.scale_tril)
        change = ops.tril(self.scale_tril - factor)
        turn = stop_gradient(self._control()) * change
        velocity = change + factor @ (turn - ops.matrix_transpose(turn))
        moved = ops.squeeze(velocity @ ops.expand_dims(noise, -1), -1)
        return stop_gradient(self._place(noise)) + (self.loc - stop_gradient(self.loc)) + moved

    def _place(self, noise):
        return self.loc + ops.squeeze(self.scale_tril @ ops.expand_dims(noise, -1), -1)

    def _control(self):
        """Return :math:`W`, of shape ``batch_shape + (n, n)``."""
        return ops.matrix_transpose(self.control_var[..., 0, :, :]) @ self.control_var[..., 1, :, :]


def _outer(left, right):
    return ops.expand_dims(left, -1) * ops.expand_dims(right, -2)
