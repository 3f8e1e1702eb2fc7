"""Draws on torch that take a way of their own: a few indices of many, and normal draws that know where they came from."""

import copy
import math
import pickle

import numpy
import pytest
from scipy import stats

torch = pytest.importorskip("torch")

from ppl import distributions as dist  # noqa: E402
from ppl import registry  # noqa: E402
from ppl.ops import random  # noqa: E402


@pytest.fixture(autouse=True)
def _torch():
    with registry.using("torch"):
        yield


@pytest.mark.parametrize(("n", "size"), [(5000, 1), (5000, 500), (10_000, 256)])
def test_few_indices_are_those_of_a_whole_shuffle(n, size):
    repeated = 0
    for seed in range(40):
        uniforms = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).tolist()
        swaps = [place + int(uniform * (n - place)) for place, uniform in enumerate(uniforms)]
        repeated += size - len(set(swaps))
        cards = list(range(n))
        for place, other in enumerate(swaps):
            cards[place], cards[other] = cards[other], cards[place]
        assert random.choice(torch.Generator().manual_seed(seed), n, size).tolist() == cards[:size]
    # The case that needs care was among them.
    assert size == 1 or repeated > 40


def parts_and_gradients(choose):
    """Return the log density in the score parts of ``choose(distribution)``, its gradients, the value and the parameters."""
    loc = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([2.0, 0.3], dtype=torch.float64, requires_grad=True)
    d = dist.Normal(loc, scale)
    value = choose(d)
    log_prob, score, entropy = d.score_parts(value)
    assert score == 0.0
    assert entropy is log_prob
    gradients = torch.autograd.grad(log_prob.sum(), [loc, scale], materialize_grads=True)
    numbers = [part.detach().numpy() for part in (log_prob, *gradients, value, loc, scale)]
    numpy.testing.assert_allclose(numbers[0], stats.norm.logpdf(*numbers[3:]), rtol=1e-12)
    return numbers


@pytest.mark.parametrize(
    "choose", [lambda d: d.rsample(), lambda d: d(), lambda d: d.rsample() + 0.0], ids=["rsample", "call", "copy"]
)
def test_total_derivative_of_the_density_of_a_draw(choose):
    # The draw moves along with the parameters: d/dm log N(m + s e | m, s) = 0 and d/ds = -1 / s.
    _, by_loc, by_scale, _, _, scale = parts_and_gradients(choose)
    numpy.testing.assert_allclose(by_loc, 0.0, atol=1e-13)
    numpy.testing.assert_allclose(by_scale, -1.0 / scale, rtol=1e-12)


@pytest.mark.parametrize(
    "choose",
    [
        lambda d: d.sample(),
        lambda d: d.rsample().detach(),
        lambda d: (d.rsample(), dist.Normal(d.loc, d.scale).sample())[1],
        torch.no_grad()(lambda d: d.rsample()),
    ],
    ids=["sample", "detached", "of another", "without a graph"],
)
def test_partial_derivative_of_the_density_of_a_constant(choose):
    _, by_loc, by_scale, value, loc, scale = parts_and_gradients(choose)
    z = (value - loc) / scale
    numpy.testing.assert_allclose(by_loc, z / scale, rtol=1e-10)
    numpy.testing.assert_allclose(by_scale, (z**2 - 1.0) / scale, rtol=1e-10)


def test_an_earlier_draw_is_a_value_like_any_other():
    d = dist.Normal(torch.tensor(0.5, requires_grad=True), torch.tensor(2.0, requires_grad=True))
    earlier, latest = d.rsample(), d.rsample()
    for value in (earlier, latest):
        (by_loc,) = torch.autograd.grad(d.score_parts(value).log_prob, d.loc, retain_graph=True, materialize_grads=True)
        assert abs(float(by_loc)) < 1e-6


def test_copies_do_without_the_draw():
    d = dist.Normal(torch.tensor(0.5), 2.0)
    value = d.rsample()
    for copied in (copy.copy(d), copy.deepcopy(d), pickle.loads(pickle.dumps(d)), d.expand((3,))):
        expected = stats.norm.logpdf(float(value), 0.5, 2.0)
        numpy.testing.assert_allclose(copied.score_parts(value).log_prob.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("value_dtype", [torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_density_of_several_types_and_shapes(dtype, value_dtype):
    loc, scale = torch.tensor([[0.0], [2.0]], dtype=dtype), torch.tensor([1.0, 0.5, 3.0], dtype=dtype)
    value = torch.tensor([[[1.0, 2.0, -3.0]]]).to(value_dtype)
    found = dist.Normal(loc, scale).log_prob(value)
    expected = stats.norm.logpdf(value.numpy(), loc.numpy(), scale.numpy())
    assert found.shape == (1, 2, 3)
    assert found.dtype == (torch.float64 if torch.float64 in (dtype, value_dtype) else torch.float32)
    numpy.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_normal_density_far_out():
    far = torch.tensor([math.inf, -math.inf, 1e30], requires_grad=True)
    density = dist.Normal(0.0, 1.0).log_prob(far)
    assert density.tolist() == [-math.inf] * 3
    (slope,) = torch.autograd.grad(density.sum(), far)
    numpy.testing.assert_allclose(slope.numpy(), [-math.inf, math.inf, -1e30], rtol=1e-6)
    # Where a square of 32 bits overflows but half of it does not, half of it is the answer.
    numpy.testing.assert_allclose(float(dist.Normal(0.0, 1.0).log_prob(torch.tensor(2e19))), -2e38, rtol=1e-5)
