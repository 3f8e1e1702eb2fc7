"""Laws of the effect handlers, on hand-written and generated models; densities come from scipy."""

import math

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, poutine, runtime
from ppl.errors import DuplicateSite, HandlerError, PplError, PplWarning, SiteError

pytestmark = pytest.mark.strict

LAWS = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def host(value):
    return ops.to_numpy(ops.array(value))


def number(value):
    return float(host(value))


def model(y=None):
    scale = ppl.param("scale", 2.0)
    z = ppl.sample("z", dist.Normal(0.5, scale))
    w = ppl.sample("w", dist.Normal(z, 1.0))
    with ppl.plate("rows", 3):
        return ppl.sample("y", dist.Normal(w, 1.0), obs=y)


def values(trace):
    return {name: host(node["value"]) for name, node in trace.nodes.items() if node["type"] == "sample"}


@st.composite
def programs(draw):
    """A model as data: per site its parent, its plate size, and whether it is observed."""
    sites = draw(st.integers(1, 5))
    return [
        (draw(st.integers(0, i)) - 1, draw(st.sampled_from([None, None, 1, 2, 3])), draw(st.booleans())) for i in range(sites)
    ]


def run(program):
    drawn = []
    for i, (parent, size, observed) in enumerate(program):
        loc = 0.0 if parent < 0 else drawn[parent]
        obs = 0.1 * i if observed else None
        if size is None:
            drawn.append(ppl.sample(f"x{i}", dist.Normal(loc, 1.0 + i), obs=obs))
            continue
        with ppl.plate(f"plate{i}", size):
            drawn.append(ops.sum(ppl.sample(f"x{i}", dist.Normal(loc, 1.0 + i), obs=obs)))
    return drawn


def oracle(program, found):
    """The joint log density by scipy."""
    total, drawn = 0.0, []
    for i, (parent, size, _) in enumerate(program):
        loc = 0.0 if parent < 0 else drawn[parent]
        value = found[f"x{i}"]
        copies = numpy.broadcast_to(value, () if size is None else (size,))
        total += stats.norm.logpdf(copies, loc, 1.0 + i).sum()
        drawn.append(value if size is None else value.sum())
    return number(total)


@LAWS
@given(program=programs())
def test_a_trace_has_the_joint_density(backend, program):
    trace = handlers.trace(run).get_trace(program)
    assert number(trace.log_prob_sum()) == pytest.approx(oracle(program, values(trace)), rel=1e-10)
    assert trace.stochastic_nodes == [f"x{i}" for i, site in enumerate(program) if not site[2]]


@LAWS
@given(program=programs())
def test_replay_of_a_trace_is_the_identity(backend, program):
    trace = handlers.trace(run).get_trace(program)
    again = handlers.trace(handlers.replay(run, trace=trace)).get_trace(program)
    assert list(again.nodes) == list(trace.nodes)
    for name, value in values(trace).items():
        numpy.testing.assert_array_equal(host(again.nodes[name]["value"]), value)
    assert number(again.log_prob_sum()) == number(trace.log_prob_sum())


@LAWS
@given(program=programs(), seed=st.integers(0, 2**31 - 1))
def test_a_seed_repeats_the_run_and_leaves_the_outside_alone(backend, program, seed):
    seeded = handlers.seed(run, rng_seed=seed)
    ppl.set_rng_seed(3)
    first = values(handlers.trace(seeded).get_trace(program))
    after = number(ppl.sample("after", dist.Normal(0.0, 1.0)))
    second = values(handlers.trace(seeded).get_trace(program))
    ppl.set_rng_seed(3)
    assert number(ppl.sample("after", dist.Normal(0.0, 1.0))) == after
    for name, value in first.items():
        numpy.testing.assert_array_equal(value, second[name])


@LAWS
@given(program=programs(), data=st.data())
def test_block_hides_exactly_what_it_says(backend, program, data):
    names = [f"x{i}" for i in range(len(program))]
    hidden = data.draw(st.sets(st.sampled_from(names)))
    inner = handlers.trace(run)
    outer = handlers.trace(handlers.block(inner, hide=hidden)).get_trace(program)
    assert list(values(inner.trace)) == names
    assert list(values(outer)) == [name for name in names if name not in hidden]
    exposing = handlers.trace(handlers.block(run, expose=hidden)).get_trace(program)
    assert list(values(exposing)) == [name for name in names if name in hidden]


