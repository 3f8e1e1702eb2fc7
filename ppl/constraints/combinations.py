"""Sets made of others: batch axes judged together, and parts side by side along an axis."""

from ppl import ops
from ppl.constraints.constraint import Constraint
from ppl.errors import ConstraintError, ShapeError


class independent(Constraint):
    """A base constraint whose ``reinterpreted_batch_ndims`` rightmost batch axes are judged together.

    :raises ConstraintError: if the number of axes is negative.

    >>> from ppl import constraints, ops
    >>> bool(constraints.independent(constraints.positive, 1).check(ops.array([1.0, -1.0])))
    False
    """

    def __init__(self, base_constraint, reinterpreted_batch_ndims):
        if reinterpreted_batch_ndims < 0:
            raise ConstraintError(f"independent() takes a number of axes >= 0, got {reinterpreted_batch_ndims}")
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims
        self.event_dim = base_constraint.event_dim + reinterpreted_batch_ndims
        self.is_discrete = base_constraint.is_discrete

    def check(self, value):
        return _all_rightmost(self.base_constraint.check(value), self.reinterpreted_batch_ndims)

    def feasible_like(self, prototype):
        return self.base_constraint.feasible_like(prototype)

    def __repr__(self) -> str:
        return f"independent({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class cat(Constraint):
    """Values whose pieces along axis ``dim`` lie in one set each.

    :param cseq: the constraints, in order.
    :param dim: the axis that is divided.
    :param lengths: the length of each piece; one each by default.
    :raises ConstraintError: if there is no part, or not one length for each.

    >>> from ppl import constraints, ops
    >>> parts = constraints.cat([constraints.positive, constraints.real], dim=-1, lengths=[1, 2])
    >>> ops.to_numpy(parts.check(ops.array([-1.0, -1.0, 0.0]))).tolist()
    [False, True, True]
    """

    def __init__(self, cseq, dim=0, lengths=None):
        self.cseq, self.dim = tuple(cseq), int(dim)
        self.lengths = (1,) * len(self.cseq) if lengths is None else tuple(int(length) for length in lengths)
        if not self.cseq or len(self.lengths) != len(self.cseq):
            raise ConstraintError(
                f"cat() takes one length for each of one or more constraints, received {len(self.cseq)} constraints and "
                f"lengths {self.lengths}"
            )

    event_dim = property(lambda self: max(part.event_dim for part in self.cseq))
    is_discrete = property(lambda self: any(part.is_discrete for part in self.cseq))

    def check(self, value):
        axis = from_the_right(self.dim, ops.ndim(value))
        pieces = split_along(value, axis, self.lengths)
        holds = [
            _all_rightmost(part.check(piece), self.event_dim - part.event_dim)
            for part, piece in zip(self.cseq, pieces, strict=True)
        ]
        return concat_or_reduce(holds, axis + self.event_dim, _every_one)

    def feasible_like(self, prototype):
        axis = from_the_right(self.dim, ops.ndim(prototype))
        pieces = split_along(prototype, axis, self.lengths)
        return ops.concat([part.feasible_like(piece) for part, piece in zip(self.cseq, pieces, strict=True)], axis=axis)

    def __repr__(self) -> str:
        return f"cat({list(self.cseq)}, dim={self.dim}, lengths={list(self.lengths)})"


class stack(Constraint):
    """Values whose slices along axis ``dim`` lie in one set each.

    :param cseq: the constraints, in order.
    :param dim: the axis that runs over them.
    :raises ConstraintError: if there is no part.

    >>> from ppl import constraints, ops
    >>> pair = constraints.stack([constraints.positive, constraints.real], dim=-1)
    >>> ops.to_numpy(pair.check(ops.array([-1.0, -1.0]))).tolist()
    [False, True]
    """

    def __init__(self, cseq, dim=0):
        self.cseq, self.dim = tuple(cseq), int(dim)
        if not self.cseq:
            raise ConstraintError("stack() takes one or more constraints, received none")

    is_discrete = property(lambda self: any(part.is_discrete for part in self.cseq))

    @property
    def event_dim(self):
        """The axes of the widest part, and the new axis if it stands among them."""
        widest = max(part.event_dim for part in self.cseq)
        return widest + (-widest <= self.dim < 0)

    def check(self, value):
        axis = from_the_right(self.dim, ops.ndim(value))
        widest = max(part.event_dim for part in self.cseq)
        check_stacking_axis(self.dim, axis, widest, ops.shape(value))
        slices = unstack_along(value, axis, len(self.cseq))
        holds = [
            _all_rightmost(part.check(piece), widest - part.event_dim) for part, piece in zip(self.cseq, slices, strict=True)
        ]
        return stack_or_reduce(holds, axis + widest, _every_one)

    def feasible_like(self, prototype):
        axis = from_the_right(self.dim, ops.ndim(prototype))
        slices = unstack_along(prototype, axis, len(self.cseq))
        return ops.stack([part.feasible_like(piece) for part, piece in zip(self.cseq, slices, strict=True)], axis=axis)

    def __repr__(self) -> str:
        return f"stack({list(self.cseq)}, dim={self.dim})"


def from_the_right(dim, ndim):
    """Return the axis ``dim`` of an array of ``ndim`` axes as a negative number.

    :raises ShapeError: if there is no such axis.
    """
    if not -ndim <= dim < ndim:
        raise ShapeError(f"there is no axis {dim} in {ndim} dimensions; expected {-ndim} to {ndim - 1}")
    return dim - ndim if dim >= 0 else dim


def split_along(value, axis, lengths):
    """Return the pieces of ``value`` along a negative ``axis``.

    :raises ShapeError: if the lengths do not add up to the size of the axis.
    """
    if ops.shape(value)[axis] != sum(lengths):
        raise ShapeError(f"pieces of lengths {tuple(lengths)} along axis {axis} do not make up shape {tuple(ops.shape(value))}")
    after = (slice(None),) * (-axis - 1)
    ends = [sum(lengths[: position + 1]) for position in range(len(lengths))]
    return [value[(..., slice(end - length, end), *after)] for end, length in zip(ends, lengths, strict=True)]


def unstack_along(value, axis, count):
    """Return the ``count`` slices of ``value`` along a negative ``axis``, which they lack.

    :raises ShapeError: if the axis has another size.
    """
    if ops.shape(value)[axis] != count:
        raise ShapeError(f"{count} parts along axis {axis} do not make up shape {tuple(ops.shape(value))}")
    after = (slice(None),) * (-axis - 1)
    return [value[(..., position, *after)] for position in range(count)]


def check_stacking_axis(dim, axis, event_dim, shape):
    """Refuse an axis that is counted from the left yet stands among the axes of one event.

    :raises ShapeError: if so.
    """
    if dim >= 0 and -axis <= event_dim:
        raise ShapeError(f"dim={dim} of shape {tuple(shape)} stands inside an event of the parts; try dim={axis}")


def concat_or_reduce(terms, axis, reduce):
    """Join what each piece gave, one entry an event: along a negative ``axis``, or with ``reduce`` if events were divided."""
    return ops.concat(terms, axis=axis) if axis < 0 else reduce(terms)


def stack_or_reduce(terms, axis, reduce):
    """Join what each slice gave as :func:`concat_or_reduce` does."""
    return ops.stack(terms, axis=axis) if axis < 0 else reduce(terms)


def _all_rightmost(holds, num_dims):
    return ops.all(holds, axis=tuple(range(-num_dims, 0))) if num_dims else holds


def _every_one(conditions):
    together = conditions[0]
    for condition in conditions[1:]:
        together = together & condition
    return together
