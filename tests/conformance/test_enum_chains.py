"""Enumeration along Markov chains: dimensions are reused where the declared history allows it, and the sum stays exact."""

import functools
import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
from enumeration import DATA, MEANS, PARALLEL, TRANSITION, enumerated_dims, hmm, hmm_by_hand, host, log_evidence, traced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops
from ppl.errors import HandlerError, ShapeError

pytestmark = pytest.mark.strict


@pytest.mark.parametrize("history", [1, 2])
def test_hidden_markov_model(backend, history):
    trace = traced(hmm, -1, DATA, history)
    dims = enumerated_dims(trace)
    assert len(dims) == 5
    assert len(set(dims.values())) == history + 1
    assert set(dims.values()) == set(range(-history - 1, 0))
    assert log_evidence(trace) == pytest.approx(hmm_by_hand(DATA, history), rel=1e-10)


def test_packed_factors_multiply_to_the_evidence(backend):
    """Symbols, not positions, say which axes are one variable: one einsum over the packed factors is the whole sum."""
    for history in (1, 2):
        trace = traced(hmm, -1, DATA, history)
        trace.pack_tensors()
        packed = [node["packed"]["log_prob"] for node in trace.nodes.values() if node["type"] == "sample"]
        assert len(set("".join(factor.dims for factor in packed))) == 5
        equation = ",".join(factor.dims for factor in packed) + "->"
        total = numpy.einsum(equation, *(numpy.exp(host(factor.array)) for factor in packed), optimize=True)
        assert math.log(total) == pytest.approx(hmm_by_hand(DATA, history), rel=1e-10)


def test_negative_control_the_order_of_the_chain_matters(backend):
    assert abs(hmm_by_hand(DATA, 1) - hmm_by_hand(DATA, 2)) > 1e-3


def test_without_markov_each_step_has_its_dimension(backend):
    trace = traced(functools.partial(hmm, markov=lambda steps: steps), -1, DATA[:4])
    assert enumerated_dims(trace) == {"x0": -1, "x1": -2, "x2": -3, "x3": -4}
    assert log_evidence(trace) == pytest.approx(hmm_by_hand(DATA[:4], 1), rel=1e-10)


def test_long_chain_needs_two_dimensions(backend):
    trace = traced(hmm, -2, numpy.zeros(40))
    assert set(enumerated_dims(trace).values()) == {-2, -3}


@pytest.mark.parametrize("history", [1, 2])
def test_each_spelling_of_a_chain(backend, history):
    """Context inside itself and recursion are the loop."""
    rows = ops.array(TRANSITION)

    def step(t, states):
        seen = states[-history:]
        probs = sum((rows[state] for state in seen), 0.0) / len(seen) if seen else rows[0]
        x = ppl.sample(f"x{t}", dist.Categorical(probs), infer=PARALLEL)
        ppl.sample(f"y{t}", dist.Normal(ops.array(MEANS)[x], 1.0), obs=ops.array(DATA[t]))
        return [*states, x]

    @functools.partial(ppl.markov, history=history)
    def recursive(t=0, states=()):
        states = step(t, [*states])
        if t < 4:
            recursive(t + 1, states)

    def nested():
        context = ppl.markov(history=history)

        def deeper(t, states):
            with context:
                states = step(t, states)
                if t < 4:
                    deeper(t + 1, states)

        deeper(0, [])

    for model in (recursive, nested):
        trace = traced(model, -1)
        assert len(set(enumerated_dims(trace).values())) == history + 1
        assert log_evidence(trace) == pytest.approx(hmm_by_hand(DATA, history), rel=1e-10)
    # A second run of the decorated function begins a new chain.
    assert enumerated_dims(traced(recursive, -1)) == enumerated_dims(traced(recursive, -1))


def tree(keep, link):
    """A root with three children; with ``link`` a child also depends on the one before it."""
    rows = ops.array(TRANSITION)

    def model():
        context = ppl.markov(history=1, keep=keep)
        with context:
            root = ppl.sample("root", dist.Categorical(rows[0]), infer=PARALLEL)
            before = None
            for i in range(3):
                with context:
                    probs = rows[root] if before is None or not link else 0.5 * (rows[root] + rows[before])
                    before = ppl.sample(f"child{i}", dist.Categorical(probs), infer=PARALLEL)
                    ppl.sample(f"y{i}", dist.Normal(ops.array(MEANS)[before], 1.0), obs=ops.array(DATA[i]))

    return model


