"""Tensor variable elimination against tables over all joint assignments, forward recursions and frequencies of draws."""

import itertools
import math
from types import SimpleNamespace

import factor_graphs
import numpy
import pytest
from hypothesis import assume, given, settings
from scipy import special

import ppl
from ppl import ops, registry
from ppl.backend import Backend
from ppl.errors import ExponentialContraction, InferenceError, ShapeError
from ppl.handlers import packed
from ppl.ops import elimination
from ppl.ops.elimination import plan as plans
from ppl.ops.semiring import LOG_SUM_PRODUCT, MAX_PRODUCT, SUM_PRODUCT

pytestmark = pytest.mark.strict

# Random graphs a test on each backend every day and at night; jax compiles each operation of each new shape.
EXAMPLES = {"numpy": (15, 300), "torch": (15, 200), "jax": (2, 15), "strict": (5, 50)}
DRAWS = 20000
# Two-sided normal tail below 1e-6: with a few hundred comparisons a false alarm is rarer than 1 in 1000.
LIMIT = 4.9


def native(factors):
    return [(ops.array(array), dims) for array, dims in factors]


def host(factor):
    return ops.to_numpy(ops.array(factor.array))


def evidence(graph, semiring=LOG_SUM_PRODUCT):
    """Return the eliminated graph as one numpy array over ``graph.batch()``."""
    results = elimination.eliminate(
        native(graph.factors), set(graph.variables), set(graph.plates), semiring, graph.scales, graph.kept
    )
    batch, sizes = graph.batch(), graph.sizes()
    total = numpy.zeros([sizes[symbol] for symbol in batch])
    for result in results:
        order = [result.dims.index(symbol) for symbol in batch if symbol in result.dims]
        shape = [sizes[symbol] if symbol in result.dims else 1 for symbol in batch]
        total = total + numpy.transpose(host(result), order).reshape(shape)
    return total


def homes(graph):
    """Return the plates that all factors of each variable share."""
    found = {}
    for _, dims in graph.factors:
        here = set(dims).intersection(graph.plates).difference(graph.kept)
        for symbol in set(graph.variables).intersection(dims):
            found[symbol] = found.get(symbol, here) & here
    return found


def marginals_by_table(graph):
    """Return the marginal of each variable by one table, over its plates and itself, in alphabetical order of the plates.

    Scales repeat the slices of plates; the copies of a variable there have one marginal.
    """
    places = {symbol: "".join(sorted(plates)) + symbol for symbol, plates in homes(graph).items()}
    sizes = graph.sizes()
    flat = [(numpy.zeros([sizes[symbol] for symbol in dims]), dims) for dims in places.values()]
    counts = factor_graphs.gradients(factor_graphs.Graph(graph.factors + flat, graph.variables, graph.plates, graph.scales))
    copies = [math.prod(graph.scales.get(symbol, 1) for symbol in dims) for dims in places.values()]
    tables = [count / number for count, number in zip(counts[len(graph.factors) :], copies, strict=True)]
    return dict(zip(places, zip(tables, places.values(), strict=True), strict=True))


def polynomial(graph):
    """Return whether no two variables live in plates of which neither has all of the other's."""
    return all(one <= other or other <= one for one, other in itertools.combinations(homes(graph).values(), 2))


@pytest.fixture
def on_random_graphs(backend, request):
    """Run a check on random graphs."""
    examples = EXAMPLES[backend][request.config.getoption("--nightly")]

    def check_all(check):
        @settings(max_examples=examples, database=None)
        @given(factor_graphs.graphs())
        def run(graph):
            assume(factor_graphs.assignments(graph) <= factor_graphs.MOST_ASSIGNMENTS)
            check(graph)

        run()

    return check_all


def test_log_evidence_is_the_sum_over_all_assignments(on_random_graphs):
    def check(graph):
        try:
            found = evidence(graph)
        except ExponentialContraction:
            assert not polynomial(graph)
            return
        numpy.testing.assert_allclose(found, factor_graphs.log_evidence(graph), rtol=1e-10, atol=1e-10)

    on_random_graphs(check)


