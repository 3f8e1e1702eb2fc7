"""The kit for authors: good distributions and fits pass, each planted fault is named, and the plugin runs a user's file."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import scipy.stats

from ppl import constraints, ops
from ppl import distributions as dist
from ppl.testing import assert_distribution_ok, assert_posterior_close, distribution_faults

ROOT = Path(__file__).parents[2]


class Logistic(dist.Distribution):
    """A family of two parameters as a user writes one, with all that the kit looks at; the planted faults change one part."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc, scale, *, validate_args=None):
        self.loc, self.scale = self.promote(loc, scale)
        super().__init__(ops.shape(self.loc), validate_args=validate_args)

    mean = property(lambda self: self.loc)
    variance = property(lambda self: (math.pi * self.scale) ** 2 / 3.0)

    def rsample(self, sample_shape=(), rng_key=None):
        uniform = ops.random.open_uniform(rng_key, self.shape(sample_shape), self.dtype)
        return self.loc + self.scale * (ops.log(uniform) - ops.log1p(-uniform))

    def log_prob(self, value):
        z = (value - self.loc) / self.scale
        return -z - 2.0 * ops.logaddexp(0.0 * z, -z) - ops.log(self.scale)

    def cdf(self, value):
        return 1.0 / (1.0 + ops.exp(-(value - self.loc) / self.scale))

    def icdf(self, probability):
        return self.loc + self.scale * (ops.log(probability) - ops.log1p(-probability))

    def entropy(self):
        return ops.log(self.scale) + 2.0


class Die(dist.Distribution):
    """A discrete family: a number from 0 to 2, the last one with probability ``six``, the others alike."""

    arg_constraints = {"six": constraints.unit_interval}
    support = constraints.integer_interval(0, 2)
    has_enumerate_support = True

    def __init__(self, six, *, validate_args=None):
        (self.six,) = self.promote(six)
        super().__init__(ops.shape(self.six), validate_args=validate_args)

    mean = property(lambda self: 0.5 * (1.0 - self.six) + 2.0 * self.six)

    def sample(self, sample_shape=(), rng_key=None):
        uniform = ops.random.uniform(rng_key, self.shape(sample_shape), self.dtype)
        one_or_two = ops.where(uniform < 1.0 - self.six, 1.0, 2.0)
        return ops.where(uniform < 0.5 * (1.0 - self.six), 0.0, one_or_two) * ops.ones_like(self.six)

    def log_prob(self, value):
        return ops.where(value == 2.0, ops.log(self.six), ops.log(0.5 * (1.0 - self.six)))

    def enumerate_support(self, expand=True):
        values = ops.reshape(ops.arange(0.0, 3.0), (3, *(1,) * len(self.batch_shape)))
        return ops.broadcast_to(values, (3, *self.batch_shape)) if expand else values


def plant(base, **changes):
    return type(f"Faulty{base.__name__}", (base,), changes)


def scaled(factor):
    return lambda self, sample_shape=(), rng_key=None: (
        self.loc + factor * (Logistic.rsample(self, sample_shape, rng_key) - self.loc)
    )


def detached(self, sample_shape=(), rng_key=None):
    return ops.autodiff.stop_gradient(Logistic.rsample(self, sample_shape, rng_key))


def of_one_scale(self, sample_shape=(), rng_key=None):
    """Draws that ignore all but the first scale of a batch."""
    scale = ops.reshape(self.scale, (-1,))[0]
    return self.loc + scale * (Logistic.rsample(self, sample_shape, rng_key) - self.loc) / self.scale


def without_jacobian(self, value):
    return Logistic.log_prob(self, value) + ops.log(self.scale)


def swapped(self, value):
    return Logistic(self.scale, ops.exp(self.loc), validate_args=False).log_prob(value)


def with_stopped_scale(self, value):
    return Logistic(self.loc, ops.autodiff.stop_gradient(self.scale), validate_args=False).log_prob(value)


def summed(self, value):
    return ops.sum(Logistic.log_prob(self, value), axis=-1) if value.ndim else Logistic.log_prob(self, value)


def branching(self, value):
    return Logistic.log_prob(self, value) if bool(ops.all(value > -1e9)) else value


def without_key(self, sample_shape=(), rng_key=None):
    return Logistic.rsample(self, sample_shape)


def without_sample_shape(self, sample_shape=(), rng_key=None):
    return Logistic.rsample(self)


def on_the_host(self, sample_shape=(), rng_key=None):
    draw = Logistic.rsample(self, sample_shape, rng_key)
    return draw if len(draw.shape) == 1 else ops.to_numpy(draw).tolist()


