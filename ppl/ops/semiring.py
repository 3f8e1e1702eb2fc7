"""Semirings: what "sum" and "product" mean when factors are contracted.

Elimination of variables needs a commutative sum, a product that distributes over it, and products along whole axes (plates); the
same plan then gives evidences (sum-product), log evidences (log-sum-product) and most probable assignments (max-product, in log
space). Sampling is log-sum-product forward and draws backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ppl.ops import elementwise, reduce, shaping, special


@dataclass(frozen=True)
class Semiring:
    """A sum and a product of arrays.

    :param name: shown in errors.
    :param plus: ``plus(x, axis)``, the sum along one axis or a tuple of them.
    :param times: ``times(x, y)``, the broadcast product.
    :param product: ``product(x, axis)``, the product along one axis or a tuple of them.
    :param cumulative: ``cumulative(x, axis)``, the products of all elements up to each along one axis.
    :param power: ``power(x, exponent)``, the product of ``exponent`` equal elements for any positive number.
    :param one: the neutral element of ``times``.
    :param zero: the neutral element of ``plus``.
    """

    name: str
    plus: Callable[[Any, Any], Any]
    times: Callable[[Any, Any], Any]
    product: Callable[[Any, Any], Any]
    cumulative: Callable[[Any, Any], Any]
    power: Callable[[Any, Any], Any]
    one: float
    zero: float

    def others(self, x: Any, axis: int) -> Any:
        """Return, at each place along ``axis``, the product of the elements at all other places, without a division.

        >>> from ppl import ops
        >>> from ppl.ops.semiring import SUM_PRODUCT
        >>> [float(y) for y in SUM_PRODUCT.others(ops.array([2.0, 0.0, 5.0]), 0)]
        [0.0, 10.0, 0.0]
        """
        along = shaping.moveaxis(x, axis, 0)
        unit = shaping.full_like(along[:1], self.one)
        before = shaping.concat([unit, self.cumulative(along, 0)[:-1]], axis=0)
        after = shaping.concat([unit, self.cumulative(shaping.flip(along, 0), 0)[:-1]], axis=0)
        return shaping.moveaxis(self.times(before, shaping.flip(after, 0)), 0, axis)


SUM_PRODUCT = Semiring(
    "sum-product",
    plus=lambda x, axis: reduce.sum(x, axis=axis),
    times=elementwise.multiply,
    product=lambda x, axis: reduce.prod(x, axis=axis),
    cumulative=reduce.cumprod,
    power=elementwise.power,
    one=1.0,
    zero=0.0,
)
"""Plain sums of products."""

LOG_SUM_PRODUCT = Semiring(
    "log-sum-product",
    plus=lambda x, axis: special.logsumexp(x, axis=axis),
    times=elementwise.add,
    product=lambda x, axis: reduce.sum(x, axis=axis),
    cumulative=reduce.cumsum,
    power=elementwise.multiply,
    one=0.0,
    zero=-float("inf"),
)
"""Sums of products of numbers that are given and returned as logarithms; gradients are finite where an element is ``-inf``."""

MAX_PRODUCT = replace(LOG_SUM_PRODUCT, name="max-product", plus=lambda x, axis: reduce.max(x, axis=axis))
"""Largest products of numbers that are given and returned as logarithms."""
