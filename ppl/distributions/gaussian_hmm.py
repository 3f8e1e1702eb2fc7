"""Linear Gaussian state space models."""

from ppl import constraints, ops
from ppl.distributions.discrete_hmm import duration_of
from ppl.distributions.dispatch import blank
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, VECTOR
from ppl.distributions.independent import Independent
from ppl.distributions.multivariate_normal import MultivariateNormal
from ppl.distributions.normal import Normal
from ppl.errors import ShapeError
from ppl.ops import chain, random


class GaussianHMM(Distribution):
    r"""Series of noisy linear observations of a linear Gaussian chain that is not seen itself.

    .. math:: z_t = z_{t - 1} F_t + q_t, \quad x_t = z_t H_t + r_t, \quad t = 1, \ldots, T

    States and observations are rows, so that matrices stand on their right.

    :param initial_dist: distribution of :math:`z_0`, the state before the first step: multivariate normal of event shape
        ``(D,)``.
    :param transition_matrix: :math:`F_t`, shape ``(..., T, D, D)``, or ``(..., D, D)`` for the same one in each step.
    :param transition_dist: distribution of :math:`q_t`: multivariate normal of batch shape ``(..., T)``, or ``()`` for the
        same one in each step.
    :param observation_matrix: :math:`H_t`, shape ``(..., T, D, E)`` or ``(..., D, E)``.
    :param observation_dist: distribution of :math:`r_t`: multivariate normal, or ``Normal(...).to_event(1)``, of event shape
        ``(E,)``; its batch shape likewise.
    :param duration: :math:`T`, where nothing else says it.
    :raises ShapeError: if the numbers of coordinates or steps differ, or a distribution is not normal.
    :raises ConstraintError: if ``duration`` is no positive int or contradicts the shapes.

    The filter runs in ``O(log T)`` depth (Särkkä and García-Fernández 2021, "Temporal parallelization of Bayesian smoothers",
    IEEE Transactions on Automatic Control 66(1)).

    >>> from ppl import distributions as dist, ops
    >>> state, noise = dist.Normal(ops.zeros((1,)), 1.0).to_event(1), dist.Normal(ops.zeros((1,)), 0.5).to_event(1)
    >>> d = dist.GaussianHMM(state, ops.eye(1), noise, ops.eye(1), noise, duration=3)
    >>> round(float(d.log_prob(ops.array([[0.5], [1.0], [0.0]]))), 4)
    -3.3807
    """

    arg_constraints = {
        "transition_matrix": constraints.independent(constraints.real, 3),
        "observation_matrix": constraints.independent(constraints.real, 3),
    }
    support = constraints.independent(constraints.real, 2)
    has_rsample = True
    gaps = {**VECTOR, **CONTINUOUS, "entropy": "its determinant is not computed"}

    def __init__(
        self,
        initial_dist,
        transition_matrix,
        transition_dist,
        observation_matrix,
        observation_dist,
        *,
        duration=None,
        validate_args=None,
    ):
        transition, observation = (_with_steps(matrix, self) for matrix in (transition_matrix, observation_matrix))
        parts = [_normal(one) for one in (initial_dist, transition_dist, observation_dist)]
        states, seen = ops.shape(observation)[-2:]
        sizes = [tuple(ops.shape(mean))[-1] for mean, _ in parts]
        if tuple(ops.shape(transition))[-2:] != (states, states) or sizes != [states, states, seen]:
            raise ShapeError(
                f"GaussianHMM: matrices of shapes {tuple(ops.shape(transition))} and {tuple(ops.shape(observation))}, and "
                "normals of "
                f"{sizes} coordinates; expected (..., D, D), (..., D, E) and D, D, E coordinates"
            )
        noises = [_noise_with_steps(*part) for part in parts[1:]]
        steps = {tuple(ops.shape(matrix))[-3] for matrix in (transition, observation, noises[0][1], noises[1][1])}
        self.duration = duration_of("GaussianHMM", steps, duration)
        shapes = [tuple(ops.shape(matrix))[:-3] for matrix in (transition, observation, noises[0][1], noises[1][1])]
        batch = ops.broadcast_shapes(tuple(ops.shape(parts[0][1]))[:-2], *shapes)
        self.transition_matrix, self.observation_matrix = (_over(batch, matrix, 3) for matrix in (transition, observation))
        self.initial_mean, self.initial_covariance = _over(batch, parts[0][0], 1), _over(batch, parts[0][1], 2)
        self.transition_mean, self.transition_covariance = _over(batch, noises[0][0], 2), _over(batch, noises[0][1], 3)
        self.observation_mean, self.observation_covariance = _over(batch, noises[1][0], 2), _over(batch, noises[1][1], 3)
        super().__init__(batch, (self.duration, seen), validate_args=validate_args)

    _EVENT_DIMS = {
        "transition_matrix": 3,
        "observation_matrix": 3,
        "initial_mean": 1,
        "initial_covariance": 2,
        "transition_mean": 2,
        "transition_covariance": 3,
        "observation_mean": 2,
        "observation_covariance": 3,
    }

    def _current_batch_shape(self):
        return tuple(self.initial_mean.shape)[:-1]

    def expand(self, batch_shape):
        self._check_expandable(tuple(batch_shape))
        arrays = {name: _over(tuple(batch_shape), vars(self)[name], dims) for name, dims in self._EVENT_DIMS.items()}
        return blank(type(self), {**vars(self), **arrays, "_batch_shape": tuple(batch_shape)})

    def _steps(self, value):
        """Return the steps given the series, the axis of time after the batch."""
        column = ops.matrix_transpose
        steps = chain.gaussian_step(
            column(self.transition_matrix),
            (self.transition_mean, self.transition_covariance),
            column(self.observation_matrix),
            (self.observation_mean, self.observation_covariance),
            value,
        )
        lead = tuple(steps.log_scale.shape)[:-1]
        dims = (2, 1, 2, 1, 2, 0)
        return chain.GaussianStep(*(_over((*lead, self.duration), array, dim) for array, dim in zip(steps, dims, strict=True)))

    def _whole(self, value):
        """Return all steps as one, and covariance and mean of the initial state given the series, and its log density."""
        whole = chain.sequential_gaussian_product(self._steps(value))
        spread, mean = self.initial_covariance, self.initial_mean
        mixed = ops.eye(spread.shape[-1], dtype=spread.dtype) + spread @ whole.precision
        error = whole.information_vector - _apply(whole.precision, mean)
        lead = tuple(error.shape)[:-1]
        pulled = ops.expand_dims(_apply(spread, error), -1)
        solved = ops.solve(mixed, ops.concat([_over(lead, spread, 2), pulled], axis=-1))
        covariance, shift = solved[..., :-1], solved[..., -1]
        _, log_det = ops.slogdet(mixed)
        exponent = mean * (whole.information_vector - 0.5 * _apply(whole.precision, mean)) + 0.5 * error * shift
        return whole, covariance, mean + shift, whole.log_scale + ops.sum(exponent, axis=-1) - 0.5 * log_det

    def log_prob(self, value):
        return self._whole(value)[3]

    def filter(self, value):
        """Return the distribution of the last state given the series.

        :param value: shape ``batch_shape + event_shape``.
        """
        whole, covariance, mean, _ = self._whole(value)
        covariance = whole.transition @ covariance @ ops.matrix_transpose(whole.transition) + whole.covariance
        covariance = 0.5 * (covariance + ops.matrix_transpose(covariance))
        return MultivariateNormal(_apply(whole.transition, mean) + whole.offset, covariance)

    def rsample(self, sample_shape=(), rng_key=None):
        keys = random.split(rng_key, 3) if rng_key is not None else [None] * 3
        lead, states = (*sample_shape, *self.batch_shape), self.transition_matrix.shape[-1]
        seen, dtype = self.event_shape[-1], self.dtype
        state = self.initial_mean + _apply(ops.cholesky(self.initial_covariance), random.normal(keys[0], (*lead, states), dtype))
        pushed = random.normal(keys[1], (*lead, self.duration, states), dtype)
        pushed = self.transition_mean + _apply(ops.cholesky(self.transition_covariance), pushed)
        error = random.normal(keys[2], (*lead, self.duration, seen), dtype)
        error = self.observation_mean + _apply(ops.cholesky(self.observation_covariance), error)
        (path,) = self._follow((state,), (pushed,), lambda state, matrix, push: (_along(state[0], matrix) + push[0],))
        return _along(path, self.observation_matrix) + error

    def _follow(self, state, inputs, move):
        """Return the states of all steps, the axis of time after the batch."""
        batch = tuple(state[0].shape)[: len(state[0].shape) - 1]
        matrices = _over((*batch, self.duration), self.transition_matrix, 2)
        columns = [ops.moveaxis(matrices, -3, 0)]
        for one, like in zip(inputs, state, strict=True):
            rank = len(like.shape) - len(batch)
            one = _over((*batch, self.duration), one, rank)
            columns.append(ops.moveaxis(one, len(batch), 0))

        def step(before, column):
            after = move(before, column[0], column[1:])
            return after, after

        _, path = ops.control.scan(step, state, tuple(columns))
        return tuple(ops.moveaxis(one, 0, len(batch)) for one in path)

    @property
    def mean(self):
        (path,) = self._follow(
            (self.initial_mean,), (self.transition_mean,), lambda state, matrix, push: (_along(state[0], matrix) + push[0],)
        )
        return _over((*self.batch_shape, self.duration), _along(path, self.observation_matrix) + self.observation_mean, 1)

    @property
    def variance(self):
        _, path = self._follow(
            (self.initial_mean, self.initial_covariance),
            (self.transition_mean, self.transition_covariance),
            lambda state, matrix, push: (state[0], ops.matrix_transpose(matrix) @ state[1] @ matrix + push[1]),
        )
        seen = ops.matrix_transpose(self.observation_matrix) @ path @ self.observation_matrix + self.observation_covariance
        return _over((*self.batch_shape, self.duration), ops.diagonal(seen), 1)


