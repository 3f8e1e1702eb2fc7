"""Vectors to increasing vectors, and simplexes to the cutpoints that divide a logistic distribution into them."""

import math

from ppl import constraints, ops
from ppl.transforms.transform import Transform


class OrderedTransform(Transform):
    r"""From reals to vectors in strictly increasing order.

    .. math:: y_0 = x_0, \quad y_i = y_{i-1} + e^{x_i}

    A gap too small to tell two entries apart is widened to a few roundings. Source: Stan Reference Manual, "Ordered vector".

    >>> from ppl import ops, transforms
    >>> ops.to_numpy(transforms.OrderedTransform()(ops.array([-1.0, 0.0, 0.0]))).tolist()
    [-1.0, 0.0, 1.0]
    """

    domain = constraints.real_vector
    codomain = constraints.ordered_vector

    def __call__(self, x):
        return _running_sum(x[..., :1], ops.exp(x[..., 1:]))

    def _inverse(self, y):
        return ops.concat([y[..., :1], ops.log(y[..., 1:] - y[..., :-1])], axis=-1)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.sum(x[..., 1:], axis=-1)


class PositiveOrderedTransform(Transform):
    r"""From reals to vectors of positive numbers in strictly increasing order.

    .. math:: y_i = \sum_{j \le i} e^{x_j}

    A gap too small to tell two entries apart is widened to a few roundings.

    >>> from ppl import ops, transforms
    >>> ops.to_numpy(transforms.PositiveOrderedTransform()(ops.zeros((3,)))).tolist()
    [1.0, 2.0, 3.0]
    """

    domain = constraints.real_vector
    codomain = constraints.positive_ordered_vector

    def __call__(self, x):
        terms = ops.exp(x)
        return _running_sum(terms[..., :1], terms[..., 1:])

    def _inverse(self, y):
        return ops.log(ops.concat([y[..., :1], y[..., 1:] - y[..., :-1]], axis=-1))

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.sum(x, axis=-1)


def _running_sum(first, gaps):
    """Return ``first`` and what it grows to by each of the positive ``gaps``, strictly increasing after rounding."""
    size = ops.shape(gaps)[-1] + 1
    span = ops.autodiff.stop_gradient(ops.abs(first) + ops.sum(gaps, axis=-1, keepdims=True))
    # Sums by halves err by one rounding of the span for each of log2(size) levels, and so does each of the two neighbours.
    roundings = 4.0 + 2.0 * math.ceil(math.log2(size + 1))
    floor = roundings * float(ops.finfo(first).eps) * span
    return ops.cumsum(ops.concat([first, ops.maximum(gaps, floor)], axis=-1), axis=-1)


class SimplexToOrderedTransform(Transform):
    r"""From the probabilities of ordered categories to the cutpoints of a logistic latent variable.

    .. math:: y_i = a + \operatorname{logit} \sum_{j \le i} x_j

    The log-determinant is that of the map from all coordinates but the last.

    :param anchor_point: the location :math:`a` of the latent variable; broadcasts over cutpoints, one an event if it is an array.

    >>> from ppl import ops, transforms
    >>> y = transforms.SimplexToOrderedTransform()(ops.array([0.3, 0.1, 0.4, 0.2]))
    >>> [round(float(cutpoint), 4) for cutpoint in y]
    [-0.8473, -0.4055, 1.3863]
    """

    domain = constraints.simplex
    codomain = constraints.ordered_vector

    def __init__(self, anchor_point=0.0):
        self.anchor_point = anchor_point

    def _anchor(self):
        if isinstance(self.anchor_point, (int, float)):
            return self.anchor_point
        return ops.expand_dims(ops.array(self.anchor_point), -1)

    def __call__(self, x):
        log_below, log_above = _log_tails(x)
        return log_below - log_above + self._anchor()

    def _inverse(self, y):
        centred = y - self._anchor()
        lower, upper = centred[..., :-1], centred[..., 1:]
        # expit(b) - expit(a) without cancellation in either tail
        between = ops.expit(upper) * ops.expit(-lower) * -ops.expm1(lower - upper)
        return ops.concat([ops.expit(centred[..., :1]), between, ops.expit(-centred[..., -1:])], axis=-1)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        log_below, log_above = _log_tails(x)
        return -ops.sum(log_below + log_above, axis=-1)

    def forward_shape(self, shape):
        return (*ops.broadcast_shapes(tuple(shape[:-1]), ops.shape(self.anchor_point)), shape[-1] - 1)

    def inverse_shape(self, shape):
        return (*ops.broadcast_shapes(tuple(shape[:-1]), ops.shape(self.anchor_point)), shape[-1] + 1)


def _log_tails(x):
    """Return the logarithms of the probability up to each category but the last, and of what is above it."""
    above = ops.flip(ops.cumsum(ops.flip(x[..., 1:], axis=-1), axis=-1), axis=-1)
    return ops.safe_log(ops.cumsum(x[..., :-1], axis=-1)), ops.safe_log(above)
