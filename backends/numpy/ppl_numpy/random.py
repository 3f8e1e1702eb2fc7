"""Random draws from ``numpy.random.Generator``; gamma and what is built on it carry pathwise gradients.

A draw is one noted call of a recording, so that a replay draws anew from the generator that is current then.
"""

from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from autograd.extend import defvjp
from autograd.tracer import getval
from scipy import special

from ppl.errors import PplError
from ppl_numpy import incomplete
from ppl_numpy.ops import clip, exp, finfo, log
from ppl_numpy.ops import shape as shape_of
from ppl_numpy.primitives import primitive, unbroadcast
from ppl_numpy.recording import Recorded, recordable
from ppl_numpy.shaping import default_dtype
from ppl_numpy.special import expit, log_softmax

_process = np.random.default_rng()
_scoped: ContextVar[np.random.Generator | None] = ContextVar("ppl_numpy_generator", default=None)


def _current():
    scoped = _scoped.get()
    return _process if scoped is None else scoped


def _draw(function):
    """Make a function of ``(generator, ...)`` a draw: it takes a key or ``None``, sees through boxes and runs on each replay."""

    def from_key(generator, *args):
        return function(_current() if generator is None else generator, *args)

    from_key.__name__ = function.__name__
    noted = recordable(from_key, effect=True)

    def call(generator, *args):
        return noted(generator, *map(getval, args))

    return call


def key(seed):
    if is_key(seed):
        return seed
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)):
        raise PplError(f"a key is made from an int seed or is a numpy.random.Generator, got {type(seed).__name__}")
    return np.random.default_rng(int(seed) % 2**64)


def is_key(value):
    return isinstance(value, np.random.Generator) or (type(value) is Recorded and isinstance(value.value, np.random.Generator))


def split(key, num=2):
    return [key] * num


def fold_in(key, data):
    return key


def next_key(site=None):
    return None


def set_rng_seed(seed):
    _current().bit_generator.state = np.random.PCG64(int(seed) % 2**64).state


@contextmanager
def scope(seed):
    token = _scoped.set(from_state(seed) if isinstance(seed, dict) else key(seed))
    try:
        yield
    finally:
        _scoped.reset(token)


def get_state(key=None):
    return (_current() if key is None else key).bit_generator.state


def from_state(state):
    kind = getattr(np.random, str(state.get("bit_generator")), None)
    if kind is None:
        raise PplError(f"not the state of a numpy generator: it names the bit generator {state.get('bit_generator')!r}")
    bits = kind()
    bits.state = state
    return np.random.Generator(bits)


def set_state(state):
    generator = _current()
    fresh = from_state(state)
    if type(fresh.bit_generator) is not type(generator.bit_generator):
        raise PplError(f"the stream is a {type(generator.bit_generator).__name__}, the state that of a {state['bit_generator']}")
    generator.bit_generator.state = state


# ---- draws without gradients ----


def _size(shape):
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape)


def _float(dtype):
    return np.dtype(default_dtype() if dtype is None else dtype)


_normal = _draw(lambda generator, shape, dtype: np.asarray(generator.standard_normal(shape, dtype)))
_uniform = _draw(lambda generator, shape, dtype: np.asarray(generator.random(shape, dtype)))
_exponential = _draw(lambda generator, shape, dtype: np.asarray(generator.standard_exponential(shape, dtype)))
_randint = _draw(lambda generator, shape, low, high: np.asarray(generator.integers(low, high, shape)))


@_draw
def _open_uniform(generator, shape, dtype):
    cells = 2 ** (np.finfo(dtype).nmant)
    return np.asarray((generator.integers(0, cells, shape) + 0.5) / cells).astype(dtype, copy=False)


def normal(key, shape, dtype=None):
    return _normal(key, _size(shape), _float(dtype))


def uniform(key, shape, dtype=None):
    return _uniform(key, _size(shape), _float(dtype))


def open_uniform(key, shape, dtype=None):
    return _open_uniform(key, _size(shape), _float(dtype))


def exponential(key, shape, dtype=None):
    return _exponential(key, _size(shape), _float(dtype))


def randint(key, shape, low, high):
    return _randint(key, _size(shape), low, high)


def _dtype_of(value):
    return np.dtype(value.dtype) if hasattr(value, "dtype") and value.dtype.kind == "f" else np.dtype(default_dtype())


@_draw
def _bernoulli(generator, probs, shape, dtype):
    return np.asarray(generator.random(shape) < probs).astype(dtype)


@_draw
def _poisson(generator, rate, shape, dtype):
    return np.asarray(generator.poisson(rate, shape)).astype(dtype)


@_draw
def _binomial(generator, total_count, probs, shape, dtype):
    return np.asarray(generator.binomial(np.asarray(total_count).astype(np.int64), probs, shape)).astype(dtype)


@_draw
def _categorical(generator, logits, shape):
    logits = np.asarray(logits, float)
    weights = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    ladder = np.cumsum(weights, axis=-1)
    height = generator.random(shape)
    if ladder.ndim == 1:
        return np.minimum(np.searchsorted(ladder, height * ladder[-1], side="right"), ladder.size - 1)
    counts = np.sum((height * ladder[..., -1])[..., None] >= ladder, axis=-1)
    return np.minimum(np.broadcast_to(counts, shape), ladder.shape[-1] - 1)


