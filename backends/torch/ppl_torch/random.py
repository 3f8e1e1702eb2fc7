"""Random draws over torch (see the declarations in :mod:`ppl.ops.random`).

A key is a ``torch.Generator`` or ``None`` for the stream here: that of the innermost :func:`scope` of this thread or task, and
outside any scope torch's global generator, which all threads of a process share. So threads that draw inside scopes, or with
keys, never see each other. ``torch.manual_seed`` governs the draws outside any scope.

A scope seeds the global generator too and restores it at its end, for functions and layers that call torch itself. Threads whose
scopes overlap in time share that one. Gammas, for which torch takes no generator, borrow it for a moment under a lock; a thread
without a scope that draws at that moment is the one case in which two threads touch.
"""

import math
import warnings
from contextlib import contextmanager

import numpy
import torch

from ppl.errors import RandomKeyError
from ppl_torch import streams
from ppl_torch.convert import dtype_of, floating, floatings, tensor
from ppl_torch.tracing import is_tracing

FEW = 512
"""How many indices at most are drawn in a Python loop."""


def key(seed):
    if isinstance(seed, torch.Generator):
        return seed
    if not isinstance(seed, int):
        raise RandomKeyError(f"a key is made from an int or is a torch.Generator, got {type(seed).__name__}; try random.key(0)")
    return torch.Generator(device=torch.get_default_device()).manual_seed(seed)


def is_key(value):
    return isinstance(value, torch.Generator)


def split(key, num=2):
    return [key] * num


def fold_in(key, data):
    return key


def next_key(site=None):
    return None


def set_rng_seed(seed):
    stream = streams.SCOPE.get()
    if stream is not None:
        stream.generators, stream.seed = {}, int(seed)
    with streams.LOCK:
        torch.manual_seed(seed)


@contextmanager
def scope(seed):
    stream = streams.Stream(seed)
    before = streams.enter_global(seed)
    token = streams.SCOPE.set(stream)
    try:
        yield
    finally:
        streams.SCOPE.reset(token)
        streams.leave_global(before)


def get_state(key=None):
    if key is not None:
        return {"library": "torch", "device": str(key.device), "state": key.get_state().numpy()}
    stream = streams.SCOPE.get()
    if stream is not None:
        stream.on(torch.empty(0).device)
        found = {str(device): generator.get_state().numpy() for device, generator in stream.generators.items()}
        first = next(iter(found))
        return {"library": "torch", "device": first, "state": found.pop(first), **found}
    state = {"library": "torch", "device": "cpu", "state": torch.get_rng_state().numpy()}
    for index in streams.accelerators():
        state[f"cuda:{index}"] = torch.cuda.get_rng_state(index).numpy()
    return state


def from_state(state):
    streams.check_state(state)
    return streams.generator_at(str(state["device"]), state["state"])


def set_state(state):
    streams.check_state(state)
    stream = streams.SCOPE.get()
    if stream is not None:
        stream.restore(state)
    streams.set_global(state)


def _size(shape):
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _place(key):
    """Return the keyword arguments that make torch draw from ``key``, on the key's device."""
    if key is None:
        key = streams.ambient()
    return {} if key is None else {"generator": key, "device": key.device}


def _like(key, x):
    """Return ``key``, or without one the scope's generator for the device of ``x``."""
    return streams.ambient(x.device) if key is None else key


def _uniform_like(key, x, shape):
    """Draw uniforms with the dtype and on the device of ``x``."""
    key = _like(key, x)
    place = {"device": x.device} if key is None else _place(key)
    return torch.rand(_size(shape), dtype=x.dtype, **place).to(x.device)


def normal(key, shape, dtype=None):
    return torch.randn(_size(shape), dtype=dtype_of(dtype), **_place(key))


def uniform(key, shape, dtype=None):
    return torch.rand(_size(shape), dtype=dtype_of(dtype), **_place(key))


def open_uniform(key, shape, dtype=None):
    draws = torch.rand(_size(shape), dtype=dtype_of(dtype), **_place(key))
    # torch draws multiples of eps / 2; zero moves to the middle of its cell.
    return torch.clamp(draws, min=torch.finfo(draws.dtype).eps / 4)


def exponential(key, shape, dtype=None):
    return -torch.log(open_uniform(key, shape, dtype))


def randint(key, shape, low, high):
    return torch.randint(low, high, _size(shape), **_place(key))


def bernoulli(key, probs, shape):
    probs = floating(probs)
    return (_uniform_like(key, probs, shape) < probs).to(probs.dtype)


@contextmanager
def _without_fallback_warning():
    """Silence torch inside a vmap, where its gamma sampler clamps in place and torch warns that this is slow."""
    if not is_tracing():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented")
        yield


def gamma(key, concentration, shape):
    concentration = floating(concentration).expand(_size(shape))
    with streams.borrowed(_like(key, concentration)), _without_fallback_warning():
        return torch.distributions.Gamma(concentration, torch.ones_like(concentration), validate_args=False).rsample()


