"""Every family at parameters and shapes that nobody wrote down: random ones against the oracle, extreme ones without NaN."""

import numpy as np
import pytest
from cases import CASES
from generated import LAYOUTS, arrays_of, extreme_grid, parameter_event_dim, random_parameters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppl import ops
from ppl.testing import assert_close, to_host

pytestmark = pytest.mark.strict

SINGLE = [case for case in CASES if not case.batch_shape]
each_single = pytest.mark.parametrize("case", SINGLE, ids=[str(case) for case in SINGLE])
# jax compiles every operation of every new shape
LARGEST = 1e150
EXAMPLES = {"numpy": 8, "strict": 3, "torch": 5, "jax": 1}


def build(case, parameters, **options):
    return case.build(**parameters, **options)


def unbatched(case, d, parameters, index, batch_shape):
    """Return the parameters of one copy of the batch."""
    own = dict(parameters)
    for name in arrays_of(case):
        value = np.asarray(parameters[name])
        event_shape = value.shape[value.ndim - parameter_event_dim(d, name, case.arrays[name]) :]
        own[name] = np.broadcast_to(value, (*batch_shape, *event_shape))[index]
    return own


@each_single
def test_log_prob_is_the_oracles_at_random_parameters(backend, case):
    seeds, layouts = st.integers(0, 2**32 - 1), st.lists(st.sampled_from(LAYOUTS), min_size=3, max_size=3)

    @settings(max_examples=EXAMPLES[backend], deadline=None, suppress_health_check=list(HealthCheck))
    @given(seeds, layouts)
    def check(seed, layouts):
        rng = np.random.default_rng(seed)
        template = build(case, case.arrays)
        parameters = random_parameters(case, template, rng, layouts)
        d = build(case, parameters)
        expected_batch = np.broadcast_shapes(*layouts[: len(arrays_of(case))]) if arrays_of(case) else ()
        assert tuple(d.batch_shape) == expected_batch
        assert tuple(d.event_shape) == case.event_shape
        value = np.empty(d.shape())
        expected = np.empty(d.batch_shape)
        for index in np.ndindex(*d.batch_shape):
            reference = case.oracle(**unbatched(case, d, parameters, index, tuple(d.batch_shape)))
            value[index] = np.reshape(reference.rvs(size=(1,), random_state=rng), case.event_shape)
            density = reference.logpdf if hasattr(reference, "pdf") or not hasattr(reference, "logpmf") else reference.logpmf
            expected[index] = np.reshape(density(value[index]), ())
        assert_close(d.log_prob(value), expected)
        assert tuple(d.sample((2,)).shape) == (2, *d.shape())

    check()


@each_single
@np.errstate(all="ignore")
def test_extreme_parameters_give_no_nan(backend, case, rng):
    parameters, count = extreme_grid(case, build(case, case.arrays))
    d = build(case, parameters)
    draws = to_host(d.sample((2,)))
    assert not np.isnan(draws).any(), _named(parameters, np.isnan(draws).reshape(2, count, -1).any(axis=(0, 2)))
    typical = np.broadcast_to(case.draw((1,), rng)[:, None], (1, count, *case.event_shape))
    # The exponential of 1e6 is infinite and that of -1e6 is zero: such draws lie outside the support, and so need no density;
    # nor do numbers whose square is infinite.
    inside = to_host(ops.broadcast_to(d.support(ops.array(draws)), (2, count)))
    usable = inside & (np.abs(draws) < LARGEST).reshape(2, count, -1).all(-1)
    usable = usable.reshape(2, count, *(1 for _ in case.event_shape))
    values = np.concatenate([np.where(usable, draws, typical), typical])
    names = [name for name in case.differentiable if name in arrays_of(case)]
    # Each draw gets its own copy of the parameters, so that one infinite gradient cannot meet another of opposite sign.
    repeated = {
        name: np.broadcast_to(value, (3, *np.shape(value))) if name in arrays_of(case) else value
        for name, value in parameters.items()
    }

    def total(chosen):
        own = {**repeated, **{name: value for name, value in chosen.items() if name != "value"}}
        return ops.sum(build(case, own, validate_args=False).log_prob(chosen["value"]))

    def evaluate(point):
        density = build(case, repeated, validate_args=False).log_prob(point["value"])
        return density, ops.autodiff.grad(total)(point)

    point = {name: ops.array(repeated[name]) for name in names}
    point["value"] = ops.array(values)
    # One program is compiled faster than each of its operations.
    log_prob, gradients = (ops.compile.compile(evaluate, point) if backend == "jax" else evaluate)(point)
    log_prob = to_host(log_prob)
    assert not np.isnan(log_prob).any(), _named(parameters, np.isnan(log_prob).any(axis=0))
    for name, gradient in gradients.items():
        if name == "value" and d.is_discrete:
            continue
        bad = np.isnan(to_host(gradient)).reshape(3, count, -1).any(axis=(0, 2))
        assert not bad.any(), f"gradient in {name}: {_named(parameters, bad)}"


def _named(parameters, bad):
    """Return the combinations of parameters marked by ``bad``, the first three."""
    rows = np.flatnonzero(bad)[:3]
    return [
        {name: np.asarray(value)[row].tolist() if np.ndim(value) else value for name, value in parameters.items()} for row in rows
    ]
