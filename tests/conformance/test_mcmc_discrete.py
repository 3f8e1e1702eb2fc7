"""Models with discrete sites under HMC and its kin: these are summed out exactly, and drawn from their posterior afterwards."""

import math

import numpy
import pytest
from enumeration import DATA, host
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.contrib.control_flow import scan
from ppl.errors import EnumerationError, InferenceError, PplWarning
from ppl.infer.potential import ModelArguments
from ppl.ops import autodiff, compile
from ppl.testing.goodness_of_fit import LEAST_PVALUE, goodness_of_fit

ROWS = numpy.array([-1.7, -0.4, 0.3, 1.9, 2.4])
# Rows are animals, columns occasions: was it caught?
CAUGHT = numpy.array(
    [[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [0, 1, 1, 1, 1], [0, 1, 0, 0, 1], [0, 0, 1, 1, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]
)


def mixture(data):
    weight = ppl.sample("weight", dist.Beta(2.0, 3.0))
    with ppl.plate("kinds", 2):
        loc = ppl.sample("loc", dist.Normal(0.0, 3.0))
    scale = ppl.sample("scale", dist.HalfCauchy(2.0))
    with ppl.plate("rows", len(data)):
        kind = ppl.sample("kind", dist.Bernoulli(weight))
        ppl.sample("y", dist.Normal(ops.where(kind == 1, loc[1], loc[0]), scale), obs=data)


def mixture_by_hand(vector, data):
    """Logit weight, two locations, log scale: the sum over the kinds of each row, and the Jacobians of the two transforms."""
    weight, loc, scale = special.expit(vector[0]), vector[1:3], math.exp(vector[3])
    prior = stats.beta(2, 3).logpdf(weight) + math.log(weight * (1 - weight))
    prior += stats.norm(0, 3).logpdf(loc).sum() + stats.halfcauchy(scale=2).logpdf(scale) + vector[3]
    rows = (1 - weight) * stats.norm(loc[0], scale).pdf(data) + weight * stats.norm(loc[1], scale).pdf(data)
    return prior + numpy.log(rows).sum()


def chain(data):
    """A hidden Markov model with unknown means and persistence."""
    stay = ppl.sample("stay", dist.Beta(4.0, 2.0))
    with ppl.plate("states", 3):
        mean = ppl.sample("mean", dist.Normal(0.0, 2.0))
    transition = stay * ops.eye(3) + (1.0 - stay) / 3.0
    state = 0
    for t in ppl.markov(range(len(data))):
        state = ppl.sample(f"x{t}", dist.Categorical(transition[state]))
        ppl.sample(f"y{t}", dist.Normal(mean[state], 0.8), obs=data[t])


def scanned(data):
    """The same model as a loop that is recorded once."""
    stay = ppl.sample("stay", dist.Beta(4.0, 2.0))
    with ppl.plate("states", 3):
        mean = ppl.sample("mean", dist.Normal(0.0, 2.0))
    transition = stay * ops.eye(3) + (1.0 - stay) / 3.0

    def step(state, y):
        state = ppl.sample("x", dist.Categorical(transition[state]))
        ppl.sample("y", dist.Normal(mean[state], 0.8), obs=y)
        return state, None

    scan(step, ops.array(0), data)


def chain_by_hand(vector, data):
    """The forward algorithm (Rabiner 1989)."""
    stay, mean = special.expit(vector[0]), vector[1:]
    prior = stats.beta(4, 2).logpdf(stay) + math.log(stay * (1 - stay)) + stats.norm(0, 2).logpdf(mean).sum()
    transition = stay * numpy.eye(3) + (1 - stay) / 3
    forward = transition[0] * stats.norm.pdf(data[0], mean, 0.8)
    for y in data[1:]:
        forward = (forward @ transition) * stats.norm.pdf(y, mean, 0.8)
    return prior + math.log(forward.sum())


def capture_recapture(caught):
    """Cormack, Jolly and Seber: survival and capture have the same probability on each occasion."""
    survival = ppl.sample("survival", dist.Uniform(0.0, 1.0))
    capture = ppl.sample("capture", dist.Uniform(0.0, 1.0))
    with ppl.plate("animals", caught.shape[0]):
        alive, met = ops.ones(()), ops.zeros((caught.shape[0],)) > 0
        for t in ppl.markov(range(caught.shape[1])):
            alive = ppl.sample(f"alive{t}", dist.Bernoulli(ops.where(met, survival * alive, 1.0)))
            with handlers.mask(mask=met):
                ppl.sample(f"caught{t}", dist.Bernoulli(capture * alive), obs=caught[:, t])
            met = met | (caught[:, t] > 0)


def capture_recapture_by_hand(survival, capture):
    """The likelihood of Lebreton et al. (1992): up to its last capture an animal lives, and then it is never seen again."""
    num = CAUGHT.shape[1]
    unseen = [1.0]
    for _ in range(num - 1):
        unseen.insert(0, 1 - survival + survival * (1 - capture) * unseen[0])
    total = 0.0
    for row in CAUGHT:
        seen = numpy.flatnonzero(row)
        for t in range(seen[0] + 1, seen[-1] + 1):
            total = total + numpy.log(survival) + numpy.log(capture if row[t] else 1 - capture)
        total = total + numpy.log(unseen[seen[-1]])
    return total


def value_and_gradient_of(potential, backend):
    # jax compiles each operation by itself where it does not compile them together.
    both = autodiff.value_and_grad(potential.log_density)
    return compile.compile(both) if backend == "jax" else both


def potential_of(model, *args, kernel=infer.NUTS, **settings):
    potential = kernel(model, **settings).potential(ModelArguments(args, {}))
    return potential, potential.arguments.arrays


@pytest.mark.parametrize(
    ("model", "by_hand", "data"), [(mixture, mixture_by_hand, ROWS), (chain, chain_by_hand, DATA), (scanned, chain_by_hand, DATA)]
)
def test_log_density(backend, rng, model, by_hand, data):
    potential, _ = potential_of(model, data)
    value_and_gradient = value_and_gradient_of(potential, backend)
    for scale in (0.3, 1.0, 3.0):
        vector, other = scale * rng.normal(size=4), data + rng.normal(size=5)
        value, gradient = value_and_gradient(ops.array(vector), [ops.array(other)])
        assert float(value) == pytest.approx(by_hand(vector, other), rel=1e-10, abs=1e-10)
        steps = 1e-5 * numpy.eye(4)
        expected = [(by_hand(vector + h, other) - by_hand(vector - h, other)) / 2e-5 for h in steps]
        numpy.testing.assert_allclose(host(gradient), expected, rtol=1e-4, atol=1e-6)


def test_capture_recapture(backend):
    potential, data = potential_of(capture_recapture, CAUGHT.astype(float))
    assert (potential.names, potential.max_plate_nesting) == (["survival", "capture"], 1)
    assert potential.eliminated == [f"alive{t}" for t in range(5)]
    value_and_gradient = value_and_gradient_of(potential, backend)

    def by_hand(vector):
        survival, capture = special.expit(vector)
        jacobian = math.log(survival * (1 - survival) * capture * (1 - capture))
        return capture_recapture_by_hand(survival, capture) + jacobian

    # What is caught is alive: the density has impossible terms, whose gradients are infinite where no care is taken.
    for vector in (numpy.array([0.8, -0.4]), numpy.array([-1.4, 2.9])):
        value, gradient = value_and_gradient(ops.array(vector), data)
        assert float(value) == pytest.approx(by_hand(vector), abs=1e-10)
        expected = [(by_hand(vector + step) - by_hand(vector - step)) / 2e-5 for step in 1e-5 * numpy.eye(2)]
        numpy.testing.assert_allclose(host(gradient), expected, rtol=1e-6, atol=1e-7)


def test_every_kernel_sums_out_what_is_discrete(backend):
    for kernel in (infer.HMC, infer.NUTS, infer.ChEES):
        potential, data = potential_of(mixture, ROWS, kernel=kernel)
        assert (potential.names, potential.eliminated) == (["weight", "loc", "scale"], ["kind"])
        assert float(potential.log_density(ops.zeros(4), data)) == pytest.approx(mixture_by_hand(numpy.zeros(4), ROWS), abs=1e-10)


def one_location(data):
    loc = ppl.sample("loc", dist.Normal(0.0, 2.0))
    with ppl.plate("rows", len(data)):
        side = ppl.sample("side", dist.Categorical(ops.array([0.3, 0.7])))
        ppl.sample("y", dist.Normal(loc + ops.array([-1.0, 1.0])[side], 0.8), obs=data)


def one_location_by_hand():
    """Mean, standard deviation and mean of the first row's side by a sum over a fine grid."""
    loc = numpy.linspace(-6.0, 6.0, 4001)
    sides = numpy.array([0.3, 0.7])[:, None, None] * stats.norm.pdf(
        ROWS[:, None], loc + numpy.array([-1.0, 1.0])[:, None, None], 0.8
    )
    weight = stats.norm.pdf(loc, 0.0, 2.0) * sides.sum(0).prod(0)
    weight /= weight.sum()
    mean = (weight * loc).sum()
    return mean, math.sqrt((weight * (loc - mean) ** 2).sum()), (weight * sides[1] / sides.sum(0)).sum(-1)


def within(draws, expected, errors=4.9):
    """Whether the mean of draws ``(chains, draws)`` is as expected, by the standard error of its effective sample size."""
    draws = host(draws).astype(float)
    error = draws.std() / math.sqrt(float(infer.diagnostics.summarize({"x": draws})["x"]["ess_bulk"]))
    return abs(draws.mean() - expected) < errors * error


def test_posterior_of_a_mixture(backend):
    """Two chains at once against quadrature; the discrete sites of each draw, and of the traces, are those of the posterior."""
    mean, deviation, sides = one_location_by_hand()
    mcmc = infer.MCMC(infer.NUTS(one_location), num_samples=400, warmup_steps=100, num_chains=2, seed=0, progress_bar=False)
    mcmc.run(ROWS)
    draws = mcmc.get_samples(group_by_chain=True)
    assert list(draws) == ["loc"]
    assert within(draws["loc"], mean)
    assert within((draws["loc"] - mean) ** 2, deviation**2)
    assert not within(draws["loc"], mean + 0.7 * deviation)
    side = host(mcmc.marginal("side").empirical["side"].samples)
    assert side.shape == (2, 400, 5)
    assert all(within(side[:, :, row], sides[row]) for row in (1, 2))
    assert not within(side[:, :, 1], 0.7)
    # The density of each row, the side summed out of it.
    sides = stats.norm.logpdf(ROWS, host(draws["loc"])[..., None, None] + numpy.array([[-1.0], [1.0]]), 0.8)
    expected = special.logsumexp(sides + numpy.log([[0.3], [0.7]]), axis=2)
    numpy.testing.assert_allclose(host(mcmc.log_likelihood()["y"]), expected, rtol=1e-10)


def test_traces_have_discrete_sites_of_the_posterior(backend):
    posterior = infer.Posterior({"loc": numpy.full((1, 40), 1.0)}, model=one_location, args=(ROWS,))
    sides = numpy.array([host(trace.nodes["side"]["value"]) for trace in posterior.exec_traces])
    odds = 0.7 * stats.norm.pdf(ROWS - 1.0, 1.0, 0.8) / (0.3 * stats.norm.pdf(ROWS - 1.0, -1.0, 0.8))
    for row in range(5):
        expected = odds[row] / (1 + odds[row])
        assert stats.binomtest(int(sides[:, row].sum()), 40, expected).pvalue > LEAST_PVALUE
    assert stats.binomtest(int(sides[:, 0].sum()), 40, 0.7).pvalue < LEAST_PVALUE


@pytest.mark.nightly
def test_posterior_of_capture_recapture(backend):
    grid = (numpy.arange(400) + 0.5) / 400
    survival, capture = numpy.meshgrid(grid, grid, indexing="ij")
    weight = numpy.exp(capture_recapture_by_hand(survival, capture))
    weight /= weight.sum()
    mcmc = infer.MCMC(infer.NUTS(capture_recapture), num_samples=400, warmup_steps=200, num_chains=4, seed=1, progress_bar=False)
    draws = mcmc.run(CAUGHT.astype(float)).get_samples(group_by_chain=True)
    for name, values in (("survival", survival), ("capture", capture)):
        mean = (weight * values).sum()
        assert within(draws[name], mean)
        assert within((draws[name] - mean) ** 2, (weight * (values - mean) ** 2).sum())
        assert not within(draws[name], mean + 0.5 * math.sqrt((weight * (values - mean) ** 2).sum()))


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_draws_discrete_sites_from_their_posterior(backend, parallel):
    """Two rows at fixed continuous draws: joint frequencies against the table, which is far from the prior's."""
    num = 1500 if parallel else 150
    odds = 0.7 * stats.norm.pdf(ROWS[:2] - 0.5, 1.0, 0.8) / (0.3 * stats.norm.pdf(ROWS[:2] - 0.5, -1.0, 0.8))
    right = odds / (1 + odds)
    table = numpy.outer([1 - right[0], right[0]], [1 - right[1], right[1]]).reshape(-1)
    samples = {"loc": numpy.full(num, 0.5)}

    def pvalue(**settings):
        drawn = infer.Predictive(one_location, samples, parallel=parallel, return_sites="side", **settings)(ROWS[:2], rng_key=3)
        side = host(drawn["side"])
        counts = numpy.bincount(2 * side[:, 0] + side[:, 1], minlength=4)
        return stats.chisquare(counts, num * table).pvalue

    assert pvalue(infer_discrete=True) > LEAST_PVALUE
    assert pvalue() < LEAST_PVALUE


@pytest.mark.nightly
def test_predictive_draws_the_states_of_a_chain(backend):
    """Joint frequencies of the states at fixed continuous draws, against the table of all paths."""
    data, mean, num = DATA[:3], numpy.array([-1.0, 0.5, 2.0]), 1200
    transition = 0.4 * numpy.eye(3) + 0.2
    observed = stats.norm.pdf(data[:, None], mean, 0.8)
    table = numpy.einsum("a,ab,bc->abc", transition[0] * observed[0], transition * observed[1], transition * observed[2])
    table /= table.sum()
    samples = {"stay": numpy.full(num, 0.4), "mean": numpy.tile(mean, (num, 1))}

    def codes(**settings):
        drawn = infer.Predictive(chain, samples, return_sites=["x0", "x1", "x2"], **settings)(data, rng_key=3)
        return numpy.ravel_multi_index([host(drawn[f"x{t}"]) for t in range(3)], (3, 3, 3))

    cumulative = numpy.append(0.0, numpy.cumsum(table))

    def cdf(code):
        return cumulative[numpy.clip(numpy.asarray(code, dtype=int) + 1, 0, 27)]

    assert goodness_of_fit(codes(infer_discrete=True), cdf, discrete=True) > LEAST_PVALUE
    assert goodness_of_fit(codes(), cdf, discrete=True) < LEAST_PVALUE


def test_predictive_of_new_observations(backend):
    """What is not observed is drawn after the discrete sites, given them."""

    def model(y=None):
        side = ppl.sample("side", dist.Bernoulli(0.25))
        ppl.sample("y", dist.Normal(100.0 * side, 1.0), obs=y)

    drawn = infer.Predictive(model, num_samples=120, infer_discrete=True)(rng_key=0)
    side, y = host(drawn["side"]), host(drawn["y"])
    assert goodness_of_fit(side, stats.bernoulli(0.25).cdf, discrete=True) > LEAST_PVALUE
    assert goodness_of_fit(y - 100.0 * side, stats.norm.cdf) > LEAST_PVALUE
    given = infer.Predictive(model, num_samples=4, infer_discrete=True)(ops.array(99.0), rng_key=0)
    assert host(given["side"]).tolist() == [1.0] * 4


def test_observed_support_depends_on_a_discrete_site(backend):
    """An observation that is impossible for some values is one for the others."""

    def model():
        p = ppl.sample("p", dist.Beta(2.0, 2.0))
        n = ppl.sample("n", dist.Categorical(ops.array([0.1, 0.2, 0.3, 0.4])))
        ppl.sample("k", dist.Binomial(n, p), obs=ops.array(2.0))

    mcmc = infer.MCMC(infer.HMC(model, num_steps=2), num_samples=2, warmup_steps=2, seed=0, progress_bar=False).run()
    potential, data = potential_of(model)
    expected = stats.beta(2, 2).logpdf(0.3) + math.log(0.21 * (0.3 * 0.09 + 0.4 * stats.binom.pmf(2, 3, 0.3)))
    assert float(potential.log_density(ops.array([special.logit(0.3)]), data)) == pytest.approx(expected, abs=1e-10)
    assert mcmc.num_gradients > 0


def test_refusals(backend):
    def counts(family):
        rate = ppl.sample("rate", dist.Gamma(2.0, 1.0))
        ppl.sample("y", dist.Normal(ops.sum(ppl.sample("n", family(rate))), 1.0), obs=ops.array(3.0))

    with pytest.raises(InferenceError, match=r"'n' is discrete, and .*Poisson.* finite support.*observe 'n'.*GammaPoisson"):
        potential_of(lambda: counts(dist.Poisson))
    with pytest.raises(InferenceError, match=r"'n' is discrete.*replace \.to_event by a ppl\.plate"):
        potential_of(lambda: counts(lambda rate: dist.Bernoulli(ops.exp(-rate) * ops.ones(3)).to_event(1)))
    with pytest.raises(InferenceError, match=r"max_plate_nesting=0, but.*use 1 dimension.*max_plate_nesting=1"):
        potential_of(mixture, ROWS, max_plate_nesting=0)
    with pytest.raises(InferenceError, match=r"no latent site.*infer_discrete where all"):
        potential_of(lambda: ppl.sample("n", dist.Bernoulli(0.5)))

    def moving():
        n = ppl.sample("n", dist.Bernoulli(0.5))
        ppl.sample("x", dist.Uniform(0.0, n + 1.0))

    potential, data = potential_of(moving)
    with pytest.raises(InferenceError, match=r"support .* of the latent site 'x' depends on .*'n'.*dist\.Uniform\(0, 1\)"):
        potential.log_density(ops.zeros(1), data)


def test_values_behind_a_sum_are_not_kept(backend):
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.deterministic("before", 2.0 * x)
        n = ppl.sample("n", dist.Bernoulli(0.5))
        ppl.deterministic("behind", x + n)

    with pytest.warns(PplWarning, match=r"\['behind'\] come after 'n', which is summed out"):
        potential, data = potential_of(model)
    assert {name: float(value) for name, value in potential.constrain(ops.array([1.5]), data).items()} == {
        "x": 1.5,
        "before": 3.0,
    }


def test_wrong_indexing_is_refused_before_the_first_draw(backend):
    table = numpy.array([[[0.9, 0.1], [0.7, 0.3]], [[0.4, 0.6], [0.05, 0.95]]])

    def model():
        ppl.sample("x", dist.Normal(0.0, 1.0))
        rain = ppl.sample("rain", dist.Categorical(ops.array([0.8, 0.2])))
        ppl.sample("wet", dist.Categorical(ops.array(table)[rain][1]), obs=ops.array(1))

    with pytest.raises(EnumerationError, match="'wet'"):
        infer.MCMC(infer.NUTS(model), num_samples=2, warmup_steps=2, seed=0, progress_bar=False).run()
