"""Functions that act on each element: arithmetic, comparison, rounding. Operands broadcast; Python scalars are accepted.

Names and meanings follow the Python array API standard. Operators (``+ - * / ** @ < ==``) work on arrays directly.

>>> from ppl import ops
>>> [float(x) for x in ops.where(ops.array([True, False]), 1.0, ops.array([2.0, 3.0]))]
[1.0, 3.0]
"""

from ppl.ops.dispatch import dispatched


@dispatched("ops")
def abs(x):
    """Return the absolute value of each element."""


@dispatched("ops")
def negative(x):
    """Return ``-x``."""


@dispatched("ops")
def sign(x):
    """Return -1, 0 or 1 by the sign of each element; the gradient is zero."""


@dispatched("ops")
def exp(x):
    """Return ``e**x``."""


@dispatched("ops")
def expm1(x):
    """Return ``e**x - 1`` without cancellation near zero."""


@dispatched("ops")
def log(x):
    """Return the natural logarithm; ``-inf`` at zero, NaN below."""


@dispatched("ops")
def log1p(x):
    """Return ``log(1 + x)`` without cancellation near zero."""


@dispatched("ops")
def sqrt(x):
    """Return the square root; NaN below zero."""


@dispatched("ops")
def square(x):
    """Return ``x * x``."""


@dispatched("ops")
def reciprocal(x):
    """Return ``1 / x``."""


@dispatched("ops")
def sin(x):
    """Return the sine of an angle in radians."""


@dispatched("ops")
def cos(x):
    """Return the cosine of an angle in radians."""


@dispatched("ops")
def tan(x):
    """Return the tangent of an angle in radians."""


@dispatched("ops")
def asin(x):
    """Return the arc sine in radians."""


@dispatched("ops")
def acos(x):
    """Return the arc cosine in radians."""


@dispatched("ops")
def atan(x):
    """Return the arc tangent in radians."""


@dispatched("ops")
def atan2(x1, x2):
    """Return the angle in radians of the point ``(x2, x1)``, in ``(-pi, pi]``."""


@dispatched("ops")
def sinh(x):
    """Return the hyperbolic sine."""


@dispatched("ops")
def cosh(x):
    """Return the hyperbolic cosine."""


@dispatched("ops")
def tanh(x):
    """Return the hyperbolic tangent."""


@dispatched("ops")
def floor(x):
    """Round down; the dtype stays and the gradient is zero."""


@dispatched("ops")
def ceil(x):
    """Round up; the dtype stays and the gradient is zero."""


@dispatched("ops")
def round(x):
    """Round to the nearest integer, halves to even; the dtype stays and the gradient is zero."""


@dispatched("ops")
def add(x1, x2):
    """Return ``x1 + x2``."""


@dispatched("ops")
def subtract(x1, x2):
    """Return ``x1 - x2``."""


@dispatched("ops")
def multiply(x1, x2):
    """Return ``x1 * x2``."""


@dispatched("ops")
def divide(x1, x2):
    """Return ``x1 / x2`` in floating point."""


@dispatched("ops")
def power(x1, x2):
    """Return ``x1 ** x2``."""


@dispatched("ops")
def remainder(x1, x2):
    """Return the remainder of division, with the sign of ``x2``."""


@dispatched("ops")
def maximum(x1, x2):
    """Return the larger of each pair; NaN wins; at a tie the gradient is shared."""


@dispatched("ops")
def minimum(x1, x2):
    """Return the smaller of each pair; NaN wins; at a tie the gradient is shared."""


@dispatched("ops")
def clip(x, min=None, max=None):
    """Limit ``x`` to ``[min, max]``; either bound may be ``None``. The gradient is zero strictly outside."""


@dispatched("ops")
def where(condition, x1, x2):
    """Choose ``x1`` where ``condition`` holds, else ``x2``; both are evaluated and broadcast."""


@dispatched("ops")
def logaddexp(x1, x2):
    """Return ``log(exp(x1) + exp(x2))`` without overflow; right for two ``-inf``."""


@dispatched("ops")
def nan_to_num(x, nan=0.0, posinf=None, neginf=None):
    """Replace NaN and, where a replacement is given or by the largest finite number, the infinities."""


@dispatched("ops")
def isnan(x):
    """Return whether each element is NaN."""


@dispatched("ops")
def isinf(x):
    """Return whether each element is infinite."""


@dispatched("ops")
def isfinite(x):
    """Return whether each element is neither NaN nor infinite."""


@dispatched("ops")
def equal(x1, x2):
    """Return ``x1 == x2`` as booleans."""


@dispatched("ops")
def not_equal(x1, x2):
    """Return ``x1 != x2`` as booleans."""


@dispatched("ops")
def less(x1, x2):
    """Return ``x1 < x2`` as booleans."""


@dispatched("ops")
def less_equal(x1, x2):
    """Return ``x1 <= x2`` as booleans."""


@dispatched("ops")
def greater(x1, x2):
    """Return ``x1 > x2`` as booleans."""


@dispatched("ops")
def greater_equal(x1, x2):
    """Return ``x1 >= x2`` as booleans."""


@dispatched("ops")
def logical_and(x1, x2):
    """Return whether both hold."""


@dispatched("ops")
def logical_or(x1, x2):
    """Return whether at least one holds."""


@dispatched("ops")
def logical_not(x):
    """Return the negation of a condition."""
