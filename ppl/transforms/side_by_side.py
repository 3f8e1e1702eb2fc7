"""One transform for each part of an axis."""

from ppl import constraints, ops
from ppl.constraints.combinations import (
    check_stacking_axis,
    concat_or_reduce,
    from_the_right,
    split_along,
    stack_or_reduce,
    unstack_along,
)
from ppl.errors import ConstraintError, ShapeError
from ppl.transforms.transform import Transform, apply, check_cache_size, log_det_of


class CatTransform(Transform):
    """Each of ``tseq`` on its piece of axis ``dim``.

    :param tseq: the transforms, in order.
    :param dim: the axis of ``x`` that is divided.
    :param lengths: the length of each piece of ``x``; one each by default.
    :raises ConstraintError: if there is no part, or not one length for each.

    >>> from ppl import ops, transforms
    >>> t = transforms.CatTransform([transforms.ExpTransform(), transforms.identity_transform], dim=-1, lengths=[1, 2])
    >>> ops.to_numpy(t(ops.array([0.0, 5.0, 6.0]))).tolist()
    [1.0, 5.0, 6.0]
    """

    def __init__(self, tseq, dim=0, lengths=None, *, cache_size=0):
        check_cache_size(cache_size)
        self.tseq, self.dim = tuple(tseq), int(dim)
        self.lengths = (1,) * len(self.tseq) if lengths is None else tuple(int(length) for length in lengths)
        if not self.tseq or len(self.lengths) != len(self.tseq):
            raise ConstraintError(
                f"CatTransform takes one length for each of one or more transforms, received {len(self.tseq)} transforms and "
                f"lengths {self.lengths}"
            )

    domain = property(lambda self: constraints.cat([part.domain for part in self.tseq], self.dim, self.lengths))
    codomain = property(
        lambda self: constraints.cat([part.codomain for part in self.tseq], self._output_dim, self._output_lengths)
    )
    bijective = property(lambda self: all(part.bijective for part in self.tseq))

    @property
    def _event_dims(self):
        return max(part.domain.event_dim for part in self.tseq), max(part.codomain.event_dim for part in self.tseq)

    @property
    def _output_dim(self):
        return _shifted(self.dim, *self._event_dims)

    @property
    def _output_lengths(self):
        """The lengths of the pieces of ``y``: those of ``x``, unless the parts change the length of the vectors divided."""
        if self.dim == -1 and self._event_dims == (1, 1):
            return tuple(part.forward_shape((length,))[0] for part, length in zip(self.tseq, self.lengths, strict=True))
        return self.lengths

    def __call__(self, x):
        return self.call_with_intermediates(x)[0]

    def call_with_intermediates(self, x):
        """Return ``y``, and what each part can use again."""
        pieces = split_along(x, from_the_right(self.dim, ops.ndim(x)), self.lengths)
        results = [apply(part, piece) for part, piece in zip(self.tseq, pieces, strict=True)]
        outputs = [output for output, _ in results]
        axis = from_the_right(self._output_dim, ops.ndim(outputs[0]))
        return ops.concat(outputs, axis=axis), [own for _, own in results]

    def _inverse(self, y):
        pieces = split_along(y, from_the_right(self._output_dim, ops.ndim(y)), self._output_lengths)
        inputs = [part.inv(piece) for part, piece in zip(self.tseq, pieces, strict=True)]
        return ops.concat(inputs, axis=from_the_right(self.dim, ops.ndim(inputs[0])))

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        axis = from_the_right(self.dim, ops.ndim(x))
        before = split_along(x, axis, self.lengths)
        after = split_along(y, from_the_right(self._output_dim, ops.ndim(y)), self._output_lengths)
        own = [None] * len(self.tseq) if intermediates is None else intermediates
        return concat_or_reduce(_log_dets(self.tseq, before, after, own), axis + self._event_dims[0], sum)

    def forward_shape(self, shape):
        return _joined(self.tseq, "forward_shape", tuple(shape), self.dim, self.lengths, self._output_dim)

    def inverse_shape(self, shape):
        return _joined(self.tseq, "inverse_shape", tuple(shape), self._output_dim, self._output_lengths, self.dim)


