"""Symbols of dimensions and packed arrays: laid out by hand with numpy, and summed against explicit loops."""

import itertools

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops
from ppl.errors import HandlerError, ShapeError
from ppl.handlers import Trace, packed
from ppl.handlers.packed import Packed

pytestmark = pytest.mark.strict

DATA = numpy.array([[0.3, -1.2, 0.8, 2.0], [1.1, 0.4, -0.7, 0.9], [-0.2, 0.6, 1.5, -1.0]])
LOCS = numpy.array([-1.0, 0.5, 2.0])
INITIAL = numpy.array([0.2, 0.5, 0.3])
COIN = numpy.array([0.6, 0.4])
SHIFT = numpy.array([0.0, 0.7])
TRANSITION = numpy.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.25, 0.25, 0.5]])


class enumerate_at(handlers.Handler):
    """Puts the whole support of chosen sites at chosen positions, and writes what an enumerating handler writes.

    :param places: from site name to dimension.
    :param live: whether to write ``_dim_to_id``, the identity at each position that is in use.
    """

    def __init__(self, places, live=True):
        super().__init__()
        self.places = places
        self.live = live
        self.current = {}

    def on_sample(self, message):
        name = message["name"]
        if name in self.places:
            dim = self.places[name]
            self.current = {**self.current, dim: name}
            values = message["fn"].enumerate_support(expand=False)
            message["value"] = ops.reshape(values, (values.shape[0], *(1,) * (-1 - dim)))
            message["infer"]["_enumerate_dim"] = dim
        if self.live:
            message["infer"]["_dim_to_id"] = dict(self.current)


def host(value):
    return ops.to_numpy(ops.array(value))


def categorical(probs):
    return dist.Categorical(probs=ops.array(probs))


def pick(table, index):
    table = ops.array(table)
    return ops.reshape(ops.take(table, ops.reshape(index, (-1,)), axis=0), (*index.shape, *table.shape[1:]))


def mixture():
    """A component for all, a coin for each row, data in rows and columns."""
    component = ppl.sample("component", categorical(INITIAL))
    rows, columns = ppl.plate("rows", 3, dim=-2), ppl.plate("columns", 4, dim=-1)
    with rows:
        coin = ppl.sample("coin", categorical(COIN))
        with columns:
            loc = pick(LOCS, component) + pick(SHIFT, coin)
            ppl.sample("y", dist.Normal(loc, 1.0), obs=ops.array(DATA))


def traced(model, places, live=True):
    trace = handlers.trace(model)
    with enumerate_at(places, live):
        trace = trace.get_trace()
    trace.compute_log_prob()
    return trace


PLACES = {"component": -3, "coin": -4}


@pytest.mark.parametrize("live", [True, False])
def test_symbols_of_plates_and_variables(backend, live):
    trace = traced(mixture, PLACES, live)
    trace.symbolize_dims()
    assert trace.plate_to_symbol == {"rows": "a", "columns": "c"}
    assert trace.symbol_to_dim == {"a": -2, "c": -1, "b": -3, "d": -4}
    symbols = {name: trace.nodes[name]["infer"]["_dim_to_symbol"] for name in ("component", "coin", "y")}
    assert symbols == {"component": {-3: "b"}, "coin": {-2: "a", -3: "b", -4: "d"}, "y": {-2: "a", -1: "c", -3: "b", -4: "d"}}
    assert trace.nodes["coin"]["infer"]["_enumerate_symbol"] == "d"
    assert "packed" not in trace.nodes["y"]


def test_packed_log_densities_are_those_written_by_hand(backend):
    trace = traced(mixture, PLACES)
    trace.pack_tensors()
    # Axes of y: coin, component, rows, columns.
    locs = LOCS[None, :, None, None] + SHIFT[:, None, None, None]
    expected = {
        "component": ("b", numpy.log(INITIAL)),
        "coin": ("da", numpy.log(numpy.broadcast_to(COIN[:, None], (2, 3)))),
        "y": ("dbac", stats.norm.logpdf(DATA[None, None], locs, 1.0)),
    }
    for name, (dims, table) in expected.items():
        for key in ("log_prob", "unscaled_log_prob"):
            entry = trace.nodes[name]["packed"][key]
            assert isinstance(entry, Packed)
            assert entry.dims == dims
            assert tuple(entry.array.shape) == table.shape
            numpy.testing.assert_allclose(host(entry.array), table, rtol=1e-9)
        assert trace.nodes[name]["packed"]["mask"] is None
    loose = expected["y"][1] + 1e-3
    with pytest.raises(AssertionError):
        numpy.testing.assert_allclose(host(trace.nodes["y"]["packed"]["log_prob"].array), loose, rtol=1e-9)


