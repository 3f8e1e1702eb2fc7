"""Enumeration is exact: whatever the discrete model, its sums are those over one concrete run for each joint assignment."""

import contextlib
import dataclasses
import itertools
import math

import numpy
import pytest
from generated_discrete import CROSSING, STYLES, Node, Program, chains, programs
from hypothesis import HealthCheck, given, settings
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.errors import ExponentialContraction, InferenceError

EXPLORED = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def host(value):
    return ops.to_numpy(ops.array(value))


def brute_force(model, latent):
    """Return the log densities of all joint assignments, the values of each site, and a function that gives a site's marginal.

    Each density is the ``log_prob_sum`` of a run in which every element of every site has a single value.
    """
    elements = [(name, len(values)) for name, values, shape in latent for _ in range(math.prod(shape))]
    totals, columns = [], {name: [] for name, _, _ in latent}
    for digits in itertools.product(*(range(size) for _, size in elements)):
        data = {}
        for name, values, shape in latent:
            own = [digit for (other, _), digit in zip(elements, digits, strict=True) if other == name]
            columns[name].append(numpy.array(own).reshape(shape))
            data[name] = ops.array(values[columns[name][-1]])
        totals.append(float(host(handlers.trace(handlers.condition(model, data=data)).get_trace().log_prob_sum())))
    totals = numpy.array(totals)
    columns = {name: numpy.stack(column) for name, column in columns.items()}

    def marginal(name, size):
        weights = numpy.exp(totals - special.logsumexp(totals)).reshape(-1, *(1,) * (columns[name].ndim - 1))
        return numpy.stack([(weights * (columns[name] == value)).sum(axis=0) for value in range(size)], axis=-1)

    return totals, columns, marginal


def nothing():
    """A guide without sites."""


def check(program, max_plate_nesting=2):
    """The log evidence and every marginal of an enumerated program are those of brute force, and nothing is refused."""
    model = handlers.condition(program, data=program.given) if program.given else program
    totals, _, marginal = brute_force(model, program.latent)
    elbo = infer.TraceEnum_ELBO(max_plate_nesting=max_plate_nesting, strict_enumeration_warning=False)
    assert -float(host(elbo.loss(model, nothing))) == pytest.approx(special.logsumexp(totals), rel=1e-10, abs=1e-10)
    if not program.latent:
        return
    found = elbo.compute_marginals(model, nothing)
    for name, values, _ in program.latent:
        expected = marginal(name, len(values))
        probabilities = numpy.exp(numpy.stack([host(found[name].log_prob(ops.array(value))) for value in values], axis=-1))
        numpy.testing.assert_allclose(probabilities + numpy.zeros(expected.shape), expected, rtol=1e-9, atol=1e-12)


L, O, C = "latent", "observed", "continuous"
OUTER, INNER, OTHER = ("outer",), ("outer", "inner"), ("other",)
EXAMPLES = {
    "each style": Program(
        (
            Node(L, size=3),
            Node(L, parents=(0,), style="vindexed"),
            *(Node(O, parents=(0, 1), style=style) for style in sorted(STYLES)),
        )
    ),
    "nested plates": Program(
        (
            Node(L),
            Node(L, OUTER, parents=(0,), style="constant_last"),
            Node(L, INNER, parents=(1, 0), style="vindexed_in_turn"),
            Node(O, INNER, parents=(2, 0), mask="plate"),
            Node(O, OTHER, parents=(0,), style="chosen"),
        ),
        {"outer": 2, "inner": 2, "other": 1},
    ),
    "masks": Program(
        (
            Node(L, size=3),
            Node(L, OUTER, parents=(0,), mask="parent"),
            Node(O, OUTER, parents=(1, 0), mask="parent"),
            Node(L, OUTER, size=3, parents=(1,), mask="plate", style="flat"),
            Node(O, OUTER, parents=(3,), mask="plate"),
        )
    ),
    "continuous sites between": Program(
        (
            Node(L),
            Node(C, OUTER, parents=(0,)),
            Node(L, OUTER, parents=(0,)),
            Node(O, OUTER, parents=(1, 2), style="constant_vindexed"),
            Node(C, parents=(0,)),
            Node(O, INNER, parents=(4, 2)),
        )
    ),
    **{
        f"chain of history {history}": Program(
            tuple(
                node
                for t in range(5)
                for node in (
                    Node(L, size=2 + (t == 2), parents=tuple(range(2 * max(t - history, 0), 2 * t, 2)), style="vindexed"),
                    Node(O, parents=(2 * t,)),
                )
            ),
            history=history,
        )
        for history in range(4)
    },
}


@pytest.mark.parametrize("program", EXAMPLES.values(), ids=EXAMPLES)
def test_sums_are_those_of_brute_force(backend, program):
    check(program)


def test_negative_control_another_model_has_another_evidence(backend):
    program = EXAMPLES["chain of history 1"]
    totals, _, _ = brute_force(program, program.latent)
    other, _, _ = brute_force(dataclasses.replace(program, seed=1), program.latent)
    assert abs(special.logsumexp(totals) - special.logsumexp(other)) > 1e-3


