"""One question that a backend is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy

WIDTH = 46


@dataclass(frozen=True)
class Check:
    """A function of the contract on one input, and what is asked of it.

    :param function: the name in :mod:`ppl.ops` or, for later layers, what is used: ``"Adam"``, ``"Gamma"``, ``"NUTS"``.
    :param question: what is compared, and on which input: ``"value, axis -1"``.
    :param given: the input in words.
    :param run: raises an ``AssertionError``, best a :class:`~ppl.testing.numeric.Mismatch`, if the active backend is wrong.
    :param needs: features under which a backend may declare in ``gaps`` that it lacks this.
    """

    function: str
    question: str
    given: str
    run: Callable[[], None]
    needs: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.function}: {self.question}" if self.question else self.function

    def __call__(self) -> None:
        self.run()


def asked(function: str, question: str = "", given: str = "", needs: Iterable[str] = ()) -> Callable[[Callable[[], None]], Check]:
    """Return a decorator that makes a :class:`Check` of a function without arguments."""

    def decorate(run: Callable[[], None]) -> Check:
        return Check(function, question or run.__name__.strip("_").replace("_", " "), given, run, tuple(needs))

    return decorate


def checks_of(namespace: dict[str, Any]) -> tuple[Check, ...]:
    """Return the checks in a module's namespace, in the order in which they stand there."""
    return tuple(value for value in namespace.values() if isinstance(value, Check))


def short(value: Any) -> str:
    """Return a value in at most 46 characters: small arrays with five digits, others by their first numbers and shape."""
    if isinstance(value, str):
        text = value
    elif hasattr(value, "shape"):
        array = numpy.asarray(value)
        text = numpy.array2string(array.ravel()[:2] if array.size > 6 else array, precision=5, separator=", ").replace("\n", "")
        text = f"{text[:-1]}, ...] of shape {array.shape}" if array.size > 6 else " ".join(text.split())
    elif isinstance(value, (list, tuple)) and any(hasattr(child, "shape") for child in value):
        text = f"[{', '.join(map(short, value))}]"
    else:
        text = repr(value)
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def both_sides(expected: Any, received: Any) -> tuple[str, str]:
    """Return two sides of a comparison in words: of large arrays of one shape, the elements that lie furthest apart."""
    if not (hasattr(expected, "shape") and hasattr(received, "shape") and expected.shape == received.shape and expected.size > 6):
        return short(expected), short(received)
    with numpy.errstate(all="ignore"):
        apart = numpy.abs(expected * 1.0 - received * 1.0)
    # Where one is NaN or infinite and the other is not, the distance is no number.
    apart = numpy.where((expected == received) | (numpy.isnan(expected * 1.0) & numpy.isnan(received * 1.0)), 0.0, apart)
    worst = numpy.unravel_index(int(numpy.argmax(numpy.where(numpy.isnan(apart), numpy.inf, apart))), apart.shape)
    place = f"at {[int(k) for k in worst]} of shape {expected.shape}"
    return f"{expected[worst]:.6g} {place}", f"{received[worst]:.6g} {place}"
