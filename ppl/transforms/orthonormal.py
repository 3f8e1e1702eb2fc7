"""Maps that keep lengths: the discrete cosine and Haar transforms, and vectors whose entries sum to zero."""

import math

from ppl import constraints, ops
from ppl.errors import ShapeError
from ppl.transforms.transform import Transform, check_cache_size


class _AlongAxis(Transform):
    """From reals to reals along the negative axis ``dim``; all axes from it on form one event."""

    domain = codomain = property(lambda self: constraints.independent(constraints.real, -self.dim))

    def __init__(self, dim=-1, *, cache_size=0):
        check_cache_size(cache_size)
        if dim >= 0:
            raise ShapeError(f"{type(self).__name__} counts its axis from the right; expected dim < 0, received {dim}")
        self.dim = dim

    def __call__(self, x):
        return ops.moveaxis(self._forward(ops.moveaxis(x, self.dim, -1)), -1, self.dim)

    def _inverse(self, y):
        return ops.moveaxis(self._backward(ops.moveaxis(y, self.dim, -1)), -1, self.dim)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.sum_rightmost(ops.zeros_like(x), -self.dim)


class DiscreteCosineTransform(_AlongAxis):
    r"""The orthonormal discrete cosine transform of type II along an axis, with weights of unit product.

    .. math:: y_k \propto (k + \tfrac12)^s \sqrt{\tfrac{2 - [k = 0]}{n}} \sum_j x_j \cos \frac{\pi (2 j + 1) k}{2 n}

    :param dim: a negative number: the axis; all axes from it on form one event.
    :param smooth: the exponent :math:`s`: 0 keeps lengths, and 1 turns Brownian into white noise.
    :raises ShapeError: if ``dim`` is not negative.

    >>> from ppl import ops, transforms
    >>> [round(float(entry), 4) for entry in transforms.DiscreteCosineTransform()(ops.array([1.0, 2.0, 4.0]))]
    [4.0415, -2.1213, 0.4082]
    """

    def __init__(self, dim=-1, smooth=0.0, *, cache_size=0):
        super().__init__(dim, cache_size=cache_size)
        self.smooth = float(smooth)

    def _forward(self, x):
        n = ops.shape(x)[-1]
        return (x @ _cosines(n, x.dtype)) * self._weights(n, x.dtype)

    def _backward(self, y):
        n = ops.shape(y)[-1]
        return (y / self._weights(n, y.dtype)) @ ops.matrix_transpose(_cosines(n, y.dtype))

    def _weights(self, n, dtype):
        log_weights = self.smooth * ops.log(ops.arange(n, dtype=dtype) + 0.5)
        return ops.exp(log_weights - ops.mean(log_weights))


def _cosines(n, dtype):
    """Return the orthonormal matrix whose column ``k`` is the wave of ``k`` half periods."""
    position, frequency = 2.0 * ops.arange(n, dtype=dtype) + 1.0, ops.arange(n, dtype=dtype)
    waves = ops.cos((math.pi / (2 * n)) * ops.expand_dims(position, -1) * frequency)
    scale = ops.where(frequency == 0, ops.full_like(frequency, n**-0.5), ops.full_like(frequency, (2.0 / n) ** 0.5))
    return waves * scale


class HaarTransform(_AlongAxis):
    """The orthonormal discrete Haar transform along an axis of any size: coarse entries first.

    :param dim: a negative number: the axis; all axes from it on form one event.
    :param flip: whether to reverse the axis first.
    :raises ShapeError: if ``dim`` is not negative.

    >>> from ppl import ops, transforms
    >>> [round(float(entry), 4) for entry in transforms.HaarTransform()(ops.array([1.0, 3.0, 2.0, 2.0]))]
    [4.0, 0.0, -1.4142, 0.0]
    """

    def __init__(self, dim=-1, flip=False, *, cache_size=0):
        super().__init__(dim, cache_size=cache_size)
        self.flip = bool(flip)

    def _forward(self, x):
        coarse, finer = ops.flip(x, axis=-1) if self.flip else x, []
        while ops.shape(coarse)[-1] >= 2:
            even_size = ops.shape(coarse)[-1] // 2 * 2
            even, odd, left_over = coarse[..., 0:even_size:2], coarse[..., 1:even_size:2], coarse[..., even_size:]
            finer = [(even - odd) * math.sqrt(0.5), left_over, *finer]
            coarse = (even + odd) * math.sqrt(0.5)
        return ops.concat([coarse, *finer], axis=-1)

    def _backward(self, y):
        sizes = [ops.shape(y)[-1]]
        while sizes[-1] >= 2:
            sizes.append(sizes[-1] // 2)
        fine = y[..., : sizes[-1]]
        for coarse_size, size in zip(sizes[:0:-1], sizes[-2::-1], strict=True):
            difference, left_over = y[..., coarse_size : 2 * coarse_size], y[..., 2 * coarse_size : size]
            pairs = ops.stack([fine + difference, fine - difference], axis=-1) * math.sqrt(0.5)
            pairs = ops.reshape(pairs, (*ops.shape(pairs)[:-2], 2 * coarse_size))
            fine = ops.concat([pairs, left_over], axis=-1)
        return ops.flip(fine, axis=-1) if self.flip else fine


class ZeroSumTransform(Transform):
    r"""From arrays to those one longer along each of the last axes, whose sums along these axes are zero.

    .. math:: y_i = x_i - \frac{s}{\sqrt n + n} \ (i < n), \quad y_n = -\frac{s}{\sqrt n}, \quad s = \sum_{i < n} x_i

    Lengths and angles are kept, so the log-determinant is zero. Source: the columns are those of a Householder reflection that
    takes the last axis to the diagonal; Golub and Van Loan 2013, section 5.1.

    :param transform_ndims: the number of axes.

    >>> from ppl import ops, transforms
    >>> [round(float(entry), 4) for entry in transforms.ZeroSumTransform()(ops.array([1.0, 2.0]))]
    [0.366, 1.366, -1.7321]
    """

    def __init__(self, transform_ndims=1, *, cache_size=0):
        check_cache_size(cache_size)
        self.transform_ndims = transform_ndims

    domain = property(lambda self: constraints.independent(constraints.real, self.transform_ndims))
    codomain = property(lambda self: constraints.zero_sum(self.transform_ndims))

    def __call__(self, x):
        for axis in range(-self.transform_ndims, 0):
            n = ops.shape(x)[axis] + 1
            total = ops.sum(x, axis=axis, keepdims=True)
            x = ops.concat([x - total / (math.sqrt(n) + n), -total / math.sqrt(n)], axis=axis)
        return x

    def _inverse(self, y):
        for axis in range(-self.transform_ndims, 0):
            n = ops.shape(y)[axis]
            y = ops.moveaxis(y, axis, -1)
            total = -y[..., -1:] * math.sqrt(n)
            y = ops.moveaxis(y[..., :-1] + total / (math.sqrt(n) + n), -1, axis)
        return y

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return ops.sum_rightmost(ops.zeros_like(x), self.transform_ndims)

    def forward_shape(self, shape):
        split = len(shape) - self.transform_ndims
        return (*shape[:split], *(size + 1 for size in shape[split:]))

    def inverse_shape(self, shape):
        split = len(shape) - self.transform_ndims
        return (*shape[:split], *(size - 1 for size in shape[split:]))
