"""Draws: goodness of fit against scipy, reproducibility, independence and pathwise gradients."""

import numpy as np
import pytest
import scipy.special as sp
import scipy.stats as st
from kit import each

from ppl import ops
from ppl.ops import autodiff, random
from ppl.testing import assert_samples_match_cdf, goodness_of_fit, to_host
from ppl.testing.strict import declared_functions
from ppl.testing.suites import draws, pathwise_gradients
from ppl.testing.suites.draws import LARGEST_Z, SAMPLERS, N, full
from ppl.testing.suites.pathwise_gradients import gradient_z


@each(draws.CHECKS)
def test_draws(backend, check):
    check()


@each(pathwise_gradients.CHECKS)
def test_pathwise_gradients(backend, check):
    check()


@pytest.mark.nightly
@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_of_other_seeds_match_the_distribution(backend, seed, name):
    draws.check_sampler(name, seed)


@pytest.mark.backends("numpy")
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("normal", st.norm(0.1, 1)),
        ("gamma-4.0", st.gamma(4.2)),
        ("poisson-4.0", st.poisson(4.25)),
        ("binomial-10-0.5", st.binom(10, 0.53)),
        ("categorical", st.rv_discrete(values=([0, 1, 2], [0.14, 0.16, 0.7]))),
        ("standard_t-3.0", st.t(8.0)),
        ("beta-2.0-5.0", st.beta(2.0, 5.5)),
    ],
)
def test_negative_control_a_wrong_distribution_is_found(backend, seed, name, wrong):
    draw, _, discrete = SAMPLERS[name]
    with pytest.raises(AssertionError, match="do not match"):
        assert_samples_match_cdf(draw(random.key(seed)), wrong.cdf, discrete)


@pytest.mark.backends("numpy")
def test_negative_control_of_the_kit(backend, rng):
    assert goodness_of_fit(np.full(100, np.nan), st.norm().cdf) == 0.0
    assert goodness_of_fit(rng.poisson(3.0, 1000) + 0.5, st.poisson(3.0).cdf, discrete=True) == 0.0
    assert goodness_of_fit(np.array([0.0, 7.0]), st.randint(0, 5).cdf, discrete=True) == 0.0
    assert np.median([goodness_of_fit(rng.poisson(3.0, 1000), st.poisson(3.0).cdf, discrete=True) for _ in range(50)]) > 0.2


@pytest.mark.backends("jax")
def test_fold_in_of_a_name_is_pure(backend):
    key = random.key(0)
    once, twice, other = (to_host(random.normal(random.fold_in(key, name), (3,))) for name in ("mu", "mu", "tau"))
    assert np.array_equal(once, twice)
    assert not np.array_equal(once, other)


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1])
def test_negative_control_a_wrong_gradient_is_found(backend, seed, factor):
    """Scaling the gradient by ``factor`` keeps the draws and biases the estimate."""

    def biased(a):
        return random.gamma(random.key(seed), factor * a + (1 - factor) * autodiff.stop_gradient(a), (N,))

    assert abs(gradient_z(biased, full(2.0), ops.safe_log, sp.polygamma(1, 2.0))) > LARGEST_Z


def test_every_declared_function_is_tested():
    assert {check.function for check in draws.CHECKS} == set(declared_functions("random"))
