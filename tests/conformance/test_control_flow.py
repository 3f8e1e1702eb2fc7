"""``scan``: plain loops over densities, forward recursions and brute force over all values are the oracles."""

import itertools

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops, optim
from ppl.contrib.control_flow import scan
from ppl.infer.enum import runs
from ppl.testing import assert_close

PARALLEL = {"enumerate": "parallel"}
DATA = np.array([0.3, -0.8, 1.1, 0.4])
WIDE = np.random.default_rng(3).normal(size=(4, 3))


def walk(data, reverse=False):
    def step(x, y):
        x = ppl.sample("x", dist.Normal(0.7 * x, 1.0))
        ppl.sample("y", dist.Normal(x, 0.5), obs=y)
        ppl.deterministic("twice", 2.0 * x)
        return x, x + 1.0

    return scan(step, 0.0, data, reverse=reverse)


def walk_log_density(x, y):
    before = np.concatenate([[0.0], x[:-1]])
    return stats.norm.logpdf(x, 0.7 * before, 1.0).sum() + stats.norm.logpdf(y, x, 0.5).sum()


def values(trace, *names):
    return [ops.to_numpy(trace.nodes[name]["value"]) for name in names]


# -- recording --


@pytest.mark.parametrize("reverse", [False, True])
def test_sites_are_stacked_and_the_density_is_that_of_a_loop(backend, reverse):
    trace = handlers.trace(handlers.seed(walk, rng_seed=1)).get_trace(ops.array(DATA), reverse=reverse)
    x, twice = values(trace, "x", "twice")
    assert x.shape == (4,)
    assert trace.nodes["y"]["is_observed"]
    assert_close(twice, 2.0 * x)
    order = slice(None, None, -1) if reverse else slice(None)
    assert_close(trace.log_prob_sum(), walk_log_density(x[order], DATA[order]))
    carry, output = trace.nodes["_RETURN"]["value"]
    assert_close(carry, x[0] if reverse else x[-1])
    assert_close(output, x + 1.0)
    # The order matters: the other one has another density.
    assert abs(walk_log_density(x[::-1], DATA[::-1]) - walk_log_density(x, DATA)) > 1e-3


def test_draws_follow_the_seed_and_differ_from_step_to_step(backend):
    first, again, other = (
        values(handlers.trace(handlers.seed(walk, rng_seed=seed)).get_trace(ops.array(DATA)), "x")[0] for seed in (0, 0, 1)
    )
    assert_close(first, again)
    assert abs(first - other).min() > 0.0
    assert len({round(float(step), 10) for step in np.diff(np.concatenate([[0.0], first]))}) == 4


@pytest.mark.parametrize("give", ["condition", "substitute", "replay"])
def test_handlers_around_give_values_with_time_first(backend, give):
    x = np.array([0.1, 0.2, -0.3, 0.4])
    if give == "replay":
        earlier = handlers.trace(handlers.condition(walk, data={"x": ops.array(x)})).get_trace(ops.array(DATA))
        earlier.nodes["x"]["is_observed"] = False
        model = handlers.replay(walk, trace=earlier)
    else:
        model = getattr(handlers, give)(walk, data={"x": ops.array(x)})
    for reverse in (False, True):
        trace = handlers.trace(model).get_trace(ops.array(DATA), reverse=reverse)
        order = slice(None, None, -1) if reverse else slice(None)
        assert_close(trace.nodes["x"]["value"], x)
        assert_close(trace.log_prob_sum(), walk_log_density(x[order], DATA[order]))
        assert trace.nodes["x"]["is_observed"] is (give == "condition")


