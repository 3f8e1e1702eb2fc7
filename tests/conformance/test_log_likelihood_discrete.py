"""Log likelihoods of models whose discrete sites have no draws, against sums over their values by scipy."""

import numpy
import pytest
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.contrib.control_flow import scan
from ppl.errors import EnumerationError, InferenceError, SiteError

Y = numpy.array([-1.2, 0.1, 0.7, 2.4])
WEIGHTS = numpy.array([0.5, 0.3, 0.2])
MISSED = numpy.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])


def mixture(y, mask=True):
    loc = ppl.sample("loc", dist.Normal(ops.zeros(3), 1.0).to_event(1))
    with handlers.scale(scale=7.0), ppl.plate("rows", len(Y)), handlers.mask(mask=mask):
        kind = ppl.sample("kind", dist.Categorical(ops.array(WEIGHTS)))
        missed = ppl.sample("missed", dist.Bernoulli(ops.array(MISSED[:, 1])[kind]))
        ppl.sample("y", dist.Normal(ops.where(missed > 0, 0.0, loc[kind]), 1.0), obs=y)


def of_mixture(locs):
    """Return the sum over both sites of each row: shape ``(draws, rows)``."""
    found = stats.norm.logpdf(Y[:, None], locs[:, None, :])
    either = numpy.stack([found, numpy.broadcast_to(stats.norm.logpdf(Y[:, None]), found.shape)], axis=-1)
    return special.logsumexp(either + numpy.log(MISSED) + numpy.log(WEIGHTS)[:, None], axis=(2, 3))


def test_assignments_of_each_row_are_summed_out(backend, rng):
    locs = rng.normal(size=(2, 3, 3))
    found = infer.log_likelihood(mixture, {"loc": locs}, Y, batch_ndims=2)
    assert list(found) == ["y"]
    expected = of_mixture(locs.reshape(6, 3)).reshape(2, 3, len(Y))
    numpy.testing.assert_allclose(ops.to_numpy(found["y"]), expected, rtol=1e-10)
    # A draw of the sites is another question.
    kinds, missed = numpy.zeros((6, len(Y)), dtype=int), numpy.zeros((6, len(Y)))
    given = infer.log_likelihood(mixture, {"loc": locs.reshape(6, 3), "kind": kinds, "missed": missed}, Y)["y"]
    numpy.testing.assert_allclose(ops.to_numpy(given), stats.norm.logpdf(Y, locs.reshape(6, 3)[:, :1]), rtol=1e-10)


@pytest.mark.backends("numpy", "torch")
def test_criteria_of_a_mixture(backend, rng):
    locs = 0.2 * rng.normal(size=(2, 20, 3))
    table = of_mixture(locs.reshape(-1, 3))
    predictive = special.logsumexp(table, axis=0) - numpy.log(len(table))
    found = infer.Posterior({"loc": locs}, model=mixture, args=(Y,)).information_criterion(pointwise=True)
    numpy.testing.assert_allclose(found["waic"], -2.0 * (predictive - table.var(axis=0)), rtol=1e-9)
    numpy.testing.assert_allclose(found["p_waic"], table.var(axis=0), rtol=1e-9)


def test_masked_rows_count_zero(backend, rng):
    locs, mask = rng.normal(size=(5, 3)), numpy.array([True, False, True, True])
    found = ops.to_numpy(infer.log_likelihood(mixture, {"loc": locs}, Y, ops.array(mask))["y"])
    numpy.testing.assert_allclose(found, of_mixture(locs) * mask, rtol=1e-10)


