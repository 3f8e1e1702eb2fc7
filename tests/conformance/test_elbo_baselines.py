"""Baselines leave gradients unbiased, learn what they should, and are carried from step to step."""

import estimator_cases as cases
import numpy
import pytest
from scipy import special

import ppl
from ppl import distributions as dist
from ppl import infer, ops, optim
from ppl.errors import InferenceError, ShapeError
from ppl.infer.elbo import JitTraceGraph_ELBO, Trace_ELBO, TraceGraph_ELBO
from ppl.testing.numeric import assert_close, numerical_gradient

AVERAGE = "__baseline_avg_downstream_cost_bit_1"
START = {"weight": numpy.array(0.4), "bias": numpy.array(-1.5)}


def with_baseline(options):
    """Return the guide of the chain of choices with ``options()`` at its middle site."""

    def guide():
        logits, previous = ppl.param("logits", ops.array([-0.4, 0.3, 0.1])), 0.0
        for step in range(3):
            infer = {"baseline": options(previous)} if step == 1 else {}
            previous = ppl.sample(f"bit_{step}", dist.Bernoulli(logits=logits[step] + 0.8 * previous), infer=infer)

    return guide


def custom(previous):
    return {"baseline_value": -2.0 - previous}


def average(previous):
    return {"use_decaying_avg_baseline": True, "baseline_beta": 0.7}


def network(previous):
    weight, bias = ppl.param("weight", START["weight"]), ppl.param("bias", START["bias"])
    return {"nn_baseline": lambda x: weight * x + bias, "nn_baseline_input": previous + ops.zeros(())}


def all_at_once(previous):
    return {**custom(previous), **average(previous), **network(previous)}


def cost_of_middle(point, draw):
    """Return what the model and the guide say from the middle choice on."""
    bits, probs = [draw[f"bit_{step}"] for step in range(3)], cases.chain_guide_probs(point, draw)
    total = 0.0
    for step in (1, 2):
        total += cases.bernoulli(bits[step], 0.3 + 0.4 * bits[step - 1]) - cases.bernoulli(bits[step], probs[step])
        total += cases.normal(cases.CHAIN_DATA[step], 2.0 * bits[step])
    return total


def chain_with(options, names=()):
    chain = cases.CHAIN
    point = {**chain.point, **{name: START[name] for name in names}}
    return cases.Exact(chain.model, with_baseline(options), point, chain.draws, chain.choices, chain.term)


@pytest.mark.parametrize("options", [custom, average, all_at_once], ids=lambda options: options.__name__)
def test_gradient_stays_unbiased(backend, options):
    exact = chain_with(options, ("weight", "bias") if options is all_at_once else ())
    if options is not custom:
        ppl.param(AVERAGE, -1.0)
    mean_loss, mean, _ = exact.moments(TraceGraph_ELBO())
    assert_close(mean_loss, cases.CHAIN.loss(cases.CHAIN.point))
    assert_close(mean["logits"], cases.CHAIN.gradient["logits"], rtol=1e-8, atol=1e-9)


def test_good_baseline_lowers_the_variance_and_a_bad_one_raises_it(backend):
    middle = {}
    for value in (0.0, -3.0, 20.0):
        exact = chain_with(lambda previous, value=value: {"baseline_value": ops.array(value)})
        middle[value] = exact.moments(TraceGraph_ELBO())[2]["logits"][1]
    assert middle[-3.0] < middle[0.0] < middle[20.0]


def test_network_learns_the_cost(backend):
    exact = chain_with(network, ("weight", "bias"))
    _, mean, _ = exact.moments(TraceGraph_ELBO())

    def squared_error(value, name):
        found = {**START, name: value}
        errors = [
            (cost_of_middle(exact.point, draw) - found["weight"] * draw["bit_0"] - found["bias"]) ** 2 for _, draw in exact.draws
        ]
        return exact.weights @ numpy.array(errors)

    for name, start in START.items():
        assert_close(mean[name], numerical_gradient(lambda value, name=name: squared_error(value, name), start), rtol=1e-8)
    assert_close(mean["logits"], cases.CHAIN.gradient["logits"], rtol=1e-8, atol=1e-9)


DRAW = {"bit_0": 1.0, "bit_1": 0.0, "bit_2": 1.0}


def fixed_guide():
    draw = {name: ops.array(value) for name, value in DRAW.items()}
    return cases.Fixed(draw)(with_baseline(average))()


def held(name=AVERAGE):
    return ops.to_numpy(ppl.get_param_store()[name]) + 0.0


@pytest.mark.parametrize("loss", [TraceGraph_ELBO, pytest.param(JitTraceGraph_ELBO, marks=pytest.mark.nightly)])
def test_average_is_carried_by_steps_and_by_runs(backend, loss):
    svi = infer.SVI(cases.chain_model, fixed_guide, optim.SGD({"lr": 0.0}), loss=loss())
    cost = cost_of_middle(cases.CHAIN.point, DRAW)
    assert_close(svi.step(), -cases.chain_term(cases.CHAIN.point, DRAW))
    assert_close(held(), 0.3 * cost)
    svi.step()
    assert_close(held(), (1 - 0.7**2) * cost)
    if loss is TraceGraph_ELBO:
        svi.run(3, progress_bar=False)
        assert_close(held(), (1 - 0.7**5) * cost)


def test_loss_and_grads_moves_the_average_and_no_optimizer_does(backend):
    cost = cost_of_middle(cases.CHAIN.point, DRAW)
    elbo = TraceGraph_ELBO(num_particles=3)
    for count in (1, 2):
        elbo.loss_and_grads(cases.chain_model, fixed_guide)
        assert_close(held(), (1 - 0.7**count) * cost)
    assert sorted(elbo.gradients) == ["logits"]
    svi = infer.SVI(cases.chain_model, fixed_guide, optim.Adam({"lr": 0.5, "weight_decay": 0.5}), loss=elbo)
    before, logits = held(), held("logits")
    svi.step()
    assert_close(held(), 0.7 * before + 0.3 * cost)
    assert numpy.abs(held("logits") - logits).max() > 0.1


