"""Einstein summation: this module is itself the function, ``ops.einsum("ij,jk->ik", a, b)``.

>>> from ppl import ops
>>> float(ops.einsum("i,i->", ops.array([1.0, 2.0]), ops.array([3.0, 4.0])))
11.0

:func:`contract` is for many operands: it works the order of the pairwise sums out first, by ``opt_einsum``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import opt_einsum

from ppl.errors import InferenceError, ShapeError
from ppl.ops import linalg, shaping
from ppl.ops.semiring import LOG_SUM_PRODUCT, MAX_PRODUCT, SUM_PRODUCT, Semiring

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Libraries by name mean plain sums, whichever is active; the names with dots are those of older programs.
SEMIRINGS = {
    **dict.fromkeys(("sum", "auto", "torch", "jax", "numpy", "pyro"), SUM_PRODUCT),
    **dict.fromkeys(("log", "pyro.ops.einsum.torch_log"), LOG_SUM_PRODUCT),
    **dict.fromkeys(("map", "pyro.ops.einsum.torch_map"), MAX_PRODUCT),
}


def contract_expression(
    equation: str, *shapes: Sequence[int], cache_path: bool = True, optimize: Any = "auto", backend: str = "sum"
) -> Expression:
    """Return a function of arrays of these shapes that sums their products as ``equation`` says, the order worked out now.

    :param equation: inputs, an arrow and one output: ``"ab,bc->ac"``.
    :param shapes: the shape of each input.
    :param cache_path: whether to keep the order for the next expression of this equation and these shapes.
    :param optimize: how to find the order: ``"auto"``, ``"optimal"``, ``"greedy"`` or whatever else ``opt_einsum`` takes.
    :param backend: ``"sum"``, ``"log"`` for logarithms or ``"map"`` for the largest in place of the sum.
    :raises ShapeError: if shapes do not fit the equation or each other.
    :raises InferenceError: for an unknown backend.

    >>> from ppl import ops
    >>> expression = ops.einsum.contract_expression("ab,bc,c->a", (2, 3), (3, 4), (4,))
    >>> [float(x) for x in expression(ops.ones((2, 3)), ops.ones((3, 4)), ops.ones(4))]
    [12.0, 12.0]
    """
    sizes = tuple(tuple(int(size) for size in shape) for shape in shapes)
    cached = cache_path and isinstance(optimize, str | int | bool)
    steps = (_steps if cached else _steps.__wrapped__)(equation.replace(" ", ""), sizes, optimize)
    return Expression(equation, sizes, steps, semiring_of(backend))


def contract(equation: str, *operands: Any, cache_path: bool = True, optimize: Any = "auto", backend: str = "sum") -> Any:
    """Return the sum of products of arrays that ``equation`` describes, by pairs in an order of low cost.

    :param equation: inputs, an arrow and one output: ``"ab,bc->ac"``.
    :param operands: arrays.
    :param cache_path: whether to keep the order for the next call with this equation and these shapes.
    :param optimize: how to find the order, see :func:`contract_expression`.
    :param backend: ``"sum"``, ``"log"`` for logarithms or ``"map"`` for the largest in place of the sum.
    :raises ShapeError: if shapes do not fit the equation or each other.
    :raises InferenceError: for an unknown backend.

    >>> from ppl import ops
    >>> chain = ops.einsum.contract("ab,bc,cd->ad", ops.ones((2, 3)), ops.ones((3, 4)), ops.ones((4, 2)))
    >>> ops.to_numpy(chain).tolist()
    [[12.0, 12.0], [12.0, 12.0]]
    """
    arrays = [shaping.array(operand) for operand in operands]
    shapes = [shaping.shape(array) for array in arrays]
    return contract_expression(equation, *shapes, cache_path=cache_path, optimize=optimize, backend=backend)(*arrays)


def semiring_of(backend: str) -> Semiring:
    """Return the semiring that a ``backend`` argument names.

    :raises InferenceError: if it names none.
    """
    if backend not in SEMIRINGS:
        raise InferenceError(f"a contraction has no backend {backend!r}; expected one of {', '.join(map(repr, SEMIRINGS))}")
    return SEMIRINGS[backend]


class Expression:
    """A contraction whose order is known, a function of arrays.

    :param steps: for each pairwise sum the positions of its operands, which leave the list, and its own equation, whose result
        is appended to it.
    """

    def __init__(
        self, equation: str, shapes: Sequence[tuple[int, ...]], steps: Sequence[tuple[tuple[int, ...], str]], semiring: Semiring
    ) -> None:
        self.equation = equation
        self.shapes = tuple(shapes)
        self.steps = tuple(steps)
        self.semiring = semiring

    def __call__(self, *operands: Any) -> Any:
        arrays = [shaping.array(operand) for operand in operands]
        shapes = tuple(shaping.shape(array) for array in arrays)
        if shapes != self.shapes:
            raise ShapeError(f"the contraction {self.equation!r} was made for shapes {self.shapes}, got {shapes}")
        for positions, equation in self.steps:
            arrays.append(pairwise(equation, [arrays.pop(position) for position in positions], self.semiring))
        return arrays[0]

    def __repr__(self) -> str:
        return f"Expression({self.equation!r}, {self.shapes}, {self.semiring.name})"


@lru_cache(maxsize=1024)
def _steps(equation: str, shapes: tuple[tuple[int, ...], ...], optimize: Any) -> tuple[tuple[tuple[int, ...], str], ...]:
    try:
        _, information = opt_einsum.contract_path(equation, *shapes, shapes=True, optimize=optimize)
    except (ValueError, KeyError) as error:
        raise ShapeError(f"the contraction {equation!r} does not fit operands of shapes {shapes}: {error}") from error
    return tuple((tuple(step[0]), step[2]) for step in information.contraction_list)


def pairwise(equation: str, operands: Sequence[Any], semiring: Semiring) -> Any:
    """Return the sum of products of a few arrays, all at once.

    :raises ShapeError: if a symbol stands twice in one input and the sums are not plain.
    """
    inputs, output = equation.split("->")
    terms = inputs.split(",")
    if semiring is SUM_PRODUCT:
        letters = dict(zip(dict.fromkeys(equation.replace(",", "").replace("->", "")), LETTERS, strict=False))
        relabelled = ",".join("".join(letters[name] for name in term) for term in terms)
        return linalg.einsum(f"{relabelled}->{''.join(letters[name] for name in output)}", *operands)
    axes = dict.fromkeys([*output, *(name for term in terms for name in term)])
    product = None
    for term, operand in zip(terms, operands, strict=True):
        factor = aligned(operand, term, axes)
        product = factor if product is None else semiring.times(product, factor)
    summed = tuple(range(len(output), len(axes)))
    return semiring.plus(product, summed) if summed else product


def aligned(array: Any, dims: str, axes: Sequence[str] | dict[str, None]) -> Any:
    """Return ``array`` with its axes in the order of ``axes``, of length one where it has none.

    :raises ShapeError: if a symbol stands twice.
    """
    if len(set(dims)) < len(dims):
        raise ShapeError(f"a symbol stands twice in {dims!r}; expected distinct symbols; try ops.diagonal of the operand first")
    shape = shaping.shape(array)
    order = tuple(dims.index(name) for name in axes if name in dims)
    if order != tuple(range(len(order))):
        array = shaping.permute_dims(array, order)
    return shaping.reshape(array, tuple(shape[dims.index(name)] if name in dims else 1 for name in axes))


class _CallableModule(ModuleType):
    def __call__(self, equation, *operands):
        """Return the Einstein summation of ``operands``."""
        return linalg.einsum(equation, *operands)


sys.modules[__name__].__class__ = _CallableModule