def test_negative_control_a_plate_taken_for_a_batch_is_found(backend):
    table = numpy.log([[0.2, 0.8], [0.6, 0.4]])
    graph = factor_graphs.Graph([(numpy.log([0.5, 0.5]), "a"), (table, "pa")], "a", "p")
    wrong = special.logsumexp(evidence(factor_graphs.Graph(graph.factors, "a", "p", kept="p")))
    assert abs(wrong - factor_graphs.log_evidence(graph)) > 0.1


def without_batch(graph):
    assume(not graph.kept and not graph.scales and "s" not in graph.sizes())
    assume(numpy.isfinite(factor_graphs.log_evidence(graph)).all() and polynomial(graph))


def test_marginals_are_those_of_the_table_of_all_assignments(on_random_graphs):
    def check(graph):
        assume(not graph.kept and polynomial(graph))
        found = elimination.marginals(native(graph.factors), set(graph.variables), set(graph.plates), graph.scales)
        for row in range(graph.sizes().get("s", 1)):
            slices = [at_batch(array, dims, row) for array, dims in graph.factors]
            here = factor_graphs.Graph(slices, graph.variables, graph.plates, graph.scales)
            assume(numpy.isfinite(factor_graphs.log_evidence(here)).all())
            expected = marginals_by_table(here)
            assert found.keys() == expected.keys()
            for symbol, (table, order) in expected.items():
                assert found[symbol].dims[-1] == symbol
                marginal, dims = at_batch(host(found[symbol]), found[symbol].dims, row)
                marginal = numpy.transpose(marginal, [dims.index(name) for name in order])
                numpy.testing.assert_allclose(numpy.exp(marginal), table, atol=1e-10)

    on_random_graphs(check)


def at_batch(array, dims, row):
    """Return an array and its symbols at an index of the batch ``s``."""
    return (numpy.take(array, row, axis=dims.index("s")), dims.replace("s", "")) if "s" in dims else (array, dims)


def test_gradients_are_expected_counts_and_never_nan(on_random_graphs):
    def check(graph):
        without_batch(graph)
        symbols = [dims for _, dims in graph.factors]

        def total(arrays):
            (result,) = elimination.eliminate(zip(arrays, symbols, strict=True), set(graph.variables), set(graph.plates))
            return result.array

        found = ops.autodiff.grad(total)([ops.array(array) for array, _ in graph.factors])
        for gradient, expected in zip(found, factor_graphs.gradients(graph), strict=True):
            numpy.testing.assert_allclose(ops.to_numpy(gradient), expected, atol=1e-8)

    on_random_graphs(check)


def test_largest_product_and_its_assignment(on_random_graphs):
    def check(graph):
        assume(not graph.kept and not graph.scales and polynomial(graph))
        assume(all(numpy.isfinite(array).all() for array, _ in graph.factors))
        chosen = elimination.sample(native(graph.factors), set(graph.variables), set(graph.plates), temperature=0)
        found = evidence(graph, MAX_PRODUCT).reshape(-1)
        for row in range(graph.sizes().get("s", 1)):
            slices = [at_batch(array, dims, row) for array, dims in graph.factors]
            here = factor_graphs.Graph(slices, graph.variables, graph.plates)
            best = factor_graphs._expand(here, {}, lambda table, places: table.max())
            numpy.testing.assert_allclose(found[row], best, rtol=1e-10)
            own = {symbol: at_batch(host(index), index.dims, row) for symbol, index in chosen.items()}
            numpy.testing.assert_allclose(log_density(here, own), best, rtol=1e-10)

    on_random_graphs(check)