def tree_by_hand(link):
    terms = []
    for root, *children in itertools.product(range(3), repeat=4):
        term = math.log(TRANSITION[0, root])
        for i, child in enumerate(children):
            row = TRANSITION[root] if i == 0 or not link else 0.5 * (TRANSITION[root] + TRANSITION[children[i - 1]])
            term += math.log(row[child]) + stats.norm.logpdf(DATA[i], MEANS[child], 1.0)
        terms.append(term)
    return special.logsumexp(terms)


def test_branches_share_a_dimension_unless_kept(backend):
    trace = traced(tree(keep=False, link=False), -1)
    assert enumerated_dims(trace) == {"root": -1, "child0": -2, "child1": -2, "child2": -2}
    assert log_evidence(trace) == pytest.approx(tree_by_hand(False), rel=1e-10)
    trace = traced(tree(keep=True, link=True), -1)
    assert enumerated_dims(trace) == {"root": -1, "child0": -2, "child1": -3, "child2": -4}
    assert log_evidence(trace) == pytest.approx(tree_by_hand(True), rel=1e-10)
    with pytest.raises(ShapeError, match=r"child1.*child0.*keep=True"):
        traced(tree(keep=False, link=True), -1)


def test_history_zero_is_a_plate(backend):
    def model():
        for t in ppl.markov(range(3), history=0):
            x = ppl.sample(f"x{t}", dist.Bernoulli(0.3), infer=PARALLEL)
            ppl.sample(f"y{t}", dist.Normal(x, 1.0), obs=DATA[t])

    trace = traced(model, -1)
    assert set(enumerated_dims(trace).values()) == {-1}
    by_hand = sum(math.log(0.7 * stats.norm.pdf(y) + 0.3 * stats.norm.pdf(y, 1.0)) for y in DATA[:3])
    assert log_evidence(trace) == pytest.approx(by_hand, rel=1e-10)


def test_two_chains_inside_each_other(backend):
    """A grid in which a cell depends on those above and before it: rows see one row back, cells one cell back."""
    obs = numpy.array([[0.2, 1.4], [-0.5, 0.9]])

    def probability(above, before):
        return 0.2 + 0.3 * above + 0.4 * before

    def model():
        above = {}
        for i in ppl.markov(range(2)):
            before = 0.0
            for j in ppl.markov(range(2)):
                x = ppl.sample(f"x{i}{j}", dist.Bernoulli(probability(above.get(j, 0.0), before)), infer=PARALLEL)
                ppl.sample(f"y{i}{j}", dist.Normal(x, 1.0), obs=obs[i, j])
                before = above[j] = x

    terms = []
    for bits in itertools.product(range(2), repeat=4):
        grid, term = numpy.reshape(bits, (2, 2)), 1.0
        for i, j in itertools.product(range(2), repeat=2):
            p = probability(grid[i - 1, j] if i else 0.0, grid[i, j - 1] if j else 0.0)
            term *= (p if grid[i, j] else 1.0 - p) * stats.norm.pdf(obs[i, j], grid[i, j])
        terms.append(term)
    # The inner chain begins anew in each row, so that a cell does not see the row before: the model says too little.
    with pytest.raises(ShapeError, match=r"x10.*x00"):
        traced(model, -1)

    def said():
        inner = ppl.markov(history=1, keep=True)
        above = {}
        for i in ppl.markov(range(2)):
            with inner:
                first = ppl.sample(f"x{i}0", dist.Bernoulli(probability(above.get(0, 0.0), 0.0)), infer=PARALLEL)
                ppl.sample(f"y{i}0", dist.Normal(first, 1.0), obs=obs[i, 0])
                with inner:
                    second = ppl.sample(f"x{i}1", dist.Bernoulli(probability(above.get(1, 0.0), first)), infer=PARALLEL)
                    ppl.sample(f"y{i}1", dist.Normal(second, 1.0), obs=obs[i, 1])
            above = {0: first, 1: second}

    assert log_evidence(traced(said, -1)) == pytest.approx(math.log(sum(terms)), rel=1e-10)


