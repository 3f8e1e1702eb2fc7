"""Chains of the numpy backend at once: what they give is what each chain gives alone, which is run to compare."""

import warnings

import numpy
import pytest
import scipy.special
from ppl_numpy import autodiff as numpy_autodiff
from ppl_numpy import batching, rules

import ppl
from ppl import distributions as dist
from ppl import infer, ops, tree
from ppl.errors import PplWarning
from ppl.infer.potential import ModelArguments, Potential
from ppl.ops import autodiff

RNG = numpy.random.default_rng(7)
ROWS = RNG.normal(size=(4, 6))
MATRIX = RNG.normal(size=(5, 6))
TALL = RNG.normal(size=(3, 4))
PLACES = numpy.array([0, 5, 2, 2, -1])


@pytest.fixture(autouse=True)
def _numpy():
    with ppl.pyro_backend("numpy"):
        yield


def square(x):
    """A symmetric positive definite matrix made of a row."""
    half = ops.reshape(x, (2, 3))
    return ops.matmul(half, ops.matrix_transpose(half)) + 3.0 * ops.eye(2)


# Each takes a row of six numbers and data; all but the last ones have a rule for every call.
FUNCTIONS = {
    "elementwise": lambda x, m: ops.exp(x) * m[0] - ops.sqrt(ops.abs(x[:1])) / (1.0 + x[2] ** 2),
    "scalars-and-vectors": lambda x, m: x[0] * m + x[1:2],
    "where": lambda x, m: ops.where(x > 0.0, x, ops.sum(m)) + ops.clip(x, min=-0.5, max=0.5) + ops.maximum(x, m[1]),
    "special": lambda x, m: ops.gammaln(ops.exp(x)) + ops.log_ndtr(x) + ops.betaln(ops.exp(x), 2.0) + ops.expit(x),
    "xlogy": lambda x, m: ops.xlogy(m, ops.exp(x)) + ops.softplus(x) + ops.polygamma(1, ops.exp(x)),
    "reductions": lambda x, m: ops.sum(x * m) + ops.max(x) + ops.sum(x * m, axis=0) + ops.mean(x) + ops.prod(x),
    "reductions-kept": lambda x, m: ops.sum(x * m, axis=(0, 1), keepdims=True) + ops.min(x * m, axis=-1, keepdims=True),
    "tests": lambda x, m: ops.astype(ops.any(x > 1.0), "float64") + ops.astype(ops.all(x * m > -1.0, axis=1), "float64"),
    "sum-of-a-number": lambda x, m: ops.sum(x[0]) * ops.mean(m),
    "logsumexp": lambda x, m: ops.logsumexp(x) + ops.logsumexp(x * m, axis=0) + ops.log_softmax(x * m, axis=1)[0],
    "cumulative": lambda x, m: ops.cumsum(x) + ops.cumprod(x) + ops.cumsum(x * m, axis=0)[1],
    "sorting": lambda x, m: ops.sort(x) + ops.argsort(x) + ops.flip(x, 0) + ops.roll(x, 2, 0),
    "shapes": lambda x, m: ops.moveaxis(ops.reshape(x, (1, 2, 3)), 0, -1) * ops.permute_dims(x[1] * TALL, (1, 0))[:2, :, None],
    "broadcasts": lambda x, m: ops.broadcast_to(x, (2, 5, 6)) * m + ops.expand_dims(x, 0),
    "joined": lambda x, m: ops.concat([x * m, m, ops.stack([x, m[0]])], axis=0) + ops.tile(x, (1,)) + ops.repeat(x, 1, 0),
    "places": lambda x, m: x[PLACES] + x[1:] * x[..., 0] + ops.take(x, PLACES, 0) + ops.reshape(x, (2, 3))[1, 2],
    "places-of-matrices": lambda x, m: (x * m)[PLACES[:2] // 3, PLACES[1:3]] + (x * m)[:, PLACES[:2]][0] + (x * m)[None, 0, -2:],
    "axes-that-move": lambda x, m: ops.reshape(x * m, (5, 2, 3))[PLACES[2:4], :, PLACES[2:4] // 2] + x[0],
    "chosen": lambda x, m: ops.take_along_axis(x, ops.argsort(m[0]), 0) + ops.take_along_axis(m, ops.argsort(x * m), 1)[0],
    "updates": lambda x, m: ops.index_update(m, 1, x) + ops.index_add(x, PLACES, 1.0) + ops.index_update(x, 0, 2.0),
    "matrix-vector": lambda x, m: ops.matmul(m, x) + ops.matmul(x, ops.matrix_transpose(m)) + ops.matmul(x, x) + ops.vecdot(x, m),
    "matrix-matrix": lambda x, m: ops.matmul(ops.reshape(x, (2, 3)), TALL) + ops.matmul(square(x), square(x))[:, :1],
    "data-times-matrix": lambda x, m: ops.matmul(TALL.T, ops.reshape(x, (3, 2))) + ops.matmul(TALL, ops.exp(x[:4]))[:1],
    "column": lambda x, m: ops.matmul(m, x[:, None]) + ops.matmul(ops.reshape(m, (5, 1, 6)), ops.reshape(x, (6, 1)))[:, 0],
    "einsum": lambda x, m: ops.einsum("i,ji->j", x, m) + ops.einsum("...i,...i->...", m, x) + ops.einsum("i,i->", x, x),
    "cholesky": lambda x, m: ops.cholesky(square(x)) + ops.inv(square(x)) + ops.det(square(x)) + ops.slogdet(square(x))[1],
    "solve": lambda x, m: ops.solve(square(x), TALL[:2]) + ops.solve_triangular(ops.cholesky(square(x)), TALL[:2]),
    "solve-data": lambda x, m: ops.solve_triangular(ops.eye(3) + ops.tril(ops.ones((3, 3))), ops.reshape(x, (3, 2))),
    "decompositions": lambda x, m: [ops.eigh(square(x))[0], ops.qr(square(x))[1], ops.svd(ops.reshape(x, (2, 3)))[1]],
    "diagonals": lambda x, m: ops.diag_embed(x) * ops.tril(x * m[0][:, None]) + ops.diagonal(ops.triu(x * m[0][:, None])),
    "constant": lambda x, m: {"a": x, "b": ops.ones((2,)), "c": m, "d": x > 0.0},
}  # fmt: skip
# No rule helps where the places themselves differ from row to row, or a sequence is searched.
ROW_BY_ROW = {
    "places-that-differ": lambda x, m: m[0][ops.argsort(x)],
    "search": lambda x, m: ops.searchsorted(ops.cumsum(ops.exp(x)), m[0]) * 1.0,
}


def at_once_and_alone(function, rows, *arguments):
    """Return the leaves of ``function`` over all rows and those of each row by itself, stacked."""
    over_rows = batching.OverRows(function)
    assert over_rows.reason(rows, *arguments) is None
    alone = numpy_autodiff.vmap(function, in_axes=(0, *(None for _ in arguments)))(rows, *arguments)
    return tree.leaves(over_rows(rows, *arguments)), tree.leaves(alone)


def assert_equal(at_once, alone, rtol=1e-12):
    assert len(at_once) == len(alone)
    for found, expected in zip(at_once, alone, strict=True):
        assert found.dtype == expected.dtype
        assert found.flags.writeable
        numpy.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-15), ("float32", 5e-7)])
