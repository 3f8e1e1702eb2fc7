"""The core of the language on two frontends, the full library and minipyro; scipy and algebra say what is right."""

import ast
import importlib.util
import math
from pathlib import Path

import numpy
import pytest
from generated_models import sparing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

import ppl
from ppl.contrib import minipyro
from ppl.errors import BackendError
from ppl.generic import GenericModule, handlers, infer, ops, optim, pyro, pyro_backend
from ppl.generic import distributions as dist

ROOT = Path(__file__).parents[2]
FEW = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FRONTENDS = {"full": {}, "minipyro": "minipyro"}


@pytest.fixture(params=FRONTENDS)
def frontend(backend, request):
    """The name of the implementation that the modules of ``ppl.generic`` lead to."""
    minipyro.clear_param_store()
    with pyro_backend(FRONTENDS[request.param]):
        yield request.param
    minipyro.clear_param_store()


@pytest.fixture
def mini(backend):
    """Minipyro alone, for what the full library does in ways of its own."""
    minipyro.clear_param_store()
    yield minipyro
    minipyro.clear_param_store()
    assert minipyro.STACK == []


def host(value):
    return ops.to_numpy(ops.array(value))


def number(value):
    return float(host(value))


def sites(trace, *kinds):
    """Return the messages of a trace of either frontend by name."""
    nodes = getattr(trace, "nodes", trace)
    return {name: node for name, node in nodes.items() if node["type"] in (kinds or ("sample", "param"))}


def run(fn, *args):
    return sites(handlers.trace(fn).get_trace(*args))


def density(trace):
    """Return the joint log density of the sample sites of a trace."""
    return sum(number(ops.sum(node["fn"].log_prob(node["value"]))) for node in trace.values() if node["type"] == "sample")


def values(trace):
    return {name: host(node["value"]).tolist() for name, node in trace.items()}


def model(data=None):
    scale = pyro.param("scale", 2.0, constraint=dist.constraints.positive)
    z = pyro.sample("z", dist.Normal(0.5, scale))
    with pyro.plate("rows", 3, dim=-1):
        return pyro.sample("y", dist.Normal(z, 1.0), obs=data)


# ---- sample, trace and plates ----


def test_a_site_without_handlers_is_its_data_or_a_draw(frontend):
    assert number(pyro.sample("x", dist.Normal(0.0, 1.0), obs=1.25)) == 1.25
    with pyro.plate("rows", 200, dim=-1):
        draws = host(pyro.sample("x", dist.Normal(3.0, 0.5)))
    assert stats.kstest(draws, stats.norm(3.0, 0.5).cdf).pvalue > 2e-5
    assert stats.kstest(draws, stats.norm(3.3, 0.5).cdf).pvalue < 2e-5


@pytest.mark.parametrize("obs", [2, [1.0, 2.0], numpy.array([1.0, 2.0])])
def test_data_become_arrays(frontend, obs):
    trace = run(lambda: pyro.sample("x", dist.Poisson(1.5), obs=obs))
    assert ops.is_array(trace["x"]["value"])
    assert trace["x"]["is_observed"]
    assert density(trace) == pytest.approx(stats.poisson.logpmf(obs, 1.5).sum(), rel=1e-10)


@st.composite
def programs(draw):
    """A model as data: of each site its parent, the plates around it, and whether it is observed."""
    plates = st.sampled_from([(), (3,), (3, 2)] if sparing() else [(), (1,), (3,), (3, 2), (1, 4)])
    return [(draw(st.integers(0, i)) - 1, draw(plates), draw(st.booleans())) for i in range(draw(st.integers(1, 4)))]


def run_program(program):
    drawn = []
    for i, (parent, plates, observed) in enumerate(program):
        loc = 0.0 if parent < 0 else drawn[parent]
        entered = [pyro.plate(f"plate{i}_{depth}", size, dim=-1 - depth) for depth, size in enumerate(plates)]
        for plate in entered:
            plate.__enter__()
        drawn.append(ops.sum(pyro.sample(f"x{i}", dist.Normal(loc, 1.0 + i), obs=0.1 * i if observed else None)))
        for plate in reversed(entered):
            plate.__exit__(None, None, None)
    return drawn


