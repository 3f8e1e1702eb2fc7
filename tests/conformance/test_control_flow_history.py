"""``scan`` whose steps look back several steps: sums over all joint values are the oracle."""

import itertools

import numpy as np
import pytest
from scipy import stats
from test_control_flow import PARALLEL, evidence

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.contrib.control_flow import scan
from ppl.errors import EnumerationError
from ppl.infer.enum import runs
from ppl.testing import assert_close

DATA = np.array([0.3, -0.8, 1.1, 0.4, -0.2, 0.9, 1.5])


class LookingBack:
    """A chain of two states that depends on as many steps before, and a local choice: the model, and the weight of a path."""

    def __init__(self, history, seed=0):
        rng = np.random.default_rng(seed)
        self.history = history
        self.start = rng.dirichlet(np.ones(2))
        self.moves = rng.dirichlet(np.ones(2), (2,) * history)
        self.local = rng.dirichlet(np.ones(2), 2)
        self.means = 2.0 * rng.normal(size=(2, 2, 2))

    def model(self, data, reverse=False):
        start = ppl.sample("start", dist.Categorical(ops.array(self.start)), infer=PARALLEL)

        def step(carry, x):
            state = ppl.sample("state", dist.Categorical(ops.array(self.moves)[carry]), infer=PARALLEL)
            choice = ppl.sample("choice", dist.Categorical(ops.array(self.local)[state]), infer=PARALLEL)
            ppl.sample("x", dist.Normal(ops.array(self.means)[state, carry[-1], choice], 1.0), obs=x)
            return (state, *carry[:-1]), None

        last, _ = scan(step, (start,) * self.history, data, reverse=reverse, history=self.history)
        ppl.sample("after", dist.Normal(ops.array(self.means)[last[0], 0, 0], 1.0), obs=ops.array(0.3))

    def weight(self, start, path, data):
        whole = [start] * self.history + list(path)
        product = self.start[start] * stats.norm.pdf(0.3, self.means[path[-1], 0, 0], 1.0)
        for t, x in enumerate(data):
            before = tuple(whole[self.history + t - 1 - back] for back in range(self.history))
            seen = stats.norm.pdf(x, self.means[path[t], before[-1]], 1.0)
            product *= self.moves[before][path[t]] * (self.local[path[t]] * seen).sum()
        return product

    def weights(self, data):
        """Return all joint values of the states, the one before the loop first, and their weights."""
        paths = list(itertools.product(range(2), repeat=1 + len(data)))
        return paths, np.array([self.weight(path[0], path[1:], data) for path in paths])


def test_what_looks_back_too_far_is_refused(backend):
    chain = LookingBack(2)

    def last_but_one(data):
        def step(carry, x):
            return (ppl.sample("state", dist.Categorical(ops.array(chain.moves)[carry]), infer=PARALLEL), carry[0]), None

        _, before = scan(step, (ops.array(0), ops.array(0)), data, history=2)[0]
        ppl.sample("after", dist.Normal(before + 0.0, 1.0), obs=ops.array(0.0))

    with pytest.raises(EnumerationError, match=r"last carry.*summed out"):
        handlers.trace(runs.enumerated(last_but_one)).get_trace(ops.array(DATA))
    three = LookingBack(3)
    three.history, moves = 2, three.moves

    def too_short(data):
        def step(carry, x):
            state = ppl.sample("state", dist.Categorical(ops.array(moves)[carry]), infer=PARALLEL)
            return (state, *carry[:2]), None

        scan(step, (ops.array(0),) * 3, data, history=2)

    with pytest.raises(EnumerationError, match=r"'state'.*history=2 allows.*try history=3"):
        handlers.trace(runs.enumerated(too_short)).get_trace(ops.array(DATA))

    def wide(data):
        def step(carry, x):
            state = ppl.sample("state", dist.Categorical(ops.ones((50,)) + carry[1][..., None]), infer=PARALLEL)
            return (state, carry[0]), None

        scan(step, (ops.array(0), ops.array(0)), data, history=2)

    with pytest.raises(EnumerationError, match=r"50 joint values.*6250000.*shorter history"):
        handlers.trace(runs.enumerated(wide)).get_trace(ops.array(DATA))