@pytest.mark.parametrize("name", ["expit", "log_expit"])
def test_long_arrays_of_logits_are_scipys(name, dtype, rtol):
    """scipy.special takes one number after another; long arrays go through vector instructions instead."""
    ends = numpy.array([numpy.inf, -numpy.inf, numpy.nan, 0.0, 1e-300, -1e-300, -87.0, 40.0, 1e4])
    x = numpy.concatenate([numpy.linspace(-80.0, 80.0, 3001), RNG.normal(size=3000), ends]).astype(dtype)
    found = getattr(ops, name)(x)
    assert found.dtype == dtype
    numpy.testing.assert_allclose(found, getattr(scipy.special, name)(x.astype("float64")), rtol=rtol, atol=1e-37)


@pytest.fixture
def called_row_by_row(monkeypatch):
    called, original = [], rules._row_by_row
    monkeypatch.setattr(rules, "_row_by_row", lambda function, *rest: called.append(function) or original(function, *rest))
    return called


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_at_once_are_each_row_alone(name, called_row_by_row):
    assert_equal(*at_once_and_alone(FUNCTIONS[name], ROWS, MATRIX))
    assert not called_row_by_row or name in ("axes-that-move",)


@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_calls_without_a_rule_are_made_row_by_row(name, called_row_by_row):
    assert_equal(*at_once_and_alone(ROW_BY_ROW[name], ROWS, MATRIX))
    assert called_row_by_row


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("sorting", "tests", "decompositions", "constant")])
def test_gradients_of_rows_at_once_are_each_rows_own(name):
    gradient = autodiff.grad(lambda x, m: ops.sum(ops.sin(FUNCTIONS[name](x, m))))
    assert_equal(*at_once_and_alone(gradient, ROWS, MATRIX), rtol=1e-9)


def test_blocks_of_rows_make_the_whole(monkeypatch):
    monkeypatch.setattr(batching, "BLOCK_NUMBERS", 100)
    rows = RNG.normal(size=(23, 6))
    assert_equal(*at_once_and_alone(FUNCTIONS["broadcasts"], rows, MATRIX))


def test_a_wrong_rule_is_noticed(monkeypatch):
    """Negative control: a sum over all rows in the place of one over each."""
    monkeypatch.setitem(rules._rules, numpy.sum, lambda call, x, **kwargs: numpy.sum(x.value) + 0.0 * x.value[:, 0])
    reason = batching.OverRows(lambda x: ops.sum(x**2)).reason(ROWS)
    assert reason == "its results for several rows at once are not those of each row alone"


def eight_schools(y, errors):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.HalfCauchy(5.0))
    with ppl.plate("schools", 8):
        standard = ppl.sample("standard", dist.Normal(0.0, 1.0))
        effect = ppl.deterministic("effect", mu + tau * standard)
        ppl.sample("y", dist.Normal(effect, errors), obs=y)


