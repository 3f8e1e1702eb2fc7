"""Array functions: creation, elementwise, reductions, shape and indexing; numpy is the oracle."""

from __future__ import annotations

import numpy as np
import scipy.special as sp

from ppl.testing.suites.rows import Row

R = np.random.default_rng(20190601)
X = R.normal(size=(3, 4))
Y = R.normal(size=(3, 4)) + 0.1
POSITIVE = R.gamma(2.0, size=(3, 4)) + 0.1
UNIT = R.uniform(-0.9, 0.9, size=(3, 4))
ROW = R.normal(size=(4,))
CUBE = R.normal(size=(2, 3, 4))
INTS = R.integers(-5, 6, size=(3, 4))
COUNTS = np.array([[0, 2, 1], [3, 3, 0]])
TRUTH = X > 0
OTHER = Y > 0
EXTREME = np.array([np.nan, np.inf, -np.inf, 0.0, -1.5])
TIES = np.array([[2.0, 1.0, 2.0], [0.5, 0.5, 0.25]])


def _unary(name, args, oracle, derivative):
    return [Row(name, (x,), oracle, (0,), derivative) for x in args]


def _binary(name, oracle, left=X, right=Y, gradients=(0, 1)):
    """The same shape, broadcasting in both directions, and Python scalars."""
    return [
        Row(name, (left, right), oracle, gradients),
        Row(name, (left, right[0]), oracle, gradients, label="broadcast-right"),
        Row(name, (left[:, :1], right[0]), oracle, gradients, label="broadcast-both"),
        Row(name, (left, 1.75), oracle, gradients[:1], label="scalar-right"),
        Row(name, (1.75, right), oracle, gradients[1:], label="scalar-left"),
    ]


def _autocorrelate(x):
    return np.apply_along_axis(lambda row: np.correlate(row, row, "full")[len(row) - 1 :], -1, x)