@LAWS
@given(program=programs(), data=st.data())
def test_mask_zero_and_scale_zero_are_absence(backend, program, data):
    names = [f"x{i}" for i in range(len(program))]
    hidden = data.draw(st.sets(st.sampled_from(names)))

    class Weigh(handlers.Handler):
        def __init__(self, **weight):
            super().__init__()
            self.weight = weight

        def on_sample(self, message):
            if message["name"] in hidden:
                message.update(self.weight)

    trace = handlers.trace(run).get_trace(program)
    absent = trace.log_prob_sum(lambda name, site: name not in hidden)
    for weight in ({"mask": False}, {"scale": 0.0}, {"mask": ops.astype(ops.array(0), "bool")}):
        weighed = handlers.trace(Weigh(**weight).bind(handlers.replay(run, trace=trace))).get_trace(program)
        assert number(weighed.log_prob_sum()) == pytest.approx(number(absent), rel=1e-12, abs=1e-12)


def test_condition_observes_and_leaves_other_draws_alone(backend):
    free = handlers.trace(handlers.seed(model, rng_seed=5)).get_trace()
    fixed = {"w": free.nodes["w"]["value"]}
    conditioned = handlers.trace(handlers.condition(handlers.seed(model, rng_seed=5), data=fixed)).get_trace()
    assert conditioned.observation_nodes == ["w"]
    assert conditioned.stochastic_nodes == ["z", "y"]
    assert number(conditioned.nodes["z"]["value"]) == number(free.nodes["z"]["value"])
    of_w = conditioned.log_prob_sum(lambda name, site: name == "w")
    assert number(of_w) == number(free.log_prob_sum(lambda name, site: name == "w"))


@pytest.mark.backends("jax")
def test_sites_keep_their_draws_when_others_come_and_go(backend):
    def longer():
        ppl.sample("new", dist.Normal(0.0, 1.0))
        return model()

    short = values(handlers.trace(handlers.seed(model, rng_seed=5)).get_trace())
    long = values(handlers.trace(handlers.seed(longer, rng_seed=5)).get_trace())
    fixed = values(handlers.trace(handlers.condition(handlers.seed(model, rng_seed=5), data={"z": 0.0})).get_trace())
    numpy.testing.assert_array_equal(short["z"], long["z"])
    numpy.testing.assert_allclose(short["y"] - short["w"], long["y"] - long["w"], rtol=1e-12)
    numpy.testing.assert_allclose(short["w"] - short["z"], fixed["w"], rtol=1e-12)


def test_sites_of_one_seed_are_independent(backend):
    def pair():
        return ppl.sample("a", dist.Normal(0.0, 1.0)), ppl.sample("b", dist.Normal(0.0, 1.0))

    with handlers.seed(rng_seed=0):
        draws = [number(x) for _ in range(3) for x in pair()]
    assert len(set(draws)) == 6
    with handlers.seed(rng_seed=0):
        assert [number(x) for _ in range(3) for x in pair()] == draws
    with handlers.seed(rng_seed=1):
        assert [number(x) for _ in range(3) for x in pair()] != draws


def test_seed_reaches_sites_behind_a_block_and_plain_functions(backend):
    def noise():
        return number(dist.Normal(0.0, 1.0).sample())

    def hidden():
        return ppl.sample("x", noise), number(ppl.sample("y", dist.Normal(0.0, 1.0)))

    seeded = handlers.seed(handlers.block(hidden), rng_seed=4)
    assert seeded() == seeded()


def test_seed_takes_a_key(backend):
    a = number(handlers.seed(model, rng_seed=ops.random.key(11))()[0])
    b = number(handlers.seed(model, rng_seed=ops.random.key(11))()[0])
    assert a == b


def test_substitute_keeps_sites_latent(backend):
    data = {"z": 1.0, "w": -0.5, "y": numpy.array([0.1, 0.2, 0.3]), "scale": 3.0}
    trace = handlers.trace(handlers.substitute(model, data=data)).get_trace()
    assert trace.stochastic_nodes == ["z", "w", "y"]
    expected = (
        stats.norm.logpdf(1.0, 0.5, 3.0) + stats.norm.logpdf(-0.5, 1.0, 1.0) + stats.norm.logpdf(data["y"], -0.5, 1.0).sum()
    )
    assert number(trace.log_prob_sum()) == pytest.approx(expected, rel=1e-10)
    by_function = handlers.substitute(model, substitute_fn=lambda site: data.get(site["name"]))
    assert number(handlers.trace(by_function).get_trace().log_prob_sum()) == pytest.approx(expected, rel=1e-10)
    assert "scale" not in ppl.get_param_store()