def exact(program, found):
    """Return the joint log density by scipy."""
    total, drawn = 0.0, []
    for i, (parent, plates, observed) in enumerate(program):
        value = numpy.asarray(found[f"x{i}"])
        copies = numpy.broadcast_to(value, tuple(reversed(plates)))
        assert observed or value.shape == copies.shape
        total += stats.norm.logpdf(copies, 0.0 if parent < 0 else drawn[parent], 1.0 + i).sum()
        drawn.append(value.sum())
    return total


@FEW
@given(program=programs())
def test_a_trace_has_the_joint_density(frontend, program):
    trace = run(run_program, program)
    assert list(trace) == [f"x{i}" for i in range(len(program))]
    assert [node["is_observed"] for node in trace.values()] == [observed for _, _, observed in program]
    assert density(trace) == pytest.approx(exact(program, values(trace)), rel=1e-10)


def test_plates_give_indices_and_axes(frontend):
    with pyro.plate("rows", 4, dim=-1) as rows:
        numpy.testing.assert_array_equal(host(rows), numpy.arange(4))
        with pyro.plate("columns", 3, dim=-2):
            both = pyro.sample("both", dist.Normal(0.0, 1.0))
    with pyro.plate("far", 2, dim=-3):
        vector = pyro.sample("vector", dist.Normal(ops.zeros(6), 1.0).to_event(1))
        wide = pyro.sample("wide", dist.Normal(ops.zeros((5, 1)), 1.0))
    assert [tuple(x.shape) for x in (both, vector, wide)] == [(3, 4), (2, 1, 1, 6), (2, 5, 1)]
    assert len(set(host(both).ravel().tolist())) == 12


def test_plates_that_do_not_fit_are_refused(frontend):
    def wrong_size():
        with pyro.plate("rows", 3, dim=-1):
            pyro.sample("y", dist.Normal(ops.zeros(4), 1.0))

    def same_dim():
        with pyro.plate("rows", 3, dim=-1), pyro.plate("columns", 3, dim=-1):
            pyro.sample("y", dist.Normal(0.0, 1.0))

    def positive_dim():
        with pyro.plate("rows", 3, dim=0):
            pyro.sample("y", dist.Normal(0.0, 1.0))

    for bad, words in ((wrong_size, "'y' has batch shape"), (same_dim, "dim=-1"), (positive_dim, "dim=0; expected a negative")):
        with pytest.raises(ValueError, match=words):
            run(bad)
    assert list(run(model)) == ["scale", "z", "y"]


def test_two_sites_of_one_name_are_refused(frontend):
    def twice():
        pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(0.0, 1.0))

    def two_types():
        pyro.param("x", 1.0)
        pyro.sample("x", dist.Normal(0.0, 1.0))

    for bad in (twice, two_types):
        with pytest.raises(ValueError, match="'x'"):
            run(bad)
    assert list(run(lambda: [pyro.param("x", 1.0), pyro.param("x")])) == ["x"]


# ---- replay, block, seed, substitute ----


@FEW
@given(program=programs())
def test_replay_of_a_trace_is_the_identity(frontend, program):
    trace = handlers.trace(run_program).get_trace(program)
    again = run(handlers.replay(run_program, trace), program)
    assert values(again) == values(sites(trace))
    assert density(again) == density(sites(trace))


def test_replay_leaves_data_alone_and_draws_what_is_new(frontend):
    def other(data):
        z = pyro.sample("z", dist.Normal(4.0, 0.1))
        pyro.sample("new", dist.Normal(100.0, 0.1))
        pyro.sample("y", dist.Normal(z, 1.0), obs=data)

    earlier = handlers.trace(model).get_trace()
    trace = run(handlers.replay(other, earlier), ops.zeros(3))
    assert values(trace)["z"] == values(sites(earlier))["z"]
    assert 99.0 < values(trace)["new"] < 101.0
    assert values(trace)["y"] == [0.0, 0.0, 0.0]


