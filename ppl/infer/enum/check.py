"""Compare a model's enumeration with the plain sum over its joint values, run by run."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ppl import handlers, ops
from ppl.errors import InferenceError, PplError
from ppl.handlers.trace_struct import Trace
from ppl.infer.enum import loops, runs
from ppl.infer.enum.assignment import Assignment, Series, Variable
from ppl.infer.enum.comparison import TOLERANCES, Comparison, Traces, first_fault, host_density, scored, variables_of
from ppl.infer.enum.config import config_enumerate
from ppl.ops import elimination

MOST_ASSIGNMENTS = 2**16
# The shape of the elements of a site, and how many values each has, by name.
Sizes = Mapping[str, tuple[tuple[int, ...], int]]
# Rows of a table that are shown of a site in a large plate.
SHOWN = 6


class EnumerationReport(NamedTuple):
    """What enumeration says of a model, and what one run for each joint assignment says.

    :param num_assignments: how many runs.
    :param log_evidence: the logarithm of the sum over all joint values, by elimination; NaN if that was refused.
    :param expected_log_evidence: that of the sum over all runs.
    :param marginals: for each enumerated site its probabilities by elimination, host arrays of shape plates + ``(values,)``,
        steps + plates + ``(values,)`` inside of ``contrib.control_flow.scan``.
    :param expected_marginals: the same over all runs.
    :param fault: a sentence on the first site that has another density in the enumerated run, ``None`` if there is none.
    """

    num_assignments: int
    log_evidence: float
    expected_log_evidence: float
    marginals: dict[str, Any]
    expected_marginals: dict[str, Any]
    fault: str | None

    @property
    def agrees(self) -> bool:
        """Whether everything is equal but for rounding."""
        pairs = [(self.marginals[name], expected) for name, expected in self.expected_marginals.items()]
        return (
            self.fault is None
            and _close(self.log_evidence, self.expected_log_evidence)
            and all(bool((abs(found - expected) <= _tolerance()).all()) for found, expected in pairs)
        )

    def __str__(self) -> str:
        lines = [
            f"{self.num_assignments} joint assignments of {len(self.expected_marginals)} enumerated sites: "
            f"{'enumeration agrees' if self.agrees else 'enumeration DIFFERS'}",
            f"{'':24}{'enumerated':>14}{'one by one':>14}",
            f"{'log evidence':24}{self.log_evidence:14.6f}{self.expected_log_evidence:14.6f}",
        ]
        for name in self.expected_marginals:
            lines += self._rows(name)
        return "\n".join([*lines, *([self.fault] if self.fault else [])])

    def _rows(self, name: str) -> Iterator[str]:
        expected = self.expected_marginals[name]
        values = expected.shape[-1]
        found = self.marginals[name].reshape(-1, values).tolist()
        for element, row in enumerate(expected.reshape(-1, values).tolist()):
            label = name if len(found) == 1 else f"{name}[{element}]"
            if element == SHOWN:
                yield f"{name}: {len(found) - SHOWN} more elements"
                return
            for value, probability in enumerate(row):
                yield f"{f'P({label} #{value})':24}{found[element][value]:14.6f}{probability:14.6f}"


def check_enumeration(model: Callable[..., Any], *args: Any, **kwargs: Any) -> EnumerationReport:
    """Run a model once for each joint assignment of its discrete sites, and compare the sum with that of enumeration.

    :param model: a model; its latent sites of finite support are enumerated but those marked ``"sequential"``.
    :param args: its arguments, as are ``kwargs``.
    :returns: the log evidence and the probabilities of each value of each site, both ways; it is printed too, with the first
        site that differs and how it was indexed.
    :raises InferenceError: if there are more than 65536 assignments, or none.
    :raises EnumerationError: if the model cannot run with all values at once.

    Values of other latent sites are drawn and held fixed. Scales of :class:`ppl.handlers.scale` and of minibatches are left out.

    >>> import ppl
    >>> from ppl import distributions as dist, ops
    >>> table = ops.array([[0.9, 0.1], [0.4, 0.6]])
    >>> def model():
    ...     rain = ppl.sample("rain", dist.Categorical(ops.array([0.75, 0.25])))
    ...     ppl.sample("wet", dist.Categorical(table[rain]), obs=ops.array(1))
    >>> report = ppl.check_enumeration(model)
    2 joint assignments of 1 enumerated sites: enumeration agrees
                                enumerated    one by one
    log evidence                 -1.491655     -1.491655
    P(rain #0)                    0.333333      0.333333
    P(rain #1)                    0.666667      0.666667
    >>> report.agrees
    True
    """
    marked = config_enumerate(model)
    nesting = runs.plate_nesting(lambda: [handlers.trace(model).get_trace(*args, **kwargs)])
    comparison = Comparison(marked, None, (args, kwargs), -1 - nesting, unscaled=True)
    enumerated = comparison.enumerated()
    variables, series = variables_of(enumerated), loops.series_of(enumerated["model"])
    sizes = {name: (_plate_shape(variable), variable.size) for name, variable in variables.items() if name not in series}
    sizes |= {name: (steps.shape, steps.size) for name, steps in series.items()}
    digits = _digits(sizes)
    with warnings.catch_warnings():
        # The first run has told them.
        warnings.simplefilter("ignore")
        joint = _every_assignment(variables, series, digits, comparison.first_available_dim)
        totals, fault = _one_by_one(comparison, enumerated, joint)
    expected = _sums(sizes, digits, totals)
    try:
        log_evidence, marginals = _eliminated(
            enumerated["model"], {name: variables[name] for name in sizes if name not in series}
        )
    except PplError:
        if fault is None:
            raise
        log_evidence, marginals = math.nan, {name: table * math.nan for name, table in expected[1].items()}
    report = EnumerationReport(len(totals), log_evidence, expected[0], marginals, expected[1], fault)
    print(report)
    return report


def _one_by_one(comparison: Comparison, enumerated: Traces, joint: Iterator[Assignment]) -> tuple[list[float], str | None]:
    """Return the log density of each run, and a sentence on the first site that differs."""
    totals, fault = [], None
    for assignment in joint:
        single = comparison.single(enumerated, assignment)
        totals.append(math.fsum(float(host_density(node).sum()) for node in scored(single)))
        if fault is None:
            found = first_fault(enumerated, single, assignment)
            fault = None if found is None else comparison.explained(enumerated, single, assignment, found)
    return totals, fault


def _digits(sizes: Sizes) -> list[tuple[str, int]]:
    """Return name and number of values for each element of each site."""
    if not sizes:
        raise InferenceError(
            "check_enumeration found no latent site of finite support in the model; expected at least one; try it without the "
            "observations of one"
        )
    digits = [(name, size) for name, (shape, size) in sizes.items() for _ in range(math.prod(shape))]
    count = math.prod(size for _, size in digits)
    if count > MOST_ASSIGNMENTS:
        raise InferenceError(
            f"check_enumeration would run the model {count} times, once for each joint assignment of "
            f"{', '.join(map(repr, sizes))}; expected at most {MOST_ASSIGNMENTS}; try fewer elements in plates or fewer steps"
        )
    return digits


def _every_assignment(
    variables: Mapping[str, Variable], series: Mapping[str, Series], digits: list[tuple[str, int]], first_available_dim: int
) -> Iterator[Assignment]:
    for values in itertools.product(*(range(size) for _, size in digits)):
        patterns: dict[str, tuple[int, ...]] = dict.fromkeys((name for name, _ in digits), ())
        for (name, _), value in zip(digits, values, strict=True):
            patterns[name] += (value,)
        yield Assignment(variables, patterns, first_available_dim, series)


def _sums(sizes: Sizes, digits: list[tuple[str, int]], totals: list[float]) -> tuple[float, dict[str, Any]]:
    """Return the log evidence and the marginals of runs in the order of :func:`_every_assignment`."""
    largest = max(totals)
    shift = largest if math.isfinite(largest) else 0.0
    weights = [math.exp(total - shift) for total in totals]
    evidence = math.fsum(weights)
    tables: dict[str, list[float]] = {name: [] for name in sizes}
    stride = len(totals)
    for name, size in digits:
        block, stride = stride, stride // size
        for value in range(size):
            part = math.fsum(
                weight for start in range(value * stride, len(weights), block) for weight in weights[start : start + stride]
            )
            tables[name].append(part / evidence if evidence else math.nan)
    log_evidence = math.log(evidence) + shift if evidence else -math.inf
    return log_evidence, {
        name: ops.to_numpy(ops.array(table)).reshape((*shape, size))
        for (name, (shape, size)), table in zip(sizes.items(), tables.values(), strict=True)
    }


def _plate_shape(variable: Variable) -> tuple[int, ...]:
    return tuple(variable.plates[dim] for dim in sorted(variable.plates))


def _eliminated(trace: Trace, variables: Mapping[str, Variable]) -> tuple[float, dict[str, Any]]:
    density = runs.collect(trace)._replace(plate_scales={})
    log_evidence = float(ops.to_numpy(ops.array(runs.log_evidence(density))))
    with runs.by_name(density):
        tables = elimination.marginals(density.factors, set(density.variables), set(density.plates))
    found = loops.marginals(trace, lambda other: runs.log_evidence(runs.collect(other)._replace(plate_scales={})))
    marginals: dict[str, Any] = dict(found)
    for symbol, name in density.variables.items():
        if name not in variables:
            continue
        array, dims = tables[symbol]
        plates = {density.symbols.of_plate(frame.name): frame.dim for frame in trace.nodes[name]["cond_indep_stack"]}
        order = sorted(dims[:-1], key=plates.__getitem__)
        host = ops.to_numpy(ops.exp(array)).transpose([*(dims.index(plate) for plate in order), len(dims) - 1])
        shape, held = _plate_shape(variables[name]), {plates[plate] for plate in order}
        own = tuple(size if dim in held else 1 for dim, size in sorted(variables[name].plates.items()))
        zeros = ops.to_numpy(ops.zeros((*shape, 1)))
        marginals[name] = host.reshape((*own, host.shape[-1])) + zeros
    return log_evidence, marginals


def _tolerance() -> float:
    return TOLERANCES[4 if ops.default_dtype() == "float32" else 8]


def _close(found: float, expected: float) -> bool:
    return found == expected or abs(found - expected) <= _tolerance() * (1.0 + abs(expected))
