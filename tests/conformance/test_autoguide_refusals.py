"""What automatic guides say to models, parts and arguments that they cannot use."""

import numpy
import pytest

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.contrib.autoguide import (
    AutoCallable,
    AutoDelta,
    AutoDiagonalNormal,
    AutoDiscreteParallel,
    AutoGuide,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from ppl.errors import InferenceError, PplWarning

CONTINUOUS = [AutoDelta, AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal, AutoLowRankMultivariateNormal]
CONTINUOUS.append(AutoLaplaceApproximation)


def model(data=None):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    ppl.sample("x", dist.Normal(loc, 1.0), obs=data)


def kinds(infer=None):
    kind = ppl.sample("kind", dist.Bernoulli(0.5), infer=infer)
    ppl.sample("x", dist.Normal(kind, 1.0))


@pytest.mark.parametrize("cls", CONTINUOUS)
def test_discrete_sites_are_named_and_ways_out_shown(backend, cls):
    with pytest.raises(InferenceError, match=rf"'kind' is discrete.*AutoGuideList of {cls.__name__}.*AutoDiscreteParallel.*Enum"):
        cls(kinds)()
    marked = cls(kinds, init_loc_fn=infer.init_to_feasible)
    assert set(marked({"enumerate": "parallel"})) == {"x"}


def test_continuous_sites_in_a_discrete_guide(backend):
    with pytest.raises(InferenceError, match="'x' is no discrete site: its distribution is a Normal"):
        AutoDiscreteParallel(kinds)()
    with pytest.raises(InferenceError, match="cannot cover site 'n', a Poisson"):
        AutoDiscreteParallel(lambda: ppl.sample("n", dist.Poisson(2.0)))()


@pytest.mark.parametrize("cls", [*CONTINUOUS, AutoDiscreteParallel, AutoGuideList])
def test_no_latent_sites(backend, cls):
    with pytest.raises(InferenceError, match="no latent site for a guide to cover"):
        cls(handlers.condition(model, data={"loc": ops.array(0.0)}))(ops.array(1.0))


@pytest.mark.parametrize("cls", CONTINUOUS)
def test_nothing_is_known_before_the_first_run(backend, cls):
    guide = cls(model)
    calls = [guide.median, lambda: guide.quantiles([0.5]), guide.sample_posterior]
    calls += [guide.get_posterior] if hasattr(guide, "get_posterior") else []
    for call in calls:
        with pytest.raises(InferenceError, match="has not run yet, and the arguments given here are not the model's"):
            call()
    with pytest.raises(InferenceError, match="has not run yet"):
        guide.median(1.0, 2.0, 3.0)
    assert set(guide.median(ops.array(1.0))) == {"loc"}


def test_ranks_out_of_range(backend):
    for rank in (0, 1.5, True):
        with pytest.raises(InferenceError, match="rank must be an int of 1 or more, or None"):
            AutoLowRankMultivariateNormal(model, rank=rank)
    with pytest.raises(InferenceError, match=r"rank is 2, but the latent sites \['loc'\] have 1 unconstrained"):
        AutoLowRankMultivariateNormal(model, rank=2)(ops.array(1.0))
    wide = AutoLowRankMultivariateNormal(lambda: ppl.sample("x", dist.Normal(ops.zeros(9), 1.0).to_event(1)), rank=None)
    wide()
    assert tuple(wide.get_posterior().cov_factor.shape) == (9, 3)


@pytest.mark.parametrize("cls", CONTINUOUS[1:5])
def test_scales_must_be_positive(backend, cls):
    with pytest.raises(InferenceError, match=r"init_scale must be positive and finite, received -1\.0"):
        cls(model, init_scale=-1.0)


def test_quantiles_are_probabilities(backend):
    guide = AutoNormal(model)
    guide(ops.array(1.0))
    with pytest.raises(InferenceError, match="strictly between 0 and 1, received 95"):
        guide.quantiles([0.05, 95])


def test_supports_that_move_with_other_sites(backend):
    def moving():
        end = ppl.sample("end", dist.LogNormal(0.0, 1.0))
        ppl.sample("x", dist.Uniform(0.0, end))

    def fixed():
        ppl.sample("end", dist.LogNormal(0.0, 1.0))
        ppl.sample("x", dist.Uniform(0.0, 2.0))

    for cls in (AutoNormal, AutoDelta, AutoDiagonalNormal):
        with pytest.raises(InferenceError, match=r"support of latent site 'x' was .* in one run and .* in another"):
            cls(moving)()
    assert 0.0 < float(ops.autodiff.stop_gradient(AutoNormal(fixed)()["x"])) < 2.0


def test_parts_of_a_list_must_fit(backend):
    def pair():
        ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.sample("loc", dist.Normal(0.0, 1.0))

    with pytest.raises(InferenceError, match="the AutoGuideList has no parts"):
        AutoGuideList(pair)()
    with pytest.raises(InferenceError, match="a part of an AutoGuideList is a guide, a callable; received int"):
        AutoGuideList(pair).add(3)
    guide = AutoGuideList(pair)
    guide.add(AutoNormal(pair))
    guide.add(AutoDelta(handlers.block(pair, hide=["loc"]), prefix="other"))
    with pytest.raises(InferenceError, match="AutoNormal and AutoDelta, have the latent site 'x'"):
        guide()
    guide = AutoGuideList(pair)
    guide.add(AutoDiagonalNormal(handlers.block(pair, hide=["loc"])))
    guide.add(AutoDelta(handlers.block(pair, hide=["x"])))
    with pytest.raises(InferenceError, match="AutoDiagonalNormal and AutoDelta, have the param 'auto_loc'"):
        guide()
    guide = AutoGuideList(handlers.block(pair, hide=["loc"]))
    guide.add(AutoDelta(pair))
    with pytest.raises(InferenceError, match=r"AutoDelta, covers the site 'loc', which the model .*\['x'\].*\['loc', 'x'\]"):
        guide()


def test_sequential_plates_are_for_a_callable(backend):
    def steps(data):
        ppl.sample("loc", dist.Normal(0.0, 1.0))
        for step in ppl.plate("steps", 2):
            ppl.sample(f"x_{step}", dist.Normal(0.0, 1.0))

    def own(data):
        for step in range(2):
            ppl.sample(f"x_{step}", dist.Delta(data[step]))

    with pytest.raises(InferenceError, match="'x_0' stands in the sequential plate 'steps'"):
        AutoNormal(steps)(ops.ones(2))
    guide = AutoGuideList(steps)
    guide.add(AutoNormal(handlers.block(steps, expose=["loc"])))
    guide.add(own)
    drawn = guide(ops.array([3.0, 4.0]))
    assert [float(drawn[f"x_{step}"]) for step in range(2)] == [3.0, 4.0]
    assert numpy.isfinite(infer.Trace_ELBO().loss(steps, guide, ops.array([3.0, 4.0])))


def test_sites_of_model_and_guide_differ(backend):
    def pair():
        ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(0.0, 1.0))

    part = AutoNormal(handlers.block(pair, hide=["y"]))
    loss = infer.Trace_ELBO()
    with pytest.raises(InferenceError, match=r"the guide lacks 'y', a latent site of the model; .*\['x', 'y'\].*\['x'\]"):
        loss.loss(pair, part)
    with pytest.raises(InferenceError, match=r"the guide samples 'y', which the model does not have; .*\['x'\].*\['x', 'y'\]"):
        loss.loss(handlers.block(pair, hide=["y"]), AutoNormal(pair, prefix="both"))