def in_float32(self, sample_shape=(), rng_key=None):
    return ops.astype(Logistic.rsample(self, sample_shape, rng_key), "float32")


def expanded_wrongly(self, batch_shape):
    return Logistic(self.loc, 2.0 * self.scale).expand(batch_shape)


def repeated_draw(self, sample_shape=(), rng_key=None):
    draw = Logistic.rsample(Logistic(ops.reshape(self.loc, (-1,))[0], ops.reshape(self.scale, (-1,))[0]), sample_shape, rng_key)
    return ops.broadcast_to(ops.reshape(draw, (*sample_shape, *(1,) * len(self.batch_shape))), self.shape(sample_shape))


ARGUMENTS = Logistic.arg_constraints
# name: family, the check that finds the fault, words of its sentence
FAULTS = {
    "swapped parameters": (plant(Logistic, log_prob=swapped), "density", "draws do not have it"),
    "missing jacobian": (plant(Logistic, log_prob=without_jacobian), "density", "it sums to 3"),
    "too narrow draws": (plant(Logistic, rsample=scaled(0.8)), "density", "draws do not have it"),
    "draws outside of the support": (plant(Logistic, support=constraints.positive), "shapes", "outside of the support"),
    "a sum over the batch": (plant(Logistic, log_prob=summed), "shapes", r"log_prob has shape \(2,\)"),
    "no sample shape": (plant(Logistic, rsample=without_sample_shape), "build", r"has shape \(\)"),
    "float32 draws": (plant(Logistic, rsample=in_float32), "shapes", "dtype float32"),
    "a host's array for a draw": (plant(Logistic, rsample=on_the_host), "shapes", "a draw is a"),
    "detached draws": (plant(Logistic, rsample=detached), "pathwise", "averages to 0.00000"),
    "a stopped gradient": (plant(Logistic, log_prob=with_stopped_scale), "gradients", "in scale it is 0"),
    "another mean": (plant(Logistic, mean=property(lambda self: self.loc + 0.2)), "moments", "mean is 0.7"),
    "another variance": (plant(Logistic, variance=property(lambda self: self.scale**2)), "moments", "variance is 9"),
    "a scalar mean": (plant(Logistic, mean=property(lambda self: ops.zeros((1,)))), "moments", r"mean has shape \(1,\)"),
    "another entropy": (plant(Logistic, entropy=lambda self: ops.log(self.scale) + 1.9), "moments", "entropy is 2.998"),
    "another cdf": (plant(Logistic, cdf=lambda self, x: Logistic.cdf(self, x) ** 1.3), "distribution_function", "cdf is"),
    "another icdf": (plant(Logistic, icdf=lambda self, p: p), "distribution_function", "icdf of cdf"),
    "an unchecked parameter": (plant(Logistic, arg_constraints={"loc": constraints.real}), "parameters", "'scale' is not in"),
    "no check": (plant(Logistic, _check_parameters=lambda self, validate_args: None), "parameters", "expected a ConstraintError"),
    "no attribute": (plant(Logistic, arg_constraints={**ARGUMENTS, "rate": constraints.real}), "parameters", "'rate' is in arg"),
    "a key that is ignored": (plant(Logistic, rsample=without_key), "randomness", "two draws from one key differ"),
    "a wrong expand": (plant(Logistic, expand=expanded_wrongly), "reshaping", "expand changes the density"),
    "one draw for all copies": (plant(Logistic, rsample=repeated_draw), "reshaping", "expand repeats the same draw"),
    "a branch on values": (plant(Logistic, log_prob=branching), "compiled", "raised PplWarning"),
    "a value that is not listed": (
        plant(Die, enumerate_support=lambda self: Die.enumerate_support(self)[:2]), "enumeration", "not in"),
    "a value listed twice": (
        plant(Die, enumerate_support=lambda self: ops.concat([Die.enumerate_support(self)] * 2)), "enumeration", "twice"),
    "masses that are too large": (plant(Die, log_prob=lambda self, x: Die.log_prob(self, x) + 0.1), "density", "sums to 1.105"),
}  # fmt: skip
PARAMS = {Logistic: {"loc": 0.5, "scale": 3.0}, Die: {"six": 0.4}}
# What one library computes in its own way; the rest is numpy's word on all of them.
ON_EACH = ("missing jacobian", "a key that is ignored", "detached draws", "a stopped gradient", "a branch on values")
AT_NIGHT = ON_EACH[2:]