def test_block_hides_what_it_says(frontend):
    assert list(run(handlers.block(model))) == []
    assert list(run(handlers.block(model, hide_fn=lambda site: site["name"] == "z"))) == ["scale", "y"]
    # What is hidden from the outside is not hidden from the inside.
    inside = handlers.trace(model)
    assert list(run(handlers.block(inside))) == []
    assert list(sites(inside.trace)) == ["scale", "z", "y"]


def test_a_seed_repeats_and_leaves_the_outside_alone(frontend):
    def draws(rng_seed):
        return values(run(handlers.seed(model, rng_seed=rng_seed)))

    pyro.set_rng_seed(3)
    first = draws(7)
    after = number(pyro.sample("after", dist.Normal(0.0, 1.0)))
    assert draws(7) == first
    assert draws(8) != first
    pyro.set_rng_seed(3)
    assert number(pyro.sample("after", dist.Normal(0.0, 1.0))) == after


def test_the_frontends_draw_the_same_from_a_seed(backend, mini):
    def draws(name):
        with pyro_backend(FRONTENDS[name]):
            return values(run(handlers.seed(model, rng_seed=11)))

    assert draws("minipyro") == draws("full")


@pytest.mark.backends("jax")
def test_a_new_site_does_not_shift_the_draws_of_others(frontend):
    def longer():
        pyro.sample("new", dist.Normal(0.0, 1.0))
        return model()

    short, long = (values(run(handlers.seed(fn, rng_seed=5))) for fn in (model, longer))
    assert {name: long[name] for name in short} == short


def test_substitute_gives_values_and_gradients(frontend):
    def joint(point):
        trace = run(handlers.substitute(model, data=point), ops.zeros(3))
        assert not trace["z"]["is_observed"]
        return sum(ops.sum(node["fn"].log_prob(node["value"])) for node in trace.values() if node["type"] == "sample")

    def by_hand(scale, z):
        return stats.norm.logpdf(z, 0.5, scale) + 3 * stats.norm.logpdf(0.0, z, 1.0)

    point = {"scale": ops.array(1.5), "z": ops.array(0.25)}
    value, gradient = ops.autodiff.value_and_grad(joint)(point)
    assert number(value) == pytest.approx(by_hand(1.5, 0.25), rel=1e-10)
    assert number(gradient["z"]) == pytest.approx(0.25 / 1.5**2 - 3 * 0.25, rel=1e-8)
    assert number(gradient["scale"]) == pytest.approx(0.25**2 / 1.5**3 - 1 / 1.5, rel=1e-8)


def test_the_stack_is_whole_after_an_exception(frontend):
    def fails():
        with pyro.plate("rows", 3, dim=-1):
            pyro.sample("x", dist.Normal(0.0, 1.0))
            raise KeyError

    recorder = handlers.trace(handlers.seed(handlers.block(fails, hide_fn=lambda site: False), rng_seed=1))
    with pytest.raises(KeyError):
        recorder.get_trace()
    assert tuple(pyro.sample("later", dist.Normal(0.0, 1.0)).shape) == ()
    assert "later" not in sites(recorder.trace)
    assert list(run(model)) == ["scale", "z", "y"]


# ---- params ----


def test_a_param_keeps_its_first_value_and_its_constraint(frontend):
    constraint = dist.constraints.positive
    assert number(pyro.param("scale", 2.5, constraint=constraint)) == pytest.approx(2.5, rel=1e-12)
    assert number(pyro.param("scale", 7.0, constraint=constraint)) == pytest.approx(2.5, rel=1e-12)
    assert number(pyro.param("scale")) == pytest.approx(2.5, rel=1e-12)
    simplex = host(pyro.param("weights", lambda: ops.array([0.2, 0.3, 0.5]), constraint=dist.constraints.simplex))
    numpy.testing.assert_allclose(simplex, [0.2, 0.3, 0.5], rtol=1e-10)
    assert list(pyro.get_param_store()) == ["scale", "weights"]
    pyro.get_param_store().clear()
    assert list(pyro.get_param_store()) == []
    with pytest.raises(ValueError, match="'scale'"):
        pyro.param("scale")


