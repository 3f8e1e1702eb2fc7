"""Draws from the joint posterior of discrete sites, and its mode, against tables of all joint assignments by scipy."""

import itertools
import math

import numpy
import pytest
from enumeration import DATA, MEANS, TRANSITION, hmm, host
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.contrib.control_flow import scan
from ppl.errors import InferenceError, PlateCollision, SiteError
from ppl.infer.discrete import BackwardSampleMessenger
from ppl.ops import compile
from ppl.testing.goodness_of_fit import LEAST_PVALUE, goodness_of_fit

PARALLEL = {"enumerate": "parallel"}
WEIGHTS = numpy.array([0.2, 0.5, 0.3])
ROWS = numpy.array([-1.2, 0.4, 2.5, 0.6])


def viterbi_decoder(data, hidden_dim=10):
    """The example of the documentation."""
    transition = 0.3 / hidden_dim + 0.7 * ops.eye(hidden_dim)
    means = ops.astype(ops.arange(hidden_dim), ops.default_dtype())
    states = [0]
    for t in ppl.markov(range(len(data))):
        states.append(ppl.sample(f"states_{t}", dist.Categorical(transition[states[-1]])))
        ppl.sample(f"obs_{t}", dist.Normal(means[states[-1]], 1.0), obs=data[t])
    return states


def viterbi_by_hand(data, hidden_dim):
    """The best path: the recursion of Viterbi (1967), whose cost is linear in time; checked against all paths below."""
    log_transition = numpy.log(0.3 / hidden_dim + 0.7 * numpy.eye(hidden_dim))
    observed = stats.norm.logpdf(numpy.asarray(data)[:, None], numpy.arange(hidden_dim), 1.0)
    best, pointers = log_transition[0] + observed[0], []
    for row in observed[1:]:
        scores = best[:, None] + log_transition
        pointers.append(scores.argmax(0))
        best = scores.max(0) + row
    path = [int(best.argmax())]
    for pointer in reversed(pointers):
        path.insert(0, int(pointer[path[0]]))
    return path


def paths(data, history=1):
    """The posterior of the state sequences of the model of ``enumeration.hmm``: a table with an axis for each time."""
    table = numpy.zeros((3,) * len(data))
    for states in itertools.product(range(3), repeat=len(data)):
        log_prob = 0.0
        for t, state in enumerate(states):
            seen = states[max(t - history, 0) : t]
            probs = TRANSITION[list(seen)].mean(axis=0) if seen else TRANSITION[0]
            log_prob += math.log(probs[state]) + stats.norm.logpdf(data[t], MEANS[state], 1.0)
        table[states] = math.exp(log_prob)
    return table / table.sum()


def mixture(data):
    """A choice for all rows and one for each, in one sample site of vectors and one of numbers."""
    side = ppl.sample("side", dist.OneHotCategorical(ops.array([0.4, 0.6])))
    with ppl.plate("rows", len(data)):
        kind = ppl.sample("kind", dist.Categorical(ops.array(WEIGHTS)))
        shift = ops.sum(side * ops.array([-0.5, 0.5]), axis=-1)
        ppl.sample("y", dist.Normal(ops.array(MEANS)[kind] + shift, 0.7), obs=ops.array(data))
    return side, kind


def mixture_by_hand(data):
    """The joint posterior of side and kinds."""
    table = numpy.zeros((2,) + (3,) * len(data))
    for index in numpy.ndindex(*table.shape):
        side, kinds = index[0], list(index[1:])
        likelihood = stats.norm.pdf(data, MEANS[kinds] + (-0.5, 0.5)[side], 0.7).prod()
        table[index] = (0.4, 0.6)[side] * WEIGHTS[kinds].prod() * likelihood
    return table / table.sum()


def copies(model, num):
    """``model`` for each element of a plate: as many draws of its posterior."""

    def run(*args):
        with ppl.plate("copies", num, dim=-2):
            return model(*args)

    return run


