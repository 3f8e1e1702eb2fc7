"""Matrices that a loop turns: what the step means stays, and so does every matrix with another use."""

import numpy
import pytest

jax = pytest.importorskip("jax")
columns = pytest.importorskip("ppl_jax.columns")
infer = pytest.importorskip("ppl_jax.infer")

ROWS, WIDTH = 40, 3
MATRIX = numpy.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype("float32")


def regression(weights, matrix):
    """One step of gradient descent on half the sum of squares of ``matrix @ weights - 1``."""

    def loss(weights):
        return 0.5 * jax.numpy.sum((matrix @ weights - 1.0) ** 2)

    value, slope = jax.value_and_grad(loss)(weights)
    return weights - 0.01 * slope, value


USES = {
    "a vector on the right": lambda w, x: (w + (x @ w)[:WIDTH], w[0]),
    "a vector on the left": lambda w, x: (w + w[0] * jax.numpy.ones(ROWS) @ x, w[0]),
    "value and gradient": regression,
    "rows by index": lambda w, x: (w + x[1] + (x @ w)[:WIDTH], w[0]),
    "a matrix on the right": lambda w, x: (w + (x @ jax.numpy.stack([w, w], 1))[0, 0], w[0]),
    "an outer product": lambda w, x: (w + jax.numpy.einsum("ij,k->ijk", x, w)[0, 0] + (x @ w)[:WIDTH], w[0]),
    "a product row by row": lambda w, x: (w + jax.numpy.einsum("ij,i->ij", x, x @ w)[0], w[0]),
    "itself a result": lambda w, x: (w + (x @ w)[:WIDTH], x),
}
TURNED = {"a vector on the right", "a vector on the left", "value and gradient"}


@pytest.mark.parametrize("use", USES)
def test_a_turned_step_means_the_same(use):
    step, weights = USES[use], numpy.arange(1.0, 1.0 + WIDTH, dtype="float32")
    other, fixed = columns.by_columns(step, weights, (MATRIX,))
    assert (len(fixed) == 2) == (use in TURNED)
    for got, expected in zip(other(weights, *fixed), step(weights, MATRIX), strict=True):
        numpy.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(8 * WIDTH - 1, WIDTH), (ROWS,), (ROWS, WIDTH, 1)], ids=str)
def test_what_is_not_tall_stays(shape):
    def step(state, x):
        return state + jax.numpy.sum(x.reshape(-1, shape[-1]) @ jax.numpy.ones(shape[-1])), state

    arguments = (numpy.ones(shape, "float32"),)
    assert columns.by_columns(step, 0.0, arguments) == (step, arguments)


def test_a_loop_descends_like_numpy():
    weights, expected, losses = numpy.zeros(WIDTH, "float32"), numpy.zeros(WIDTH), []
    for _ in range(20):
        losses.append(0.5 * numpy.sum((MATRIX @ expected - 1.0) ** 2))
        expected = expected - 0.01 * MATRIX.T @ (MATRIX @ expected - 1.0)
    for quick in (False, True):
        state, found = infer.loop(regression, quick=quick)(weights, 20, MATRIX)
        numpy.testing.assert_allclose(state, expected, rtol=1e-4)
        numpy.testing.assert_allclose(found, losses, rtol=1e-4)
