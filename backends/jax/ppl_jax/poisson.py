"""Poisson counts. ``jax.random.poisson`` takes threefry keys only and computes in 32 bits, which spoils rates above 1e5."""

import functools
import math

import jax
import jax.numpy as jnp

from ppl_jax.stirling import stirling_correction

REJECTION_FROM = 10.0


@functools.partial(jax.jit, static_argnums=2)
def draw(key, rate, shape):
    """Return counts of ``shape`` in the dtype of ``rate``; NaN where the rate is NaN or negative."""
    rate = jnp.broadcast_to(rate, shape)
    key_small, key_large = jax.random.split(key)
    large = rate >= REJECTION_FROM
    counts = jnp.where(
        large,
        _by_rejection(key_large, jnp.where(large, rate, REJECTION_FROM), large),
        _by_arrivals(key_small, jnp.where(large, 0.0, rate)),
    )
    return jnp.where(rate >= 0, counts, jnp.nan)


def _by_arrivals(key, rate):
    """Count the arrivals of a unit Poisson process before time ``rate``."""

    def arrive(state):
        key, time, count = state
        key, key_wait = jax.random.split(key)
        time = time + jax.random.exponential(key_wait, rate.shape, rate.dtype)
        return key, time, count + (time < rate)

    state = (key, jnp.zeros_like(rate), jnp.zeros_like(rate))
    return jax.lax.while_loop(lambda state: jnp.any(state[1] < rate), arrive, state)[2]


def _by_rejection(key, rate, wanted):
    """Draw by transformed rejection, algorithm PTRS of Hormann (1993)."""
    spread = 0.931 + 2.53 * jnp.sqrt(rate)
    skew = -0.059 + 0.02483 * spread
    log_inverse_alpha = jnp.log(1.1239 + 1.1328 / (spread - 3.4))
    squeeze = 0.9277 - 3.6224 / (spread - 2.0)

    def propose(state):
        key, count, accepted = state
        key, key_position, key_height = jax.random.split(key, 3)
        position = jax.random.uniform(key_position, rate.shape, rate.dtype) - 0.5
        height = jax.random.uniform(key_height, rate.shape, rate.dtype)
        edge = 0.5 - jnp.abs(position)
        candidate = jnp.floor((2.0 * skew / edge + spread) * position + rate + 0.43)
        log_ratio = jnp.log(height) + log_inverse_alpha - jnp.log(skew / (edge * edge) + spread)
        fits = (candidate >= 0) & ((edge >= 0.013) | (height <= edge)) & (log_ratio <= _log_mass(candidate, rate))
        fits = fits | ((edge >= 0.07) & (height <= squeeze))
        return key, jnp.where(fits & ~accepted, candidate, count), accepted | fits

    state = (key, jnp.zeros_like(rate), ~wanted)
    return jax.lax.while_loop(lambda state: ~jnp.all(state[2]), propose, state)[1]


def _log_mass(count, rate):
    """Return the Poisson log mass without subtracting large numbers (Loader 2000), by ``gammaln`` for small counts."""
    far = jnp.maximum(count, 10.0)
    excess = (far - rate) / rate
    # far * log(far / rate) - far + rate, by log1p so that counts near the rate keep their digits.
    deviance = rate * ((1.0 + excess) * jnp.log1p(excess) - excess)
    stable = -deviance - stirling_correction(far) - 0.5 * jnp.log(2.0 * math.pi * far)
    near = jnp.clip(count, 0.0, 10.0)
    direct = near * jnp.log(rate) - rate - jax.scipy.special.gammaln(near + 1.0)
    return jnp.where(count < 10.0, direct, stable)