def log_density(graph, chosen):
    """Return the log density of an assignment, slice by slice."""
    total, sizes = 0.0, graph.sizes()
    for array, dims in graph.factors:
        plates = [symbol for symbol in dims if symbol in graph.plates]
        for index in itertools.product(*(range(sizes[plate]) for plate in plates)):
            slot = dict(zip(plates, index, strict=True))
            values = {
                symbol: int(chosen[symbol][0][tuple(slot[plate] for plate in chosen[symbol][1])])
                for symbol in dims
                if symbol in graph.variables
            }
            total += array[tuple(slot.get(symbol, values.get(symbol)) for symbol in dims)]
    return total


def test_plain_sums_take_negative_numbers(backend, rng):
    x, y = rng.normal(size=(3, 2)), rng.normal(size=(4, 3, 2))
    (found,) = elimination.eliminate(native([(x, "ab"), (y, "iab")]), {"a", "b"}, {"i"}, SUM_PRODUCT)
    numpy.testing.assert_allclose(host(found), (x * y.prod(axis=0)).sum(), rtol=1e-10)


# A global variable, one in a plate, and one in a plate within that.
NESTED = [((2,), "a"), ((2, 2), "ia"), ((2, 2, 3), "iab"), ((2, 2, 3), "jib"), ((2, 2, 3, 2), "ijbc")]


def nested_graph(rng):
    return factor_graphs.Graph([(rng.normal(size=shape), dims) for shape, dims in NESTED], "abc", "ij")


def repeated(graph, count):
    """Return the factors with a batch axis ``s`` in front, along which nothing changes."""
    return [(ops.broadcast_to(ops.array(array), (count, *array.shape)), "s" + dims) for array, dims in graph.factors]


def frequencies(graph, count, key=None):
    """Return how often each joint assignment of all copies is drawn, over the axes of the table of all assignments."""
    drawn = elimination.sample(repeated(graph, count), set(graph.variables), set(graph.plates), key=key)
    axes, _ = factor_graphs._copies(graph, {})
    sizes = graph.sizes()
    columns = []
    for symbol, copy in axes:
        index = host(drawn[symbol])
        around = [name for name in drawn[symbol].dims if name != "s"]
        assert drawn[symbol].dims[0] == "s" or "s" in drawn[symbol].dims
        index = numpy.moveaxis(index, drawn[symbol].dims.index("s"), 0)
        # The oracle lists the plates of a copy in the order of the factor that it met first.
        plates = [name for name in FIRST_PLATES[symbol] if name in around]
        slot = dict(zip(plates, copy, strict=True))
        columns.append(index[(slice(None), *(slot[name] for name in around))])
    shape = [sizes[symbol] for symbol, _ in axes]
    return numpy.bincount(numpy.ravel_multi_index(columns, shape), minlength=math.prod(shape)) / count


FIRST_PLATES = {"a": "", "b": "i", "c": "ij"}


def probabilities(graph):
    return factor_graphs._expand(graph, {}, lambda table, places: numpy.exp(table - special.logsumexp(table)).ravel())


def scores(found, expected, count):
    """Return the differences in standard errors of binomial frequencies."""
    return (found - expected) / numpy.sqrt(numpy.maximum(expected * (1.0 - expected), 1.0 / count) / count)


@pytest.mark.backends("numpy", "torch", "jax")
def test_draws_have_the_joint_law(backend, rng):
    graph = nested_graph(rng)
    found, expected = frequencies(graph, DRAWS), probabilities(graph)
    assert numpy.abs(scores(found, expected, DRAWS)).max() < LIMIT
    # Negative control: copies drawn one by one from their marginals.
    axes, _ = factor_graphs._copies(graph, {})
    sizes = [graph.sizes()[symbol] for symbol, _ in axes]
    table = expected.reshape(sizes)
    apart = numpy.ones(())
    for axis in range(len(sizes)):
        margin = table.sum(tuple(other for other in range(len(sizes)) if other != axis))
        apart = numpy.multiply.outer(apart, margin)
    assert numpy.abs(scores(found, apart.ravel(), DRAWS)).max() > 2 * LIMIT


def test_equal_keys_give_equal_draws(backend, rng):
    graph = nested_graph(rng)
    first, second = (frequencies(graph, 50, ops.random.key(7)) for _ in range(2))
    numpy.testing.assert_array_equal(first, second)
    assert (first != frequencies(graph, 50, ops.random.key(8))).any()


