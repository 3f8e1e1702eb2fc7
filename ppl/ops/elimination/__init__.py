"""Tensor variable elimination for factor graphs with plates.

A *factor* is a pair ``(array, dims)`` with one symbol, a character, for each axis. A symbol stands for a *variable*, which is
summed over; for a *plate*, along which there are independent copies of what lives there, which are multiplied; or for a batch
axis. A variable lives in the plates that all factors of it share. Source: Obermeyer et al. (2019), "Tensor variable elimination
for plated factor graphs", arXiv 1902.03210, algorithm 1.

Costs are polynomial, or the sum is refused by :class:`ppl.errors.ExponentialContraction`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ppl import registry
from ppl.errors import InferenceError
from ppl.ops import autodiff, elementwise, reduce
from ppl.ops.elimination import backward, forward, rows
from ppl.ops.elimination.plan import make_plan
from ppl.ops.semiring import LOG_SUM_PRODUCT, MAX_PRODUCT, Semiring


class Factor(NamedTuple):
    """An array and one symbol for each of its axes.

    :param array: an array of the active backend.
    :param dims: its symbols, one character an axis.
    """

    array: Any
    dims: str


def eliminate(
    factors: Iterable[tuple[Any, str]],
    variables: Collection[str],
    plates: Collection[str] = (),
    semiring: Semiring = LOG_SUM_PRODUCT,
    plate_scales: Mapping[str, Any] | None = None,
    keep: Collection[str] = (),
) -> list[Factor]:
    """Return factors, one for each set of batch axes that is left, whose product is that of ``factors`` with all ``variables``
    summed out and all ``plates`` multiplied.

    :param factors: pairs of an array and its symbols; one length for each symbol, no broadcasting.
    :param variables: symbols to sum over.
    :param plates: symbols to multiply over, after the variables that live there.
    :param semiring: log-sum-product by default, so that arrays are logarithms.
    :param plate_scales: for a subsampled plate the ratio of its size to that of the subsample; the product over the plate
        is raised to it.
    :param keep: plates that are not multiplied over: each of their slices is a problem of its own.
    :raises ShapeError: if an axis has two lengths.
    :raises ExponentialContraction: if the cost is exponential in the size of a plate or in the number of variables.

    >>> from ppl import ops
    >>> from ppl.ops import elimination
    >>> coin, sides = ops.log(ops.array([0.5, 0.5])), ops.log(ops.array([[0.2, 0.6], [0.2, 0.6], [0.8, 0.4]]))
    >>> evidence, = elimination.eliminate([(coin, "z"), (sides, "iz")], {"z"}, {"i"})
    >>> evidence.dims, round(float(ops.exp(evidence.array)), 3)
    ('', 0.088)
    """
    native = registry.active().elimination
    if native is not None:
        given = [Factor(*factor) for factor in factors]
        return native.eliminate(given, variables, plates, semiring, plate_scales or {}, keep)
    tape = _forward(factors, variables, set(plates).difference(keep), semiring, plate_scales or {})
    return [Factor(*result) for result in forward.results(tape)]


def sample(
    factors: Iterable[tuple[Any, str]],
    variables: Collection[str],
    plates: Collection[str] = (),
    temperature: int = 1,
    key: Any = None,
    plate_scales: Mapping[str, Any] | None = None,
) -> dict[str, Factor]:
    """Return joint indices of all ``variables`` that occur in the factors, over their plates and batch axes.

    :param factors: pairs of an array of logarithms and its symbols.
    :param temperature: 1 for an exact joint draw, 0 for the jointly most probable assignment.
    :param key: a random key; ``None`` for the backend's own stream.
    :param plate_scales: as for :func:`eliminate`, what each subsampled plate counts for where a variable lies outside of it.
    :raises InferenceError: for another temperature; outside compiled code also if no assignment is possible.
    :raises ExponentialContraction: as :func:`eliminate`.

    >>> from ppl import ops
    >>> from ppl.ops import elimination
    >>> table = ops.log(ops.array([[0.3, 0.1], [0.1, 0.5]]))
    >>> best = elimination.sample([(table, "ab")], {"a", "b"}, temperature=0)
    >>> int(best["a"].array), int(best["b"].array)
    (1, 1)
    """
    if temperature not in (0, 1):
        raise InferenceError(f"a joint draw of discrete variables has temperature 0 or 1, got {temperature!r}")
    semiring = LOG_SUM_PRODUCT if temperature else MAX_PRODUCT
    tape = _forward(factors, variables, plates, semiring, plate_scales or {}, keep_tables=True)
    _require_possible(tape)
    return {name: Factor(*index) for name, index in backward.draw(tape, temperature, key).items()}


def marginals(
    factors: Iterable[tuple[Any, str]],
    variables: Collection[str],
    plates: Collection[str] = (),
    plate_scales: Mapping[str, Any] | None = None,
) -> dict[str, Factor]:
    """Return the log probabilities of each of the ``variables`` that occur in the factors, over its plates and its own axis.

    :param factors: pairs of an array of logarithms and its symbols.
    :param plate_scales: as for :func:`eliminate`: each slice of a subsampled plate counts for so many independent ones like it,
        of which a variable inside of the plate has its marginal in one.
    :raises ExponentialContraction: as :func:`eliminate`.

    The variable's own axis is the last. Where the evidence is impossible all are ``-inf``.

    >>> from ppl import ops
    >>> from ppl.ops import elimination
    >>> table = ops.log(ops.array([[0.3, 0.1], [0.1, 0.5]]))
    >>> marginal = elimination.marginals([(table, "ab")], {"a", "b"})["b"]
    >>> marginal.dims, [round(float(p), 3) for p in ops.exp(marginal.array)]
    ('b', [0.4, 0.6])
    """
    tape = _forward(factors, variables, plates, LOG_SUM_PRODUCT, plate_scales or {})
    beliefs = backward.Around(tape, normalized=True).beliefs
    return {name: Factor(backward.normalize(belief), dims + name) for name, (belief, dims) in beliefs.items()}


def _require_possible(tape):
    """Refuse to draw where every assignment has density zero, or some density is no number."""
    if autodiff.is_tracing():
        return
    for total, dims in forward.results(tape):
        if not bool(reduce.all(elementwise.isfinite(total))):
            where = f" at some index of the axes {dims!r}" if dims else ""
            raise InferenceError(
                f"discrete variables cannot be drawn: the sum over all their assignments is zero, infinite or NaN{where}; "
                "expected at least one possible assignment; try to look for an observation outside of its support"
            )


def _forward(factors, variables, plates, semiring, scales, keep_tables=False):
    pairs = [(rows.as_factor(array), dims) for array, dims in factors]
    dims = tuple(dims for _, dims in pairs)
    shapes = tuple(tuple(array.shape) for array, _ in pairs)
    plan = make_plan(dims, shapes, frozenset(variables), frozenset(plates))
    return forward.run(plan, [array for array, _ in pairs], semiring, scales, keep_tables)
