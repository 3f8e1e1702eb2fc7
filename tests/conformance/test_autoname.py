"""Names: scopes, counters, and data structures that know their address (chapter 13 of the reference)."""

import pytest

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, runtime
from ppl.contrib.autoname import name_count, named, scope
from ppl.errors import DuplicateSite, HandlerError

pytestmark = pytest.mark.strict


def coin(name="x"):
    return ppl.sample(name, dist.Bernoulli(0.5))


def names(model, *args):
    return handlers.trace(model).get_trace(*args).stochastic_nodes


def test_a_scope_prefixes_as_decorator_context_and_call(backend):
    @scope(prefix="a")
    def decorated():
        return coin()

    def context():
        with scope(prefix="a"):
            coin()

    assert names(decorated) == names(context) == names(scope(coin, prefix="a")) == ["a/x"]
    assert decorated.__name__ == "decorated"


def test_scopes_nest_outermost_first(backend):
    @scope(prefix="b")
    def model():
        coin()
        with scope(prefix="a"):
            coin()
        coin("y")

    assert names(model) == ["b/x", "b/a/x", "b/y"]


def test_a_function_lends_its_name(backend):
    @scope
    def model():
        return coin()

    @scope()
    def other():
        return model()

    assert names(model) == ["model/x"]
    assert names(other) == ["other/model/x"]
    with pytest.raises(HandlerError, match="no prefix"), scope():
        pass
    assert runtime.STACK.get() == ()


def test_a_recursive_function_is_in_several_scopes_at_once(backend):
    @scope
    def tree(depth):
        coin()
        if depth:
            tree(depth - 1)

    assert names(tree, 2) == ["tree/x", "tree/tree/x", "tree/tree/tree/x"]


def test_names_that_come_again_are_counted(backend):
    @name_count
    def model():
        for _ in range(3):
            coin()
        coin("y")

    assert names(model) == ["x", "x__1", "x__2", "y"]
    assert names(model) == ["x", "x__1", "x__2", "y"]


@pytest.mark.parametrize(("inner", "expected"), [(None, ["a/x", "a__1/x", "a__2/x"]), (True, ["a/x", "a/x__1", "a/x__2"])])
def test_scopes_that_come_again_are_counted(backend, inner, expected):
    @name_count
    def model():
        for _ in range(3):
            with scope(prefix="a", inner=inner):
                coin()

    assert names(model) == expected


def test_sites_are_counted_within_their_scope(backend):
    @name_count
    def model():
        for prefix in ("a", "b"):
            with scope(prefix=prefix):
                for _ in range(2):
                    coin()

    assert names(model) == ["a/x", "a/x__1", "b/x", "b/x__1"]


def test_a_counter_inside_a_scope(backend):
    @scope(prefix="a")
    @name_count
    def model():
        coin(), coin()

    assert names(model) == ["a/x", "a/x__1"]


def test_without_a_counter_a_name_that_comes_again_is_refused(backend):
    def model():
        for _ in range(2):
            with scope(prefix="a"):
                coin()

    with pytest.raises(DuplicateSite, match="'a/x'"):
        names(model)
    assert runtime.STACK.get() == ()


def test_scoped_names_are_what_other_handlers_see(backend):
    @scope(prefix="a")
    def model():
        return coin()

    trace = handlers.trace(handlers.condition(model, data={"a/x": 1.0})).get_trace()
    assert trace.observation_nodes == ["a/x"]
    inside = scope(handlers.condition(coin, data={"x": 1.0}), prefix="a")
    assert handlers.trace(inside).get_trace().observation_nodes == ["a/x"]


def test_parameters_keep_their_names(backend):
    @scope(prefix="a")
    def model():
        return ppl.param("p", 1.0)

    assert handlers.trace(model).get_trace().param_nodes == ["p"]


def test_placeholders_know_their_address(backend):
    state = named.Object("state")
    assert str(state) == "state"
    assert str(state.x.y.z) == "state.x.y.z"
    state.xs = named.List()
    assert [str(state.xs.add()) for _ in range(2)] == ["state.xs[0]", "state.xs[1]"]
    state.ys = named.Dict()
    assert str(state.ys["foo"]) == "state.ys['foo']"
    assert str(state.ys[3].inner) == "state.ys[3].inner"


def test_statements_in_place_are_sites_of_that_name(backend):
    def model():
        state = named.Object("state")
        loc = state.loc.param_(ops.zeros(1))
        scale = state.scale.param_(ops.ones(1))
        z = state.z.sample_(dist.Normal(loc, scale))
        assert state.z is z
        state.xs = named.List()
        for _ in range(2):
            state.xs.add().sample_(dist.Normal(z, scale))
        state.table = named.Dict()
        state.table["k"].sample_(dist.Normal(state.xs[0] + state.xs[1], scale))
        state.x.sample_(dist.Normal(loc, scale), obs=z)
        return state

    trace = handlers.trace(model).get_trace()
    assert trace.param_nodes == ["state.loc", "state.scale"]
    assert trace.stochastic_nodes == ["state.z", "state.xs[0]", "state.xs[1]", "state.table['k']"]
    assert trace.observation_nodes == ["state.x"]
    state = trace.nodes["_RETURN"]["value"]
    assert state.xs[1] is trace.nodes["state.xs[1]"]["value"]
    assert state.table["k"] is trace.nodes["state.table['k']"]["value"]


def test_containers_nest(backend):
    grid = named.List("grid")
    grid.append(named.List())
    assert str(grid[0].add()) == "grid[0][0]"
    grid.append(named.Dict())
    assert str(grid[1]["k"].z) == "grid[1]['k'].z"
    table = named.Dict("table")
    table["row"] = named.List()
    assert str(table["row"].add()) == "table['row'][0]"


def test_what_is_set_once_stays(backend):
    state = named.Object("state")
    state.x = 1.0
    with pytest.raises(HandlerError, match=r"state\.x has a value"):
        state.x = 2.0
    assert state.x == 1.0
    xs = named.List("xs")
    xs.append(1.0)
    with pytest.raises(HandlerError, match=r"xs\[0\] has a value"):
        xs[0] = 2.0
    ys = named.Dict("ys")
    ys["k"] = 1.0
    with pytest.raises(HandlerError, match=r"ys\['k'\] has a value"):
        ys["k"] = 2.0
    with pytest.raises(HandlerError, match="no name yet"):
        named.List().add()
    with pytest.raises(HandlerError, match="cannot be stored again"):
        state.ys = ys