def faults_of(family, **options):
    params = PARAMS[next(base for base in PARAMS if issubclass(family, base))]
    return distribution_faults(family, **params, **options)


def test_a_users_distributions_are_right(backend):
    assert_distribution_ok(Logistic, loc=0.5, scale=3.0, oracle=scipy.stats.logistic(0.5, 3.0))
    assert_distribution_ok(Die, six=0.4)


GOOD = {
    "guessed parameters": (dist.Laplace, {}),
    "a batch": (dist.Exponential, {"rate": [1.0, 4.0]}),
    "a narrow one far out": (dist.Normal, {"loc": 100.0, "scale": 0.01}),
    "heavy tails": (dist.Cauchy, {"loc": -2.0, "scale": 0.5}),
    "a bounded support that moves": (dist.Uniform, {"low": -1.0, "high": 3.0}),
    "infinite at an end": (dist.Beta, {"concentration1": 0.5, "concentration0": 2.0}),
    "angles": (dist.VonMises, {"loc": 0.5, "concentration": 2.0}),
    "counts without an end": (dist.Poisson, {"rate": 3.5}),
    "categories": (dist.Categorical, {"probs": [0.2, 0.3, 0.5]}),
    "a simplex": (dist.Dirichlet, {"concentration": [1.5, 2.0, 0.7]}),
    "a vector": (dist.MultivariateNormal, {"loc": [0.0, 1.0], "scale_tril": [[1.0, 0.0], [0.5, 0.8]]}),
    "matrices": (dist.LKJCholesky, {"dim": 3, "concentration": 1.5}),
}


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("case", GOOD)
def test_distributions_of_the_library_are_right(backend, case):
    family, params = GOOD[case]
    assert_distribution_ok(family, **params)


@pytest.mark.nightly
@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize("case", GOOD)
def test_distributions_of_the_library_are_right_on_each(backend, case):
    family, params = GOOD[case]
    assert_distribution_ok(family, **params)


def check_found(name):
    family, check, words = FAULTS[name]
    found = faults_of(family)
    assert any(re.match(check, fault) and re.search(words, fault) for fault in found), found


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(backend, name):
    check_found(name)


@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.nightly if name in AT_NIGHT else ()) for name in ON_EACH])
def test_a_planted_fault_is_named_on_each(backend, name):
    check_found(name)


def test_the_sentence_names_family_backend_and_faults(backend):
    with pytest.raises(AssertionError, match=rf"FaultyLogistic on backend '{backend}' has 1 fault:\n  - moments: mean is 0.7; "):
        assert_distribution_ok(FAULTS["another mean"][0], loc=0.5, scale=3.0)


@pytest.mark.backends("numpy")
def test_an_oracle_and_a_fixed_distribution(backend):
    (fault,) = distribution_faults(Logistic, loc=0.5, scale=3.0, oracle=scipy.stats.logistic(0.5, 3.1))
    assert fault.startswith("density: log_prob is")
    assert distribution_faults(dist.Normal(0.0, 1.0)) == []
    (fault,) = distribution_faults(dist.Wishart)
    assert "no value is known for parameter 'df' of Wishart; try to pass df=..." in fault
    (fault,) = distribution_faults(Logistic, loc=0.5, scale=-1.0)
    assert fault.startswith("build: it cannot be built and drawn from: raised ConstraintError")


# ---- posteriors ----


def chains(seed, correlation=0.0, shape=()):
    """Return four stationary chains of 500 draws of mean 1 and standard deviation 2."""
    rng = numpy.random.default_rng(seed)
    noise = rng.normal(size=(4, 500, *shape))
    for step in range(1, 500):
        noise[:, step] = correlation * noise[:, step - 1] + math.sqrt(1.0 - correlation**2) * noise[:, step]
    return 1.0 + 2.0 * noise


def test_draws_of_the_posterior_pass(backend):
    draws = {"x": ops.array(chains(1)), "y": chains(2, 0.8), "z": chains(3, shape=(2, 2))}
    assert_posterior_close(draws, {"x": (1.0, 2.0), "y": 1.0, "z": (numpy.ones((2, 2)), 2.0)}, most_error=0.2)

    class Sampler:
        def get_samples(self, group_by_chain):
            assert group_by_chain
            return draws

    assert_posterior_close(Sampler(), {"x": (1.0, 2.0)})


