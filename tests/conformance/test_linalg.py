"""Linear algebra against numpy and scipy, batched and broadcast, with gradients."""

import numpy as np
import pytest
import rows
import scipy.linalg
from rows import Row

from ppl import ops, registry
from ppl.ops import autodiff
from ppl.testing import assert_close, numerical_gradient, to_host
from ppl.testing.strict import declared_functions

R = np.random.default_rng(1910)
A = R.normal(size=(2, 3, 3)) + 2 * np.eye(3)
B = R.normal(size=(2, 3, 2))
VECTOR = R.normal(size=(3,))
BATCH = R.normal(size=(2, 3))
TALL = R.normal(size=(4, 2))
FACTOR = np.tril(R.normal(size=(2, 3, 3))) + 2 * np.eye(3)
SPD = A @ np.swapaxes(A, -1, -2) + np.eye(3)
FULL = R.normal(size=(3, 3)) + 3 * np.eye(3)


def symmetric(x):
    return (x + np.swapaxes(x, -1, -2)) / 2


def triangular(a, b, lower=True, transpose=False):
    a = np.tril(a) if lower else np.triu(a)
    return np.linalg.solve(np.swapaxes(a, -1, -2) if transpose else a, b)


def cholesky_solve(factor, b):
    factor = np.tril(factor)
    return np.linalg.solve(factor @ np.swapaxes(factor, -1, -2), b)


ROWS = [
    Row("matmul", (A, B), np.matmul, (0, 1)),
    Row("matmul", (FULL, B), np.matmul, (0, 1), label="broadcast"),
    Row("matmul", (A, VECTOR), np.matmul, (0, 1), label="matrix-vector"),
    Row("matmul", (VECTOR, FULL), np.matmul, (0, 1), label="vector-matrix"),
    Row("matmul", (VECTOR, VECTOR), np.matmul, (0, 1), label="vectors"),
    Row("einsum", ("bij,bjk->bik", A, B), np.einsum, (1, 2)),
    Row("einsum", ("i,j->ij", VECTOR, VECTOR), np.einsum, (1, 2), label="outer"),
    Row("einsum", ("bii->b", A), np.einsum, (1,), label="trace"),
    Row("einsum", ("...i,i->...", BATCH, VECTOR), np.einsum, (1, 2), label="ellipsis"),
    Row("einsum", ("bij,bjk,k->bi", A, B, TALL[0]), np.einsum, (1, 2, 3), label="three"),
    Row("einsum", ("ij,jk", FULL, FULL), np.einsum, (1, 2), label="implicit"),
    Row("vecdot", (BATCH, VECTOR), lambda x, y: np.sum(x * y, -1), (0, 1)),
    Row("outer", (BATCH, VECTOR[:2]), lambda x, y: x[..., :, None] * y[..., None, :], (0, 1)),
    Row("trace", (A,), lambda x: np.trace(x, axis1=-2, axis2=-1), (0,)),
    Row("cholesky", (SPD,), np.linalg.cholesky),
    Row("solve", (A, B), np.linalg.solve, (0, 1)),
    Row("solve", (FULL, B), np.linalg.solve, (0, 1), label="broadcast"),
    *[
        Row("solve_triangular", (a, b), triangular, (0, 1), kwargs={"lower": lower, "transpose": transpose},
            label=f"{'lower' if lower else 'upper'}{'-transpose' if transpose else ''}-{kind}")
        for lower in (True, False)
        for transpose in (True, False)
        for kind, a, b in [("batch", A, B), ("shared-matrix", FULL, B), ("shared-right-side", A, B[0])]
    ],
    Row("solve_triangular", (FACTOR[:, None], B), triangular, (0, 1), label="two-batch-axes"),
    Row("cholesky_solve", (FACTOR, B), cholesky_solve, (0, 1)),
    Row("cholesky_solve", (FACTOR[0], B), cholesky_solve, (0, 1), label="broadcast"),
    Row("inv", (A,), np.linalg.inv, (0,)),
    Row("det", (A,), np.linalg.det, (0,)),
    Row("slogdet", (A,), lambda x: tuple(np.linalg.slogdet(x)), (0,)),
    Row("slogdet", (-A,), lambda x: tuple(np.linalg.slogdet(x)), (0,), label="negative"),
]  # fmt: skip
GRADIENTS = [(row, index) for row in ROWS for index in row.gradients]


@pytest.mark.parametrize("row", ROWS, ids=rows.ids(ROWS))
def test_value(backend, row):
    rows.check_value(row)


@pytest.mark.parametrize(("row", "index"), GRADIENTS, ids=[f"{row}-arg{index}" for row, index in GRADIENTS])
def test_gradient_equals_finite_differences(backend, row, index):
    rows.check_gradient(row, index)


@pytest.mark.parametrize("row", ROWS, ids=rows.ids(ROWS))
def test_float32_stays_float32(backend, row):
    rows.check_float32(row)


def test_cholesky_gradient(backend):
    """Differences along symmetric directions, since only they keep the matrix symmetric."""

    def of_root(x):
        return ops.sum(ops.cholesky(ops.matmul(x, ops.matrix_transpose(x)) + ops.eye(3)) * weights)

    weights = ops.array(np.cos(np.arange(9.0)).reshape(3, 3))

    def expected(x):
        return np.sum(np.linalg.cholesky(x @ np.swapaxes(x, -1, -2) + np.eye(3)) * np.cos(np.arange(9.0)).reshape(3, 3))

    assert_close(autodiff.grad(of_root)(ops.array(A)), numerical_gradient(expected, A), rtol=1e-6, atol=1e-8)


