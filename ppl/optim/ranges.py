"""Which values the arguments of optimizers may take. Each function returns a check that raises InferenceError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl.errors import InferenceError

Check = Callable[[Mapping[str, Any]], None]


def both(*checks: Check) -> Check:
    """Return the check that makes all of ``checks``."""

    def check(arguments: Mapping[str, Any]) -> None:
        for one in checks:
            one(arguments)

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def not_negative(*names: str) -> Check:
    """Return the check that the arguments called ``names`` are numbers of zero or more."""

    def check(arguments: Mapping[str, Any]) -> None:
        for name in names:
            if not _is_number(arguments[name]) or not arguments[name] >= 0:
                raise InferenceError(f"the optimizer needs {name} of zero or more, received {name}={arguments[name]!r}")

    return check


def positive(*names: str) -> Check:
    """Return the check that the arguments called ``names`` are numbers above zero."""

    def check(arguments: Mapping[str, Any]) -> None:
        for name in names:
            if not _is_number(arguments[name]) or not arguments[name] > 0:
                raise InferenceError(f"the optimizer needs {name} above zero, received {name}={arguments[name]!r}")

    return check


def decay_rates(name: str) -> Check:
    """Return the check that an argument is a decay rate, or a pair of them if it is called ``betas``."""

    def check(arguments: Mapping[str, Any]) -> None:
        given = arguments[name]
        pair = isinstance(given, (tuple, list)) and len(given) == 2
        rates = given if name == "betas" and pair else (given,)
        if (name == "betas") != pair or not all(_is_number(rate) and 0.0 <= rate <= 1.0 for rate in rates):
            wanted = "two decay rates in [0, 1)" if name == "betas" else "a decay rate in [0, 1]"
            raise InferenceError(f"the optimizer needs {wanted}, received {name}={given!r}")
        if name == "betas" and max(rates) == 1.0:
            raise InferenceError(f"the optimizer needs two decay rates in [0, 1), received {name}={given!r}")

    return check


def sgd_arguments(arguments: Mapping[str, Any]) -> None:
    """Check that Nesterov's momentum has the arguments that it needs."""
    if arguments["nesterov"] and (arguments["momentum"] == 0.0 or arguments["dampening"] != 0.0):
        raise InferenceError(
            f"Nesterov's momentum needs momentum above 0 and dampening 0, received momentum={arguments['momentum']!r}, "
            f"dampening={arguments['dampening']!r}"
        )


def step_factors(arguments: Mapping[str, Any]) -> None:
    """Check the factors and bounds of Rprop's step sizes."""
    etas, bounds = arguments["etas"], arguments["step_sizes"]
    if len(etas) != 2 or not 0.0 < etas[0] < 1.0 < etas[1]:
        raise InferenceError(f"Rprop needs etas with 0 < first < 1 < second, received etas={etas!r}")
    if len(bounds) != 2 or not 0.0 < bounds[0] <= bounds[1]:
        raise InferenceError(f"Rprop needs step_sizes with 0 < first <= second, received step_sizes={bounds!r}")