def test_vectorised_chains_in_a_plate(backend, rng):
    data = rng.normal(size=(3, 4))

    def model():
        rows = ops.array(TRANSITION)
        with ppl.plate("sequences", 4, dim=-1):
            x = None
            for t in ppl.markov(range(3)):
                x = ppl.sample(f"x{t}", dist.Categorical(rows[0] if x is None else rows[x]), infer=PARALLEL)
                ppl.sample(f"y{t}", dist.Normal(ops.array(MEANS)[x], 1.0), obs=ops.array(data[t]))

    trace = traced(model, -2)
    assert enumerated_dims(trace) == {"x0": -2, "x1": -3, "x2": -2}
    x = {t: host(trace.nodes[f"x{t}"]["log_prob"]) for t in range(3)}
    y = {t: host(trace.nodes[f"y{t}"]["log_prob"]) for t in range(3)}
    alpha = (x[0] + y[0]).reshape(3, 4)
    alpha = special.logsumexp(alpha[None] + x[1], axis=1) + y[1].reshape(3, 4)
    # In the last step x2 runs along -2 and x1 along -3.
    alpha = special.logsumexp(alpha[:, None] + x[2], axis=0) + y[2].reshape(3, 4)
    by_hand = sum(hmm_by_hand(data[:, column], 1) for column in range(4))
    assert special.logsumexp(alpha, axis=0).sum() == pytest.approx(by_hand, rel=1e-10)


def test_a_site_behind_a_chain_sees_its_end_and_later_chains_reuse(backend):
    def model():
        x = None
        for t in ppl.markov(range(3)):
            x = ppl.sample(f"x{t}", dist.Bernoulli(0.3 if x is None else 0.2 + 0.5 * x), infer=PARALLEL)
        z = ppl.sample("z", dist.Bernoulli(0.1 + 0.8 * x), infer=PARALLEL)
        w = None
        for t in ppl.markov(range(3)):
            w = ppl.sample(f"w{t}", dist.Bernoulli(0.3 if w is None else 0.2 + 0.4 * w), infer=PARALLEL)
            ppl.sample(f"y{t}", dist.Normal(w + z, 1.0), obs=DATA[t])

    dims = enumerated_dims(trace := traced(model, -1))
    assert dims == {"x0": -1, "x1": -2, "x2": -1, "z": -3, "w0": -1, "w1": -2, "w2": -1}
    total = 0.0
    for x0, x1, x2, z, *w in itertools.product(range(2), repeat=7):
        probs = [0.3, 0.2 + 0.5 * x0, 0.2 + 0.5 * x1, 0.1 + 0.8 * x2, 0.3, 0.2 + 0.4 * w[0], 0.2 + 0.4 * w[1]]
        term = math.prod(p if bit else 1.0 - p for p, bit in zip(probs, (x0, x1, x2, z, *w), strict=True))
        total += term * math.prod(stats.norm.pdf(y, bit + z) for y, bit in zip(DATA, w, strict=False))
    assert log_evidence(trace) == pytest.approx(math.log(total), rel=1e-10)


def test_a_dependence_beyond_the_history_is_refused(backend):
    """The second-order chain declared with history 1 would mix two sites in one dimension."""
    with pytest.raises(ShapeError, match=r"site 'x2'.*'x0'.*larger history"):
        traced(functools.partial(hmm, markov=ppl.markov), -1, DATA, 2)


def test_markov_refuses_nonsense(backend):
    for history in (-1, True, 1.5, "1"):
        with pytest.raises(HandlerError, match="history"):
            ppl.markov(history=history)
    with pytest.raises(HandlerError, match="iterable"):
        ppl.markov(3)


def test_abandoned_chain_leaves_the_stack_clean(backend):
    def model():
        for t in ppl.markov(range(5)):
            ppl.sample(f"x{t}", dist.Bernoulli(0.5), infer=PARALLEL)
            if t == 1:
                break
        return ppl.sample("after", dist.Bernoulli(0.5), infer=PARALLEL)

    trace = traced(model, -1)
    assert "_markov_depth" not in trace.nodes["after"]["infer"]
    assert not ppl.runtime.am_i_wrapped()


# -- generated chains and trees --


LAWS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def probability_of(parents):
    """A probability of one that depends on each parent by another amount."""
    return 0.1 + sum((0.8 / 2**place * parent for place, parent in enumerate(parents, 1)), 0.0)


def evidence_by_hand(parents):
    """The sum over all assignments of sites given by name, each with its parents' names and an observation of its own."""
    names, total = list(parents), 0.0
    for bits in itertools.product(range(2), repeat=len(names)):
        value, term = dict(zip(names, bits, strict=True)), 1.0
        for place, name in enumerate(names):
            p = probability_of([value[parent] for parent in parents[name]])
            term *= (p if value[name] else 1.0 - p) * stats.norm.pdf(DATA[place % 5], value[name], 1.0)
        total += term
    return math.log(total)