def codes(columns, table):
    """Joint assignments as numbers, and the distribution function of these numbers under a table of probabilities."""
    cumulative = numpy.append(0.0, numpy.cumsum(table))
    numbers = numpy.ravel_multi_index([host(column).reshape(-1) for column in columns], table.shape)
    return numbers, lambda code: cumulative[numpy.clip(numpy.asarray(code, dtype=int) + 1, 0, table.size)]


def product_of_marginals(table):
    marginals = [table.sum(axis=tuple(other for other in range(table.ndim) if other != axis)) for axis in range(table.ndim)]
    return numpy.einsum(",".join("abcdef"[: table.ndim]), *marginals)


def test_viterbi_decoder(backend):
    data = numpy.array([1.2, 0.4, 2.7, 2.9, 0.1])
    decode = infer.infer_discrete(first_available_dim=-1, temperature=0)(infer.config_enumerate(viterbi_decoder))
    assert [int(state) for state in decode(ops.array(data), hidden_dim=4)] == [0, *viterbi_by_hand(data, 4)]

    def log_joint(states):
        steps = zip((0, *states[:-1]), states, data, strict=True)
        return sum(math.log(0.075 + 0.7 * (a == b)) + stats.norm.logpdf(y, b, 1.0) for a, b, y in steps)

    assert tuple(viterbi_by_hand(data, 4)) == max(itertools.product(range(4), repeat=5), key=log_joint)
    greedy = [int(value) for value in numpy.abs(data[:, None] - numpy.arange(4)).argmin(1)]
    assert viterbi_by_hand(data, 4) != greedy


def test_long_chain_is_decoded(backend, rng):
    data = rng.normal(size=60).cumsum() / 2 + 2
    decode = infer.infer_discrete(infer.config_enumerate(viterbi_decoder), first_available_dim=-1, temperature=0)
    assert [int(state) for state in decode(ops.array(data), hidden_dim=5)[1:]] == viterbi_by_hand(data, 5)


@pytest.mark.nightly
def test_very_long_chain_is_decoded(backend, rng):
    # On jax a loop of Python runs an operation at a time; see test_scan_is_decoded for what is meant for it.
    data = rng.normal(size=200 if backend == "jax" else 1000).cumsum() / 4 + 3
    decode = infer.infer_discrete(infer.config_enumerate(viterbi_decoder), first_available_dim=-1, temperature=0)
    assert [int(state) for state in decode(ops.array(data), hidden_dim=8)[1:]] == viterbi_by_hand(data, 8)


def test_scan_is_decoded(backend, rng):
    def decoder(data):
        def step(state, y):
            state = ppl.sample("states", dist.Categorical(transition[state]), infer=PARALLEL)
            ppl.sample("obs", dist.Normal(means[state], 1.0), obs=y)
            return state, state

        transition = 0.3 / 4 + 0.7 * ops.eye(4)
        means = ops.astype(ops.arange(4), ops.default_dtype())
        return scan(step, ops.array(0), data)

    data = rng.normal(size=30).cumsum() / 2 + 2
    last, states = infer.infer_discrete(decoder, first_available_dim=-1, temperature=0)(ops.array(data))
    assert host(states).tolist() == viterbi_by_hand(data, 4)
    assert int(last) == viterbi_by_hand(data, 4)[-1]


@pytest.mark.parametrize("history", [1, 2])
def test_mode_of_a_chain(backend, history):
    trace = handlers.trace(infer.infer_discrete(hmm, first_available_dim=-1, temperature=0)).get_trace(DATA, history)
    expected = numpy.unravel_index(paths(DATA, history).argmax(), (3,) * 5)
    assert tuple(int(trace.nodes[f"x{t}"]["value"]) for t in range(5)) == tuple(int(state) for state in expected)
    assert all(tuple(trace.nodes[f"x{t}"]["value"].shape) == () for t in range(5))


def test_mode_with_plates_and_vectors(backend):
    side, kind = infer.infer_discrete(infer.config_enumerate(mixture), temperature=0)(ROWS)
    expected = numpy.unravel_index(mixture_by_hand(ROWS).argmax(), (2, 3, 3, 3, 3))
    assert (int(host(side).argmax()), *map(int, host(kind))) == tuple(map(int, expected))