@pytest.mark.parametrize("at_once", [False, True])
def test_particles_and_minibatches_share_an_average(backend, at_once):
    data = numpy.array([[0.5, 2.0, 1.0]] * 4)

    def model():
        with ppl.plate("columns", 3, dim=-1), ppl.plate("rows", 4, subsample_size=2, dim=-2):
            bit = ppl.sample("bit_1", dist.Bernoulli(0.3))
            ppl.sample("x", dist.Normal(bit, 1.0), obs=ops.array(data[:2]))

    def guide():
        with ppl.plate("columns", 3, dim=-1), ppl.plate("rows", 4, subsample_size=2, dim=-2):
            ppl.sample("bit_1", dist.Bernoulli(logits=ppl.param("logits", 0.2)), infer={"baseline": average(None)})

    def fixed():
        return cases.Fixed({"bit_1": ops.array(1.0)})(guide)()

    elbo = TraceGraph_ELBO(num_particles=3, vectorize_particles=at_once)
    infer.SVI(model, fixed, optim.SGD({"lr": 0.1}), loss=elbo).step()
    likelihood = -0.5 * (data[0] - 1.0) ** 2 - 0.5 * numpy.log(2 * numpy.pi)
    # The scale of the minibatch is 2.
    assert_close(held(), 0.3 * 2.0 * (likelihood + numpy.log(0.3) - numpy.log(special.expit(0.2))))


def test_fit_with_baselines_reaches_the_posterior(backend):
    def model():
        bit = ppl.sample("bit_1", dist.Bernoulli(0.3))
        ppl.sample("x", dist.Normal(2.0 * bit, 1.0), obs=ops.array(1.2))

    def guide():
        logit = ppl.param("logit", 0.0)
        ppl.sample("bit_1", dist.Bernoulli(logits=logit), infer={"baseline": all_at_once(ops.zeros(()))})

    ratio = numpy.log(0.3 / 0.7) + 0.5 * (1.2**2 - 0.8**2)
    elbo = TraceGraph_ELBO(num_particles=10, vectorize_particles=True)
    svi = infer.SVI(model, guide, optim.Adam({"lr": 0.05}), loss=elbo)
    svi.run(150, progress_bar=False)
    # At the posterior the cost of every draw is the same, so that baselines end up with no variance to remove.
    assert abs(held("logit") - ratio) < 0.1


@pytest.mark.needs("neural network modules")
def test_module_of_the_library_is_trained(backend):
    inputs, data = numpy.array([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]]), numpy.array([0.5, 2.0, 1.0])
    if backend == "torch":
        import torch

        network = torch.nn.Linear(2, 1, dtype=torch.float64)
        many = lambda module: module  # noqa: E731
    elif backend == "jax":
        import equinox
        import jax

        network, many = equinox.nn.Linear(2, 1, key=jax.random.key(0)), jax.vmap
    else:
        network, many = None, None

    def model():
        with ppl.plate("rows", 3):
            bit = ppl.sample("bit", dist.Bernoulli(0.3))
            ppl.sample("x", dist.Normal(bit, 1.0), obs=ops.array(data))

    def guide():
        module = ppl.module("baseline", network)
        baseline = {"nn_baseline": lambda x: many(module)(x)[..., 0], "nn_baseline_input": ops.array(inputs)}
        with ppl.plate("rows", 3):
            ppl.sample(
                "bit", dist.Bernoulli(logits=ppl.param("logits", ops.array([9.0, 9.0, 9.0]))), infer={"baseline": baseline}
            )

    def fixed():
        return cases.Fixed({"bit": ops.array(1.0)})(guide)()

    # Every draw is 1, so that the costs are known; a linear map with an offset fits three of them.
    elbo = TraceGraph_ELBO(num_particles=2)
    svi = infer.SVI(model, fixed, baseline_optimizer(), loss=elbo)
    svi.run(300, progress_bar=False)
    weight, bias = held("baseline$$$weight"), held("baseline$$$bias")
    costs = numpy.log(0.3) - 0.5 * (data - 1.0) ** 2 - 0.5 * numpy.log(2 * numpy.pi) - numpy.log(special.expit(9.0))
    assert_close(inputs @ weight[0] + bias, costs, atol=1e-2)


def baseline_optimizer():
    """Return an optimizer that moves the baseline alone."""
    return optim.Adam(lambda name: {"lr": 0.1 if name.startswith("baseline") else 0.0})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"use_decaying_average": True}, InferenceError, "site 'bit_1' has no option 'use_decaying_average'; expected some of"),
        ({"nn_baseline": abs}, InferenceError, "site 'bit_1' needs a callable nn_baseline and its nn_baseline_input"),
        ({"baseline_beta": 1.5}, InferenceError, r"site 'bit_1' needs a baseline_beta in \[0, 1\), received 1.5"),
        ({"baseline_value": "vector"}, ShapeError, r"site 'bit_1' has shape \(2,\), which does not broadcast to the batch shape"),
        ([1], InferenceError, r"has no option '\[1\]'"),
    ],
)
def test_bad_options(backend, options, error, message):
    def chosen(previous):
        return {"baseline_value": ops.zeros(2)} if options == {"baseline_value": "vector"} else options

    with pytest.raises(error, match=message):
        TraceGraph_ELBO().loss(cases.chain_model, with_baseline(chosen))
    assert numpy.isfinite(Trace_ELBO().loss(cases.chain_model, with_baseline(chosen)))
