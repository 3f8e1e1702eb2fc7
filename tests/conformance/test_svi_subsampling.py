"""Random minibatches of a plate: every choice equally likely, none twice, at a cost that the size of the plate does not enter."""

import tracemalloc

import numpy
import pytest
from scipy import stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops, optim, registry
from ppl.infer.elbo import Trace_ELBO
from ppl.infer.svi import SVI
from ppl.ops import random

LEAST_P = 2e-5


def many(backend, draw, num, seed):
    """Return ``num`` results of ``draw(key)``: mapped over keys on jax, from a compiled function elsewhere.

    Compiled, because torch then cannot look at values: its way to choose has to be the one for large plates.
    """
    if backend == "jax":
        base = random.key(seed)
        return ops.to_numpy(ops.autodiff.vmap(lambda index: draw(random.fold_in(base, index)))(ops.arange(num)))
    with random.scope(seed):
        compiled = ops.compile.compile(lambda: draw(None), horizon=1)
        return numpy.stack([ops.to_numpy(compiled()) for _ in range(num)])


def p_of_ordered_choices(draws, size):
    """Return the p value of Pearson's test that all ordered choices without repetition are equally likely."""
    count = draws.shape[1]
    total = numpy.prod([size - index for index in range(count)])
    _, counts = numpy.unique((draws * size ** numpy.arange(count)).sum(axis=1), return_counts=True)
    return stats.chisquare(numpy.concatenate([counts, numpy.zeros(total - len(counts))])).pvalue


def repaired(draws, size):
    """Return choices as a careless sampler makes them: repetitions move to the next index."""
    return numpy.where(draws == draws[:, :1], (draws + 1) % size, draws)


def test_every_choice_is_equally_likely(backend, rng):
    draws = many(backend, lambda key: random.choice(key, 17, 2), 4000, 11)
    assert (draws[:, 0] != draws[:, 1]).all()
    assert draws.min() == 0
    assert draws.max() == 16
    assert p_of_ordered_choices(draws, 17) > LEAST_P
    careless = rng.integers(0, 17, (4000, 2))
    careless[:, 1] = repaired(careless, 17)[:, 1]
    assert p_of_ordered_choices(careless, 17) < LEAST_P


@pytest.mark.nightly
def test_every_longer_choice_is_equally_likely(backend, rng):
    draws = many(backend, lambda key: random.choice(key, 33, 4), 40000, 12)
    assert all(len(set(row)) == 4 for row in draws.tolist())
    for pair in ((0, 1), (0, 3), (1, 2), (2, 3)):
        assert p_of_ordered_choices(draws[:, pair], 33) > LEAST_P
    careless = rng.integers(0, 33, (40000, 2))
    careless[:, 1] = repaired(careless, 33)[:, 1]
    assert p_of_ordered_choices(careless, 33) < LEAST_P


def test_a_minibatch_has_no_index_twice(backend):
    for size, count in ((10_000, 256), (2**31 - 1, 300), (600, 299)):
        index = ops.to_numpy(random.choice(random.key(5), size, count))
        assert index.shape == (count,)
        assert len(set(index.tolist())) == count
        assert 0 <= index.min() <= index.max() < size


# ---- cost ----


def elements(backend, fn):
    """Return how many array elements ``fn(key)`` makes: by counting results, on numpy by the most memory it holds at a time."""
    key = random.key(0)
    if backend == "jax":
        jax = pytest.importorskip("jax")
        return _elements_of(jax.make_jaxpr(fn)(key).jaxpr)
    if backend == "torch":
        return _elements_of_torch(lambda: fn(key))
    fn(key)
    tracemalloc.start()
    try:
        fn(key)
        return tracemalloc.get_traced_memory()[1] // 8
    finally:
        tracemalloc.stop()


def _elements_of(jaxpr):
    total = 0
    for equation in jaxpr.eqns:
        total += sum(int(numpy.prod(result.aval.shape)) for result in equation.outvars)
        for part in equation.params.values():
            inner = getattr(part, "jaxpr", part)
            total += _elements_of(inner) if hasattr(inner, "eqns") else 0
    return total


def _elements_of_torch(fn):
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            leaves = result if isinstance(result, (tuple, list)) else [result]
            Count.total += sum(leaf.numel() for leaf in leaves if isinstance(leaf, torch.Tensor))
            return result

    with Count():
        fn()
    return Count.total


def test_a_minibatch_costs_its_own_size(backend):
    few = elements(backend, lambda key: random.choice(key, 10_000, 256))
    many_rows = elements(backend, lambda key: random.choice(key, 10_000_000, 256))
    assert many_rows < 1.5 * few
    assert few < 150 * 256
    assert elements(backend, lambda key: random.permutation(key, 1_000_000)[:256]) > 20 * few


def test_a_step_on_a_minibatch_costs_its_own_size(backend):
    """Count the elements of a whole step of model and guide, the rows of a large table among them."""

    def model(x):
        loc = ppl.param("loc", 0.0)
        with ppl.plate("rows", x.shape[0], subsample_size=32) as index:
            ppl.sample("x", dist.Normal(loc, 1.0), obs=x[index])

    def trace(x):
        return lambda key: handlers.trace(handlers.seed(model, rng_seed=key)).get_trace(x).log_prob_sum()

    tables = [ops.zeros((size,)) for size in (10_000, 1_000_000)]
    model(tables[0])
    costs = [elements(backend, trace(table)) for table in tables]
    assert costs[1] < 1.5 * costs[0]
    assert costs[0] < 300 * 32 + 4000


def test_minibatches_leave_the_gradient_unbiased(backend, rng):
    """A descent with small steps goes where the whole data lead, which a scale that is left out would not."""
    x = rng.normal(1.0, 1.0, 50)

    def model(x):
        loc = ppl.param("loc", 0.0)
        with ppl.plate("rows", 50, subsample_size=5) as index:
            ppl.sample("x", dist.Normal(loc, 1.0), obs=x[index])
        ppl.sample("prior", dist.Normal(loc, 0.2), obs=0.0 * x[0])

    SVI(model, lambda x: None, optim.SGD(lr=2e-4), Trace_ELBO()).run(600, ops.array(x), rng_key=2, progress_bar=False)
    loc = float(ops.to_numpy(ppl.get_param_store()["loc"]))
    # Around the optimum the descent is an autoregression: its variance is lr^2 var(gradient) / (1 - (1 - lr curvature)^2).
    curvature = 50 + 25
    spread = (2e-4 * 10**2 * 5 * x.var() * 45 / 49 / 2 / curvature) ** 0.5
    assert abs(loc - x.sum() / curvature) < 4.9 * spread
    assert abs(loc - x.sum() / 10 / (5 + 25)) > 4.9 * spread
    assert registry.active().name == backend