ELEMENTWISE = [
    *_unary("abs", [X], np.abs, np.sign),
    *_unary("negative", [X], np.negative, lambda x: -np.ones_like(x)),
    *_unary("sign", [X], np.sign, np.zeros_like),
    *_unary("exp", [X], np.exp, np.exp),
    *_unary("expm1", [X, np.array([1e-12, -1e-9])], np.expm1, np.exp),
    *_unary("log", [POSITIVE], np.log, lambda x: 1 / x),
    *_unary("log1p", [POSITIVE, np.array([1e-4, -1e-5])], np.log1p, lambda x: 1 / (1 + x)),
    *_unary("sqrt", [POSITIVE], np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    *_unary("square", [X], np.square, lambda x: 2 * x),
    *_unary("reciprocal", [POSITIVE], np.reciprocal, lambda x: -(x**-2)),
    *_unary("sin", [X], np.sin, np.cos),
    *_unary("cos", [X], np.cos, lambda x: -np.sin(x)),
    *_unary("tan", [UNIT], np.tan, lambda x: np.cos(x) ** -2),
    *_unary("asin", [UNIT], np.arcsin, lambda x: (1 - x * x) ** -0.5),
    *_unary("acos", [UNIT], np.arccos, lambda x: -((1 - x * x) ** -0.5)),
    *_unary("atan", [X], np.arctan, lambda x: 1 / (1 + x * x)),
    *_unary("sinh", [X], np.sinh, np.cosh),
    *_unary("cosh", [X], np.cosh, np.sinh),
    *_unary("tanh", [X], np.tanh, lambda x: np.cosh(x) ** -2),
    *_unary("floor", [X], np.floor, np.zeros_like),
    *_unary("ceil", [X], np.ceil, np.zeros_like),
    *_unary("round", [X], np.round, np.zeros_like),
    Row("round", (np.array([0.5, 1.5, 2.5, -0.5, -1.5]),), np.round, label="halves"),
    Row("log", (np.array([0.0, -1.0, np.inf]),), np.log, label="edges"),
    Row("sqrt", (np.array([0.0, -1.0, np.inf]),), np.sqrt, label="edges"),
    Row("exp", (np.array([-np.inf, np.inf, -800.0]),), np.exp, label="edges"),
    *_binary("add", np.add),
    *_binary("subtract", np.subtract),
    *_binary("multiply", np.multiply),
    *_binary("divide", np.divide, right=POSITIVE),
    *_binary("power", np.power, left=POSITIVE),
    *_binary("remainder", np.remainder, right=POSITIVE),
    *_binary("maximum", np.maximum),
    *_binary("minimum", np.minimum),
    *_binary("atan2", np.arctan2),
    *_binary("logaddexp", np.logaddexp),
    *_binary("equal", np.equal, INTS, INTS[::-1], ()),
    *_binary("not_equal", np.not_equal, INTS, INTS[::-1], ()),
    *_binary("less", np.less, gradients=()),
    *_binary("less_equal", np.less_equal, INTS, INTS[::-1], ()),
    *_binary("greater", np.greater, gradients=()),
    *_binary("greater_equal", np.greater_equal, INTS, INTS[::-1], ()),
    Row("divide", (INTS, COUNTS[1, 0]), np.divide, label="ints"),
    Row("power", (X, 2), np.power, (0,), label="integer-exponent"),
    Row("power", (X, 3.0), np.power, (0,), label="negative-base"),
    Row("power", (np.array([0.0, 0.5]), 2.0), np.power, (0,), label="zero-base"),
    Row("remainder", (np.array([-3.5, 3.5, 7.25]), np.array([2.0, -2.0, 2.0])), np.remainder, (0,), label="signs"),
    Row("maximum", (EXTREME, 0.0), np.maximum, label="nan"),
    Row("minimum", (0.0, EXTREME), np.minimum, label="nan"),
    Row("logaddexp", (np.array([-np.inf, -np.inf, 800.0]), np.array([-np.inf, 1.0, 801.0])), np.logaddexp, label="edges"),
    Row("clip", (X,), lambda x, **_: np.clip(x, -0.5, 0.5), (0,), kwargs={"min": -0.5, "max": 0.5}, label="both"),
    Row("clip", (X,), lambda x, **_: np.maximum(x, -0.5), (0,), kwargs={"min": -0.5}, label="below"),
    Row("clip", (X,), lambda x, **_: np.minimum(x, 0.5), (0,), kwargs={"max": 0.5}, label="above"),
    Row("clip", (X, ROW - 1.0, ROW + 1.0), np.clip, (0,), label="arrays"),
    Row("where", (TRUTH, X, Y), np.where, (1, 2)),
    Row("where", (TRUTH[0], X, Y[:, :1]), np.where, (1, 2), label="broadcast"),
    Row("where", (TRUTH, X, 0.0), np.where, (1,), label="scalar-right"),
    Row("where", (TRUTH, 1.0, X), np.where, (2,), label="scalar-left"),
    Row("nan_to_num", (EXTREME,), np.nan_to_num),
    Row("nan_to_num", (EXTREME,), np.nan_to_num, kwargs={"nan": 1.0, "posinf": 2.0, "neginf": -2.0}, label="chosen"),
    Row("nan_to_num", (X,), np.nan_to_num, (0,), label="finite"),
    Row("isnan", (EXTREME,), np.isnan),
    Row("isinf", (EXTREME,), np.isinf),
    Row("isfinite", (EXTREME,), np.isfinite),
    Row("logical_and", (TRUTH, OTHER), np.logical_and),
    Row("logical_or", (TRUTH, OTHER[0]), np.logical_or),
    Row("logical_not", (TRUTH,), np.logical_not),
]


def _reduction(name, oracle, gradients=(0,), x=CUBE):
    def over(axis, keepdims=False):
        return lambda v, **_: oracle(v, axis=axis, keepdims=keepdims)

    rows = [Row(name, (x,), over(None), gradients, label="all")]
    for axis in (0, -1, 1, (0, 2), (-1, -2)):
        rows.append(Row(name, (x,), over(axis), gradients, kwargs={"axis": axis}, label=f"axis{axis}"))
    rows.append(Row(name, (x,), over(1, True), gradients, kwargs={"axis": 1, "keepdims": True}, label="keepdims"))
    rows.append(Row(name, (x,), over(None, True), gradients, kwargs={"keepdims": True}, label="all-keepdims"))
    return rows


def _ddof(oracle):
    return lambda v, correction, **kwargs: oracle(v, ddof=correction, **kwargs)


REDUCE = [
    *_reduction("sum", np.sum),
    *_reduction("prod", np.prod),
    *_reduction("mean", np.mean),
    *_reduction("var", np.var),
    *_reduction("std", np.std),
    *_reduction("max", np.max),
    *_reduction("min", np.min),
    *_reduction("any", np.any, (), CUBE > 0.7),
    *_reduction("all", np.all, (), CUBE > -0.7),
    Row("var", (CUBE,), _ddof(np.var), (0,), kwargs={"axis": -1, "correction": 1}, label="sample"),
    Row("std", (CUBE,), _ddof(np.std), (0,), kwargs={"axis": (0, 1), "correction": 1}, label="sample"),
    Row("sum", (np.zeros((0, 3)),), lambda x, axis: np.sum(x, axis=axis), kwargs={"axis": 0}, label="empty"),
    Row("sum", (TRUTH,), np.sum, label="booleans"),
    Row("prod", (np.array([2.0, 0.0, 3.0]),), np.prod, (0,), label="zero"),
    Row("argmax", (CUBE,), np.argmax),
    Row("argmax", (TIES,), np.argmax, kwargs={"axis": -1}, label="ties"),
    Row("argmin", (CUBE,), np.argmin, kwargs={"axis": 1}),
    Row("argmin", (-TIES,), np.argmin, kwargs={"axis": 0}, label="ties"),
    Row("cumsum", (CUBE,), lambda x: np.cumsum(x, -1), (0,)),
    Row("cumsum", (CUBE,), np.cumsum, (0,), kwargs={"axis": 1}, label="axis"),
    Row("cumprod", (CUBE,), lambda x: np.cumprod(x, -1), (0,)),
    Row("autocorrelate", (CUBE,), _autocorrelate, (0,)),
    Row("cumprod", (CUBE,), np.cumprod, (0,), kwargs={"axis": 0}, label="axis"),
    Row("cumprod", (np.array([2.0, 0.0, 3.0, 0.0, 1.5]),), np.cumprod, (0,), label="zeros"),
    Row("sort", (X,), np.sort, (0,)),
    Row("sort", (X,), np.sort, (0,), kwargs={"axis": 0}, label="axis"),
    Row("argsort", (X,), np.argsort),
    Row("argsort", (TIES,), lambda x: np.argsort(x, axis=-1, kind="stable"), label="stable"),
    Row("searchsorted", (np.array([0.0, 1.0, 1.0, 2.0]), np.array([-1.0, 1.0, 1.5, 3.0])), np.searchsorted),
    Row("searchsorted", (np.array([0.0, 1.0, 1.0, 2.0]), TIES), np.searchsorted, kwargs={"side": "right"}, label="right"),
]


def _update(x, index, value):
    x = x.copy()
    x[index] = value
    return x


def _add(x, index, value):
    x = x.copy()
    np.add.at(x, index, value)
    return x


def _one_hot(indices, num_classes):
    return np.eye(num_classes)[indices]


def _embed(x):
    return x[..., None] * np.eye(x.shape[-1])


GATHER = np.array([[0, 2, 1, 0], [1, 1, 0, 2]])

SHAPE = [
    Row("zeros", ((2, 3),), np.zeros),
    Row("zeros", (3,), np.zeros, label="int"),
    Row("ones", ((2, 3), "int64"), np.ones, label="int64"),
    Row("ones", ((),), np.ones, label="scalar"),
    Row("full", ((2, 2), 0.25), np.full),
    Row("full", (2, True, "bool"), np.full, label="bool"),
    Row("eye", (3,), np.eye),
    Row("eye", (2, 4), np.eye, label="rectangular"),
    Row("arange", (5,), np.arange),
    Row("arange", (1, 7, 2), np.arange, label="step"),
    Row("arange", (0.5, 2.0, 0.25), np.arange, label="float"),
    Row("arange", (3,), lambda n, dtype: np.arange(n, dtype=dtype), kwargs={"dtype": "float64"}, label="dtype"),
    Row("linspace", (-1.0, 2.0, 7), np.linspace),
    Row("zeros_like", (X,), np.zeros_like),
    Row("zeros_like", (INTS,), np.zeros_like, label="ints"),
    Row("ones_like", (X, "int64"), np.ones_like, label="dtype"),
    Row("full_like", (X, 2.5), np.full_like),
    Row("reshape", (CUBE, (6, -1)), np.reshape, (0,)),
    Row("reshape", (ROW, (2, 2)), np.reshape, (0,), label="split"),
    Row("permute_dims", (CUBE, (2, 0, 1)), np.transpose, (0,)),
    Row("matrix_transpose", (CUBE,), lambda x: np.swapaxes(x, -1, -2), (0,)),
    Row("moveaxis", (CUBE, 0, -1), np.moveaxis, (0,)),
    Row("moveaxis", (CUBE, -1, 1), np.moveaxis, (0,), label="inner"),
    Row("expand_dims", (X, 0), np.expand_dims, (0,)),
    Row("expand_dims", (X, -1), np.expand_dims, (0,), label="last"),
    Row("squeeze", (X[:, None], 1), np.squeeze, (0,)),
    Row("squeeze", (X[..., None], -1), np.squeeze, (0,), label="last"),
    Row("broadcast_to", (ROW, (3, 4)), np.broadcast_to, (0,)),
    Row("broadcast_to", (X[:, :1], (2, 3, 4)), np.broadcast_to, (0,), label="new-leading"),
    Row("broadcast_to", (np.array(1.5), (2, 2)), np.broadcast_to, (0,), label="scalar"),
    Row("broadcast_arrays", (X, ROW), lambda *a: list(np.broadcast_arrays(*a)), (0, 1)),
    Row("broadcast_arrays", (X, 2.0, ROW), lambda *a: list(np.broadcast_arrays(*a)), (0, 2), label="scalar"),
    Row("concat", ([X, Y, X],), lambda a: np.concatenate(a, 0)),
    Row("concat", ([X, X[:, :2]],), lambda a, axis: np.concatenate(a, axis), kwargs={"axis": -1}, label="axis"),
    Row("stack", ([X, Y],), lambda a: np.stack(a, 0)),
    Row("stack", ([X, Y],), lambda a, axis: np.stack(a, axis), kwargs={"axis": -1}, label="axis"),
    Row("flip", (X, -1), np.flip, (0,)),
    Row("roll", (X, 1, 0), np.roll, (0,)),
    Row("roll", (X, -2, -1), np.roll, (0,), label="negative"),
    Row("tile", (X, (2, 3)), np.tile, (0,)),
    Row("tile", (ROW, (2, 1)), np.tile, (0,), label="new-axis"),
    Row("repeat", (X, 3, 1), np.repeat, (0,)),
    Row("take", (X, np.array([2, 0, 0]), 0), np.take, (0,)),
    Row("take", (X, GATHER, -1), np.take, (0,), label="matrix-of-indices"),
    Row("take_along_axis", (X, GATHER[:, :3].T % 3, 1), np.take_along_axis, (0,)),
    Row("take_along_axis", (X, GATHER, 0), np.take_along_axis, (0,), label="first-axis"),
    Row("take_along_axis", (X[:1], GATHER[:, :3].T % 3, -1), np.take_along_axis, (0,), label="broadcast-values"),
    Row("take_along_axis", (X, GATHER[:1], -1), np.take_along_axis, (0,), label="broadcast-indices"),
    Row("index_update", (X, 1, ROW), _update, (0, 2), label="int"),
    Row("index_update", (X, (slice(None), 2), X[:, 0]), _update, (0, 2), label="column"),
    Row("index_update", (X, (slice(1, 3), slice(0, 2)), 7.0), _update, (0,), label="scalar"),
    Row("index_update", (X, (Ellipsis, slice(1, None)), X[:, :3]), _update, (0, 2), label="ellipsis"),
    Row("index_update", (X, np.array([0, 2]), X[:2]), _update, (0, 2), label="array"),
    Row("index_add", (X, 1, ROW), _add, (0, 2), label="int"),
    Row("index_add", (X, np.array([0, 2, 0]), Y), _add, (0, 2), label="repeated"),
    Row("index_add", (X, (slice(None), 1), 2.0), _add, (0,), label="scalar"),
    Row("tril", (CUBE,), np.tril, (0,)),
    Row("tril", (CUBE, -1), np.tril, (0,), label="below"),
    Row("triu", (CUBE,), np.triu, (0,)),
    Row("triu", (CUBE, 1), np.triu, (0,), label="above"),
    Row("diagonal", (CUBE,), lambda x: np.diagonal(x, axis1=-2, axis2=-1), (0,)),
    Row("diag_embed", (X,), _embed, (0,)),
    Row("one_hot", (COUNTS, 4), _one_hot),
    Row("meshgrid", (ROW, X[0, :3]), lambda *a: list(np.meshgrid(*a, indexing="ij")), (0, 1)),
    Row("astype", (X, "float64"), np.ndarray.astype, (0,)),
    Row("astype", (POSITIVE, "int64"), np.ndarray.astype, label="to-int"),
    Row("astype", (TRUTH, "float64"), np.ndarray.astype, label="from-bool"),
]


def _triangle(vector, diagonal):
    size = round((np.sqrt(8 * vector.shape[-1] + 1) - 1) / 2) - diagonal
    result = np.zeros((*vector.shape[:-1], size, size))
    result[(..., *np.tril_indices(size, diagonal))] = vector
    return result


# Terms of one sum that lie further apart than numbers of a float's range: nothing but a sum of logarithms sees all of them.
FAR = np.array([[0.0, -800.0, -1500.0], [-2000.0, 0.5, -900.0]])
NEVER = np.where(R.random((3, 2, 3)) < 0.4, -np.inf, R.normal(size=(3, 2, 3)))
NEVER[1, 0] = -np.inf


def _log_matmul(x, y):
    return sp.logsumexp(x[..., :, :, None] + y[..., None, :, :], axis=-2)


def _log_recursion(start, factors):
    product = np.exp(start)[..., None, :]
    for step in range(factors.shape[-3]):
        product = product @ np.exp(factors[..., step, :, :])
    with np.errstate(divide="ignore"):
        return np.log(product[..., 0, :])


DERIVED = [
    Row("sum_rightmost", (CUBE, 2), lambda x, n: x.sum((-1, -2)), (0,)),
    Row("sum_rightmost", (CUBE, 0), lambda x, n: x, (0,), label="none"),
    Row("safe_log", (POSITIVE,), np.log, (0,)),
    Row("clip_probs", (np.array([0.0, 0.3, 1.0]),), lambda x: np.clip(x, np.finfo(float).eps, 1 - np.finfo(float).eps)),
    Row("vector_to_tril", (CUBE[..., :3],), lambda x: _triangle(x, -1), (0,)),
    Row("vector_to_tril", (R.normal(size=(2, 6)), 0), _triangle, (0,), label="with-diagonal"),
    Row("tril_to_vector", (R.normal(size=(2, 3, 3)),), lambda x: x[(..., *np.tril_indices(3, -1))], (0,)),
    Row("tril_to_vector", (R.normal(size=(3, 3)), 0), lambda x, d: x[np.tril_indices(3, d)], (0,), label="with-diagonal"),
    Row("log_matmul", (CUBE, CUBE[0].T), _log_matmul, (0, 1)),
    Row("log_matmul", (FAR, FAR.T), _log_matmul, (0,), label="far-apart"),
    Row("log_matmul", (NEVER, NEVER.mT), _log_matmul, label="impossible"),
    Row("log_recursion", (ROW, R.normal(size=(2, 3, 4, 4))), _log_recursion, (0, 1)),
    Row("log_recursion", (np.array([-np.inf, 0.5]), NEVER[:, :, :2]), _log_recursion, label="impossible"),
]

INTEGER_OUTPUT = [
    Row("abs", (INTS,), np.abs),
    Row("negative", (INTS,), np.negative),
    Row("add", (INTS, INTS), np.add),
    Row("add", (INTS, 2), np.add, label="scalar"),
    Row("multiply", (INTS, INTS[0]), np.multiply),
    Row("subtract", (3, INTS), np.subtract),
    Row("maximum", (INTS, 0), np.maximum),
    Row("where", (TRUTH, INTS, INTS[::-1]), np.where),
    Row("clip", (INTS,), lambda x, **_: np.clip(x, -1, 2), kwargs={"min": -1, "max": 2}),
    Row("sum", (INTS,), lambda x, axis: np.sum(x, axis=axis), kwargs={"axis": 0}),
    Row("prod", (INTS,), lambda x, axis: np.prod(x, axis=axis), kwargs={"axis": 1}),
    Row("max", (INTS,), np.max),
    Row("cumsum", (INTS,), lambda x: np.cumsum(x, -1)),
    Row("sort", (INTS,), np.sort),
    Row("concat", ([INTS, INTS],), np.concatenate),
    Row("stack", ([INTS, INTS],), np.stack),
    Row("take", (INTS, np.array([1, 0]), 0), np.take),
    Row("index_update", (INTS, 0, INTS[1]), _update),
    Row("index_add", (INTS, np.array([0, 0]), INTS[:2]), _add),
    Row("reshape", (INTS, (4, 3)), np.reshape),
    Row("tril", (INTS,), np.tril),
    Row("remainder", (INTS, 3), np.remainder),
    Row("square", (INTS,), np.square),
]

# for the scalar tests: functions of one number inside the domain of each
SCALAR_UNARY = {
    "abs": (-0.4, abs), "negative": (0.4, lambda x: -x), "sign": (-0.4, np.sign), "exp": (0.4, np.exp), "expm1": (0.4, np.expm1),
    "log": (0.4, np.log), "log1p": (0.4, np.log1p), "sqrt": (0.4, np.sqrt), "square": (0.4, np.square),
    "reciprocal": (0.4, lambda x: 1 / x), "sin": (0.4, np.sin), "cos": (0.4, np.cos), "tan": (0.4, np.tan),
    "asin": (0.4, np.arcsin), "acos": (0.4, np.arccos), "atan": (0.4, np.arctan), "sinh": (0.4, np.sinh), "cosh": (0.4, np.cosh),
    "tanh": (0.4, np.tanh),
    "floor": (1.4, np.floor), "ceil": (1.4, np.ceil), "round": (1.4, np.round), "isnan": (0.4, np.isnan),
    "isinf": (0.4, np.isinf),
    "isfinite": (0.4, np.isfinite), "gammaln": (1.4, sp.gammaln), "digamma": (1.4, sp.digamma), "erf": (0.4, sp.erf),
    "erfc": (0.4, sp.erfc), "erfinv": (0.4, sp.erfinv), "ndtr": (0.4, sp.ndtr), "ndtri": (0.4, sp.ndtri),
    "log_ndtr": (0.4, sp.log_ndtr), "expit": (0.4, sp.expit), "log_expit": (0.4, sp.log_expit), "logit": (0.4, sp.logit),
    "softplus": (0.4, lambda x: np.logaddexp(0, x)), "i0e": (0.4, sp.i0e), "i1e": (0.4, sp.i1e),
}  # fmt: skip
SCALAR_BINARY = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "power": np.power,
    "remainder": np.remainder, "maximum": np.maximum, "minimum": np.minimum, "atan2": np.arctan2, "logaddexp": np.logaddexp,
    "equal": np.equal, "less": np.less, "greater_equal": np.greater_equal, "xlogy": sp.xlogy, "xlog1py": sp.xlog1py,
    "betaln": sp.betaln, "gammainc": sp.gammainc, "gammaincc": sp.gammaincc,
}  # fmt: skip

ROWS = [*ELEMENTWISE, *REDUCE, *SHAPE, *DERIVED]
# discontinuous, or with a result that depends on the dtype
WITHOUT_FLOAT32 = {"remainder", "astype", "clip_probs", "floor", "ceil", "nan_to_num"}