def test_joint_draws_of_a_chain(backend):
    """Every sequence of three states comes as often as it should; were the states independent, it would not."""
    table = paths(DATA[:3])
    posterior = infer.infer_discrete(copies(hmm, 4000), first_available_dim=-3)
    trace = handlers.trace(handlers.seed(posterior, rng_seed=1)).get_trace(DATA[:3])
    columns = [trace.nodes[f"x{t}"]["value"] for t in range(3)]
    assert goodness_of_fit(*codes(columns, table), discrete=True) > LEAST_PVALUE
    assert goodness_of_fit(*codes(columns, product_of_marginals(table)), discrete=True) < LEAST_PVALUE
    prior = handlers.trace(handlers.seed(copies(hmm, 4000), rng_seed=1)).get_trace(DATA[:3])
    drawn = [prior.nodes[f"x{t}"]["value"] for t in range(3)]
    assert goodness_of_fit(*codes(drawn, table), discrete=True) < LEAST_PVALUE


def test_joint_draws_with_plates_and_vectors(backend):
    data = ROWS[:2]
    table = mixture_by_hand(data)
    posterior = infer.infer_discrete(infer.config_enumerate(copies(mixture, 4000)))
    side, kind = handlers.seed(posterior, rng_seed=2)(data)
    assert (tuple(side.shape), tuple(kind.shape)) == ((4000, 1, 2), (4000, 2))
    columns = [host(side).argmax(-1), host(kind)[:, 0], host(kind)[:, 1]]
    assert goodness_of_fit(*codes(columns, table), discrete=True) > LEAST_PVALUE
    assert goodness_of_fit(*codes(columns, product_of_marginals(table)), discrete=True) < LEAST_PVALUE


def test_second_run_is_a_plain_one(backend):
    """What handlers outside see is a run of the model at the draw: its values, its joint density, its result."""
    drawn = handlers.trace(handlers.seed(infer.infer_discrete(infer.config_enumerate(mixture)), rng_seed=0)).get_trace(ROWS)
    side, kind = (host(drawn.nodes[name]["value"]) for name in ("side", "kind"))
    assert [name for name in drawn.nodes if not name.startswith("_")] == ["side", "kind", "y"]
    assert all(numpy.array_equal(host(a), b) for a, b in zip(drawn.nodes["_RETURN"]["value"], (side, kind), strict=True))
    shift = (-0.5, 0.5)[side.argmax()]
    expected = math.log((0.4, 0.6)[side.argmax()]) + numpy.log(WEIGHTS[kind]).sum()
    expected += stats.norm.logpdf(ROWS, MEANS[kind] + shift, 0.7).sum()
    assert float(drawn.log_prob_sum()) == pytest.approx(expected, abs=1e-10)


def test_seeds_decide(backend):
    posterior = infer.infer_discrete(infer.config_enumerate(copies(mixture, 50)), first_available_dim=-3)
    first, again, other = (host(handlers.seed(posterior, rng_seed=seed)(ROWS)[1]) for seed in (0, 0, 1))
    assert numpy.array_equal(first, again)
    assert not numpy.array_equal(first, other)
    keyed = infer.infer_discrete(first_available_dim=-3, rng_key=5)(infer.config_enumerate(copies(mixture, 50)))
    assert numpy.array_equal(host(keyed(ROWS)[1]), host(keyed(ROWS)[1]))


def test_handlers_outside_count_in_both_runs(backend):
    @infer.infer_discrete(first_available_dim=-2, temperature=0)
    def model():
        x = ppl.sample("x", dist.Bernoulli(0.4), infer=PARALLEL)
        ppl.sample("y", dist.Normal(2.0 * x, 1.0))
        return x

    for y in (0.3, 1.9):
        with handlers.condition(data={"y": ops.array(y)}):
            assert float(model()) == float(0.6 * stats.norm.pdf(y) < 0.4 * stats.norm.pdf(y - 2.0))
    observed = ops.array([0.3, 1.9, 4.0])
    with ppl.plate("rows", 3), handlers.condition(data={"y": observed}):
        assert host(model()).tolist() == [0.0, 1.0, 1.0]
    with ppl.plate("rows", 3), handlers.mask(mask=ops.array([True, False, True])), handlers.condition(data={"y": observed}):
        values = host(model())
    assert (values[0], values[2]) == (0.0, 1.0)