def bernoulli(key, probs, shape):
    return _bernoulli(key, probs, _size(shape), _dtype_of(probs))


def poisson(key, rate, shape):
    return _poisson(key, rate, _size(shape), _dtype_of(rate))


def binomial(key, total_count, probs, shape):
    return _binomial(key, total_count, probs, _size(shape), _dtype_of(probs))


def categorical(key, logits, shape):
    return _categorical(key, logits, _size(shape))


_permutation = _draw(lambda generator, n: generator.permutation(n))
# numpy chooses Floyd's algorithm, O(size), while size is at most n / 50; above that O(n) is O(size) too.
_choice = _draw(lambda generator, n, size: generator.choice(n, size, replace=False))


def permutation(key, n):
    return _permutation(key, n)


def choice(key, n, size):
    return _choice(key, n, size)


# ---- pathwise gradients ----


@_draw
def _gamma_ingredients(generator, concentration, shape):
    """Draw ``(y, e)`` with ``y ~ Gamma(a)``, or ``Gamma(a + 1)`` where ``a < 1``, ``e`` a standard exponential if needed."""
    concentration = np.asarray(concentration, float)
    small = concentration < 1.0
    boosted = np.where(small, concentration + 1.0, concentration)
    # A number is drawn from faster than an array of one.
    base = generator.standard_gamma(boosted if boosted.ndim else float(boosted), shape)
    return np.asarray(base), np.asarray(generator.standard_exponential(shape) if small.any() else 0.0)


def _log_gamma_value(concentration, base, spread):
    concentration = np.asarray(concentration)
    with np.errstate(divide="ignore"):
        return np.log(base) - np.where(concentration < 1.0, spread / concentration, 0.0)


def _log_gamma_slope(concentration, log_draw):
    """Return ``d log z / da = -(dF/da) / (z f(z))``, the implicit gradient (Figurnov, Mohamed and Mnih 2018, eq. 5)."""
    concentration, log_draw = np.asarray(concentration, float), np.asarray(log_draw)
    with np.errstate(all="ignore"):
        draw = np.exp(log_draw)
        log_mass = concentration * log_draw - draw - special.gammaln(concentration)
        slope = -incomplete.gammainc_da(concentration, draw) * np.exp(-log_mass)
        # F = z^a / Gamma(a + 1) to rounding there, and z itself may underflow
        left_end = (special.digamma(concentration + 1.0) - log_draw) / concentration
    return np.where(log_draw < -37.0, left_end, slope)


def _gamma_value(concentration, base, spread):
    concentration = np.asarray(concentration)
    small = concentration < 1.0
    return base * np.exp(np.where(small, -spread / concentration, 0.0)) if small.any() else base


_log_gamma = primitive(_log_gamma_value)
_gamma = primitive(_gamma_value)
_slope = recordable(_log_gamma_slope)


def _log_gamma_vjp(ans, concentration, base, spread):
    slope = _slope(getval(concentration), getval(ans))
    return lambda g: unbroadcast(g * slope, shape_of(concentration))


@recordable
def _gamma_slope(concentration, draw):
    return draw * _log_gamma_slope(concentration, np.log(np.maximum(draw, np.finfo(float).tiny)))


def _gamma_vjp(ans, concentration, base, spread):
    slope = _gamma_slope(getval(concentration), getval(ans))
    return lambda g: unbroadcast(g * slope, shape_of(concentration))


defvjp(_log_gamma, _log_gamma_vjp)
defvjp(_gamma, _gamma_vjp)


def _log_gamma_draw(key, concentration, shape):
    base, spread = _gamma_ingredients(key, concentration, _size(shape))
    return _log_gamma(concentration, base, spread)


def _as_float(value):
    return value if hasattr(value, "dtype") and value.dtype.kind == "f" else np.asarray(value, default_dtype())


def _narrowed(value, like):
    dtype = _dtype_of(like)
    return value if value.dtype == dtype else value.astype(dtype)


def gamma(key, concentration, shape):
    concentration = _as_float(concentration)
    draw = _gamma(concentration, *_gamma_ingredients(key, concentration, _size(shape)))
    return clip(_narrowed(draw, concentration), min=finfo(concentration).tiny)


def beta(key, concentration1, concentration0, shape):
    concentration1, concentration0 = _as_float(concentration1), _as_float(concentration0)
    log_odds = _log_gamma_draw(key, concentration1, shape) - _log_gamma_draw(key, concentration0, shape)
    info = finfo(concentration1)
    return clip(_narrowed(expit(log_odds), concentration1), min=info.tiny, max=1.0 - info.eps / 2.0)


def dirichlet(key, concentration, shape):
    concentration = _as_float(concentration)
    draw = exp(log_softmax(_log_gamma_draw(key, concentration, shape), axis=-1))
    return clip(_narrowed(draw, concentration), min=finfo(concentration).tiny)


def standard_t(key, df, shape):
    df = _as_float(df)
    half = 0.5 * df
    scale = exp(0.5 * (log(half) - _log_gamma_draw(key, half, shape)))
    return _narrowed(normal(key, shape, "float64") * scale, df)