def test_draws_of_another_site_tell_of_the_discrete_one_first(backend, rng):
    """Given a draw of ``u``, the kind of a row has its distribution given that, and its density is not counted again."""

    def model(y):
        spread = ppl.sample("spread", dist.HalfNormal(1.0))
        with ppl.plate("rows", len(Y)):
            kind = ppl.sample("kind", dist.Bernoulli(0.3))
            u = ppl.sample("u", dist.Normal(2.0 * kind, spread))
            ppl.sample("y", dist.Normal(u - kind, 1.0), obs=y)
        ppl.sample("total", dist.Normal(spread, 1.0), obs=0.5)

    spread, u, kinds = rng.uniform(0.5, 2.0, size=6), rng.normal(size=(6, len(Y))), numpy.arange(2.0)[:, None, None]
    found = infer.log_likelihood(model, {"spread": spread, "u": u}, Y)
    before = stats.bernoulli.logpmf(kinds, 0.3) + stats.norm.logpdf(u, 2.0 * kinds, spread[:, None])
    joint = before + stats.norm.logpdf(Y, u - kinds)
    expected = special.logsumexp(joint, axis=0) - special.logsumexp(before, axis=0)
    numpy.testing.assert_allclose(ops.to_numpy(found["y"]), expected, rtol=1e-10)
    numpy.testing.assert_allclose(ops.to_numpy(found["total"]), stats.norm.logpdf(0.5, spread), rtol=1e-10)


def test_rows_of_a_plate_as_a_loop(backend, rng):
    def model():
        loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
        for row in ppl.plate("rows", 2):
            side = ppl.sample(f"side{row}", dist.Bernoulli(0.3))
            ppl.sample(f"y{row}", dist.Normal(loc * (2.0 * side - 1.0), 1.0), obs=Y[row])

    locs = rng.normal(size=4)
    found = infer.log_likelihood(model, {"loc": locs})
    for row in range(2):
        pair = [numpy.log(0.7) + stats.norm.logpdf(Y[row], -locs), numpy.log(0.3) + stats.norm.logpdf(Y[row], locs)]
        numpy.testing.assert_allclose(ops.to_numpy(found[f"y{row}"]), special.logsumexp(pair, axis=0), rtol=1e-10)


def chain(level):
    state = 0
    for t in ppl.markov(range(3)):
        state = ppl.sample(f"x{t}", dist.Categorical(ops.array([[0.8, 0.2], [0.3, 0.7]])[state]))
        ppl.sample(f"y{t}", dist.Normal(level + state, 1.0), obs=Y[t])


def scanned(level):
    def step(state, y):
        state = ppl.sample("x", dist.Categorical(ops.array([[0.8, 0.2], [0.3, 0.7]])[state]))
        ppl.sample("y", dist.Normal(level + state, 1.0), obs=y)
        return state, None

    scan(step, ops.array(0), ops.array(Y))


def common(level):
    side = ppl.sample("side", dist.Bernoulli(0.3))
    with ppl.plate("rows", len(Y)):
        ppl.sample("y", dist.Normal(level + side, 1.0), obs=ops.array(Y))


def twice(level):
    with ppl.plate("rows", len(Y)):
        side = ppl.sample("side", dist.Bernoulli(0.3))
        ppl.sample("y", dist.Normal(level + side, 1.0), obs=ops.array(Y))
        ppl.sample("again", dist.Normal(level - side, 1.0), obs=ops.array(Y))


def branches(level):
    side = ppl.sample("side", dist.Bernoulli(0.3))
    ppl.sample("y", dist.Normal(level + 1.0 if side else level, 1.0), obs=0.5)


def outside(level):
    side = ppl.sample("side", dist.Bernoulli(0.3))
    ppl.sample("y", dist.Poisson(ops.exp(level + side)), obs=ops.array(-1.0))


@pytest.mark.backends("numpy", "torch")
@pytest.mark.parametrize(
    ("of_level", "error", "match"),
    [
        (
            chain,
            InferenceError,
            r"sites 'y0' and 'y1', 'y2' apart: 'x0', 'x1', 'x2', summed out, bear on several.*infer_discrete",
        ),
        (scanned, InferenceError, "log_likelihood is not defined where site 'x'"),
        (common, InferenceError, "the elements of 'y' along plate 'rows' apart: 'side', summed out, bear on several"),
        (twice, InferenceError, "sites 'y' and 'again' apart: 'side'"),
        (branches, EnumerationError, "site 'side' holds all of its values at once"),
        (outside, SiteError, "'y'"),
    ],
)
def test_what_has_no_log_likelihood_of_its_own_is_refused(backend, of_level, error, match):
    def model():
        of_level(ppl.sample("level", dist.Normal(0.0, 1.0)))

    with pytest.raises(error, match=f"(?s){match}"):
        infer.log_likelihood(model, {"level": numpy.array([0.3, 0.4])})
    assert not ppl.runtime.am_i_wrapped()