def test_other_latent_sites(backend):
    """A latent site above is drawn first and stays; one below is drawn after; and nothing may be observed below that one."""

    def model(seen=None):
        shift = ppl.sample("shift", dist.Normal(0.0, 10.0))
        x = ppl.sample("x", dist.Bernoulli(0.5), infer=PARALLEL)
        ppl.sample("y", dist.Normal(shift * x, 1.0), obs=ops.array(7.0))
        below = ppl.sample("below", dist.Normal(100.0 * x, 0.1))
        ppl.sample("elsewhere", dist.Normal(below if seen is not None else x, 1.0), obs=None if seen is None else ops.array(seen))
        return shift, x, below

    shift, x, below = handlers.seed(infer.infer_discrete(model, first_available_dim=-1, temperature=0), rng_seed=3)()
    # Nothing but the shift says which side the observation is nearer to.
    assert float(x) == float(abs(7.0 - float(shift)) < 7.0)
    assert abs(float(below) - 100.0 * float(x)) < 1.0
    with pytest.raises(InferenceError, match=r"'elsewhere' depends on one of \['below'\].*condition to give 'below'"):
        handlers.seed(infer.infer_discrete(model, first_available_dim=-1), rng_seed=3)(1.0)
    known = handlers.condition(model, data={"below": ops.array(100.0)})
    _, x, below = handlers.seed(infer.infer_discrete(known, first_available_dim=-1), rng_seed=3)(1.0)
    assert (float(x), float(below)) == (1.0, 100.0)  # half a million times likelier than what the observation says


def test_minibatch_is_that_of_both_runs(backend):
    data = numpy.linspace(-3.0, 3.0, 20)

    def model():
        with ppl.plate("rows", 20, subsample_size=6) as rows:
            x = ppl.sample("x", dist.Bernoulli(0.5), infer=PARALLEL)
            ppl.sample("y", dist.Normal(4.0 * x - 2.0, 1.0), obs=ops.array(data)[rows])
        return rows, x

    rows, x = handlers.seed(infer.infer_discrete(model, first_available_dim=-2, temperature=0), rng_seed=0)()
    assert numpy.array_equal(host(x), (data[host(rows)] > 0).astype(float))


def test_masks_and_scales(backend):
    def model(inner=1.0, outer=1.0):
        with handlers.scale(scale=outer):
            with handlers.mask(mask=False):
                free = ppl.sample("free", dist.Categorical(ops.array([0.98, 0.01, 0.01])), infer=PARALLEL)
            x = ppl.sample("x", dist.Bernoulli(0.2), infer=PARALLEL)
            with handlers.scale(scale=inner):
                ppl.sample("y", dist.Normal(x, 1.0), obs=ops.array(1.0))
        return free, x

    odds = 0.2 * stats.norm.pdf(0.0) / (0.8 * stats.norm.pdf(1.0))
    posterior = infer.infer_discrete(copies(model, 3000), first_available_dim=-3)
    for outer in (1.0, 0.25):
        free, x = handlers.seed(posterior, rng_seed=4)(1.0, outer)
        # A masked site says nothing, its own prior included; a common scale says nothing of what is summed.
        assert goodness_of_fit(host(free), stats.randint(0, 3).cdf, discrete=True) > LEAST_PVALUE
        assert goodness_of_fit(host(x), stats.bernoulli(odds / (1 + odds)).cdf, discrete=True) > LEAST_PVALUE
    assert goodness_of_fit(host(x), stats.bernoulli(0.2).cdf, discrete=True) < LEAST_PVALUE
    with pytest.raises(InferenceError, match=r"'x' and 'y'.*scale"):
        handlers.seed(posterior, rng_seed=4)(0.25)


