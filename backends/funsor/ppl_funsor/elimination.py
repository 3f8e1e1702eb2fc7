"""Variable elimination by funsor, in place of that of :mod:`ppl.ops.elimination`.

A factor becomes a ``funsor.Tensor`` whose inputs are its symbols. ``funsor.sum_product.partial_sum_product`` decides in which
order plates and groups of variables go (Obermeyer et al. 2019, arXiv 1902.03210), ``funsor.optimizer`` the order of the variables
of a group.
"""

from __future__ import annotations

import functools
import math
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import funsor
from funsor import Bint, Tensor
from funsor.cnf import Contraction
from funsor.interpretations import DispatchedInterpretation, PrioritizedInterpretation, StatefulInterpretation, eager, reflect
from funsor.optimizer import optimize_base
from funsor.sum_product import partial_sum_product
from funsor.terms import Binary, Funsor, Reduce
from opt_einsum.paths import greedy

from ppl import ops
from ppl.errors import ExponentialContraction
from ppl.ops.elimination import Factor
from ppl.ops.elimination.plan import LARGEST_GROWTH, LARGEST_TABLE, sizes_of
from ppl.ops.elimination.rows import Row
from ppl.ops.semiring import LOG_SUM_PRODUCT, Semiring
from ppl_funsor.process import claimed

# By dtype: the logarithm that stands for an impossible entry, and the bound below which one is taken for impossible. The
# derivative of funsor's logsumexp is NaN where all entries are -inf; between the two numbers is room for scales and products.
IMPOSSIBLE = {"float64": (-1e200, -1e100), "float32": (-1e25, -1e12)}

# By semiring: funsor's sum and its product.
OPERATIONS = {
    "sum-product": (funsor.ops.add, funsor.ops.mul),
    "log-sum-product": (funsor.ops.logaddexp, funsor.ops.add),
    "max-product": (funsor.ops.max, funsor.ops.add),
}


# funsor contracts two tensors in log space by an einsum of shifted exponentials, which underflows where their peaks lie hundreds
# apart; the sum of their broadcast product does not.
pairwise = DispatchedInterpretation("pairwise")
contracting = PrioritizedInterpretation(pairwise, optimize_base, eager)


@pairwise.register(Contraction, funsor.ops.AssociativeOp, funsor.ops.AssociativeOp, frozenset, Tensor, Tensor)
def _contract_pair(plus: Any, times: Any, variables: frozenset[Any], left: Any, right: Any) -> Any:
    return Binary(times, left, right).reduce(plus, variables)


class Gathering(StatefulInterpretation):
    """Only collects the factors of a product, and contracts them in the optimizer's order once there is a sum over them."""

    def __init__(self, times: Any, most_entries: int) -> None:
        super().__init__("gathering")
        self.times, self.most_entries = times, most_entries


@Gathering.register(Binary, funsor.ops.AssociativeOp, Funsor, Funsor)
def _gather(state: Gathering, product: Any, left: Any, right: Any) -> Any:
    if product is not state.times:
        return None
    terms = (*left.terms, right) if isinstance(left, Contraction) else (left, right)
    return reflect.interpret(Contraction, funsor.ops.null, product, frozenset(), terms)


@Gathering.register(Reduce, funsor.ops.AssociativeOp, Contraction, frozenset)
def _contract(state: Gathering, plus: Any, product: Any, variables: frozenset[Any]) -> Any:
    _foresee(product.terms, {variable.name for variable in variables}, state.most_entries)
    with contracting:
        return optimize_base.interpret(Contraction, plus, product.bin_op, variables, product.terms)


def _foresee(terms: tuple[Any, ...], variables: set[str], most_entries: int) -> None:
    """Refuse, before the first is made, tables with too many entries in the order that funsor's optimizer takes."""
    sizes = {name: domain.size for term in terms for name, domain in term.inputs.items()}
    names = [frozenset(term.inputs) for term in terms]
    left = Counter(name for inputs in names for name in inputs)
    for pair in greedy(names, frozenset(sizes) - variables, sizes):
        first, second = (names.pop(place) for place in sorted(pair, reverse=True))
        table = first | second
        entries = math.prod(sizes[name] for name in table)
        if entries > most_entries:
            raise ExponentialContraction(
                f"funsor's order of the sums needs a table of {entries:.3g} entries over {', '.join(map(repr, sorted(table)))}; "
                f"expected at most {most_entries:.3g}; the cost is exponential in the number of variables that depend on each "
                "other; try fewer of them, or to sample some of them"
            )
        left.subtract(first)
        left.subtract(second)
        names.append(frozenset(name for name in table if left[name] or name not in variables))
        left.update(names[-1])