def chain(rng, length, states, plate=""):
    """Return a hidden Markov chain in log space: first, transitions whose axes alternate, and evidence; and its symbols."""
    symbols = [packed.symbol(2 * t + 1) for t in range(length)]
    copies = (3,) if plate else ()
    factors = [(rng.normal(size=(*copies, states)), plate + symbols[0])]
    for t in range(1, length):
        pair = (symbols[t - 1], symbols[t]) if t % 2 else (symbols[t], symbols[t - 1])
        factors.append((rng.normal(size=(*copies, states, states)), plate + "".join(pair)))
    factors += [(rng.normal(size=(*copies, states)), plate + symbol) for symbol in symbols]
    return factors, symbols


def forward(factors, length):
    """Return the log evidence of :func:`chain` by the forward recursion (Rabiner 1989, equations 19 to 21)."""
    alpha = factors[0][0] + factors[length][0]
    for t in range(1, length):
        step = factors[t][0] if t % 2 else numpy.swapaxes(factors[t][0], -1, -2)
        alpha = special.logsumexp(alpha[..., :, None] + step, axis=-2) + factors[length + t][0]
    return special.logsumexp(alpha, axis=-1)


def steps_of(factors, variables, plates=()):
    plan = plans.make_plan(
        tuple(dims for _, dims in factors),
        tuple(tuple(array.shape) for array, _ in factors),
        frozenset(variables),
        frozenset(plates),
    )
    return [step for step in plan.instructions if isinstance(step, plans.Eliminate)]


@pytest.mark.parametrize("length", [2, 3, 50, pytest.param(1000, marks=pytest.mark.nightly)])
def test_a_chain_takes_logarithmically_many_steps(backend, rng, length):
    factors, symbols = chain(rng, length, 4)
    (found,) = elimination.eliminate(native(factors), set(symbols))
    numpy.testing.assert_allclose(host(found), forward(factors, length), rtol=1e-10)
    assert len(steps_of(factors, symbols)) <= 2 * math.ceil(math.log2(length)) + 1


def test_chains_in_a_plate(backend, rng):
    factors, symbols = chain(rng, 6, 3, "i")
    (found,) = elimination.eliminate(native(factors), set(symbols), {"i"}, plate_scales={"i": 2.5})
    numpy.testing.assert_allclose(host(found), 2.5 * forward(factors, 6).sum(), rtol=1e-10)


def test_draws_from_a_chain_follow_its_conditionals(backend, rng):
    """Smoothed pairs of neighbours by forward and backward recursions; a chain of 9 is eliminated in interleaved rounds."""
    length, states, count = 9, 2, 4000
    factors, symbols = chain(rng, length, states)
    drawn = elimination.sample([(ops.broadcast_to(ops.array(array), (count, *array.shape)), "s" + dims)
                                for array, dims in factors], set(symbols))  # fmt: skip
    table = factor_graphs._expand(
        factor_graphs.Graph(factors, "".join(symbols)), {}, lambda table, places: numpy.exp(table - special.logsumexp(table))
    )
    axes = [symbol for symbol, _ in factor_graphs._copies(factor_graphs.Graph(factors, "".join(symbols)), {})[0]]
    for one, other in itertools.pairwise(symbols):
        pair = host(drawn[one]) * states + host(drawn[other])
        found = numpy.bincount(pair, minlength=states**2) / count
        place = axes.index(one), axes.index(other)
        expected = table.sum(tuple(axis for axis in range(length) if axis not in place))
        expected = (expected if place[0] < place[1] else expected.T).ravel()
        assert numpy.abs(scores(found, expected, count)).max() < LIMIT