def test_minibatch_counts_for_its_plate(backend):
    """A site outside of a subsampled plate sees each row as often as the plate says."""

    def model():
        side = ppl.sample("side", dist.Bernoulli(0.999), infer=PARALLEL)
        with ppl.plate("rows", 100, subsample=ops.arange(2)):
            ppl.sample("y", dist.Normal(side, 1.0), obs=ops.array([0.3, 0.4]))
        return side

    # Two rows cannot outweigh the prior, a hundred do: the log odds are log(999) + 100 * (0.35 - 0.5).
    assert math.log(999) + 2 * (0.35 - 0.5) > 0 > math.log(999) + 100 * (0.35 - 0.5)
    assert float(infer.infer_discrete(model, first_available_dim=-2, temperature=0)()) == 0.0


@pytest.mark.backends("jax")
def test_compiled(backend):
    """The mode for new data of a compiled program, which has seen other data."""
    decode = infer.infer_discrete(infer.config_enumerate(viterbi_decoder), first_available_dim=-1, temperature=0)
    program = compile.compile(lambda data: ops.stack(decode(data, hidden_dim=3)[1:]))
    for data in ([0.1, 1.9, 2.2, 0.4], [2.2, 2.0, 0.2, 1.4]):
        assert host(program(ops.array(data))).tolist() == viterbi_by_hand(data, 3)


@pytest.mark.backends("jax")
def test_compiled_draws(backend):
    """Under jit, mapped over keys, draws are those of the joint posterior."""
    table = paths(DATA[:3])
    posterior = infer.infer_discrete(hmm, first_available_dim=-1)

    def draw(index):
        key = ops.random.fold_in(ops.random.key(0), index)
        trace = handlers.trace(handlers.seed(posterior, rng_seed=key)).get_trace(DATA[:3])
        return ops.stack([trace.nodes[f"x{t}"]["value"] for t in range(3)])

    drawn = host(compile.compile(ops.autodiff.vmap(draw))(ops.arange(3000)))
    assert goodness_of_fit(*codes(drawn.T, table), discrete=True) > LEAST_PVALUE
    assert goodness_of_fit(*codes(drawn.T, product_of_marginals(table)), discrete=True) < LEAST_PVALUE


def test_backward_sample_messenger(backend):
    """The reference's use: the model's trace beside a guide's, and a replay with the guide's values."""

    def model():
        loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
        x = ppl.sample("x", dist.Bernoulli(0.5), infer=PARALLEL)
        ppl.sample("y", dist.Normal(loc * x, 0.1), obs=ops.array(0.9))
        return x

    guide_trace = handlers.trace(lambda: ppl.sample("loc", dist.Delta(ops.array(1.0)))).get_trace()
    replayed = handlers.replay(model, trace=guide_trace)
    trace = handlers.trace(handlers.enum(replayed, first_available_dim=-1)).get_trace()
    with BackwardSampleMessenger(trace, guide_trace):
        assert float(replayed()) == 1.0
    enumerated = handlers.trace(
        handlers.enum(lambda: ppl.sample("x", dist.Bernoulli(0.5), infer=PARALLEL), first_available_dim=-1)
    ).get_trace()
    with pytest.raises(InferenceError, match="'x' is enumerated in the guide"):
        BackwardSampleMessenger(trace, enumerated)


def test_refusals(backend):
    with pytest.raises(InferenceError, match=r"temperature=0, its mode; got 0\.5"):
        infer.infer_discrete(temperature=0.5)
    with pytest.raises(SiteError, match=r"'n'.*finite support"):
        infer.infer_discrete(lambda: ppl.sample("n", dist.Poisson(2.0), infer=PARALLEL), first_available_dim=-1)()
    with pytest.raises(PlateCollision, match="'rows' uses dim=-1"):
        infer.infer_discrete(infer.config_enumerate(mixture), first_available_dim=-1)(ROWS)
