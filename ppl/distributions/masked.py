"""Distributions that are silent about some of their batch."""

from ppl import ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.score_parts import scale_and_mask
from ppl.distributions.straight_through import relaxed, remember
from ppl.distributions.wrapper import Wrapper
from ppl.errors import ConstraintError
from ppl.ops import autodiff
from ppl.transforms import as_constraint


class MaskedDistribution(Wrapper):
    """``base_dist`` whose log density is zero where ``mask`` is false; draws are unchanged.

    :param base_dist: a distribution.
    :param mask: a bool, or an array of truth values, or of zeros and ones, that broadcasts with the batch shape.
    :raises ConstraintError: if ``mask`` has an entry other than false and true, or zero and one.

    A masked value may be anything, NaN included: it reaches neither the density nor its gradient. The entropy, as the expectation
    of ``-log_prob``, is zero there too.

    >>> from ppl import distributions as dist
    >>> float(dist.MaskedDistribution(dist.Normal(0.0, 1.0), False).log_prob(0.5))
    0.0
    """

    def __init__(self, base_dist, mask, *, validate_args=None):
        batch_shape = tuple(base_dist.batch_shape)
        mask = truth_values(mask, "MaskedDistribution")
        if not isinstance(mask, bool):
            batch_shape = ops.broadcast_shapes(batch_shape, tuple(mask.shape))
            base_dist = base_dist.expand(batch_shape)
        self.base_dist, self._mask = base_dist, mask
        super().__init__(batch_shape, tuple(base_dist.event_shape), validate_args=validate_args)

    def log_prob(self, value):
        if self._mask is False:
            shape = ops.broadcast_shapes(tuple(self.batch_shape), tuple(value.shape[: value.ndim - self.event_dim]))
            return ops.zeros(shape)
        return scale_and_mask(self.base_dist.log_prob(feasible(self, value, self._mask)), mask=self._mask)

    def _current_batch_shape(self):
        return tuple(self.base_dist.batch_shape)

    def score_parts(self, value):
        return self.base_dist.score_parts(to_be_scored(self, value, self._mask)).scale_and_mask(mask=self._mask)

    def entropy(self):
        return scale_and_mask(self.base_dist.entropy(), mask=self._mask)

    def expand(self, batch_shape):
        mask = self._mask if isinstance(self._mask, bool) else ops.broadcast_to(self._mask, tuple(batch_shape))
        return MaskedDistribution(self.base_dist.expand(batch_shape), mask)

    def __repr__(self):
        return f"MaskedDistribution({self.base_dist!r})"


def truth_values(mask, family):
    """Return ``mask`` as a bool or as an array of them; entries of arrays are judged outside compiled code.

    :raises ConstraintError: if an entry is neither a truth value nor zero or one.
    """
    if isinstance(mask, bool):
        return mask
    if isinstance(mask, (int, float)) and mask in (0, 1):
        return bool(mask)
    mask = mask if ops.is_array(mask) else ops.array(mask)
    if ops.dtype_name(mask) == "bool":
        return mask
    if not autodiff.is_tracing() and not bool(ops.all((mask == 0) | (mask == 1))):
        raise ConstraintError(
            f"{family}: a mask holds truth values, or zeros and ones; received an array of dtype {ops.dtype_name(mask)} with "
            "other entries; try mask > 0, or poutine.scale to weigh densities"
        )
    return ops.astype(mask, "bool")


def feasible(fn, value, mask):
    """Return ``value`` with a point of the support of ``fn`` in place of the elements that ``mask`` leaves out.

    A gradient through ``where`` is NaN if that of the side not chosen is, so a density that will be masked is taken there.
    """
    if mask is None or mask is True:
        return value
    try:
        point = as_constraint(fn.support).feasible_like(value)
    except (NotImplementedError, AttributeError):
        return value
    if mask is False:
        return point
    event_dim = len(fn.event_shape)
    mask = ops.reshape(mask, (*ops.shape(mask), *(1,) * event_dim)) if event_dim else mask
    result, soft = ops.where(mask, value, point), relaxed(value)
    if soft is not None:
        # Where the masked point is a corner, the relaxed draw stays: it is as good as any other point.
        remember(result, soft)
    return result


def has_score_function(fn):
    """Return whether reparameterised draws of ``fn`` have a score function all the same, as those of a ``Rejector`` do."""
    return getattr(fn, "has_score_function", False)


def to_be_scored(fn, value, mask):
    """Return ``value`` as :meth:`Distribution.score_parts` of a masked ``fn`` should see it.

    The score function counts at the value drawn, masked or not, so there only values that cannot be draws are replaced.
    """
    scored = not fn.has_rsample or has_score_function(fn)
    if mask is None or mask is True or not scored:
        return feasible(fn, value, mask)
    return feasible(fn, value, as_constraint(fn.support).check(value) | mask)


Distribution.wrappers["masked"] = MaskedDistribution