def test_gradients_flow_through_substituted_values(backend):
    def density(z):
        trace = handlers.trace(handlers.substitute(model, data={"z": z, "w": ops.array(0.25)})).get_trace(ops.zeros(3))
        return trace.log_prob_sum()

    z = 1.5
    expected = -(z - 0.5) / 4.0 + (0.25 - z)
    assert number(ops.autodiff.grad(density)(ops.array(z))) == pytest.approx(expected, rel=1e-8)


def test_scales_multiply(backend):
    trace = handlers.trace(handlers.seed(model, rng_seed=1)).get_trace()
    scaled = handlers.scale(handlers.scale(handlers.replay(model, trace=trace), scale=0.5), scale=3.0)
    total = number(handlers.trace(scaled).get_trace().log_prob_sum())
    assert total == pytest.approx(1.5 * number(trace.log_prob_sum()), rel=1e-12)


def test_masks_are_elementwise_and_combine(backend):
    y = numpy.array([0.1, -0.4, 2.0])

    def observed():
        with ppl.plate("rows", 3):
            ppl.sample("y", dist.Normal(0.0, 1.0), obs=y)

    terms = stats.norm.logpdf(y)
    first, second = ops.array([True, True, False]), numpy.array([0, 1, 1])
    trace = handlers.trace(handlers.mask(handlers.mask(observed, mask=first), mask=second)).get_trace()
    trace.compute_log_prob()
    numpy.testing.assert_allclose(host(trace.nodes["y"]["log_prob"]), terms * [0, 1, 0], rtol=1e-10)
    for mask, expected in ((True, terms.sum()), (False, 0.0)):
        assert number(handlers.trace(handlers.mask(observed, mask=mask)).get_trace().log_prob_sum()) == pytest.approx(expected)


def test_masked_elements_have_zero_gradient_where_the_density_is_not_finite(backend):
    y = numpy.array([0.5, math.nan, math.inf])

    def density(rate, mask):
        def observed():
            with ppl.plate("rows", 3):
                ppl.sample("y", dist.Gamma(2.0, rate), obs=y)

        return handlers.trace(handlers.mask(observed, mask=mask)).get_trace().log_prob_sum()

    keep = ops.array([True, False, False])
    value, gradient = ops.autodiff.value_and_grad(lambda rate: density(rate, keep))(ops.array(3.0))
    assert number(value) == pytest.approx(stats.gamma.logpdf(0.5, 2.0, scale=1 / 3.0), rel=1e-10)
    assert number(gradient) == pytest.approx(2.0 / 3.0 - 0.5, rel=1e-8)
    value, gradient = ops.autodiff.value_and_grad(lambda rate: density(rate, False) + 0.0 * rate)(ops.array(3.0))
    assert (number(value), number(gradient)) == (0.0, 0.0)


@pytest.mark.parametrize("arguments", [
    {"hide": ["z", "scale"]},
    {"expose": ["w", "y"]},
    {"hide_fn": lambda site: site["name"] in ("z", "scale")},
    {"expose_fn": lambda site: site["name"] in ("w", "y")},
    {"expose_types": ["observe"], "expose": ["w"]},
    {"hide_types": ["param"], "hide": ["z"]},
])  # fmt: skip
def test_block_arguments(backend, arguments):
    trace = handlers.trace(handlers.block(model, **arguments)).get_trace(ops.zeros(3))
    assert [name for name in trace.nodes if not name.startswith("_")] == ["w", "y"]


def test_block_without_arguments_hides_all_and_expose_all_none(backend):
    def sites(**arguments):
        return [name for name in handlers.trace(handlers.block(model, **arguments)).get_trace().nodes if not name.startswith("_")]

    assert sites() == []
    assert sites(hide_all=False, expose_all=True) == ["scale", "z", "w", "y"]
    assert sites(hide=[]) == ["scale", "z", "w", "y"]
    assert sites(hide_types=["sample"]) == ["scale"]