def test_variables_that_look_alike_go_in_one_step(backend, rng):
    leaves = [packed.symbol(2 * index + 3) for index in range(60)]
    factors = [(rng.normal(size=3), "a"), *((rng.normal(size=(3, 2)), "a" + leaf) for leaf in leaves)]
    (found,) = elimination.eliminate(native(factors), {"a", *leaves})
    expected = special.logsumexp(factors[0][0] + sum(special.logsumexp(table, axis=1) for table, _ in factors[1:]))
    numpy.testing.assert_allclose(host(found), expected, rtol=1e-10)
    assert len(steps_of(factors, {"a", *leaves})) == 2


def test_a_chain_of_longer_memory(backend, rng):
    length, states = 12, 2
    symbols = [packed.symbol(2 * t) for t in range(length)]
    factors = [(rng.normal(size=(states,) * 3), "".join(symbols[t - 2 : t + 1])) for t in range(2, length)]
    alpha = numpy.zeros((states, states))
    for table, _ in factors:
        alpha = special.logsumexp(alpha[:, :, None] + table, axis=0)
    (found,) = elimination.eliminate(native(factors), set(symbols))
    numpy.testing.assert_allclose(host(found), special.logsumexp(alpha), rtol=1e-10)


@pytest.mark.backends("numpy")
def test_a_lattice_stays_polynomial(backend, rng):
    """The evidence of a 9 by 9 lattice by transfer of a row at a time; no table may be far larger than that of a row."""
    side = 9
    symbols = [[packed.symbol(side * row + column) for column in range(side)] for row in range(side)]
    factors, along, down = [], rng.normal(size=(side, side - 1, 2, 2)), rng.normal(size=(side - 1, side, 2, 2))
    for row, column in itertools.product(range(side), range(side - 1)):
        factors.append((along[row, column], symbols[row][column] + symbols[row][column + 1]))
        factors.append((down[column, row], symbols[column][row] + symbols[column + 1][row]))
    rows = numpy.array(list(itertools.product(range(2), repeat=side)))
    total = numpy.zeros(len(rows))
    for row in range(side):
        inside = sum(along[row, column][rows[:, column], rows[:, column + 1]] for column in range(side - 1))
        if row:
            step = sum(down[row - 1, column][rows[:, None, column], rows[None, :, column]] for column in range(side))
            total = special.logsumexp(total[:, None] + step, axis=0)
        total = total + inside
    names = {symbol for row in symbols for symbol in row}
    (found,) = elimination.eliminate(native(factors), names)
    numpy.testing.assert_allclose(host(found), special.logsumexp(total), rtol=1e-10)
    assert max(math.prod(step.sizes) for step in steps_of(factors, names)) <= 2 ** (side + 5)


def test_evidence_that_is_impossible(backend):
    factors = native([(numpy.array([0.0, -math.inf]), "a"), (numpy.array([[-math.inf, 0.0], [1.0, 2.0]]).T, "ab")])
    factors.append((ops.array([-math.inf, 0.0]), "b"))
    symbols = [dims for _, dims in factors]

    def total(arrays):
        (result,) = elimination.eliminate(zip(arrays, symbols, strict=True), {"a", "b"})
        return result.array

    arrays = [array for array, _ in factors]
    assert numpy.isfinite(float(ops.to_numpy(total(arrays))))
    arrays[2] = ops.array([0.0, -math.inf])
    assert float(ops.to_numpy(total(arrays))) == -math.inf
    for gradient in ops.autodiff.grad(total)(arrays):
        assert not numpy.isnan(ops.to_numpy(gradient)).any()
    with pytest.raises(InferenceError, match="at least one possible assignment"):
        elimination.sample(zip(arrays, symbols, strict=True), {"a", "b"})
    for marginal in elimination.marginals(zip(arrays, symbols, strict=True), {"a", "b"}).values():
        assert (host(marginal) == -math.inf).all()