def regression(design, y):
    weights = ppl.sample("weights", dist.Normal(ops.zeros((3,)), 1.0).to_event(1))
    noise = ppl.sample("noise", dist.LogNormal(0.0, 1.0))
    with ppl.plate("rows", 12):
        ppl.sample("y", dist.Normal(ops.matmul(design, weights), noise), obs=y)


def groups(group, y):
    scale = ppl.sample("scale", dist.HalfNormal(1.0))
    with ppl.plate("groups", 4):
        level = ppl.sample("level", dist.Normal(0.0, scale))
    with ppl.plate("columns", 2, dim=-2), ppl.plate("rows", 12, dim=-1):
        ppl.sample("y", dist.StudentT(4.0, level[group], 1.0), obs=y)


def simplex(y):
    weights = ppl.sample("weights", dist.Dirichlet(ops.array([1.0, 2.0, 3.0])))
    means = ppl.sample("means", dist.Normal(ops.zeros((3,)), 3.0).to_event(1))
    with ppl.plate("rows", 12):
        ppl.sample("y", dist.MixtureSameFamily(dist.Categorical(probs=weights), dist.Normal(means, 1.0)), obs=y)


def correlated(y):
    factor = ppl.sample("factor", dist.LKJCholesky(3, 2.0))
    scales = ppl.sample("scales", dist.HalfNormal(ops.ones((3,))).to_event(1))
    with ppl.plate("rows", 4):
        ppl.sample("y", dist.MultivariateNormal(ops.zeros((3,)), scale_tril=scales[:, None] * factor), obs=y)


Y = RNG.normal(size=12)
MODELS = {
    "eight-schools": (eight_schools, Y[:8] * 10.0, numpy.linspace(9.0, 18.0, 8)),
    "regression": (regression, RNG.normal(size=(12, 3)), Y),
    "plates": (groups, RNG.integers(0, 4, size=12), RNG.normal(size=(2, 12))),
    "simplex": (simplex, Y),
    "lkj": (correlated, RNG.normal(size=(4, 3))),
}
# Nothing is reordered in these: no product of matrices meets the chains.
EXACT = {"eight-schools", "simplex"}


def density_and_gradient(model, *args):
    arguments = ModelArguments(args, {})
    potential = Potential(model, arguments)

    def over_data(vector, data):
        return autodiff.value_and_grad(lambda point: potential.log_density(point, data))(vector), potential.constrain(
            vector, data
        )

    return over_data, RNG.normal(size=(5, potential.size)), arguments.arrays


@pytest.mark.parametrize("name", MODELS)
def test_densities_gradients_and_sites_of_chains_at_once(name, called_row_by_row):
    at_once, alone = at_once_and_alone(*density_and_gradient(*MODELS[name]))
    assert_equal(at_once, alone)
    assert not called_row_by_row
    if name in EXACT:
        assert all(map(numpy.array_equal, at_once, alone))


def draws_of(kernel, args, monkeypatch=None):
    if monkeypatch is not None:
        monkeypatch.setattr(batching.OverRows, "_find", lambda *_: (None, None))
    mcmc = infer.MCMC(kernel, num_samples=12, warmup_steps=20, num_chains=3, progress_bar=False, seed=11).run(*args)
    return mcmc.get_samples(group_by_chain=True)


KERNELS = {"NUTS": infer.NUTS, "HMC": lambda model: infer.HMC(model, num_steps=4), "ChEES": infer.ChEES}


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("eight-schools", "NUTS"),
        ("plates", "NUTS"),
        ("regression", "NUTS"),
        ("lkj", "NUTS"),
        ("simplex", "HMC"),
        ("simplex", "ChEES"),
    ],
)
def test_draws_of_chains_at_once_are_those_of_each_chain(name, kernel, monkeypatch):
    model, *args = MODELS[name]
    at_once = draws_of(KERNELS[kernel](model), args)
    alone = draws_of(KERNELS[kernel](model), args, monkeypatch)
    for site, values in at_once.items():
        # Rounding grows from step to step: where sums have another order, draws agree as long as that has not gone far.
        numpy.testing.assert_allclose(
            values, alone[site], rtol=0.0 if name in EXACT else 1e-7, atol=0.0 if name in EXACT else 1e-9
        )


def test_a_model_that_cannot_be_batched_says_so_and_runs():
    def branching(y):
        level = ppl.sample("level", dist.Normal(0.0, 2.0))
        spread = 1.0 if float(numpy.sum(y)) > 0.0 else 2.0
        spread = spread + (0.0 if bool(ops.to_numpy(ops.any(ops.array(y) > 99.0))) else 1.0)
        with ppl.plate("rows", 12):
            ppl.sample("y", dist.Normal(level, spread), obs=y)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        draws = draws_of(infer.HMC(branching, num_steps=4), (Y,))
    told = [str(warning.message) for warning in caught if "one after another" in str(warning.message)]
    assert len(told) == 1
    assert told[0].startswith("chains run one after another because numpy cannot batch this model: ")
    assert all(issubclass(warning.category, PplWarning) for warning in caught)
    assert draws["level"].shape == (3, 12)