@pytest.mark.nightly
@EXPLORED
@given(program=programs())
def test_any_model_in_plates(backend, program):
    check(program)


@pytest.mark.nightly
@EXPLORED
@given(program=programs(paths=CROSSING))
def test_plates_that_cross_are_exact_or_refused(backend, program):
    with contextlib.suppress(ExponentialContraction):
        check(program)


@pytest.mark.nightly
@EXPLORED
@given(program=chains())
def test_any_chain(backend, program):
    check(program, max_plate_nesting=1)


@pytest.mark.nightly
@EXPLORED
@given(program=programs(most=60))
def test_check_enumeration_finds_nothing_in_a_right_model(backend, program):
    if not program.latent:
        return
    report = ppl.check_enumeration(handlers.condition(program, data=program.given) if program.given else program)
    assert report.agrees, str(report)
    totals, _, marginal = brute_force(handlers.condition(program, data=program.given), program.latent)
    assert report.num_assignments == len(totals)
    assert report.expected_log_evidence == pytest.approx(special.logsumexp(totals), rel=1e-10, abs=1e-10)
    for name, values, _ in program.latent:
        expected = marginal(name, len(values)).reshape(report.expected_marginals[name].shape)
        numpy.testing.assert_allclose(report.expected_marginals[name], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.nightly
@EXPLORED
@given(program=programs(most=100))
def test_the_mode_is_the_largest_of_all(backend, program):
    model = handlers.condition(program, data=program.given) if program.given else program
    totals, _, _ = brute_force(model, program.latent)
    moded = infer.infer_discrete(model, first_available_dim=-3, temperature=0)
    trace = handlers.trace(moded).get_trace()
    assert float(host(trace.log_prob_sum())) == pytest.approx(totals.max(), rel=1e-9, abs=1e-9)


def expectation(model, guide, latent):
    """The evidence lower bound, term by term."""
    joint, _, _ = brute_force(model, latent)
    proposed, _, _ = brute_force(guide, latent)
    return (numpy.exp(proposed) * (joint - proposed)).sum()


def bound(model, guide):
    elbo = infer.TraceEnum_ELBO(max_plate_nesting=2, strict_enumeration_warning=False)
    return -float(host(elbo.loss(model, guide)))


def check_guides(program):
    """A guide that is enumerated in parallel, in sequence, or site by site one or the other gives the exact bound."""
    model = handlers.condition(program, data=program.given) if program.given else program
    # A masked site is drawn all the same, so that the weights of a guide are no longer what its densities say.
    nodes = tuple(dataclasses.replace(node, mask=None) for node in program.nodes)
    guide = dataclasses.replace(program, nodes=nodes, seed=program.seed + 1, kinds=("latent",))
    expected = pytest.approx(expectation(model, guide, program.latent), rel=1e-10, abs=1e-10)
    for strategies in itertools.product(("parallel", "sequential"), repeat=2):
        marks = {name: {"enumerate": strategies[place % 2]} for place, (name, _, _) in enumerate(program.latent)}
        marked = handlers.infer_config(guide, config_fn=lambda site, marks=marks: marks.get(site["name"], {}))
        assert bound(model, marked) == expected, strategies


def test_sequential_is_parallel(backend):
    check_guides(
        Program((Node(L, size=3), Node(L, parents=(0,)), Node(O, parents=(0, 1)), Node(L, parents=(1,)), Node(O, parents=(3,))))
    )


@pytest.mark.nightly
@EXPLORED
@given(program=programs(most=40, paths=[()]))
def test_sequential_is_parallel_in_any_model(backend, program):
    if program.latent:
        check_guides(program)


@pytest.mark.nightly
@EXPLORED
@given(program=programs(most=100))
def test_guides_in_plates_are_exact_or_refused(backend, program):
    if program.latent:
        with contextlib.suppress(InferenceError):
            check_guides(program)


def test_minibatch_counts_for_its_plate(backend, rng):
    """The sum over a plate's elements, each summed out by itself, is multiplied by what an element counts for."""
    data, weights = rng.normal(size=2), numpy.array([0.3, 0.7])

    def model():
        shared = ppl.sample("shared", dist.Categorical(ops.array(weights)), infer={"enumerate": "parallel"})
        with ppl.plate("rows", 6, subsample=[1, 4], dim=-1):
            local = ppl.sample("local", dist.Bernoulli(0.2 + 0.5 * shared), infer={"enumerate": "parallel"})
            ppl.sample("y", dist.Normal(2.0 * local, 1.0), obs=ops.array(data))

    rates = 0.2 + 0.5 * numpy.arange(2.0)[:, None]
    each = numpy.log((1 - rates) * stats.norm.pdf(data) + rates * stats.norm.pdf(data, 2.0)).sum(axis=1)
    expected = special.logsumexp(numpy.log(weights) + 3.0 * each)
    elbo = infer.TraceEnum_ELBO(max_plate_nesting=1)
    assert -float(host(elbo.loss(model, nothing))) == pytest.approx(expected, rel=1e-10)