def eliminate(
    factors: Iterable[tuple[Any, str]],
    variables: Collection[str],
    plates: Collection[str] = (),
    semiring: Semiring = LOG_SUM_PRODUCT,
    plate_scales: Mapping[str, Any] | None = None,
    keep: Collection[str] = (),
) -> list[Factor]:
    """Sum out ``variables`` and multiply over ``plates``, as :func:`ppl.ops.elimination.eliminate` does.

    :raises ShapeError: if an axis has two lengths.
    :raises ExponentialContraction: if funsor has no polynomial order.
    """
    pairs = [(ops.array(array.array() if isinstance(array, Row) else array), dims) for array, dims in factors]
    sizes = sizes_of([dims for _, dims in pairs], [ops.shape(array) for array, _ in pairs])
    summed, multiplied = frozenset(variables), frozenset(plates).difference(keep)
    plus, times = OPERATIONS[semiring.name]
    given = sum(math.prod(ops.shape(array)) for array, _ in pairs)
    gathering = Gathering(times, max(LARGEST_TABLE, LARGEST_GROWTH * given))
    prepare, finish = (_possible, _impossible) if semiring is LOG_SUM_PRODUCT else (_same, _same)
    with claimed():
        tensors = [_tensor(prepare(array), dims) for array, dims in pairs]
        try:
            with PrioritizedInterpretation(gathering, eager):
                results = partial_sum_product(
                    plus, times, tensors, summed | multiplied, multiplied, plate_to_scale=dict(plate_scales or {})
                )
        except ValueError as error:
            if str(error) != "intractable!":
                raise
            raise ExponentialContraction(_refusal([dims for _, dims in pairs], summed, multiplied, sizes)) from error
        left: dict[tuple[str, ...], list[Tensor]] = {}
        for result in results:
            names = tuple(name for name in sizes if name in result.inputs)
            left.setdefault(names, []).append(result.align(names))
        products = {names: functools.reduce(times, group) for names, group in left.items()}
    return [Factor(finish(product.data), "".join(names)) for names, product in products.items()] or [
        Factor(ops.array(semiring.one), "")
    ]


def _same(array: Any) -> Any:
    return array


def _possible(array: Any) -> Any:
    """Return ``array`` with a finite number in place of each ``-inf``."""
    floor, _ = IMPOSSIBLE[ops.dtype_name(array)]
    return ops.where(array == -math.inf, floor, array)


def _impossible(array: Any) -> Any:
    """Return ``array`` with ``-inf`` where the number for an impossible entry decided."""
    _, bound = IMPOSSIBLE[ops.dtype_name(array)]
    return ops.where(array < bound, -math.inf, array)


def _tensor(array: Any, dims: str) -> Tensor:
    if not funsor.ops.is_numeric_array(array):
        _adopt(type(array))
    return Tensor(array, OrderedDict((symbol, Bint[size]) for symbol, size in zip(dims, ops.shape(array), strict=True)))


def _adopt(array_type: type) -> None:
    """Let funsor compute with the arrays that stand for numpy's while a derivative or a program is recorded."""
    funsor.ops.is_numeric_array.register(array_type)(lambda x: True)
    funsor.ops.logsumexp.register(array_type)(lambda x, axis, keepdims: ops.logsumexp(x, axis=axis, keepdims=keepdims))
    funsor.ops.sum.register(array_type)(lambda x, axis, keepdims: ops.sum(x, axis=axis, keepdims=keepdims))
    funsor.ops.prod.register(array_type)(lambda x, axis, keepdims: ops.prod(x, axis=axis, keepdims=keepdims))
    funsor.ops.amax.register(array_type)(lambda x, axis, keepdims: ops.max(x, axis=axis, keepdims=keepdims))
    funsor.ops.permute.register(array_type)(lambda x, dims: ops.permute_dims(x, dims))


def _refusal(dims: Sequence[str], variables: frozenset[str], plates: frozenset[str], sizes: Mapping[str, int]) -> str:
    homes: dict[str, frozenset[str]] = {}
    for names in dims:
        here = plates.intersection(names)
        for name in variables.intersection(names):
            homes[name] = homes.get(name, here) & here
    lives = ", ".join(f"{name!r} in {sorted(homes[name])}" for name in sizes if homes.get(name))
    exponent = sum(math.log10(sizes[name]) * math.prod(sizes[plate] for plate in home) for name, home in homes.items())
    return (
        f"funsor finds no polynomial order for these variables and the plates that they live in: {lives}; expected that the "
        "variables of a plate can be summed out slice by slice, got copies that all depend on each other and up to "
        f"10^{exponent:.0f} joint assignments; try to write one of the variables inside of all these plates, or outside of them"
    )