def _log_gamma(key, concentration):
    """Draw logarithms of gammas, by ``Gamma(a) = Gamma(a + 1) U^(1 / a)``, which does not underflow for small ``a``."""
    shape = tuple(concentration.shape)
    uniforms = torch.clamp(_uniform_like(key, concentration, shape), min=torch.finfo(concentration.dtype).eps / 4)
    return torch.log(gamma(key, concentration + 1, shape)) + torch.log(uniforms) / concentration


def beta(key, concentration1, concentration0, shape):
    # torch.distributions.Beta and Dirichlet draw through a function that torch.func cannot enter, so gammas are used.
    concentration1, concentration0 = floatings(concentration1, concentration0)
    shape = _size(shape)
    return torch.sigmoid(_log_gamma(key, concentration1.expand(shape)) - _log_gamma(key, concentration0.expand(shape)))


def dirichlet(key, concentration, shape):
    return torch.softmax(_log_gamma(key, floating(concentration).expand(_size(shape))), dim=-1)


def standard_t(key, df, shape):
    df = floating(df).expand(_size(shape))
    key = _like(key, df)
    normals = torch.randn(df.shape, dtype=df.dtype, **({"device": df.device} if key is None else _place(key)))
    return normals * torch.rsqrt(gamma(key, 0.5 * df, df.shape) / (0.5 * df))


def poisson(key, rate, shape):
    rate = floating(rate).expand(_size(shape)).detach()
    return torch.poisson(rate, generator=_like(key, rate))


def binomial(key, total_count, probs, shape):
    probs = floating(probs)
    total_count = tensor(total_count).to(dtype=probs.dtype, device=probs.device)
    # Under vmap torch.binomial needs both operands batched, so each takes over the other's batch.
    total_count, probs = total_count + torch.zeros_like(probs), probs.detach() + torch.zeros_like(total_count)
    shape, generator = _size(shape), _like(key, probs)
    return torch.binomial(total_count.expand(shape).contiguous(), probs.expand(shape).contiguous(), generator=generator)


def categorical(key, logits, shape):
    logits, shape = floating(logits).detach(), _size(shape)
    if math.prod(shape) == 0:
        return torch.zeros(shape, dtype=torch.int64, device=logits.device)
    # Leading axes that the logits lack are repeated draws from the same rows, which multinomial makes cheaply.
    batch = shape[len(shape) - (logits.ndim - 1) :] if logits.ndim > 1 else ()
    repeats = shape[: len(shape) - len(batch)]
    rows = torch.softmax(logits, dim=-1).expand((*batch, logits.shape[-1])).reshape(-1, logits.shape[-1])
    draws = torch.multinomial(rows, math.prod(repeats), replacement=True, generator=_like(key, rows))
    return draws.mT.reshape(shape)


def permutation(key, n):
    return torch.randperm(n, **_place(key))


def choice(key, n, size):
    if size > n:
        raise RandomKeyError(f"choice: cannot draw {size} distinct indices of {n}; expected size <= n")
    traced = is_tracing()
    if n <= 8 * size or (n <= 4096 and not traced):
        return torch.randperm(n, **_place(key))[:size]
    # The first swaps of a Fisher-Yates shuffle, made without the array that they shuffle: swap i exchanges places i and
    # draws[i] >= i, so that what stands at a place follows from the latest swap before that named it.
    uniforms = torch.rand(size, dtype=torch.float64, **_place(key))
    if not traced and size <= FEW:
        return torch.from_numpy(_swapped(uniforms.cpu().numpy(), n)).to(uniforms.device)
    slots = torch.arange(size, device=uniforms.device)
    draws = slots + (uniforms * (n - slots)).to(torch.int64)
    pairs = torch.sort(draws * size + slots).values
    origin = _latest(pairs, size, slots, slots, slots)
    for _ in range((size - 1).bit_length()):
        further = origin[origin]
        if not traced and torch.equal(further, origin):
            break
        origin = further
    latest = _latest(pairs, size, draws, slots, torch.full_like(slots, -1))
    return torch.where(latest < 0, draws, origin[latest])


def _swapped(uniforms, n):
    """Return what the swaps bring to each place, one after another, which costs least for few of them."""
    slots = numpy.arange(len(uniforms))
    found = slots + (uniforms * (n - slots)).astype(numpy.int64)
    # What a swap leaves behind is met again only in a place that is drawn twice, or that has a swap of its own.
    ordered = numpy.sort(found)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    met_again = (found < len(found)) | (found[:, None] == twice).any(axis=1)
    moved = {}
    for place in met_again.nonzero()[0].tolist():
        drawn = int(found[place])
        found[place] = moved.get(drawn, drawn)
        moved[drawn] = moved.get(place, place)
    return found


def _latest(pairs, size, places, swaps, default):
    """Return for each of ``places`` the latest swap before that of ``swaps`` which named it, ``default`` where none did.

    :param pairs: sorted numbers ``place * size + swap``.
    """
    before = torch.searchsorted(pairs, places * size + swaps) - 1
    found = pairs[torch.clamp(before, min=0)]
    return torch.where((before >= 0) & (found // size == places), found % size, default)