def test_a_first_value_outside_of_the_constraint_is_refused(frontend):
    with pytest.raises(ValueError, match="outside"):
        pyro.param("scale", -1.0, constraint=dist.constraints.positive)
    assert "scale" not in pyro.get_param_store()


# ---- SVI ----

DATA = numpy.random.default_rng(0).normal(1.5, 1.0, size=20)
PRECISION = 1.0 / 9.0 + len(DATA)
MEAN, SD = DATA.sum() / PRECISION, PRECISION**-0.5
LOSS = -stats.multivariate_normal(numpy.zeros(len(DATA)), numpy.eye(len(DATA)) + 9.0).logpdf(DATA)


def conjugate(data):
    mean = pyro.sample("mean", dist.Normal(0.0, 3.0))
    with pyro.plate("rows", len(DATA), dim=-1):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=data)


def normal_guide(loc=0.5, scale=0.5):
    def guide(data):
        at, spread = pyro.param("loc", loc), pyro.param("spread", scale, constraint=dist.constraints.positive)
        pyro.sample("mean", dist.Normal(at, spread))

    return guide


def test_at_the_posterior_every_loss_is_the_evidence(frontend):
    svi = infer.SVI(conjugate, normal_guide(MEAN, SD), optim.Adam({"lr": 1e-12}), infer.Trace_ELBO())
    for _ in range(3):
        assert svi.step(ops.array(DATA)) == pytest.approx(LOSS, rel=1e-9)


def test_a_fit_reaches_the_posterior_of_a_conjugate_model(frontend):
    pyro.set_rng_seed(2)
    # The compiled loss of the full library has tests of its own, and compiling takes seconds.
    loss = infer.JitTrace_ELBO() if frontend == "minipyro" else infer.Trace_ELBO()
    svi = infer.SVI(conjugate, normal_guide(), optim.Adam({"lr": 0.05}), loss)
    path = []
    for _ in range(80):
        svi.step(ops.array(DATA))
        path.append([number(pyro.param("loc")), number(pyro.param("spread"))])
    loc, spread = numpy.mean(path[-40:], axis=0)
    assert abs(loc - MEAN) < 0.5 * SD
    assert abs(path[0][0] - MEAN) > 3.0 * SD
    assert 0.7 * SD < spread < 1.5 * SD


def test_a_point_estimate_is_the_mode(frontend):
    y = numpy.array([0.5, 1.25, 2.0, 0.25])

    def waiting(y):
        rate = pyro.sample("rate", dist.Gamma(3.0, 2.0))
        with pyro.plate("rows", 4, dim=-1):
            pyro.sample("y", dist.Exponential(rate), obs=y)

    def point(y):
        pyro.sample("rate", dist.Delta(pyro.param("rate_at", 1.3, constraint=dist.constraints.positive)))

    svi = infer.SVI(waiting, point, optim.Adam({"lr": 0.1}), infer.Trace_ELBO())
    for _ in range(30):
        svi.step(ops.array(y))
    assert number(pyro.param("rate_at")) == pytest.approx((3 + 4 - 1) / (2 + y.sum()), abs=0.02)


def test_a_guide_of_other_sites_is_refused(frontend):
    def extra(data):
        normal_guide()(data)
        pyro.sample("other", dist.Normal(0.0, 1.0))

    def lacking(data):
        pyro.param("loc", 0.0)

    for guide, name in ((extra, "other"), (lacking, "mean")):
        with pytest.raises(ValueError, match=name):
            infer.SVI(conjugate, guide, optim.Adam({"lr": 0.01}), infer.Trace_ELBO()).step(ops.array(DATA))


# ---- minipyro's own ways ----