def site(name, place, parents, values):
    values[name] = ppl.sample(name, dist.Bernoulli(probability_of([values[parent] for parent in parents[name]])), infer=PARALLEL)
    ppl.sample(f"y_{name}", dist.Normal(values[name], 1.0), obs=DATA[place % 5])


@st.composite
def chains(draw):
    """A chain as data: its history, and for each site its parents among those that it may see."""
    history, steps = draw(st.integers(0, 2)), draw(st.lists(st.integers(1, 2), min_size=1, max_size=4))
    parents, step_of = {"before": []}, {"before": None}
    for t, count in enumerate(steps):
        for i in range(count):
            seen = [name for name in parents if step_of[name] is None or step_of[name] >= t - history]
            name = f"x{t}{i}"
            parents[name], step_of[name] = draw(st.lists(st.sampled_from(seen), unique=True, max_size=3)), t
    end = [name for name, t in step_of.items() if t is None or t == len(steps) - 1]
    parents["after"] = draw(st.lists(st.sampled_from(end), unique=True, max_size=3))
    return history, steps, parents


@LAWS
@given(program=chains())
def test_any_chain_is_summed_exactly(backend, program):
    history, steps, parents = program
    places = {name: place for place, name in enumerate(parents)}

    def model():
        values = {}
        site("before", 0, parents, values)
        for t in ppl.markov(range(len(steps)), history=history):
            for i in range(steps[t]):
                site(f"x{t}{i}", places[f"x{t}{i}"], parents, values)
        site("after", places["after"], parents, values)

    trace = traced(model, -1)
    assert log_evidence(trace) == pytest.approx(evidence_by_hand(parents), rel=1e-9)
    in_chain = {dim for name, dim in enumerated_dims(trace).items() if name.startswith("x")}
    assert len(in_chain) <= max(sum(steps[t : t + history + 1]) for t in range(len(steps)))


@st.composite
def trees(draw):
    """A tree as data: history, whether branches are kept, and for each node, in order of visits, its level and its parents."""
    history, keep = draw(st.integers(1, 2)), draw(st.booleans())
    levels = [0]
    for _ in range(draw(st.integers(1, 6))):
        levels.append(draw(st.integers(1, levels[-1] + 1)))
    parents, path = {}, []
    for node, level in enumerate(levels):
        path = path[:level]
        near = [n for n in range(node) if level - history <= levels[n] <= level] if keep else path[-history:]
        parents[f"n{node}"] = draw(st.lists(st.sampled_from([f"n{n}" for n in near]), unique=True, max_size=3)) if near else []
        path.append(node)
    return history, keep, levels, parents


def check_tree(history, keep, levels, parents):
    def model():
        values, context = {}, ppl.markov(history=history, keep=keep)

        def visit(node):
            """Visit a node and its descendants; return the node after them."""
            level = levels[node]
            with context:
                site(f"n{node}", node, parents, values)
                node += 1
                while node < len(levels) and levels[node] == level + 1:
                    node = visit(node)
            return node

        assert visit(0) == len(levels)

    assert log_evidence(traced(model, -1)) == pytest.approx(evidence_by_hand(parents), rel=1e-9)


@LAWS
@given(program=trees())
def test_any_tree_is_summed_exactly(backend, program):
    check_tree(*program)


def test_a_later_branch_spares_what_its_children_will_see(backend):
    """The last node sees the second branch, and a node below the first one that the second branch itself does not see."""
    parents = {"n0": [], "n1": ["n0"], "n2": ["n1"], "n3": ["n1", "n2"], "n4": ["n0"], "n5": ["n3", "n4"]}
    check_tree(1, True, [0, 1, 2, 2, 1, 2], parents)


def test_a_kept_recursion_is_safe_in_threads(backend):
    """Each outermost call begins a chain of its own."""

    @functools.partial(ppl.markov, keep=True)
    def visit(depth=0):
        ppl.sample(f"x{depth}", dist.Bernoulli(0.5), infer=PARALLEL)
        if depth < 3:
            visit(depth + 1)

    enumerated = handlers.enum(visit, first_available_dim=-1)

    def run(_):
        with ppl.pyro_backend(backend):
            return enumerated_dims(handlers.trace(enumerated).get_trace())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(12))) == [{"x0": -1, "x1": -2, "x2": -1, "x3": -2}] * 12