def test_plates_around_and_inside_masks_and_scales(backend):
    keep = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]], dtype=bool)

    def around(data):
        with ppl.plate("series", 3), handlers.scale(scale=2.0):

            def step(x, column):
                x = ppl.sample("x", dist.Normal(x, 1.0))
                with handlers.mask(mask=column["keep"]):
                    ppl.sample("y", dist.Normal(x, 0.5), obs=column["y"])
                return x, None

            scan(step, ops.array(0.0), {"y": data, "keep": ops.array(keep)})

    trace = handlers.trace(handlers.seed(around, rng_seed=0)).get_trace(ops.array(WIDE))
    (x,) = values(trace, "x")
    assert x.shape == (4, 3)
    before = np.concatenate([np.zeros((1, 3)), x[:-1]])
    expected = stats.norm.logpdf(x, before, 1.0).sum() + (keep * stats.norm.logpdf(WIDE, x, 0.5)).sum()
    assert_close(trace.log_prob_sum(), 2.0 * expected)

    def inside(data):
        def step(x, column):
            x = ppl.sample("x", dist.Normal(x, 1.0))
            with ppl.plate("rows", 3):
                ppl.sample("y", dist.Normal(x, 0.5), obs=column)
            ppl.factor("pull", -(x**2))
            return x, None

        scan(step, ops.array(0.0), data)

    trace = handlers.trace(handlers.seed(inside, rng_seed=0)).get_trace(ops.array(WIDE))
    (x,) = values(trace, "x")
    expected = stats.norm.logpdf(x, np.concatenate([[0.0], x[:-1]]), 1.0).sum() - (x**2).sum()
    assert_close(trace.log_prob_sum(), expected + stats.norm.logpdf(WIDE, x[:, None], 0.5).sum())
    assert tuple(trace.nodes["y"]["fn"].batch_shape) == (4, 3)


def test_parameters_are_asked_once_and_blocked_sites_stay_hidden(backend):
    def model():
        def step(x, _):
            shift = ppl.param("shift", ops.array(0.25))
            with handlers.block():
                ppl.sample("hidden", dist.Normal(0.0, 1.0))
            return x + shift, x

        return scan(step, ops.array(0.0), length=5)

    trace = handlers.trace(model).get_trace()
    assert set(trace.nodes) == {"shift", "_INPUT", "_RETURN"}
    carry, output = trace.nodes["_RETURN"]["value"]
    assert_close(ops.to_numpy(carry), 1.25)
    assert_close(ops.to_numpy(output), 0.25 * np.arange(5))


def test_a_family_whose_parameters_lack_batch_axes_is_stacked(backend):
    root = np.array([[1.0, 0.0], [0.5, 1.2]])

    def model():
        def step(x, _):
            with ppl.plate("rows", 3):
                x = ppl.sample("x", dist.MultivariateNormal(x, scale_tril=ops.array(root)))
            return x, None

        scan(step, ops.zeros((3, 2)), length=4)

    trace = handlers.trace(handlers.seed(model, rng_seed=0)).get_trace()
    (x,) = values(trace, "x")
    steps = x - np.concatenate([np.zeros((1, 3, 2)), x[:-1]])
    assert x.shape == (4, 3, 2)
    assert_close(trace.log_prob_sum(), stats.multivariate_normal(np.zeros(2), root @ root.T).logpdf(steps).sum())


# -- inference --


def smoothed():
    """Posterior mean and covariance of the walk: a normal posterior."""
    lower = np.eye(4) - 0.7 * np.eye(4, k=-1)
    precision = lower.T @ lower + 4.0 * np.eye(4)
    return np.linalg.solve(precision, 4.0 * DATA), np.linalg.inv(precision)