def test_gradients_are_those_of_the_closed_form(mini):
    with pyro_backend("minipyro"):
        svi = infer.SVI(conjugate, normal_guide(), optim.Adam({"lr": 0.01}), infer.Trace_ELBO())
        svi.guide = handlers.seed(svi.guide, rng_seed=4)
        drawn = number(run(svi.guide, ops.array(DATA))["mean"]["value"])
        loss = svi.step(ops.array(DATA))
    noise = (drawn - 0.5) / 0.5
    slope = drawn / 9.0 + (drawn - DATA).sum()
    expected = stats.norm.logpdf(drawn, 0.5, 0.5) - stats.norm.logpdf(drawn, 0, 3) - stats.norm.logpdf(DATA, drawn, 1).sum()
    store = mini.get_param_store()
    assert loss == pytest.approx(expected, rel=1e-10)
    assert number(store["loc"].gradient) == pytest.approx(slope, rel=1e-8)
    # The spread is the exponential of what moves.
    assert number(store["spread"].gradient) == pytest.approx(0.5 * (slope * noise - 1 / 0.5), rel=1e-8)


def test_gradients_of_discrete_draws_average_to_the_exact_one(mini):
    prior, likelihood, logit = 0.3, numpy.array([0.2, 0.9]), 0.4

    def choice_model():
        z = mini.sample("z", dist.Bernoulli(prior))
        mini.sample("y", dist.Bernoulli(0.2 + 0.7 * z), obs=1.0)

    def loss_at(value, free):
        def guide():
            mini.sample("z", dist.Bernoulli(logits=free))

        fixed = mini.replay(guide, {"z": {"value": ops.array(value)}})
        return mini.elbo(choice_model, fixed)

    q = 1 / (1 + math.exp(-logit))
    gradients = [number(ops.autodiff.grad(lambda free, v=value: loss_at(v, free))(ops.array(logit))) for value in (0.0, 1.0)]
    terms = numpy.log([1 - q, q]) - numpy.log([1 - prior, prior]) - numpy.log(likelihood)
    assert (1 - q) * gradients[0] + q * gradients[1] == pytest.approx(q * (1 - q) * (terms[1] - terms[0]), rel=1e-8)


def test_adam_takes_the_steps_of_the_paper(mini):
    start, gradients = numpy.array([1.0, -2.0]), numpy.array([[0.5, -1.0], [0.25, 4.0], [-3.0, 0.0]])
    moved, adam = mini.Param(ops.array(start), dist.constraints.real), mini.Adam({"lr": 0.1, "betas": (0.8, 0.9)})
    expected, mean, square = start, 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        moved.gradient = ops.array(gradient)
        adam([moved])
        mean, square = 0.8 * mean + 0.2 * gradient, 0.9 * square + 0.1 * gradient**2
        expected = expected - 0.1 * (mean / (1 - 0.8**step)) / (numpy.sqrt(square / (1 - 0.9**step)) + 1e-8)
        numpy.testing.assert_allclose(host(moved.unconstrained), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="weight_decay"):
        mini.Adam({"lr": 0.1, "weight_decay": 1.0})


def test_a_compiled_loss_draws_anew_at_each_call_and_repeats_from_a_seed(mini):
    def losses():
        mini.clear_param_store()
        mini.set_rng_seed(6)
        svi = infer.SVI(conjugate, normal_guide(), optim.Adam({"lr": 1e-12}), infer.JitTrace_ELBO())
        return [svi.step(ops.array(DATA)) for _ in range(4)]

    with pyro_backend("minipyro"):
        first = losses()
        assert len(set(first)) == 4
        assert losses() == first
        mini.clear_param_store()
        # One object compiles each pair of model and guide for itself; at the posterior every draw of the loss is the evidence.
        loss, data = infer.JitTrace_ELBO(), ops.array(DATA)
        for spread, exactly in ((SD, True), (2 * SD, False)):
            mini.clear_param_store()
            guide = normal_guide(MEAN, spread)
            found = [number(loss(conjugate, guide, data)) for _ in range(3)]
            assert [abs(value - LOSS) < 1e-8 for value in found] == [exactly] * 3