def test_replay_takes_params_and_refuses_another_type(backend):
    assert number(handlers.trace(handlers.replay(model, params={"scale": 9.0})).get_trace().nodes["scale"]["value"]) == 9.0
    trace = handlers.trace(lambda: ppl.param("z", 1.0)).get_trace()
    with pytest.raises(SiteError, match="'z' is a sample site here but a param site"):
        handlers.replay(model, trace=trace)()
    assert not runtime.am_i_wrapped()


def test_condition_takes_a_trace(backend):
    trace = handlers.trace(model).get_trace()
    again = handlers.trace(handlers.condition(model, data=trace)).get_trace()
    assert again.stochastic_nodes == []
    assert number(again.log_prob_sum()) == number(trace.log_prob_sum())


def test_misspelt_names_in_condition_warn_with_the_closest(backend):
    with pytest.warns(PplWarning, match=r"'zz', but the model has no such site; closest sites are 'z'"):
        handlers.condition(model, data={"zz": 1.0})()
    assert not runtime.am_i_wrapped()


HANDLERS = {
    "block": lambda: handlers.block(hide=["w"]),
    "condition": lambda: handlers.condition(data={"w": 1.0}),
    "mask": lambda: handlers.mask(mask=False),
    "replay": lambda: handlers.replay(params={"scale": 1.0}),
    "scale": lambda: handlers.scale(scale=2.0),
    "seed": lambda: handlers.seed(rng_seed=3),
    "substitute": lambda: handlers.substitute(data={"w": 1.0}),
    "trace": lambda: handlers.trace(),
}


def outcome(trace):
    return {
        name: (node["is_observed"], node["mask"], node["scale"]) for name, node in trace.nodes.items() if node["type"] == "sample"
    }


@pytest.mark.parametrize("name", HANDLERS)
def test_each_handler_is_a_call_a_decorator_and_a_context(backend, name):
    make = HANDLERS[name]
    handler = make()
    decorated = handler(model)
    arguments = {key: value for key, value in vars(handler).items() if key in ("data", "mask", "params", "rng_seed", "scale")}
    if name == "block":
        arguments = {"hide": ["w"]}
    called = getattr(handlers, name)(model, **arguments)
    assert decorated.__name__ == called.__name__ == "model"
    with handlers.trace() as context, make():
        model()
    as_context = outcome(context.get_trace())
    assert as_context == outcome(handlers.trace(decorated).get_trace()) == outcome(handlers.trace(called).get_trace())
    assert not runtime.am_i_wrapped()
    with pytest.raises(HandlerError, match="decorate"):
        make()(1, 2)


def test_handlers_decorate_methods(backend):
    class Owner:
        loc = 4.0

        @handlers.condition(data={"x": 1.0})
        def model(self, scale):
            return ppl.sample("x", dist.Normal(self.loc, scale))

    assert number(Owner().model(1.0)) == 1.0


class Boom(Exception):
    pass


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("phase", ["process_message", "postprocess_message"])
def test_the_stack_is_empty_after_an_exception_at_any_site(backend, error, position, phase):
    count = iter(range(100))

    def fail(self, message):
        if next(count) == position:
            raise error

    class Fails(handlers.Handler):
        pass

    setattr(Fails, phase, fail)

    def looped():
        model()
        for i in ppl.plate("loop", 3):
            with ppl.plate(f"inner{i}", 2):
                ppl.sample(f"x{i}", dist.Normal(0.0, 1.0))

    wrapped = handlers.trace(handlers.seed(handlers.scale(handlers.condition(looped, data={"w": 0.0}), scale=2.0), rng_seed=0))
    with pytest.raises(error), Fails():
        wrapped.get_trace()
    assert runtime.STACK.get() == ()
    assert math.isfinite(number(handlers.trace(model).get_trace().log_prob_sum()))


def test_the_stack_is_empty_after_a_loop_is_left(backend):
    for i in ppl.plate("loop", 3):
        if i == 1:
            break
    assert runtime.STACK.get() == ()

    def leaves():
        for _ in ppl.plate("loop", 3):
            raise Boom

    with pytest.raises(Boom):
        leaves()
    assert runtime.STACK.get() == ()


def test_duplicate_names_show_both_places(backend):
    def twice():
        ppl.sample("x", dist.Normal(0.0, 1.0))
        with ppl.plate("rows", 2):
            ppl.sample("x", dist.Exponential(1.0))

    with pytest.raises(
        DuplicateSite, match=r"'x': first Normal.*then Exponential.*in plate rows.*try ppl.plate.*ppl.markov.*scope"
    ):
        handlers.trace(twice).get_trace()
    assert not runtime.am_i_wrapped()

    def two_types():
        ppl.param("x", 1.0)
        ppl.sample("x", dist.Normal(0.0, 1.0))

    with pytest.raises(DuplicateSite, match=r"param site first.*sample site later"):
        handlers.trace(two_types).get_trace()