# A loop as long as what it looks back to, one shorter, steps in front of the first full block, and several blocks.
@pytest.mark.parametrize(("history", "length"), [(2, 2), (2, 7), (3, 2), (3, 5)])
def test_the_evidence_is_the_sum_over_all_joint_values(backend, history, length):
    chain = LookingBack(history)
    data = DATA[:length]
    expected = np.log(chain.weights(data)[1].sum())
    assert_close(evidence(chain.model, ops.array(data)), expected)
    backwards = evidence(lambda values: chain.model(values, reverse=True), ops.array(data[::-1].copy()))
    assert_close(backwards, expected)
    # Negative control: the order of what is seen matters.
    if length > 2:
        assert abs(np.log(chain.weights(data[::-1])[1].sum()) - expected) > 1e-4


@pytest.mark.nightly
def test_draws_of_steps_that_look_back(backend):
    chain, data = LookingBack(2), DATA[:5]
    paths, weights = chain.weights(data)
    trace = handlers.trace(runs.enumerated(chain.model)).get_trace(ops.array(data))
    states = trace.nodes["state"]["infer"]["_scan"]
    count = 600 if backend != "jax" else 100
    keys = ops.random.split(ops.random.key(0), count)
    drawn = [states.draw({"start": ops.array(1), "state": ops.array(0)}, 1, key)["state"] for key in keys]
    drawn = ops.to_numpy(ops.stack(drawn))
    assert drawn.shape == (count, 5)
    assert (drawn[:, -1] == 0).all()
    kept = [place for place, path in enumerate(paths) if path[0] == 1 and path[-1] == 0]
    codes = [np.array(paths[place][1:5]) @ [8, 4, 2, 1] for place in kept]
    counts = np.array([(drawn[:, :4] @ [8, 4, 2, 1] == code).sum() for code in codes])
    expected = weights[kept] / weights[kept].sum() * count
    # Paths that are rarely drawn count together.
    common = expected > 5.0
    pooled = [np.append(each[common], each[~common].sum()) for each in (counts, expected)]
    assert stats.chisquare(*pooled).pvalue > 2e-5
    # Negative control: the same draws backwards.
    turned = np.array([(drawn[:, 3::-1] @ [8, 4, 2, 1] == code).sum() for code in codes])
    assert stats.chisquare(np.append(turned[common], turned[~common].sum()), pooled[1]).pvalue < 1e-6


def test_the_mode_of_steps_that_look_back(backend):
    chain, data = LookingBack(2, seed=1), DATA[:5]
    # With the local choices a part of the mode, so that each has the larger of its two terms.
    chain.local = np.array([[1.0, 0.0], [0.0, 1.0]])
    paths, weights = chain.weights(data)
    decoded = handlers.trace(infer.infer_discrete(chain.model, temperature=0)).get_trace(ops.array(data))
    found = (int(decoded.nodes["start"]["value"]), *ops.to_numpy(decoded.nodes["state"]["value"]).tolist())
    assert found == paths[int(weights.argmax())]
    assert_close(decoded.nodes["choice"]["value"], decoded.nodes["state"]["value"])


def test_two_chains_of_which_one_looks_further_back_in_plates(backend):
    rng = np.random.default_rng(2)
    slow, fast = rng.dirichlet(np.ones(2), (2, 2)), rng.dirichlet(np.ones(2), (2, 2))
    means, rows = rng.normal(size=(2, 2)), rng.normal(size=(4, 2))

    def model(data):
        with ppl.plate("series", 2):

            def step(carry, row):
                one, two, other = carry
                new = ppl.sample("slow", dist.Categorical(ops.array(slow)[one, two]), infer=PARALLEL)
                other = ppl.sample("fast", dist.Categorical(ops.array(fast)[other, new]), infer=PARALLEL)
                ppl.sample("y", dist.Normal(ops.array(means)[new, other], 1.0), obs=row)
                return (new, one, other), None

            zero = ops.zeros((2,), dtype="int64")
            scan(step, (zero, zero, zero), data, history=2)

    expected = 0.0
    for n in range(2):
        total = 0.0
        for path in itertools.product(itertools.product(range(2), repeat=2), repeat=4):
            whole, product = [(0, 0), (0, 0), *path], 1.0
            for t, (new, other) in enumerate(path):
                product *= slow[whole[t + 1][0], whole[t][0], new] * fast[whole[t + 1][1], new, other]
                product *= stats.norm.pdf(rows[t, n], means[new, other], 1.0)
            total += product
        expected += np.log(total)
    assert_close(evidence(model, ops.array(rows)), expected)
