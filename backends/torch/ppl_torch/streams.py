"""Where draws come from when the caller passes no key: the generators of a scope, one a device, or torch's global ones."""

import threading
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from ppl.errors import RandomKeyError
from ppl_torch.tracing import is_recording, is_tracing


def accelerators():
    """Return the CUDA devices whose generators :func:`scope` must save: none while the default device is the CPU."""
    return list(range(torch.cuda.device_count())) if torch.get_default_device().type == "cuda" else []


class Stream:
    """The generators of one scope, one a device, made when a draw on that device asks first.

    :param seed: an int, a ``torch.Generator`` that serves its own device as it is, or what :func:`get_state` gave.
    """

    def __init__(self, seed):
        self.generators = {}
        if isinstance(seed, torch.Generator):
            self.seed = seed.initial_seed()
            self.generators[seed.device] = seed
        elif isinstance(seed, dict):
            check_state(seed)
            self.restore(seed)
        else:
            self.seed = int(seed)

    def restore(self, state):
        """Take over a state; devices that it lacks start from its seed."""
        self.generators = {place: generator_at(place, state[name]) for name, place in _places(state)}
        self.seed = next(iter(self.generators.values())).initial_seed()

    def on(self, device):
        """Return the generator of ``device``."""
        generator = self.generators.get(device)
        if generator is None:
            generator = self.generators[device] = torch.Generator(device=device).manual_seed(self.seed)
        return generator


SCOPE = ContextVar("ppl_torch_random_scope", default=None)
LOCK = threading.Lock()
_live = []


def generator_at(device, state):
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
    return SCOPE.get() is not None and not is_recording()


def ambient(device=None):
    """Return the scope's generator for ``device`` (default: torch's default device), ``None`` outside any scope."""
    stream = SCOPE.get()
    # A recorded graph cannot hold a generator; it draws from the global one, which the scope has seeded.
    if stream is None or is_recording():
        return None
    return stream.on(torch.empty(0).device if device is None else device)


def enter_global(seed):
    """Seed the global generators, and return their states before."""
    with LOCK:
        before = [torch.get_rng_state(), *((index, torch.cuda.get_rng_state(index)) for index in accelerators())]
        _live.append(before)
        if isinstance(seed, dict):
            set_global(seed)
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


def leave_global(before):
    """Restore the global generators. Where scopes of threads overlap, the last to end restores what the first one found."""
    with LOCK:
        place = next(index for index, entry in enumerate(_live) if entry is before)
        del _live[place]
        if place < len(_live):
            # Somebody entered later and is still inside: what this scope found is what that one must restore.
            _live[place][:] = before
            return
        torch.set_rng_state(before[0])
        for index, state in before[1:]:
            torch.cuda.set_rng_state(state, index)


def _state_tensor(state):
    return torch.tensor(state.__array__().copy(), dtype=torch.uint8, device="cpu")


def check_state(state):
    if not isinstance(state, dict) or state.get("library") != "torch":
        raise RandomKeyError(f"expected a state that random.get_state() gave on backend 'torch', got {type(state).__name__}")


def set_global(state):
    for name, place in _places(state):
        if place.type == "cuda":
            torch.cuda.set_rng_state(_state_tensor(state[name]), place)
        else:
            torch.set_rng_state(_state_tensor(state[name]))


@contextmanager
def borrowed(generator):
    """Let the global generator draw from ``generator``: torch's public gamma takes none. Threads take turns."""
    if generator is None:
        yield
        return
    cuda = generator.device.type == "cuda"
    with LOCK:
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