def _with_steps(matrix, family):
    (matrix,) = family.promote(matrix)
    if len(matrix.shape) < 2:
        raise ShapeError(f"GaussianHMM: a matrix has shape {tuple(matrix.shape)}; expected at least two axes")
    return ops.expand_dims(matrix, 0) if len(matrix.shape) == 2 else matrix


def _normal(one):
    """Return mean and covariance of a normal distribution of vectors."""
    if hasattr(one, "covariance_matrix") and len(one.event_shape) == 1:
        covariance = one.covariance_matrix
        return ops.broadcast_to(one.loc, tuple(one.shape())), _over(tuple(one.batch_shape), covariance, 2)
    if isinstance(one, Independent) and isinstance(one.base_dist, Normal) and len(one.event_shape) == 1:
        shape = tuple(one.shape())
        return ops.broadcast_to(one.base_dist.loc, shape), ops.diag_embed(ops.broadcast_to(one.base_dist.scale**2, shape))
    raise ShapeError(
        f"GaussianHMM: {one!r} is no multivariate normal; expected MultivariateNormal, or Normal(loc, scale).to_event(1)"
    )


def _noise_with_steps(mean, covariance):
    if len(covariance.shape) == 2:
        return ops.expand_dims(mean, 0), ops.expand_dims(covariance, 0)
    return mean, covariance


def _over(batch, array, event_dim):
    """Return an array broadcast to a batch shape, its last axes as they are."""
    shape = tuple(array.shape)
    target = tuple(batch) + shape[len(shape) - event_dim :]
    return array if target == shape else ops.broadcast_to(array, target)


def _apply(matrix, vector):
    return (matrix @ ops.expand_dims(vector, -1))[..., 0]


def _along(vector, matrix):
    """Return a row times a matrix."""
    return (ops.expand_dims(vector, -2) @ matrix)[..., 0, :]