def marginal_by_loops():
    total = 0.0
    for component in range(3):
        term = INITIAL[component]
        for row in range(3):
            inner = 0.0
            for coin in range(2):
                weight = COIN[coin]
                for column in range(4):
                    weight *= stats.norm.pdf(DATA[row, column], LOCS[component] + SHIFT[coin], 1.0)
                inner += weight
            term *= inner
        total += term
    return total


def test_contraction_over_symbols_is_the_sum_over_loops(backend):
    trace = traced(mixture, PLACES)
    trace.pack_tensors()
    nodes = {name: trace.nodes[name]["packed"]["log_prob"] for name in ("component", "coin", "y")}
    factors = {name: (numpy.exp(host(entry.array)), entry.dims) for name, entry in nodes.items()}
    columns, rows = trace.plate_to_symbol["columns"], trace.plate_to_symbol["rows"]
    component = nodes["component"].dims
    y, dims = factors["y"]
    y, dims = y.prod(axis=dims.index(columns)), dims.replace(columns, "")
    coin, coin_dims = factors["coin"]
    by_row = numpy.einsum(f"{dims},{coin_dims}->{component}{rows}", y, coin).prod(axis=-1)
    total = numpy.einsum(f"{component},{component}->", by_row, factors["component"][0])
    assert total == pytest.approx(marginal_by_loops(), rel=1e-9)
    # A sum that takes every variable out of every row is another number: symbols, not positions, decide.
    assert numpy.einsum(f"{dims},{coin_dims}->", y, coin) != pytest.approx(marginal_by_loops(), rel=1e-3)


def chain(steps):
    state = ppl.sample("x0", categorical(INITIAL))
    for step in range(1, steps):
        state = ppl.sample(f"x{step}", categorical(pick(TRANSITION, state)))
        ppl.sample(f"y{step}", dist.Normal(pick(LOCS, state), 1.0), obs=ops.array(DATA[0, step % 4]))


@pytest.mark.parametrize("live", [True, False])
def test_a_position_that_is_used_again_gets_a_new_symbol(backend, live):
    steps = 5
    trace = traced(lambda: chain(steps), {f"x{step}": -1 - step % 2 for step in range(steps)}, live)
    trace.pack_tensors()
    dims = {name: trace.nodes[name]["packed"]["log_prob"].dims for name in trace.nodes if name[0] in "xy"}
    symbols = [packed.symbol(1 + 2 * step) for step in range(steps)]
    assert len(set(symbols)) == steps
    assert dims["x0"] == symbols[0]
    for step in range(1, steps):
        assert set(dims[f"x{step}"]) == {symbols[step - 1], symbols[step]}
        assert dims[f"y{step}"] == symbols[step]
    arrays = {name: numpy.exp(host(trace.nodes[name]["packed"]["log_prob"].array)) for name in dims}
    total = numpy.einsum(",".join(dims.values()) + "->", *arrays.values())
    expected = 0.0
    for path in itertools.product(range(3), repeat=steps):
        weight = INITIAL[path[0]]
        for step in range(1, steps):
            weight *= TRANSITION[path[step - 1], path[step]] * stats.norm.pdf(DATA[0, step % 4], LOCS[path[step]], 1.0)
        expected += weight
    assert total == pytest.approx(expected, rel=1e-9)