class StackTransform(Transform):
    """Each of ``tseq`` on its slice of axis ``dim``.

    :param tseq: the transforms, in order.
    :param dim: the axis of ``x`` that runs over them.
    :raises ConstraintError: if there is no part.

    >>> from ppl import ops, transforms
    >>> t = transforms.StackTransform([transforms.ExpTransform(), transforms.identity_transform], dim=-1)
    >>> ops.to_numpy(t(ops.array([0.0, 5.0]))).tolist()
    [1.0, 5.0]
    """

    def __init__(self, tseq, dim=0, *, cache_size=0):
        check_cache_size(cache_size)
        self.tseq, self.dim = tuple(tseq), int(dim)
        if not self.tseq:
            raise ConstraintError("StackTransform takes one or more transforms, received none")

    domain = property(lambda self: constraints.stack([part.domain for part in self.tseq], self.dim))
    codomain = property(lambda self: constraints.stack([part.codomain for part in self.tseq], self._output_dim))
    bijective = property(lambda self: all(part.bijective for part in self.tseq))

    @property
    def _event_dims(self):
        return max(part.domain.event_dim for part in self.tseq), max(part.codomain.event_dim for part in self.tseq)

    @property
    def _output_dim(self):
        return _shifted(self.dim, *self._event_dims)

    def __call__(self, x):
        return self.call_with_intermediates(x)[0]

    def call_with_intermediates(self, x):
        """Return ``y``, and what each part can use again."""
        axis = from_the_right(self.dim, ops.ndim(x))
        check_stacking_axis(self.dim, axis, self._event_dims[0], ops.shape(x))
        results = [apply(part, piece) for part, piece in zip(self.tseq, unstack_along(x, axis, len(self.tseq)), strict=True)]
        outputs = [output for output, _ in results]
        axis = from_the_right(self._output_dim, ops.ndim(outputs[0]) + 1)
        return ops.stack(outputs, axis=axis), [own for _, own in results]

    def _inverse(self, y):
        slices = unstack_along(y, from_the_right(self._output_dim, ops.ndim(y)), len(self.tseq))
        inputs = [part.inv(piece) for part, piece in zip(self.tseq, slices, strict=True)]
        return ops.stack(inputs, axis=from_the_right(self.dim, ops.ndim(inputs[0]) + 1))

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        axis = from_the_right(self.dim, ops.ndim(x))
        before = unstack_along(x, axis, len(self.tseq))
        after = unstack_along(y, from_the_right(self._output_dim, ops.ndim(y)), len(self.tseq))
        own = [None] * len(self.tseq) if intermediates is None else intermediates
        return stack_or_reduce(_log_dets(self.tseq, before, after, own), axis + self._event_dims[0], sum)

    def forward_shape(self, shape):
        return _restacked(self.tseq, "forward_shape", tuple(shape), self.dim, self._output_dim)

    def inverse_shape(self, shape):
        return _restacked(self.tseq, "inverse_shape", tuple(shape), self._output_dim, self.dim)


def _shifted(dim, event_dim, other_event_dim):
    """Return the axis that stands where ``dim`` does when events have another number of axes."""
    return dim if dim >= 0 or -dim <= event_dim else dim + event_dim - other_event_dim


def _log_dets(parts, before, after, intermediates):
    """Return the log-determinants of the parts, each with as many axes as that of the widest."""
    widest = max(part.domain.event_dim for part in parts)
    return [
        ops.sum_rightmost(log_det_of(part, x, y, own), widest - part.domain.event_dim)
        for part, x, y, own in zip(parts, before, after, intermediates, strict=True)
    ]


def _joined(parts, direction, shape, dim, lengths, other_dim):
    axis = from_the_right(dim, len(shape))
    if shape[axis] != sum(lengths):
        raise ShapeError(f"pieces of lengths {lengths} along axis {axis} do not make up shape {shape}")
    at = len(shape) + axis
    shapes = [
        getattr(part, direction)((*shape[:at], length, *shape[at + 1 :])) for part, length in zip(parts, lengths, strict=True)
    ]
    axis = from_the_right(other_dim, len(shapes[0]))
    _check_equal([piece[:axis] + (piece[axis + 1 :] if axis < -1 else ()) for piece in shapes], shapes)
    at = len(shapes[0]) + axis
    return (*shapes[0][:at], sum(piece[at] for piece in shapes), *shapes[0][at + 1 :])


def _restacked(parts, direction, shape, dim, other_dim):
    axis = from_the_right(dim, len(shape))
    if shape[axis] != len(parts):
        raise ShapeError(f"{len(parts)} parts along axis {axis} do not make up shape {shape}")
    at = len(shape) + axis
    shapes = [getattr(part, direction)(shape[:at] + shape[at + 1 :]) for part in parts]
    _check_equal(shapes, shapes)
    inner = shapes[0]
    at = len(inner) + 1 + from_the_right(other_dim, len(inner) + 1)
    return (*inner[:at], len(parts), *inner[at:])


def _check_equal(comparable, shapes):
    if any(shape != comparable[0] for shape in comparable):
        raise ShapeError(f"parts of shapes {shapes} do not fit side by side; expected them to agree outside the axis divided")
