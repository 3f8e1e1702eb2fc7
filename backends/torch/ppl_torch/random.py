"""Random draws over torch (see the declarations in :mod:`ppl.ops.random`).

A key is a ``torch.Generator`` or ``None`` for the stream here: that of the innermost :func:`scope` of this thread or task, and
outside any scope torch's global generator, which all threads of a process share. So threads that draw inside scopes, or with
keys, never see each other. ``torch.manual_seed`` governs the draws outside any scope.

A scope seeds the global generator too and restores it at its end, for functions and layers that call torch itself. Threads whose
scopes overlap in time share that one. Gammas, for which torch takes no generator, borrow it for a moment under a lock; a thread
without a scope that draws at that moment is the one case in which two threads touch.
"""

import math
import threading
import warnings
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from ppl.errors import RandomKeyError
from ppl_torch.convert import dtype_of, floating, floatings, tensor
from ppl_torch.tracing import is_recording, is_tracing


def _accelerators():
    """Return the CUDA devices whose generators :func:`scope` must save: none while the default device is the CPU."""
    return list(range(torch.cuda.device_count())) if torch.get_default_device().type == "cuda" else []


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


class _Stream:
    """The generators of one scope, one a device, made when a draw on that device asks first.

    :param seed: an int, a ``torch.Generator`` that serves its own device as it is, or what :func:`get_state` gave.
    """

    def __init__(self, seed):
        self.generators = {}
        if isinstance(seed, torch.Generator):
            self.seed = seed.initial_seed()
            self.generators[seed.device] = seed
        elif isinstance(seed, dict):
            _check_state(seed)
            self.restore(seed)
        else:
            self.seed = int(seed)

    def restore(self, state):
        """Take over a state; devices that it lacks start from its seed."""
        self.generators = {place: _generator(place, state[name]) for name, place in _places(state)}
        self.seed = next(iter(self.generators.values())).initial_seed()

    def on(self, device):
        """Return the generator of ``device``."""
        generator = self.generators.get(device)
        if generator is None:
            generator = self.generators[device] = torch.Generator(device=device).manual_seed(self.seed)
        return generator


_scope = ContextVar("ppl_torch_random_scope", default=None)
_lock = threading.Lock()
_live = []


def _generator(device, state):
    generator = torch.Generator(device=device)
    generator.set_state(_state_tensor(state))
    return generator


def _places(state):
    """Return pairs of an entry of ``state`` and the device whose generator it holds."""
    return [(name, torch.device(state["device"] if name == "state" else name)) for name in state if _is_place(name)]


def _is_place(name):
    return name in ("state", "cpu") or name.startswith("cuda:")


def is_scoped():
    """Return whether draws without a key come from a scope of this thread or task."""
    return _scope.get() is not None and not is_recording()


def ambient(device=None):
    """Return the scope's generator for ``device`` (default: torch's default device), ``None`` outside any scope."""
    stream = _scope.get()
    # A recorded graph cannot hold a generator; it draws from the global one, which the scope has seeded.
    if stream is None or is_recording():
        return None
    return stream.on(torch.empty(0).device if device is None else device)


def set_rng_seed(seed):
    stream = _scope.get()
    if stream is not None:
        stream.generators, stream.seed = {}, int(seed)
    with _lock:
        torch.manual_seed(seed)


@contextmanager
def scope(seed):
    stream = _Stream(seed)
    before = _enter_global(seed)
    token = _scope.set(stream)
    try:
        yield
    finally:
        _scope.reset(token)
        _leave_global(before)


def _enter_global(seed):
    """Seed the global generators, and return their states before."""
    with _lock:
        before = [torch.get_rng_state(), *((index, torch.cuda.get_rng_state(index)) for index in _accelerators())]
        _live.append(before)
        if isinstance(seed, dict):
            _set_global(seed)
        else:
            # Each entry with a generator must start elsewhere, so the generator gives the seed.
            generator = isinstance(seed, torch.Generator)
            number = _fresh_seed(seed) if generator else int(seed)
            torch.default_generator.manual_seed(number)
            if len(before) > 1:
                torch.cuda.manual_seed_all(number)
    return before