def test_a_param_that_appears_later_is_fitted_too(mini):
    def guide(late):
        at = mini.param("early", 0.0) + (mini.param("late", 0.0) if late else 0.0)
        mini.sample("mean", dist.Delta(at))

    svi = mini.SVI(lambda late: mini.sample("mean", dist.Normal(5.0, 1.0)), guide, mini.Adam({"lr": 0.1}), mini.Trace_ELBO())
    found = []
    for late in (False, True, False, True):
        svi.step(late)
        found.append([number(param.unconstrained) for param in mini.get_param_store().values()])
    assert found[0] == pytest.approx([0.1], abs=1e-6)
    assert found[1][1] == found[2][1] == 0.0
    assert found[3][1] == pytest.approx(0.1, abs=1e-6)
    mini.clear_param_store()
    svi.step(True)
    assert sorted(mini.get_param_store()) == ["early", "late"]


def test_what_minipyro_lacks_is_refused(mini):
    with pytest.raises(ValueError, match="num_particles=10"):
        mini.Trace_ELBO(num_particles=10)
    mini.param("loc", 0.0)
    mini.get_param_store()["loc"].unconstrained = "of another library"
    with pytest.raises(ValueError, match=r"'loc' is an array of another library; try get_param_store\(\).clear"):
        mini.param("loc")

    def narrow():
        with mini.plate("rows", 1, dim=-1):
            mini.sample("y", dist.Normal(0.0, 1.0), obs=ops.zeros(4))

    with (
        ppl.validation_enabled(False),
        pytest.raises(ValueError, match=r"'y' has a value of shape \(4,\), which its plates"),
    ):
        mini.log_prob_sum(mini.trace(narrow).get_trace())


def test_pyro_backend_leads_to_minipyro_and_keeps_the_arrays(backend):
    before = dict(GenericModule.current_backend)
    with pyro_backend("minipyro") as chosen:
        assert chosen.name == backend
        inside = dict(GenericModule.current_backend)
        assert pyro.sample is handlers.sample is minipyro.sample
        assert infer.SVI is minipyro.SVI
        assert optim.Adam is minipyro.Adam
        with pyro_backend("numpy") as other:
            assert other.name == "numpy"
            assert pyro.sample is minipyro.sample
        with pytest.raises(AttributeError, match=r"'ppl.contrib.minipyro', the current backend of 'infer', has no .* 'MCMC'"):
            _ = infer.MCMC
    assert {name for name in before if inside[name] != before[name]} == {"pyro", "primitives", "handlers", "infer", "optim"}
    assert dict(GenericModule.current_backend) == before
    with pytest.raises(BackendError, match="unknown backend 'minipyr'"), pyro_backend("minipyr"):
        pytest.fail("the block was entered")


def test_minipyro_is_short_and_stands_on_arrays_and_distributions_alone():
    source = (ROOT / "ppl" / "contrib" / "minipyro.py").read_text()
    assert len(source.splitlines()) <= 300
    found = [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert found == [
        "from ppl import ops",
        "from ppl.distributions import constraints, transform_to",
        "from ppl.ops import autodiff, compile, random",
    ]


def load_example():
    spec = importlib.util.spec_from_file_location("minipyro_example", ROOT / "examples" / "minipyro.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


def test_the_example_shows_equal_losses(mini, backend, capsys, monkeypatch):
    example = load_example()
    data = example.generate(20, seed=0)
    fits = example.compare(backend, data, steps=6)
    full, small = (fits[name][0] for name in ("full", "minipyro"))
    numpy.testing.assert_allclose(full, small, rtol=0.0, atol=1e-6)
    assert len(set(full.tolist())) == 6
    exact = -stats.multivariate_normal(numpy.zeros(20), numpy.eye(20) + 9.0).logpdf(data)
    assert example.exact_posterior(data)[2] == pytest.approx(exact, rel=1e-10)
    monkeypatch.setattr(example, "compare", lambda *_: fits)
    example.main(["--backend", backend, "--steps", "6"])
    assert f"{backend}: the losses differ by at most" in capsys.readouterr().out
    fits["minipyro"] = (small + 2e-6, *fits["minipyro"][1:])
    with pytest.raises(SystemExit, match="some losses differ by 1e-06 or more"):
        example.main(["--backend", backend, "--steps", "6"])
    assert "NOT equal" in capsys.readouterr().out
