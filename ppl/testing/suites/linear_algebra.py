"""Linear algebra against numpy and scipy, batched and broadcast, with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from ppl import ops, registry
from ppl.ops import autodiff
from ppl.testing.numeric import Mismatch, assert_close, assert_equal, numerical_gradient, to_host
from ppl.testing.suites.check import asked, checks_of
from ppl.testing.suites.rows import Row, checks_of_rows

R = np.random.default_rng(1910)
A = R.normal(size=(2, 3, 3)) + 2 * np.eye(3)
B = R.normal(size=(2, 3, 2))
VECTOR = R.normal(size=(3,))
BATCH = R.normal(size=(2, 3))
TALL = R.normal(size=(4, 2))
FACTOR = np.tril(R.normal(size=(2, 3, 3))) + 2 * np.eye(3)
SPD = A @ np.swapaxes(A, -1, -2) + np.eye(3)
FULL = R.normal(size=(3, 3)) + 3 * np.eye(3)


def _symmetric(x):
    return (x + np.swapaxes(x, -1, -2)) / 2


def _triangular(a, b, lower=True, transpose=False):
    a = np.tril(a) if lower else np.triu(a)
    return np.linalg.solve(np.swapaxes(a, -1, -2) if transpose else a, b)


def _cholesky_solve(factor, b):
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
        Row("solve_triangular", (a, b), _triangular, (0, 1), kwargs={"lower": lower, "transpose": transpose},
            label=f"{'lower' if lower else 'upper'}{'-transpose' if transpose else ''}-{kind}")
        for lower in (True, False)
        for transpose in (True, False)
        for kind, a, b in [("batch", A, B), ("shared-matrix", FULL, B), ("shared-right-side", A, B[0])]
    ],
    Row("solve_triangular", (FACTOR[:, None], B), _triangular, (0, 1), label="two-batch-axes"),
    Row("cholesky_solve", (FACTOR, B), _cholesky_solve, (0, 1)),
    Row("cholesky_solve", (FACTOR[0], B), _cholesky_solve, (0, 1), label="broadcast"),
    Row("inv", (A,), np.linalg.inv, (0,)),
    Row("det", (A,), np.linalg.det, (0,)),
    Row("slogdet", (A,), lambda x: tuple(np.linalg.slogdet(x)), (0,)),
    Row("slogdet", (-A,), lambda x: tuple(np.linalg.slogdet(x)), (0,), label="negative"),
]  # fmt: skip
SYMMETRIC, SQUARE = _symmetric(A), _symmetric(FULL)


@asked("cholesky", "gradient", "x @ x.T + 1 of shape (2, 3, 3)")
def _cholesky_gradient() -> None:
    """Differences along symmetric directions, since only they keep the matrix symmetric."""
    weights = np.cos(np.arange(9.0)).reshape(3, 3)

    def of_root(x: Any) -> Any:
        return ops.sum(ops.cholesky(ops.matmul(x, ops.matrix_transpose(x)) + ops.eye(3)) * ops.array(weights))

    def expected(x: Any) -> Any:
        return np.sum(np.linalg.cholesky(x @ np.swapaxes(x, -1, -2) + np.eye(3)) * weights)

    assert_close(autodiff.grad(of_root)(ops.array(A)), numerical_gradient(expected, A), rtol=1e-6, atol=1e-8)


@asked("slogdet", "second derivative", "a matrix of shape (3, 3)")
def _second_derivative_of_slogdet() -> None:
    """The Hessian of log det X is -inv(X).T (x) inv(X) (Petersen and Pedersen 2012, eq. 57 and 60)."""
    inverse = np.linalg.inv(FULL)
    found = autodiff.hessian(lambda x: ops.slogdet(x)[1])(ops.array(FULL))
    assert_close(found, -np.einsum("jk,li->ijkl", inverse, inverse), "gradient")


@asked("eigh", "values and vectors", "symmetric matrices of shape (2, 3, 3)")
def _eigh() -> None:
    values, vectors = (to_host(x) for x in ops.eigh(ops.array(SYMMETRIC)))
    assert_close(values, np.linalg.eigvalsh(SYMMETRIC))
    assert_close(vectors * values[..., None, :] @ np.swapaxes(vectors, -1, -2), SYMMETRIC, rtol=1e-10, atol=1e-12)
    assert_close(np.swapaxes(vectors, -1, -2) @ vectors, np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-12)


@asked("eigh", "gradient of values", "a symmetric matrix of shape (3, 3)")
def _gradient_of_eigenvalues() -> None:
    """D lambda_k / dA = v_k v_k.T; a weighted sum with the eigenvectors' own outer products."""
    weights = np.array([1.0, -2.0, 0.5])

    def weighted(x: Any) -> Any:
        return ops.sum(ops.eigh((x + ops.matrix_transpose(x)) / 2.0)[0] * ops.array(weights))

    vectors = np.linalg.eigh(SQUARE)[1]
    assert_close(autodiff.grad(weighted)(ops.array(SQUARE)), vectors @ np.diag(weights) @ vectors.T, "gradient")