@pytest.mark.backends("numpy", "torch", "jax")
def test_compiled_marginals(backend, rng):
    graph = nested_graph(rng)
    symbols = [dims for _, dims in graph.factors]
    arrays = [ops.array(array) for array, _ in graph.factors]

    def marginals(arrays):
        found = elimination.marginals(zip(arrays, symbols, strict=True), set("abc"), set("ij"))
        return [found[symbol].array for symbol in "abc"]

    compiled = ops.compile.compile(marginals, arrays, horizon=1)
    found = compiled([array + 1.0 for array in arrays])
    for marginal, (expected, dims) in zip(found, marginals_by_table(graph).values(), strict=True):
        table = numpy.exp(ops.to_numpy(marginal))
        assert table.shape == expected.shape, dims
        numpy.testing.assert_allclose(table, expected, atol=1e-10)


def test_sum_over_plates_of_each_other_is_refused(backend):
    factors = native([(numpy.zeros((2, 3)), "ia"), (numpy.zeros((4, 3)), "jb"), (numpy.zeros((2, 4, 3, 3)), "ijab")])
    with pytest.raises(NotImplementedError, match=r"'a' in .'i'., 'b' in .'j'.*exponential") as raised:
        elimination.eliminate(factors, {"a", "b"}, {"i", "j"})
    assert isinstance(raised.value, ExponentialContraction)
    (found,) = elimination.eliminate(factors, {"a", "b"}, {"i"}, keep={"j"})[:1]
    assert set(found.dims) <= {"j"}


def test_variables_that_all_depend_on_each_other_are_refused_with_the_cost(backend):
    symbols = [packed.symbol(index) for index in range(40)]
    factors = native([(numpy.zeros((2, 2)), one + other) for one, other in itertools.combinations(symbols, 2)])
    with pytest.raises(ExponentialContraction, match=r"40 variables needs a table of .* entries"):
        elimination.eliminate(factors, set(symbols))


def test_shapes_that_do_not_fit_are_refused(backend):
    with pytest.raises(ShapeError, match="'a' is 2 long in one factor and 3 in another"):
        elimination.eliminate(native([(numpy.zeros(2), "a"), (numpy.zeros((3, 2)), "ab")]), {"a"})
    with pytest.raises(ShapeError, match="one symbol for each axis"):
        elimination.eliminate(native([(numpy.zeros((2, 2)), "a")]), {"a"})
    with pytest.raises(InferenceError, match=r"temperature 0 or 1, got 0\.5"):
        elimination.sample(native([(numpy.zeros(2), "a")]), {"a"}, temperature=0.5)
    with pytest.raises(InferenceError, match=r"variable or for a plate, got \['a'\] for both"):
        elimination.eliminate(native([(numpy.zeros(2), "a")]), {"a"}, {"a"})


def test_nothing_to_sum(backend):
    (found,) = elimination.eliminate([], {"a"}, {"i"})
    assert found.dims == ""
    assert float(ops.to_numpy(found.array)) == 0.0
    assert elimination.sample([], {"a"}) == {}
    left = elimination.eliminate([(ops.array([1.0, 2.0]), "s"), (1.5, "")], set())
    assert {factor.dims: host(factor).tolist() for factor in left} == {"s": [1.0, 2.0], "": 1.5}


@pytest.mark.backends("numpy", "torch", "jax")
def test_a_backend_may_bring_its_own_elimination(backend):
    seen = []

    def eliminate(factors, variables, plates, semiring, plate_scales, keep):
        seen.append((variables, plates, semiring, plate_scales, keep))
        return [elimination.Factor(ops.array(42.0), "")]

    inner = registry.load(backend)
    fields = {name: getattr(inner, name) for name in Backend.__dataclass_fields__}
    other = Backend(**{**fields, "name": "other", "elimination": SimpleNamespace(eliminate=eliminate)})
    with ppl.pyro_backend(other):
        (found,) = elimination.eliminate([(ops.zeros(2), "a")], {"a"}, {"i"}, plate_scales={"i": 2.0}, keep={"j"})
    assert float(host(found)) == 42.0
    assert seen == [({"a"}, {"i"}, LOG_SUM_PRODUCT, {"i": 2.0}, {"j"})]
    assert float(host(elimination.eliminate([(ops.zeros(2), "a")], {"a"})[0])) == pytest.approx(math.log(2.0))