def test_the_bound_at_the_posterior_is_the_evidence(backend):
    mean, covariance = smoothed()
    prior = np.linalg.inv((np.eye(4) - 0.7 * np.eye(4, k=-1)).T @ (np.eye(4) - 0.7 * np.eye(4, k=-1)))
    evidence = stats.multivariate_normal(np.zeros(4), prior + 0.25 * np.eye(4)).logpdf(DATA)

    def guide(data):
        # The posterior as a chain of its own: each step given the next one.
        weights = [covariance[t, t + 1] / covariance[t + 1, t + 1] for t in range(3)] + [0.0]
        spreads = [covariance[t, t] - weights[t] * covariance[t, t + 1] for t in range(3)] + [covariance[3, 3]]
        shifts = [mean[t] - weights[t] * mean[t + 1] for t in range(3)] + [mean[3]]

        def step(after, row):
            x = ppl.sample("x", dist.Normal(row[0] + row[1] * after, row[2]))
            return x, None

        scan(step, ops.array(0.0), ops.array(np.stack([shifts, weights, np.sqrt(spreads)], axis=1)), reverse=True)

    for num_particles, vectorized in ((1, False), (3, True)):
        elbo = infer.Trace_ELBO(num_particles=num_particles, vectorize_particles=vectorized)
        assert_close(elbo.loss(walk, guide, ops.array(DATA)), -evidence, rtol=1e-8)


@pytest.mark.nightly
def test_a_guide_and_a_sampler_find_the_posterior(backend):
    mean, covariance = smoothed()
    mcmc = infer.MCMC(infer.NUTS(walk), num_samples=500, warmup_steps=300)
    mcmc.run(ops.array(DATA))
    draws = ops.to_numpy(mcmc.get_samples()["x"])
    assert draws.shape == (500, 4)
    sizes = np.array([float(infer.diagnostics.effective_sample_size(ops.array(draws[None, :, t]))) for t in range(4)])
    assert (abs(draws.mean(0) - mean) < 4.9 * np.sqrt(np.diag(covariance) / sizes)).all()
    # Negative control: as if the steps were independent of each other.
    assert (abs(draws.mean(0) - DATA * 4.0 / 5.0) > 4.9 * np.sqrt(np.diag(covariance) / sizes)).any()
    guide = infer.autoguide.AutoMultivariateNormal(walk)
    svi = infer.SVI(walk, guide, optim.Adam({"lr": 0.02}), infer.Trace_ELBO(num_particles=4))
    for _ in range(400):
        svi.step(ops.array(DATA))
    assert_close(guide.median(ops.array(DATA))["x"], mean, atol=0.15)


# -- enumeration --


def tables(states, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(states)), rng.dirichlet(np.ones(states), states), rng.normal(size=states)


def hidden_markov(states=3, carried=True):
    start, moves, means = tables(states)

    def model(data, with_start=True):
        moves_, means_ = ops.array(moves), ops.array(means)
        state = ppl.sample("start", dist.Categorical(ops.array(start)), infer=PARALLEL)

        def step(carry, x):
            state, still = carry
            state = ppl.sample("state", dist.Categorical(moves_[state]), infer=PARALLEL)
            ppl.sample("x", dist.Normal(means_[state], 1.0), obs=x)
            return (state, still if carried else still + 0.0), None

        (state, _), _ = scan(step, (state, ops.array(1.0)), data)
        ppl.sample("after", dist.Normal(2.0 * means_[state], 1.0), obs=ops.array(0.3))

    return model, start, moves, means


def forward(start, moves, means, data):
    weights = start
    for x in data:
        weights = (weights @ moves) * stats.norm.pdf(x, means, 1.0)
    return weights * stats.norm.pdf(0.3, 2.0 * means, 1.0)


def evidence(model, *args, first_available_dim=None):
    def run(*arrays):
        return runs.log_evidence(runs.collect(handlers.trace(runs.enumerated(model, first_available_dim)).get_trace(*arrays)))

    # One program in the place of hundreds of small ones; elsewhere nothing is compiled.
    return ops.compile.compile(run, horizon=1)(*args) if ppl.registry.active().name == "jax" else run(*args)


@pytest.mark.parametrize(("length", "carried"), [(1, True), (2, True), (4, True), (4, False)])
def test_a_hidden_markov_model_has_the_evidence_of_the_forward_recursion(backend, length, carried):
    model, start, moves, means = hidden_markov(carried=carried)
    expected = np.log(forward(start, moves, means, DATA[:length]).sum())
    for first in (None, -1, -3):
        assert_close(evidence(model, ops.array(DATA[:length]), first_available_dim=first), expected)


