"""Sums of products of plated arrays, with several outputs: the reference's ``pyro.ops.contract``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ppl.errors import ExponentialContraction, InferenceError, ShapeError
from ppl.ops import elementwise, shaping, special
from ppl.ops.einsum import SEMIRINGS, aligned, semiring_of
from ppl.ops.elimination import backward, forward
from ppl.ops.elimination.plan import make_plan, sizes_of
from ppl.ops.semiring import LOG_SUM_PRODUCT, Semiring

SAMPLE = ("sample", "pyro.ops.einsum.torch_sample")
MARGINAL = ("marginal", "pyro.ops.einsum.torch_marginal")


@dataclass(frozen=True)
class _Product:
    """A product of plated arrays that is to be summed.

    :param factors: arrays and their symbols.
    :param plates: the symbols over which products are taken.
    :param sizes: the length of each symbol.
    :param semiring: what stands for sum and product.
    :param cache: intermediate results.
    :param modulo_total: whether each slice of a plate of a result may be scaled by any number.
    """

    factors: list[tuple[Any, str]]
    plates: str
    sizes: Mapping[str, int]
    semiring: Semiring = LOG_SUM_PRODUCT
    cache: dict[Any, Any] = field(default_factory=dict)
    modulo_total: bool = False

    @property
    def arrays(self) -> list[Any]:
        return [array for array, _ in self.factors]

    @property
    def dtype(self) -> str:
        return shaping.dtype_name(self.factors[0][0])

    def times(self, factors: list[tuple[Any, str]]) -> _Product:
        """Return the product with some more factors."""
        return replace(self, factors=self.factors + factors)

    def plan(self, kept: str = "") -> Any:
        """Return how to sum over all symbols but plates and ``kept``."""
        dims = tuple(dims for _, dims in self.factors)
        shapes = tuple(shaping.shape(array) for array in self.arrays)
        return make_plan(dims, shapes, frozenset(self.sizes).difference(self.plates, kept), frozenset(self.plates))


def einsum(
    equation: str,
    *operands: Any,
    plates: str = "",
    backend: str = "sum",
    cache: dict | None = None,
    modulo_total: bool = False,
) -> tuple[Any, ...]:
    r"""Return sums of products of plated arrays, by tensor variable elimination.

    :param equation: inputs, an arrow and outputs, all separated by commas: ``"ab,bc->a,c"``.
    :param operands: an array for each input.
    :param plates: the symbols over which products are taken. A sum symbol that shares a plate with all inputs that it stands in
        is another variable in each slice of the plate.
    :param backend: ``"sum"`` (or a library's name) for plain arrays; ``"log"`` for logarithms; ``"map"`` for the largest product
        of exponentials in place of their sum; ``"marginal"`` for logarithms normalized over the sum symbols of each output;
        ``"sample"`` for one joint draw, of which each output, a single sum symbol with its plates, shows the indices.
    :param cache: a dict that keeps intermediate results for other calls with the same arrays.
    :param modulo_total: allow each slice of a plate of a result to be scaled by any number, which can save work.
    :raises ShapeError: if sizes do not fit, or an output has a sum symbol without its plates.
    :raises ExponentialContraction: if the cost is exponential in the size of an operand.

    With :math:`Z` the sum without output and a factor :math:`g` of ones over the symbols of an output, that output is
    :math:`\partial Z / \partial g`; so each slice of its plates has the product over the other slices as a factor. Source:
    Obermeyer et al. (2019), arXiv 1902.03210.

    >>> from ppl import ops
    >>> x, y = ops.array([[1.0, 2.0], [3.0, 4.0]]), ops.array([5.0, 6.0])
    >>> rows, columns = ops.contract.einsum("ab,b->a,b", x, y)
    >>> ops.to_numpy(rows).tolist(), ops.to_numpy(columns).tolist()
    ([17.0, 39.0], [20.0, 36.0])
    >>> product, = ops.contract.einsum("a,ia->", y, x, plates="i")
    >>> float(product)
    63.0
    """
    inputs, outputs = _parse(equation, len(operands))
    # Arrays are taken as they are, since a cache knows them by identity.
    arrays = [operand if shaping.is_array(operand) else shaping.array(operand) for operand in operands]
    sizes = sizes_of(inputs, [shaping.shape(array) for array in arrays])
    _check_outputs(inputs, outputs, plates, sizes)
    factors = list(zip(arrays, inputs, strict=True))
    if backend in SAMPLE:
        return _samples(_Product(factors, plates, sizes), outputs)
    if backend in MARGINAL:
        totals = einsum(equation, *arrays, plates=plates, backend="log", cache=cache, modulo_total=True)
        return tuple(_normalized(total, dims, plates) for total, dims in zip(totals, outputs, strict=True))
    if backend not in SEMIRINGS:
        known = ", ".join(map(repr, (*SEMIRINGS, *SAMPLE, *MARGINAL)))
        raise InferenceError(f"a contraction has no backend {backend!r}; expected one of {known}")
    product = _Product(factors, plates, sizes, semiring_of(backend), {} if cache is None else cache, modulo_total)
    return _contract(product, outputs)


def ubersum(equation: str, *operands: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Return what :func:`einsum` returns, with a warning that this name will go.

    >>> import warnings
    >>> from ppl import ops
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     total, = ops.contract.ubersum("a->", ops.array([1.0, 2.0]))
    >>> float(total), caught[0].category.__name__
    (3.0, 'DeprecationWarning')
    """
    warnings.warn("ubersum is the old name of ppl.ops.contract.einsum; use that one", DeprecationWarning, stacklevel=2)
    return einsum(equation, *operands, **kwargs)


def _parse(equation: str, count: int) -> tuple[list[str], list[str]]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    inputs, outputs = left.split(","), right.split(",")
    if not arrow or "." in equation or len(inputs) != count:
        raise ShapeError(
            f"the equation {equation!r} has {len(inputs)} inputs for {count} operands; expected one input for each operand, an "
            "arrow and at least one output, all of plain symbols; try 'ab,bc->a,c'"
        )
    return inputs, outputs


def _check_outputs(inputs: Sequence[str], outputs: Sequence[str], plates: str, sizes: Mapping[str, int]) -> None:
    for output in outputs:
        if len(set(output)) < len(output) or not sizes.keys() >= set(output):
            raise ShapeError(f"the output {output!r} has a symbol twice or one of no input; the inputs have {''.join(sizes)!r}")
        for symbol in set(output).difference(plates):
            missing = _plates_of(symbol, inputs, plates).difference(output)
            if missing:
                raise ShapeError(
                    f"the output {output!r} has {symbol!r}, which is another variable in each slice of plate {min(missing)!r}; "
                    f"expected that plate in the output too; try {output + ''.join(sorted(missing))!r}"
                )


def _plates_of(symbol: str, inputs: Sequence[str], plates: str) -> set[str]:
    return set(plates).intersection(*(term for term in inputs if symbol in term))


def _samples(product: _Product, outputs: Sequence[str]) -> tuple[Any, ...]:
    plates, sizes = product.plates, product.sizes
    tape = forward.run(product.plan(), product.arrays, product.semiring, {}, keep_tables=True)
    drawn = backward.draw(tape, 1, None)
    results = []
    for output in outputs:
        wanted = [symbol for symbol in output if symbol not in plates]
        if len(wanted) != 1:
            raise ShapeError(
                f"a sampled output is one sum symbol with its plates, got {output!r} with sum symbols {wanted}; try an output "
                "for each of them"
            )
        index, dims = drawn[wanted[0]]
        axes = [symbol for symbol in output if symbol in plates]
        results.append(shaping.broadcast_to(aligned(index, dims, axes), tuple(sizes[name] for name in axes)))
    return tuple(results)


def _normalized(total: Any, output: str, plates: str) -> Any:
    axes = tuple(axis for axis, symbol in enumerate(output) if symbol not in plates)
    evidence = special.logsumexp(total, axis=axes, keepdims=True)
    return total - elementwise.where(elementwise.isfinite(evidence), evidence, 0.0)


def _contract(product: _Product, outputs: Sequence[str]) -> tuple[Any, ...]:
    if len(outputs) > 1:
        try:
            return _around(product, outputs)
        except ExponentialContraction:
            # Each output ties its own symbols together; alone they may do less harm.
            pass
    results: list[Any] = []
    for output in outputs:
        if set(output).intersection(product.plates):
            results += _around(product, [output])
        else:
            results.append(_total(product, output))
    return tuple(results)


def _total(product: _Product, output: str) -> Any:
    """Return an output without plates: its symbols are batch axes."""
    semiring = product.semiring
    tape = forward.run(product.plan(output), product.arrays, semiring, {}, cache=product.cache)
    results = [(array, dims) for array, dims in forward.results(tape) if dims or not (product.modulo_total and output)]
    shape = tuple(product.sizes[name] for name in output)
    parts = [aligned(array, dims, output) for array, dims in results]
    if not parts:
        return shaping.full(shape, semiring.one, dtype=product.dtype)
    return shaping.broadcast_to(forward.multiply(parts, semiring), shape)


def _around(product: _Product, outputs: Sequence[str]) -> tuple[Any, ...]:
    """Return each output as the product of everything around a factor of ones."""
    semiring, cache, dtype = product.semiring, product.cache, product.dtype
    ones = []
    for dims in outputs:
        shape = tuple(product.sizes[name] for name in dims)
        if (semiring.name, shape, dtype) not in cache:
            cache[semiring.name, shape, dtype] = shaping.full(shape, semiring.one, dtype=dtype)
        ones.append((cache[semiring.name, shape, dtype], dims))
    whole = product.times(ones)
    plan = whole.plan()
    tape = forward.run(plan, whole.arrays, semiring, {}, cache=cache)
    around = backward.Around(tape, normalized=product.modulo_total)
    results = []
    for index, output in enumerate(outputs, start=len(product.factors)):
        place, scope = plan.origins[index]
        found = around.of([place])
        array = aligned(found.array[0], "".join((*found.context, *scope)), output)
        results.append(shaping.broadcast_to(array, tuple(product.sizes[name] for name in output)))
    return tuple(results)