def test_masks_scales_and_score_parts(backend):
    mask = numpy.array([True, False, True])

    def model():
        with ppl.plate("rows", 3, dim=-2), handlers.mask(mask=ops.array(mask[:, None])), handlers.scale(scale=2.0):
            ppl.sample("k", dist.Poisson(1.5), infer={})
            ppl.sample("z", dist.Normal(0.0, 1.0))

    trace = handlers.trace(model).get_trace()
    trace.compute_score_parts()
    trace.pack_tensors()
    z, k = (host(trace.nodes[name]["value"])[:, 0] for name in ("z", "k"))
    plain = {"z": stats.norm.logpdf(z), "k": stats.poisson.logpmf(k, 1.5)}
    for name in plain:
        entries = trace.nodes[name]["packed"]
        assert set(entries) == {"mask", "log_prob", "unscaled_log_prob", "score_parts"}
        assert entries["mask"].dims == entries["log_prob"].dims == entries["unscaled_log_prob"].dims == "a"
        assert host(entries["mask"].array).tolist() == mask.tolist()
        numpy.testing.assert_allclose(host(entries["log_prob"].array), 2.0 * plain[name] * mask, rtol=1e-9)
        numpy.testing.assert_allclose(host(entries["unscaled_log_prob"].array)[mask], plain[name][mask], rtol=1e-9)
        numpy.testing.assert_allclose(host(entries["score_parts"].log_prob.array), 2.0 * plain[name] * mask, rtol=1e-9)
    assert trace.nodes["z"]["packed"]["score_parts"].score_function == 0
    assert trace.nodes["k"]["packed"]["score_parts"].score_function.dims == "a"
    assert trace.nodes["k"]["packed"]["score_parts"].entropy_term == 0


def test_a_guide_takes_the_symbols_of_its_model(backend):
    def guide():
        with ppl.plate("columns", 4, dim=-1):
            ppl.sample("v", dist.Normal(0.0, 1.0))
        with ppl.plate("extra", 2, dim=-1):
            ppl.sample("w", dist.Normal(0.0, 1.0))

    model_trace = traced(mixture, PLACES)
    model_trace.pack_tensors()
    given = dict(model_trace.plate_to_symbol)
    guide_trace = handlers.trace(guide).get_trace()
    guide_trace.compute_log_prob()
    guide_trace.pack_tensors(model_trace.plate_to_symbol)
    assert guide_trace.nodes["v"]["packed"]["log_prob"].dims == given["columns"]
    assert guide_trace.plate_to_symbol == {**given, "extra": "e"}
    assert model_trace.plate_to_symbol == given


def test_what_a_copy_and_a_replayed_site_hold(backend):
    trace = traced(mixture, PLACES)
    before = trace.nodes["y"]["infer"]
    trace.pack_tensors()
    assert "_dim_to_symbol" not in before
    other = trace.copy()
    assert other.plate_to_symbol == trace.plate_to_symbol
    assert other.plate_to_symbol is not trace.plate_to_symbol
    assert other.nodes["y"] is trace.nodes["y"]
    assert Trace().plate_to_symbol == {} == Trace().symbol_to_dim


def test_loops_have_no_symbol(backend):
    def model():
        for step in ppl.plate("steps", 2):
            ppl.sample(f"x{step}", dist.Normal(0.0, 1.0))

    trace = handlers.trace(model).get_trace()
    trace.compute_log_prob()
    trace.pack_tensors()
    assert trace.plate_to_symbol == {}
    assert trace.nodes["x1"]["packed"]["log_prob"].dims == ""


def test_a_dimension_of_no_plate_is_refused_with_the_name_of_the_site(backend):
    trace = handlers.trace(lambda: ppl.sample("wide", dist.Normal(0.0, 1.0).expand((3,)))).get_trace()
    trace.compute_log_prob()
    with pytest.raises(ShapeError, match=r"site 'wide'.*dimension -1.*to_event"):
        trace.pack_tensors()


def test_given_symbols_are_kept_and_none_is_given_twice(backend):
    trace = traced(mixture, PLACES)
    trace.pack_tensors({"rows": "b", "elsewhere": "d"})
    assert trace.plate_to_symbol == {"rows": "b", "elsewhere": "d", "columns": "e"}
    assert trace.nodes["y"]["packed"]["log_prob"].dims == "hfbe"
    assert trace.plate_to_symbol.variables == {"component": "f", "coin": "h"}
    with pytest.raises(HandlerError, match="two plates or variables have one symbol"):
        trace.pack_tensors({"rows": "a", "columns": "a"})