KEEP = np.array([[1, 1], [1, 0], [1, 1], [0, 1]], dtype=bool)


def factorial(rows):
    """Two chains that the data see together, a local choice, an outer one, a plate, and a mask."""
    _, moves, means = tables(3)
    turns = np.array([[0.8, 0.2], [0.3, 0.7]])
    local, shifts = np.array([[0.6, 0.4], [0.1, 0.9], [0.5, 0.5]]), np.array([[0.0, 1.0], [-1.0, 0.5]])
    outer = ppl.sample("outer", dist.Categorical(ops.array([0.7, 0.3])), infer=PARALLEL)
    with ppl.plate("series", 2):

        def step(carry, column):
            first = ppl.sample("first", dist.Categorical(ops.array(moves)[carry["first"]]), infer=PARALLEL)
            second = ppl.sample("second", dist.Categorical(ops.array(turns)[carry["second"]]), infer=PARALLEL)
            choice = ppl.sample("choice", dist.Categorical(ops.array(local)[first]), infer=PARALLEL)
            with handlers.mask(mask=column["keep"]):
                mean = ops.array(means)[first] + ops.array(shifts)[second, choice] + outer
                ppl.sample("y", dist.Normal(mean, 1.0), obs=column["y"])
            return {"first": first, "second": second}, None

        scan(step, {"first": ops.array(0), "second": ops.array(0)}, {"y": rows, "keep": ops.array(KEEP)})


def factorial_evidence(rows):
    _, moves, means = tables(3)
    turns = np.array([[0.8, 0.2], [0.3, 0.7]])
    local, shifts = np.array([[0.6, 0.4], [0.1, 0.9], [0.5, 0.5]]), np.array([[0.0, 1.0], [-1.0, 0.5]])
    total = 0.0
    for outer in range(2):
        product = (0.7, 0.3)[outer]
        for n in range(2):
            weights = np.zeros((3, 2))
            weights[0, 0] = 1.0
            for t in range(len(rows)):
                seen = np.ones((3, 2))
                for a, b in itertools.product(range(3), range(2)):
                    if KEEP[t, n]:
                        seen[a, b] = sum(
                            local[a, c] * stats.norm.pdf(rows[t, n], means[a] + shifts[b, c] + outer, 1.0) for c in range(2)
                        )
                weights = np.einsum("ab,ac,bd->cd", weights, moves, turns) * seen
            product *= weights.sum()
        total += product
    return np.log(total)


def test_several_chains_local_choices_plates_and_masks(backend):
    assert_close(evidence(factorial, ops.array(WIDE[:, :2])), factorial_evidence(WIDE[:, :2]))


def test_a_plate_inside_of_the_step(backend):
    _, moves, means = tables(3)

    def shared(rows):
        def step(state, row):
            state = ppl.sample("state", dist.Categorical(ops.array(moves)[state]), infer=PARALLEL)
            with ppl.plate("rows", 3):
                ppl.sample("y", dist.Normal(ops.array(means)[state], 1.0), obs=row)
            return state, None

        scan(step, ops.array(0), rows)

    weights = np.array([1.0, 0.0, 0.0])
    for row in WIDE:
        weights = (weights @ moves) * stats.norm.pdf(row[:, None], means, 1.0).prod(0)
    assert_close(evidence(shared, ops.array(WIDE)), np.log(weights.sum()))

    def apart(rows):
        def step(state, row):
            with ppl.plate("rows", 3):
                state = ppl.sample("state", dist.Categorical(ops.array(moves)[state]), infer=PARALLEL)
                ppl.sample("y", dist.Normal(ops.array(means)[state], 1.0), obs=row)
            return state, None

        scan(step, ops.array(0), rows)

    total = 0.0
    for column in WIDE.T:
        weights = np.array([1.0, 0.0, 0.0])
        for y in column:
            weights = (weights @ moves) * stats.norm.pdf(y, means, 1.0)
        total += np.log(weights.sum())
    assert_close(evidence(apart, ops.array(WIDE)), total)