def test_second_derivative_of_slogdet(backend):
    """The Hessian of log det X is -inv(X).T (x) inv(X) (Petersen and Pedersen 2012, eq. 57 and 60)."""
    inverse = np.linalg.inv(FULL)
    found = autodiff.hessian(lambda x: ops.slogdet(x)[1])(ops.array(FULL))
    assert_close(found, -np.einsum("jk,li->ijkl", inverse, inverse), "gradient")


def test_eigh(backend):
    matrix = symmetric(A)
    values, vectors = ops.eigh(ops.array(matrix))
    assert_close(values, np.linalg.eigvalsh(matrix))
    rebuilt = to_host(vectors) * to_host(values)[..., None, :] @ np.swapaxes(to_host(vectors), -1, -2)
    assert_close(rebuilt, matrix, rtol=1e-10, atol=1e-12)
    assert_close(np.swapaxes(to_host(vectors), -1, -2) @ to_host(vectors), np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-12)


def test_gradient_of_eigenvalues(backend):
    """d lambda_k / dA = v_k v_k.T; a weighted sum with the eigenvectors' own outer products."""
    matrix, weights = symmetric(FULL), np.array([1.0, -2.0, 0.5])

    def weighted(x):
        return ops.sum(ops.eigh((x + ops.matrix_transpose(x)) / 2.0)[0] * ops.array(weights))

    gradient = autodiff.grad(weighted)(ops.array(matrix))
    vectors = np.linalg.eigh(matrix)[1]
    assert_close(gradient, vectors @ np.diag(weights) @ vectors.T, "gradient")


def test_qr(backend):
    q, r = (to_host(x) for x in ops.qr(ops.array(TALL)))
    assert (q.shape, r.shape) == ((4, 2), (2, 2))
    assert_close(q @ r, TALL, atol=1e-12)
    assert_close(q.T @ q, np.eye(2), atol=1e-12)
    assert_close(r, np.triu(r))


def test_qr_gradient(backend):
    """The product of the absolute diagonal of R is the root of det(A.T A), whatever the signs."""
    gradient = autodiff.grad(lambda x: ops.sum(ops.log(ops.abs(ops.diagonal(ops.qr(x)[1])))))(ops.array(TALL))
    assert_close(gradient, TALL @ np.linalg.inv(TALL.T @ TALL), "gradient")


def test_svd(backend):
    u, s, vh = (to_host(x) for x in ops.svd(ops.array(TALL)))
    assert (u.shape, s.shape, vh.shape) == ((4, 2), (2,), (2, 2))
    assert_close(s, scipy.linalg.svdvals(TALL))
    assert_close((u * s) @ vh, TALL, atol=1e-12)


def test_gradient_of_singular_values(backend):
    gradient = autodiff.grad(lambda x: ops.sum(ops.svd(x)[1]))(ops.array(TALL))
    u, _, vh = np.linalg.svd(TALL, full_matrices=False)
    assert_close(gradient, u @ vh, "gradient")


def test_cholesky_of_an_indefinite_matrix_does_not_pass_in_silence(backend):
    matrix = ops.array([[1.0, 2.0], [2.0, 1.0]])
    if backend == "jax":
        assert np.any(np.isnan(to_host(ops.cholesky(matrix))))
    else:
        with pytest.raises(Exception, match=r"(?i)positive"):
            ops.cholesky(matrix)


def test_cholesky_of_an_indefinite_matrix_is_nan_where_samplers_work(backend):
    """One bad point is a step to refuse, not the end of a run; its neighbours in a batch keep their factors."""
    with registry.active().infer.quiet():
        matrices = ops.array([[[1.0, 2.0], [2.0, 1.0]], [[4.0, 2.0], [2.0, 5.0]]])
        bad, good = to_host(ops.cholesky(matrices))
    assert np.isnan(bad[0]).any() or np.isnan(bad[1]).any()
    assert_close(good, [[2.0, 0.0], [1.0, 2.0]])


@pytest.mark.parametrize("transpose", [False, True])
def test_a_zero_on_the_diagonal_of_a_triangle_divides(backend, transpose):
    """By hand: the first unknown is 1 / 2, what is left for the second is 3 - 1 / 2, divided by zero."""
    matrix = ops.array([[2.0, 0.0], [1.0, 0.0]])
    matrix = ops.matrix_transpose(matrix) if transpose else matrix
    solution = ops.solve_triangular(matrix, ops.array([[1.0], [3.0]]), lower=not transpose, transpose=transpose)
    assert to_host(solution)[:, 0].tolist() == [0.5, np.inf]


def test_einsum_is_module_and_function(backend):
    assert_close(ops.einsum("ij,jk->ik", ops.array(FULL), ops.array(FULL)), FULL @ FULL)
    assert callable(ops.einsum)
    assert ops.einsum.__name__ == "ppl.ops.einsum"


TESTED_ABOVE = {"eigh": test_eigh, "qr": test_qr, "svd": test_svd}


def test_every_declared_function_has_a_row():
    assert sorted({*(row.name for row in ROWS), *TESTED_ABOVE}) == sorted(declared_functions("linalg"))


@pytest.mark.backends("numpy")
def test_negative_control_a_wrong_oracle_is_found(backend):
    with pytest.raises(AssertionError):
        rows.check_value(Row("inv", (A,), lambda x: np.swapaxes(np.linalg.inv(x), -1, -2)))


@pytest.mark.needs("gradient of qr with fewer rows than columns")
def test_gradient_of_qr_with_fewer_rows_than_columns(backend, rng):
    x, weights = rng.normal(size=(2, 4)), rng.normal(size=(2, 4))

    def fn(x):
        return ops.sum(ops.array(weights) * ops.qr(x)[1])

    expected = numerical_gradient(lambda x: float((weights * np.linalg.qr(x)[1]).sum()), x)
    assert_close(autodiff.grad(fn)(ops.array(x)), expected, "finite_difference")