def weights_of(trace):
    """Return the packed densities of a trace, as numpy arrays, with their symbols."""
    sites = [node["packed"]["log_prob"] for node in trace.nodes.values() if node["type"] == "sample"]
    return [numpy.exp(host(entry.array)) for entry in sites], [entry.dims for entry in sites]


def test_a_chain_under_the_enumerating_handlers(backend):
    steps = 7

    def model():
        state = None
        for step in ppl.markov(range(steps)):
            probs = ops.array(INITIAL) if state is None else pick(TRANSITION, state)
            state = ppl.sample(f"x{step}", categorical(probs), infer={"enumerate": "parallel"})
            ppl.sample(f"y{step}", dist.Normal(pick(LOCS, state), 1.0), obs=ops.array(DATA[0, step % 4]))

    trace = handlers.trace(handlers.enum(model, first_available_dim=-1)).get_trace()
    trace.compute_log_prob()
    trace.pack_tensors()
    # Two positions, seven symbols.
    assert set(trace.symbol_to_dim.values()) == {-1, -2}
    assert len(trace.symbol_to_dim) == steps
    arrays, dims = weights_of(trace)
    forward = INITIAL * stats.norm.pdf(DATA[0, 0], LOCS, 1.0)
    for step in range(1, steps):
        forward = (forward @ TRANSITION) * stats.norm.pdf(DATA[0, step % 4], LOCS, 1.0)
    assert numpy.einsum(",".join(dims) + "->", *arrays, optimize=True) == pytest.approx(forward.sum(), rel=1e-9)


def test_a_guide_and_a_model_share_the_symbols_of_variables_too(backend):
    parallel = {"enumerate": "parallel"}

    def guide():
        ppl.sample("u", categorical(COIN), infer=parallel)
        ppl.sample("v", categorical(INITIAL), infer=parallel)

    def model():
        own = ppl.sample("own", categorical(COIN), infer=parallel)
        v = ppl.sample("v", categorical(INITIAL[::-1].copy()))
        u = ppl.sample("u", categorical(COIN[::-1].copy()))
        ppl.sample("y", dist.Normal(pick(LOCS, v) + 2.0 * pick(SHIFT, u) - pick(SHIFT, own), 1.0), obs=ops.array(0.7))

    guide_trace = handlers.trace(handlers.enum(guide, first_available_dim=-1)).get_trace()
    replayed = handlers.replay(model, trace=guide_trace)
    model_trace = handlers.trace(handlers.enum(replayed, first_available_dim=-3)).get_trace()
    for trace in (model_trace, guide_trace):
        trace.compute_log_prob()
    model_trace.pack_tensors()
    guide_trace.pack_tensors(model_trace.plate_to_symbol)
    for name in ("u", "v"):
        assert guide_trace.nodes[name]["packed"]["log_prob"].dims == model_trace.nodes[name]["packed"]["log_prob"].dims
    arrays, dims = zip(*(weights_of(trace) for trace in (model_trace, guide_trace)), strict=True)
    total = numpy.einsum(",".join(dims[0] + dims[1]) + "->", *arrays[0], *arrays[1])
    expected = sum(
        COIN[own] * INITIAL[::-1][v] * COIN[::-1][u] * COIN[u] * INITIAL[v]
        * stats.norm.pdf(0.7, LOCS[v] + 2.0 * SHIFT[u] - SHIFT[own])
        for own, v, u in itertools.product(range(2), range(3), range(2))
    )  # fmt: skip
    assert total == pytest.approx(expected, rel=1e-9)
    # By itself the guide names its variables in its own order.
    guide_trace.pack_tensors()
    assert weights_of(guide_trace)[1] != [model_trace.nodes[name]["packed"]["log_prob"].dims for name in ("u", "v")]


