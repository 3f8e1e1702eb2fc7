"""The random numbers of one run, played again in another: the same model then gives the same draws on every backend."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

import numpy

from ppl import ops, registry
from ppl.backend import Backend
from ppl.errors import RecordingError

DRAWS = ("normal", "uniform", "open_uniform", "exponential", "randint", "bernoulli", "gamma", "beta", "dirichlet", "standard_t",
         "poisson", "binomial", "categorical", "permutation", "choice")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Draw:
    """One call of a function of :mod:`ppl.ops.random`, and what it gave.

    :param function: its name, such as ``"gamma"``.
    :param shapes: argument to shape, for the arguments that are arrays or numbers: ``{"concentration": (3,)}``.
    :param values: argument to value, for those that say which numbers may come: ``{"shape": (2, 3), "low": 0, "high": 10}``.
    :param dtype: the dtype of the result.
    :param value: the result, a read-only numpy array.
    """

    function: str
    shapes: dict[str, tuple[int, ...]]
    values: dict[str, Any]
    dtype: str
    value: Any

    def __str__(self) -> str:
        return _words(self.function, self.shapes, self.values)


class RecordedRandom(Backend):
    """A backend whose random numbers are kept, or are those that another one kept.

    :param inner: the backend that computes, by name or value.
    :param draws: the ``draws`` of another :class:`RecordedRandom`, to play in their order; ``None`` records new ones.

    Families run in their shared form and nothing is compiled, so that every backend draws in the same order. Drawing needs
    concrete values: under ``vmap`` or a compiler of the library's own it is refused. Draws that are played are constants:
    gradients flow through ``loc + scale * draw``, but not through a gamma draw to its concentration. Models, guides and
    estimators such as ``Trace_ELBO`` draw alike everywhere; drivers of long runs (``SVI``, ``MCMC``) have streams of their own.

    >>> import ppl
    >>> from ppl import distributions as dist
    >>> from ppl.testing import RecordedRandom
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(0.0, 1.0)) + ppl.sample("y", dist.Gamma(2.0, 1.0))
    >>> recorded = RecordedRandom("numpy")
    >>> with ppl.pyro_backend(recorded):
    ...     first = float(model())
    >>> [draw.function for draw in recorded.draws]
    ['normal', 'gamma']
    >>> with ppl.pyro_backend(recorded.on(ppl.registry.active())):
    ...     again = float(model())
    >>> abs(first - again) < 1e-6
    True
    """

    draws: list[Draw]

    def __init__(self, inner: str | Backend = "numpy", draws: Sequence[Draw] | None = None) -> None:
        self._inner = registry.load(inner)
        self._playing = draws is not None
        self._place = 0
        self.draws = list(draws or ())
        kept = {field.name: getattr(self._inner, field.name) for field in fields(Backend)}
        shared = ModuleType("recorded_distributions", "No native families.")
        for name in ("convert_constraint", "convert_transform"):
            if hasattr(self._inner.distributions, name):
                setattr(shared, name, getattr(self._inner.distributions, name))
        replaced = {"random": self._random(), "compile": _eager(), "distributions": shared}
        super().__init__(**{**kept, "name": "recorded", **replaced})

    def on(self, inner: str | Backend) -> RecordedRandom:
        """Return a backend over ``inner`` that plays the draws recorded so far, from the first one."""
        return RecordedRandom(inner, self.draws)

    @property
    def remaining(self) -> int:
        """How many draws are left to play; 0 while recording, and after a run that drew all that was recorded."""
        return len(self.draws) - self._place if self._playing else 0

    def _random(self) -> ModuleType:
        inner = self._inner.random
        module = ModuleType("recorded_random", "Functions that draw, recorded or played; the others as they are.")
        for name, value in vars(inner).items():
            if not name.startswith("_"):
                setattr(module, name, self._drawing(name, value) if name in DRAWS else value)
        return module

    def _drawing(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        form = inspect.signature(getattr(ops.random, name))

        @functools.wraps(function)
        def draw(*args: Any, **kwargs: Any) -> Any:
            call = form.bind(*args, **kwargs)
            call.apply_defaults()
            # A compiler would record the numbers of its first run as constants.
            if self._inner.autodiff.is_tracing():
                raise RecordingError(
                    f"{name} draws inside of compiled code or vmap, where there are no numbers to record; expected a run of "
                    "concrete values; try to record it without them"
                )
            arguments = {key: value for key, value in call.arguments.items() if key not in ("key", "dtype")}
            return (
                self._play(name, arguments, call) if self._playing else self._record(name, arguments, function(*args, **kwargs))
            )

        return draw

    def _record(self, name: str, arguments: dict[str, Any], result: Any) -> Any:
        value = numpy.array(self._inner.ops.to_numpy(result))
        value.flags.writeable = False
        shapes, values = _described(arguments)
        self.draws.append(Draw(name, shapes, values, self._inner.ops.dtype_name(result), value))
        return result

    def _play(self, name: str, arguments: dict[str, Any], call: inspect.BoundArguments) -> Any:
        shapes, values = _described(arguments)
        wanted = _words(name, shapes, values)
        if self._place >= len(self.draws):
            raise RecordingError(
                f"draw {self._place + 1} is {wanted}, but the recording ends after {len(self.draws)}; expected a model that "
                "draws as the recorded one did; try to record it anew"
            )
        draw = self.draws[self._place]
        if (draw.function, draw.shapes, draw.values) != (name, shapes, values):
            raise RecordingError(
                f"draw {self._place + 1} is {wanted}, in the recording it is {draw}; expected the same family, shapes and order; "
                "try to record it anew"
            )
        self._place += 1
        return self._inner.ops.array(draw.value, dtype=self._dtype(draw, arguments, call))

    def _dtype(self, draw: Draw, arguments: dict[str, Any], call: inspect.BoundArguments) -> str | None:
        """Return the dtype that this run asks for, which may be another than the recorded one's."""
        if not draw.dtype.startswith("float"):
            return None
        if "dtype" in call.arguments:
            return call.arguments["dtype"] or self._inner.ops.default_dtype()
        return self._inner.ops.result_dtype(*(arguments[name] for name in draw.shapes if name != "total_count"))


def _described(arguments: dict[str, Any]) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """Return the shapes of the parameters among ``arguments``, and the values of those that are sizes and ends."""
    shapes: dict[str, tuple[int, ...]] = {}
    values: dict[str, Any] = {}
    for name, value in arguments.items():
        if name == "shape":
            values[name] = (int(value),) if isinstance(value, int) else tuple(int(size) for size in value)
        elif name in ("n", "size", "low", "high"):
            values[name] = int(value)
        else:
            shapes[name] = tuple(ops.shape(value))
    return shapes, values


def _words(function: str, shapes: dict[str, tuple[int, ...]], values: dict[str, Any]) -> str:
    parts = [f"{name} of shape {shape}" for name, shape in shapes.items()] + [f"{name}={value}" for name, value in values.items()]
    return f"{function}({', '.join(parts)})"


def _eager() -> ModuleType:
    """Return the part ``compile`` with functions that run as they are."""
    module = ModuleType("recorded_compile", "Nothing is compiled.")

    def compile(fn: Any, *example: Any, horizon: Any = None, beside: Any = None) -> Any:
        return fn

    def differentiable(fn: Any) -> Any:
        return fn

    vars(module).update(compile=compile, differentiable=differentiable)
    return module