def _fresh_seed(generator):
    if is_tracing():
        # A draw would be abstract here.
        return int.from_bytes(generator.get_state().numpy().tobytes()) % (2**61 - 1)
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


def _leave_global(before):
    """Restore the global generators. Where scopes of threads overlap, the last to end restores what the first one found."""
    with _lock:
        place = next(index for index, entry in enumerate(_live) if entry is before)
        del _live[place]
        if place < len(_live):
            # Somebody entered later and is still inside: what this scope found is what that one must restore.
            _live[place][:] = before
            return
        torch.set_rng_state(before[0])
        for index, state in before[1:]:
            torch.cuda.set_rng_state(state, index)


def get_state(key=None):
    if key is not None:
        return {"library": "torch", "device": str(key.device), "state": key.get_state().numpy()}
    stream = _scope.get()
    if stream is not None:
        stream.on(torch.empty(0).device)
        found = {str(device): generator.get_state().numpy() for device, generator in stream.generators.items()}
        first = next(iter(found))
        return {"library": "torch", "device": first, "state": found.pop(first), **found}
    state = {"library": "torch", "device": "cpu", "state": torch.get_rng_state().numpy()}
    for index in _accelerators():
        state[f"cuda:{index}"] = torch.cuda.get_rng_state(index).numpy()
    return state


def _state_tensor(state):
    return torch.tensor(state.__array__().copy(), dtype=torch.uint8, device="cpu")


def _check_state(state):
    if not isinstance(state, dict) or state.get("library") != "torch":
        raise RandomKeyError(f"expected a state that random.get_state() gave on backend 'torch', got {type(state).__name__}")


def from_state(state):
    _check_state(state)
    return _generator(str(state["device"]), state["state"])


def set_state(state):
    _check_state(state)
    stream = _scope.get()
    if stream is not None:
        stream.restore(state)
    _set_global(state)


def _set_global(state):
    for name, place in _places(state):
        if place.type == "cuda":
            torch.cuda.set_rng_state(_state_tensor(state[name]), place)
        else:
            torch.set_rng_state(_state_tensor(state[name]))


def _size(shape):
    return (shape,) if isinstance(shape, int) else tuple(shape)


@contextmanager
def _borrowed(generator):
    """Let the global generator draw from ``generator``: torch's public gamma takes none. Threads take turns."""
    if generator is None:
        yield
        return
    cuda = generator.device.type == "cuda"
    with _lock:
        before = torch.cuda.get_rng_state(generator.device) if cuda else torch.get_rng_state()
        try:
            _adopt(generator.get_state(), generator.device)
            yield
            generator.set_state(torch.cuda.get_rng_state(generator.device) if cuda else torch.get_rng_state())
        finally:
            _adopt(before, generator.device)


def _adopt(state, device):
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def _place(key):
    """Return the keyword arguments that make torch draw from ``key``, on the key's device."""
    if key is None:
        key = ambient()
    return {} if key is None else {"generator": key, "device": key.device}


def _like(key, x):
    """Return ``key``, or without one the scope's generator for the device of ``x``."""
    return ambient(x.device) if key is None else key


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
    with _borrowed(_like(key, concentration)), _without_fallback_warning():
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
    if n <= 8 * size or n <= 4096 or is_tracing():
        return torch.randperm(n, **_place(key))[:size]
    draws = torch.randint(n, (size + size // 8 + 8,), **_place(key))
    while True:
        ordered, order = torch.sort(draws, stable=True)
        fresh = torch.cat([torch.ones_like(order[:1], dtype=torch.bool), ordered[1:] != ordered[:-1]])
        distinct = draws[torch.sort(order[fresh]).values]
        if len(distinct) >= size:
            return distinct[:size]
        draws = torch.cat([draws, torch.randint(n, (size,), **_place(key))])
