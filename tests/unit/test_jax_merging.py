"""What becomes of arrays side by side that are one array, or entries of one, before they are differentiated."""

import collections
import functools

import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from ppl_jax import merging  # noqa: E402

DATA = np.random.default_rng(0).normal(size=(9, 3)).astype("float32")
CASES = {
    "equal": lambda x: jnp.stack([jnp.exp(x[0]) for _ in range(7)]),
    "equal, an inner axis": lambda x: jnp.stack([jnp.exp(x[0]) for _ in range(7)], axis=1),
    "equal but for the first": lambda x: jnp.stack([x[1] * 2.0, *(jnp.exp(x[0]) for _ in range(7))]),
    "side by side": lambda x: jnp.concatenate([jnp.exp(x[0]) for _ in range(7)]),
    "side by side, an inner axis": lambda x: jnp.concatenate([jnp.exp(x) for _ in range(7)], axis=1),
    "entries": lambda x: jnp.stack([x[i] for i in range(9)]),
    "every other entry": lambda x: jnp.stack([x[i] for i in range(1, 9, 2)]),
    "entries, an inner axis": lambda x: jnp.stack([x[i] for i in range(9)], axis=1),
    "entries after another": lambda x: jnp.stack([jnp.sin(x[0]), *(x[i] for i in range(2, 9))]),
    "entries backwards": lambda x: jnp.stack([x[i] for i in range(8, -1, -1)]),
    "entries of no order": lambda x: jnp.stack([x[i] for i in (3, 1, 4, 1, 5)]),
    "entries, then equal ones": lambda x: jnp.stack([*(x[i] for i in range(4)), *(x[8] for _ in range(4))]),
    "numbers": lambda x: jnp.stack([x[:, 0][i] for i in range(9)]),
    "integers": lambda x: x[0] * jnp.stack([jnp.arange(3) + 1 for _ in range(5)]),
}


def test_values_and_derivatives_stay():
    def all_of(around):
        def loss(make, x):
            made = make(x)
            return jnp.sum(jnp.sin(made * jnp.arange(made.size, dtype="float32").reshape(made.shape)))

        # One program for all of them.
        return jax.jit(
            lambda x: {case: jax.value_and_grad(around(functools.partial(loss, make)))(x) for case, make in CASES.items()}
        )(DATA)

    expected, found = all_of(lambda loss: loss), all_of(merging.merged)
    for case in CASES:
        np.testing.assert_allclose(found[case][0], expected[case][0], rtol=1e-5, atol=1e-5, err_msg=case)
        np.testing.assert_allclose(found[case][1], expected[case][1], rtol=1e-4, atol=1e-4, err_msg=case)


def test_the_derivative_of_equal_arrays_is_one_sum():
    def loss(x):
        return jnp.sum(jnp.stack([jnp.exp(x) for _ in range(20)]) * jnp.ones((20, 3)))

    def additions(fn):
        jaxpr = jax.make_jaxpr(lambda x: jax.jit(jax.grad(fn), inline=True)(x))(DATA[0])
        return collections.Counter(str(equation.primitive) for equation in jaxpr.jaxpr.eqns)["add_any"]

    assert additions(loss) == 19
    assert additions(merging.merged(loss)) == 0