def test_a_trace_is_packed_inside_compiled_code(backend):
    def total(shift):
        def model():
            k = ppl.sample("k", categorical(INITIAL), infer={"enumerate": "parallel"})
            with ppl.plate("rows", 3):
                ppl.sample("y", dist.Normal(pick(LOCS, k) + shift, 1.0), obs=ops.array(DATA[:, 0]))

        trace = handlers.trace(handlers.enum(model, first_available_dim=-2)).get_trace()
        trace.compute_log_prob()
        trace.pack_tensors()
        k, y = (trace.nodes[name]["packed"]["log_prob"] for name in ("k", "y"))
        return ops.einsum(f"{k.dims},{y.dims}->", k.array, y.array)

    compiled = ops.compile.compile(total, ops.array(0.0))
    expected = sum(numpy.log(INITIAL[k]) * stats.norm.logpdf(DATA[:, 0], LOCS[k] + 0.25).sum() for k in range(3))
    for function in (total, compiled):
        assert float(host(function(ops.array(0.25)))) == pytest.approx(expected, rel=1e-9)


def test_packing_and_unpacking_are_reshapes_and_transpositions(backend, rng):
    table = rng.normal(size=(2, 1, 3, 1, 4))
    names = {-1: "z", -2: "y", -3: "m", -5: "a"}
    entry = packed.pack(ops.array(table), names)
    assert entry.dims == "amz"
    numpy.testing.assert_array_equal(host(entry.array), table.reshape(2, 3, 4))
    back = packed.unpack(entry, {name: dim for dim, name in names.items()})
    numpy.testing.assert_array_equal(host(back), table)
    turned = Packed(ops.permute_dims(entry.array, (2, 0, 1)), "zam")
    numpy.testing.assert_array_equal(host(packed.unpack(turned, {"z": -1, "m": -3, "a": -5})), table)
    elsewhere = packed.unpack(turned, {"z": -2, "m": -1, "a": -3})
    numpy.testing.assert_array_equal(host(elsewhere), table.reshape(2, 3, 4).transpose(0, 2, 1))
    single = packed.pack(ops.array(table[:1, 0, :, 0, 0]), {-1: "a", -2: "b"})
    assert single.dims == "a"
    numpy.testing.assert_array_equal(host(single.array), table[0, 0, :, 0, 0])
    scalar = packed.pack(ops.array(2.5), {})
    assert scalar.dims == ""
    assert float(host(packed.unpack(scalar, {}))) == 2.5
    assert packed.pack(None, {}) is None
    assert packed.pack(True, {}) is True
    assert packed.unpack(0.0, {}) == 0.0
    with pytest.raises(HandlerError, match="one position for each symbol"):
        packed.unpack(entry, {"a": -1, "m": -2})
    with pytest.raises(HandlerError, match="one position for each symbol"):
        packed.unpack(entry, {"a": -1, "m": -2, "z": -2})


def test_symbols_are_distinct_characters():
    symbols = [packed.symbol(index) for index in range(2000)]
    assert len(set(symbols)) == 2000
    assert all(len(name) == 1 for name in symbols)
    assert not any(name.isspace() or name in "->,." for name in symbols)


DOCUMENTED = """add_edge add_node compute_log_prob compute_score_parts copy edges format_shapes iter_stochastic_nodes log_prob_sum
nonreparam_stochastic_nodes observation_nodes pack_tensors param_nodes predecessors remove_node reparameterized_nodes
stochastic_nodes successors symbolize_dims topological_sort""".split()


def test_every_documented_member_of_a_trace_is_there_and_described():
    for name in DOCUMENTED:
        assert getattr(Trace, name).__doc__, name


def test_a_trace_prints_as_its_table_also_once_packed(backend):
    trace = traced(mixture, PLACES)
    before = str(trace)
    trace.pack_tensors()
    assert str(trace) == before == trace.format_shapes()
    rows = [line.split() for line in before.splitlines()]
    assert ["y", "dist", "2", "3", "3", "4", "|"] in rows
    assert ["log_prob", "2", "3", "3", "4", "|"] in rows


def test_a_copy_costs_no_array(backend):
    trace = traced(mixture, PLACES)
    other = trace.copy()
    other.remove_node("y")
    other.add_node("new", type="sample", value=0.0)
    assert "y" in trace
    assert "new" not in trace
    assert all(other.nodes[name] is trace.nodes[name] for name in ("component", "coin"))
