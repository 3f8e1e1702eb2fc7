"""Stirling's series, which two parts of the backend use."""

import jax.numpy as jnp

COEFFICIENTS = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


def stirling_correction(x):
    """Return what ``gammaln(x)`` exceeds ``(x - 1/2) log(x) - x + log(2 pi) / 2`` by, to 1e-16 for ``x`` from 10 up."""
    inverse_square = 1.0 / (x * x)
    result = jnp.zeros_like(x)
    for coefficient in reversed(COEFFICIENTS):
        result = result * inverse_square + coefficient
    return result / x