# the draws, what is expected, words of the sentence
WRONG = {
    "mean": (chains(1), (1.5, 2.0), r"the mean of 'x' is .*, expected 1.5: .* standard errors away, at most 4.9 are allowed"),
    "deviation": (chains(1), (1.0, 2.5), "the standard deviation of 'x'"),
    "one element": (chains(1, shape=(2,)), (numpy.array([1.0, 2.0]), 2.0), r"the mean of 'x'\[1\] is"),
    "too few": (chains(1)[:, :20], (1.0, 2.0), "expected at most 0.1; try more draws"),
    "too correlated": (chains(1, 0.97), (1.0, 2.0), "expected at most 0.1; try more draws"),
    "constant": (numpy.ones((4, 500)), (1.0, 2.0), "they do not vary"),
    "not finite": (numpy.full((4, 500), numpy.nan), (1.0, 2.0), "not finite"),
    "no chains": (chains(1)[0], (1.0, 2.0), r"try draws\[None\]"),
    "another shape": (chains(1), (numpy.ones(3), 2.0), r"has shape \(3,\), its draws have \(\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_draws_are_refused(case):
    draws, expected, words = WRONG[case]
    with pytest.raises(AssertionError, match=words):
        assert_posterior_close({"x": draws}, {"x": expected})


def test_correlation_within_chains_counts():
    """Draws of an error that independent ones would never have pass if their correlation explains it."""
    draws = chains(5, 0.95)
    naive = draws.std() / math.sqrt(draws.size)
    away = 1.0 + 6.0 * naive
    assert_posterior_close({"x": draws + (away - draws.mean())}, {"x": 1.0}, most_error=0.5)
    independent = chains(5)
    with pytest.raises(AssertionError, match="the mean"):
        assert_posterior_close({"x": independent + (away - independent.mean())}, {"x": 1.0})


def test_an_absent_site_is_named():
    with pytest.raises(AssertionError, match=r"there are no draws of 'y'; there are some of \['x'\]"):
        assert_posterior_close({"x": chains(1)}, {"y": 0.0})


# ---- the plugin ----

USERS_FILE = '''"""Ten lines that test a distribution of one's own on each backend."""
import math
from ppl import constraints, distributions as dist, ops
from ppl.testing import assert_distribution_ok

class Rayleigh(dist.TransformedDistribution):
    """The root of an exponential."""
    arg_constraints = {"scale": constraints.positive}
    def __init__(self, scale, validate_args=None):
        (self.scale,) = self.promote(scale)
        super().__init__(dist.Exponential(0.5 / self.scale**2), [dist.transforms.PowerTransform(0.5)])

def test_rayleigh(backend):
    assert_distribution_ok(Rayleigh, scale=1.5)
'''


def pytest_of_user(folder, *arguments):
    paths = [ROOT, *(ROOT / "backends" / name for name in ("numpy", "torch", "jax")), ROOT / "tests" / "plugins" / "ppl_toy"]
    # What the suite was asked for is not for the user's run, which lacks its options.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    environment = {**inherited, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "ppl.testing.plugin", "-p", "no:cacheprovider", *arguments, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment, cwd=folder)


@pytest.fixture
def users_folder(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_mine.py").write_text(USERS_FILE)
    return tmp_path


def test_a_users_file_runs_on_the_chosen_backend(users_folder):
    done = pytest_of_user(users_folder, "--ppl-backends", "numpy", "-v")
    assert "test_rayleigh[numpy] PASSED" in done.stdout, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.nightly
def test_a_users_file_runs_on_three_backends_and_finds_a_fault(users_folder):
    done = pytest_of_user(users_folder, "--ppl-backends", "numpy,torch,jax", "-v")
    assert [f"test_rayleigh[{name}] PASSED" in done.stdout for name in ("numpy", "torch", "jax")] == [True] * 3, done.stdout
    docstring = '"""The root of an exponential."""'
    (users_folder / "test_mine.py").write_text(USERS_FILE.replace(docstring, "mean = property(lambda self: self.scale)"))
    done = pytest_of_user(users_folder, "--ppl-backends", "numpy")
    # The mean of the density is the root of pi / 2 times the scale.
    assert "Rayleigh on backend 'numpy' has 1 fault" in done.stdout
    assert "moments: mean is 1.5; that of the density is 1.87997" in done.stdout


@pytest.mark.nightly
@pytest.mark.parametrize(("names", "words"), [
    ("numpi", "unknown backend 'numpi'"),
    (",", "names no backend"),
])  # fmt: skip
def test_an_unknown_backend_is_an_error_of_usage(users_folder, names, words):
    done = pytest_of_user(users_folder, "--ppl-backends", names)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert words in done.stderr