def test_subsamples_given_from_outside(backend):
    def given(rows):
        with ppl.plate("rows", 6, subsample=rows):
            ppl.sample("x", dist.Normal(0.0, 1.0))

    rows = ops.array([4, 1])
    with pytest.raises(InferenceError, match="was given the subsample of plate 'rows' from outside"):
        AutoNormal(given)(rows)
    ppl.param("auto_x", ops.array(numpy.arange(6.0)))
    guide = AutoDelta(given, create_plates=lambda rows: ppl.plate("rows", 6, subsample=rows))
    assert ops.to_numpy(ops.autodiff.stop_gradient(guide(rows)["x"])).tolist() == [4.0, 1.0]


def test_curvature_that_is_no_maximum(backend):
    def saddle(data, spike=0.0):
        loc = ppl.sample("loc", dist.Normal(ops.array([0.0, 0.0]), 1.0).to_event(1))
        ppl.factor("hollow", data * loc[1] ** 2 + (spike * ops.abs(loc[1]) ** 1.5 if spike else 0.0))

    guide = AutoLaplaceApproximation(saddle, init_loc_fn=infer.init_to_feasible)
    guide(ops.array(1.0))
    with pytest.raises(InferenceError, match="least curvature is -1, mostly along element 1 of site 'loc'"):
        guide.laplace_approximation(ops.array(1.0))
    with pytest.raises(InferenceError, match=r"it is not finite at element \d of site 'loc'"):
        guide.laplace_approximation(ops.array(0.0), 1.0)
    with pytest.raises(InferenceError, match="is a Delta, which no transform makes of a standard normal"):
        guide.get_transform()


def test_curvature_that_a_minibatch_can_only_estimate(backend):
    """The curvature of a normal likelihood is the same in every minibatch: 1 + 4."""

    def some(data, rows=None, size=2):
        loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
        with ppl.plate("rows", 4, subsample_size=size, subsample=rows):
            ppl.sample("x", dist.Normal(loc, 1.0), obs=data)

    for args, why in [
        ((ops.zeros(2), ops.array([0, 3])), "the model was given the subsample of plate 'rows', so that the curvature is an"),
        (
            (ops.zeros(2),),
            r"plate 'rows' is subsampled, and the model fails with the whole of it \(.*so that the curvature is",
        ),
        ((ops.zeros(1), None, 1), "plate 'rows' is subsampled, and site 'x' has data for one of its elements alone, so that"),
    ]:
        with pytest.warns(PplWarning, match=why):
            fitted = AutoLaplaceApproximation(some).laplace_approximation(*args)
        numpy.testing.assert_allclose(fitted.unconstrained_normal().covariance, [[0.2]], rtol=1e-9)


def test_guides_that_say_too_little(backend):
    bare = AutoGuide(model)
    with pytest.raises(InferenceError, match="AutoGuide does not say how it samples"):
        bare(ops.array(1.0))
    with pytest.raises(InferenceError, match="AutoGuide has no median"):
        bare.median(ops.array(1.0))
    with pytest.raises(InferenceError, match="AutoDiscreteParallel has no quantiles"):
        AutoDiscreteParallel(handlers.block(kinds, hide=["x"])).quantiles([0.5], None)
    with pytest.raises(InferenceError, match="the guide of AutoCallable is a callable, received int"):
        AutoCallable(model, 3)
    assert AutoCallable(model, model).median() == {}
    assert AutoCallable(model, model, lambda data: {"loc": data}).median(2.0) == {"loc": 2.0}