LOCAL = np.array([[0.6, 0.4], [0.1, 0.9], [0.5, 0.5]])
LEVELS = np.array([[0.3, -1.0], [1.2, 0.1], [-0.4, 0.8]])


@pytest.mark.parametrize("size", [3, 6])
def test_local_choices_in_a_minibatch_inside_of_the_step(backend, size):
    _, moves, _ = tables(3)

    def model(rows):
        def step(state, row):
            state = ppl.sample("state", dist.Categorical(ops.array(moves)[state]), infer=PARALLEL)
            with ppl.plate("rows", size, subsample=ops.arange(3)):
                choice = ppl.sample("choice", dist.Categorical(ops.array(LOCAL)[state]), infer=PARALLEL)
                ppl.sample("y", dist.Normal(ops.array(LEVELS)[state, choice], 1.0), obs=row)
            return state, None

        scan(step, ops.array(0), rows)

    weights = np.array([1.0, 0.0, 0.0])
    for row in WIDE:
        seen = (LOCAL * stats.norm.pdf(row[:, None, None], LEVELS, 1.0)).sum(-1).prod(0)
        weights = (weights @ moves) * seen ** (size / 3)
    assert_close(evidence(model, ops.array(WIDE)), np.log(weights.sum()))


def test_minibatches_and_scales_around(backend):
    _, moves, means = tables(3)

    def model(rows):
        with ppl.plate("series", 6, subsample=ops.arange(3)), handlers.scale(scale=0.5):

            def step(state, row):
                state = ppl.sample("state", dist.Categorical(ops.array(moves)[state]), infer=PARALLEL)
                ppl.sample("y", dist.Normal(ops.array(means)[state], 1.0), obs=row)
                return state, None

            scan(step, ops.array(0), rows)

    total = 0.0
    for column in WIDE.T:
        weights = np.array([1.0, 0.0, 0.0])
        for y in column:
            weights = (weights @ moves) * stats.norm.pdf(y, means, 1.0)
        total += np.log(weights.sum())
    assert_close(evidence(model, ops.array(WIDE)), 2.0 * 0.5 * total)


def test_a_carry_with_event_dimensions_and_a_masked_enumerated_site(backend):
    _, moves, means = tables(3)
    keep = np.array([True, False, True, True])

    def model(data):
        def step(state, column):
            with handlers.mask(mask=column["keep"]):
                state = ppl.sample("state", dist.OneHotCategorical(state @ ops.array(moves)), infer=PARALLEL)
            ppl.sample("x", dist.Normal(ops.sum(state * ops.array(means), axis=-1), 1.0), obs=column["x"])
            return state, None

        scan(step, ops.array([1.0, 0.0, 0.0]), {"x": data, "keep": ops.array(keep)})

    weights = np.array([1.0, 0.0, 0.0])
    for x, counts in zip(DATA, keep, strict=True):
        # What a masked site counts is one for each of its values.
        weights = (weights @ (moves if counts else np.ones((3, 3)))) * stats.norm.pdf(x, means, 1.0)
    assert_close(evidence(model, ops.array(DATA)), np.log(weights.sum()))


def test_sites_that_no_later_step_sees(backend):
    def model(data):
        def step(carry, x):
            choice = ppl.sample("choice", dist.Categorical(ops.array(LOCAL)[0]), infer=PARALLEL)
            ppl.sample("x", dist.Normal(ops.array(LEVELS)[0][choice], 1.0), obs=x)
            return carry, None

        scan(step, ops.array(0.0), data, reverse=True)

    joint = LOCAL[0] * stats.norm.pdf(DATA[:, None], LEVELS[0], 1.0)
    assert_close(evidence(model, ops.array(DATA)), np.log(joint.sum(-1)).sum())
    decoded = handlers.trace(infer.infer_discrete(model, temperature=0)).get_trace(ops.array(DATA))
    assert ops.to_numpy(decoded.nodes["choice"]["value"]).tolist() == joint.argmax(-1).tolist()