@pytest.mark.parametrize("build", [
    lambda: handlers.condition(model),
    lambda: handlers.condition(model, data=3),
    lambda: handlers.substitute(model),
    lambda: handlers.substitute(model, data={}, substitute_fn=lambda site: None),
    lambda: handlers.replay(model),
    lambda: handlers.replay(model, trace={"z": 1.0}),
    lambda: handlers.scale(model),
    lambda: handlers.scale(model, scale=-1.0),
    lambda: handlers.mask(model),
    lambda: handlers.seed(model),
    lambda: handlers.block(model, hide=["z"], expose=["z"]),
    lambda: handlers.block(model, hide_fn=bool, expose_fn=bool),
    lambda: handlers.trace(model, graph_type="sparse"),
    lambda: handlers.condition({"z": 1.0}, model),
])  # fmt: skip
def test_a_handler_built_wrongly_says_so(backend, build):
    with pytest.raises(HandlerError, match=r"needs|takes|given|got|expected|cannot"):
        build()
    assert issubclass(HandlerError, PplError)


def test_messengers_of_users(backend):
    class Count(poutine.messenger.Messenger):
        def __init__(self):
            self.seen = []

        def _pyro_sample(self, msg):
            self.seen.append(("before", msg["name"]))

        def _pyro_post_sample(self, msg):
            self.seen.append(("after", msg["name"], msg["value"] is not None))

    count = Count()
    count(model)()
    assert count.seen == [entry for name in "zwy" for entry in (("before", name), ("after", name, True))]

    class Whole(Count):
        def _process_message(self, msg):
            self.seen.append(msg["type"])
            super()._process_message(msg)

    whole = Whole()
    with whole:
        model()
    assert whole.seen[:2] == ["param", "sample"]


def test_register_and_unregister(backend):
    class Mine(poutine.messenger.Messenger):
        pass

    seen = []

    @Mine.register(type="sample")
    def note(message):
        seen.append(message["name"])

    @Mine.register(type="twice", post=True)
    def after(message):
        message["value"] = message["value"] + 1

    @runtime.effectful(type="twice")
    def twice(x):
        return 2 * x

    assert twice(3) == 6
    with Mine():
        model()
        assert twice(3) == 7
    with handlers.Handler():
        model()
        assert twice(3) == 6
    Mine.unregister(note, "sample")
    Mine.unregister(type="twice")
    with Mine():
        model()
        assert twice(3) == 6
    assert seen == ["z", "w", "y"]
    with pytest.raises(HandlerError, match="no registered operation"):
        Mine.unregister(note, "sample")


def test_documented_messenger_paths(backend):
    trace = poutine.trace_messenger.TraceMessenger()(model).get_trace()
    assert isinstance(trace, poutine.Trace)
    handler = poutine.trace_messenger.TraceHandler(poutine.trace_messenger.TraceMessenger(), model)
    handler()
    assert handler.trace.stochastic_nodes == ["z", "w", "y"]
    with poutine.trace_messenger.TraceMessenger() as messenger, poutine.block_messenger.BlockMessenger(hide=["z"]):
        model()
    assert messenger.get_trace().stochastic_nodes == ["w", "y"]
    conditioned = poutine.condition_messenger.ConditionMessenger({"z": 1.0})(model)
    scaled = poutine.scale_messenger.ScaleMessenger(2.0)(conditioned)
    replayed = poutine.replay_messenger.ReplayMessenger(trace)(scaled)
    again = poutine.trace(replayed).get_trace()
    assert again.observation_nodes == ["z"]
    assert again.nodes["w"]["scale"] == 2.0
    assert poutine.condition is handlers.condition
    assert ppl.handlers is handlers


def test_continuations_run_last(backend):
    order = []

    class Continue(handlers.Handler):
        def on_sample(self, message):
            message["continuation"] = lambda message: order.append(("continued", message["name"]))

        def after_sample(self, message):
            order.append(("after", message["name"]))

    with Continue():
        ppl.sample("x", dist.Normal(0.0, 1.0))
    assert order == [("after", "x"), ("continued", "x")]