@asked("qr", "factors", "a matrix of shape (4, 2)")
def _qr() -> None:
    q, r = (to_host(x) for x in ops.qr(ops.array(TALL)))
    assert_equal((q.shape, r.shape), ((4, 2), (2, 2)))
    assert_close(q @ r, TALL, atol=1e-12)
    assert_close(q.T @ q, np.eye(2), atol=1e-12)
    assert_close(r, np.triu(r))


@asked("qr", "gradient", "a matrix of shape (4, 2)")
def _qr_gradient() -> None:
    """The product of the absolute diagonal of R is the root of det(A.T A), whatever the signs."""
    gradient = autodiff.grad(lambda x: ops.sum(ops.log(ops.abs(ops.diagonal(ops.qr(x)[1])))))(ops.array(TALL))
    assert_close(gradient, TALL @ np.linalg.inv(TALL.T @ TALL), "gradient")


@asked("qr", "gradient of a wide matrix", "a matrix of shape (2, 4)", needs=["gradient of qr with fewer rows than columns"])
def _qr_gradient_of_a_wide_matrix() -> None:
    x, weights = B[..., 0] @ FULL @ FULL[:, [0, 1, 2, 0]], np.cos(np.arange(8.0)).reshape(2, 4)
    gradient = autodiff.grad(lambda x: ops.sum(ops.array(weights) * ops.qr(x)[1]))(ops.array(x))
    expected = numerical_gradient(lambda x: float((weights * np.linalg.qr(x)[1]).sum()), x)
    assert_close(gradient, expected, "finite_difference")


@asked("svd", "factors", "a matrix of shape (4, 2)")
def _svd() -> None:
    u, s, vh = (to_host(x) for x in ops.svd(ops.array(TALL)))
    assert_equal((u.shape, s.shape, vh.shape), ((4, 2), (2,), (2, 2)))
    assert_close(s, scipy.linalg.svdvals(TALL))
    assert_close((u * s) @ vh, TALL, atol=1e-12)


@asked("svd", "gradient of singular values", "a matrix of shape (4, 2)")
def _gradient_of_singular_values() -> None:
    gradient = autodiff.grad(lambda x: ops.sum(ops.svd(x)[1]))(ops.array(TALL))
    u, _, vh = np.linalg.svd(TALL, full_matrices=False)
    assert_close(gradient, u @ vh, "gradient")


@asked("cholesky", "an indefinite matrix where samplers work", "[[1, 2], [2, 1]] and [[4, 2], [2, 5]]")
def _cholesky_of_an_indefinite_matrix() -> None:
    """One bad point is a step to refuse, not the end of a run; its neighbours in a batch keep their factors."""
    with registry.active().infer.quiet():
        matrices = ops.array([[[1.0, 2.0], [2.0, 1.0]], [[4.0, 2.0], [2.0, 5.0]]])
        bad, good = to_host(ops.cholesky(matrices))
    if not np.isnan(bad).any():
        raise Mismatch("NaN in the factor of the first", bad)
    assert_close(good, np.array([[2.0, 0.0], [1.0, 2.0]]))


@asked("solve_triangular", "a zero on the diagonal", "[[2, 0], [1, 0]], [1, 3]")
def _a_zero_on_the_diagonal_of_a_triangle_divides() -> None:
    """By hand: the first unknown is 1 / 2, what is left for the second is 3 - 1 / 2, divided by zero."""
    lower, right = ops.array([[2.0, 0.0], [1.0, 0.0]]), ops.array([[1.0], [3.0]])
    for matrix, transpose in ((lower, False), (ops.matrix_transpose(lower), True)):
        solution = ops.solve_triangular(matrix, right, lower=not transpose, transpose=transpose)
        assert_close(solution, np.array([[0.5], [np.inf]]))


FACTORS = checks_of(globals())
CHECKS = (*checks_of_rows(ROWS), *FACTORS)