def test_what_is_computed_from_a_site_is_carried_backwards(backend):
    def model(data):
        def step(before, x):
            state = ppl.sample("state", dist.Bernoulli(0.2 + 0.5 * before), infer=PARALLEL)
            ppl.sample("x", dist.Normal(state, 1.0), obs=x)
            return 1.0 * state, None

        last, _ = scan(step, ops.array(0.0), data, reverse=True)
        ppl.sample("after", dist.Normal(last, 1.0), obs=ops.array(0.2))

    weights = np.array([1.0, 0.0])
    for x in DATA[::-1]:
        weights = (weights @ np.array([[0.8, 0.2], [0.3, 0.7]])) * stats.norm.pdf(x, [0.0, 1.0], 1.0)
    assert_close(evidence(model, ops.array(DATA)), np.log((weights * stats.norm.pdf(0.2, [0.0, 1.0], 1.0)).sum()))


def test_continuous_sites_of_the_steps_take_given_values(backend):
    _, moves, means = tables(2)
    w = np.array([0.5, -0.2, 1.0, 0.3])

    def model(data):
        def step(state, x):
            state = ppl.sample("state", dist.Categorical(ops.array(moves)[state]), infer=PARALLEL)
            level = ppl.sample("level", dist.Normal(ops.array(means)[state], 0.5))
            ppl.sample("x", dist.Normal(level, 1.0), obs=x)
            return state, level

        scan(step, ops.array(0), data)

    weights = np.array([1.0, 0.0])
    for t, x in enumerate(DATA):
        weights = (weights @ moves) * stats.norm.pdf(w[t], means, 0.5) * stats.norm.pdf(x, w[t], 1.0)
    expected = np.log(weights.sum())
    assert_close(evidence(handlers.condition(model, data={"level": ops.array(w)}), ops.array(DATA)), expected)

    def guide(data):
        ppl.sample("level", dist.Delta(ops.array(w), event_dim=0).to_event(0))

    with ppl.validation_enabled(False):
        assert_close(infer.TraceEnum_ELBO(max_plate_nesting=1).loss(model, guide, ops.array(DATA)), -expected)


def test_the_most_probable_path_and_draws_of_all_steps(backend):
    model, start, moves, means = hidden_markov()

    def weight(path):
        terms = [np.log(start[path[0]]), stats.norm.logpdf(0.3, 2.0 * means[path[-1]], 1.0)]
        for t, x in enumerate(DATA):
            terms += [np.log(moves[path[t], path[t + 1]]), stats.norm.logpdf(x, means[path[t + 1]], 1.0)]
        return sum(terms)

    paths = list(itertools.product(range(3), repeat=5))
    best = max(paths, key=weight)
    decoded = handlers.trace(infer.infer_discrete(model, temperature=0)).get_trace(ops.array(DATA))
    assert (int(decoded.nodes["start"]["value"]), *ops.to_numpy(decoded.nodes["state"]["value"]).tolist()) == best
    trace = handlers.trace(runs.enumerated(model)).get_trace(ops.array(DATA))
    states = trace.nodes["state"]["infer"]["_scan"]
    drawn = ops.to_numpy(
        ops.stack(
            [
                states.draw({"start": ops.array(1), "state": ops.array(2)}, 1, key)["state"]
                for key in ops.random.split(ops.random.key(0), 400 if backend != "jax" else 100)
            ]
        )
    )
    assert (drawn[:, -1] == 2).all()
    given = [path for path in paths if path[0] == 1 and path[-1] == 2]
    expected = np.exp([weight(path) for path in given])
    code = drawn[:, 0] * 9 + drawn[:, 1] * 3 + drawn[:, 2]
    counts = np.array([(code == path[1] * 9 + path[2] * 3 + path[3]).sum() for path in given])
    assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 2e-5
