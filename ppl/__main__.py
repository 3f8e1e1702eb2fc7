"""``python -m ppl check module:model`` and ``python -m ppl debug module:model``."""

from __future__ import annotations

import argparse
import json
import pkgutil
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from ppl.errors import DiagnosisError, PplError
from ppl.testing.diagnosis.agreement import check
from ppl.testing.diagnosis.arguments import subject_of
from ppl.testing.diagnosis.rerun import examine
from ppl.testing.diagnosis.runs import from_lists

RIGHT, WRONG, MISUSED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 if the model is right, 1 if not, 2 if it could not be judged.

    :param arguments: the words after ``python -m ppl``, by default those of the process.
    """
    options = _parser().parse_args(arguments)
    try:
        model = _resolve(options.model, "a model")
        args, kwargs = _arguments(options.args)
        if options.command == "debug":
            report: Any = examine(subject_of(model, args, kwargs))
        else:
            backends = options.backends.split(",") if options.backends else None
            report = check(model, args, kwargs, backends=backends)
    except PplError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return MISUSED
    print(report)
    return RIGHT if report.ok else WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ppl", description="Find what is wrong with a model, and at which site.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("check", "run a model on every installed backend and compare it site by site"),
        ("debug", "run a model eagerly on numpy and name the first site that is wrong"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("model", help="module:name of the model")
        command.add_argument(
            "--args", help="module:name of a function that returns its arguments, or JSON: a list of them, or a dict by name"
        )
        if name == "check":
            command.add_argument("--backends", help="names of backends, separated by commas; by default all")
    return parser


def _resolve(address: str, what: str) -> Any:
    """Return the object at ``module:name``.

    :raises DiagnosisError: if there is no such module or name.
    """
    module_name, colon, path = address.partition(":")
    if not colon or not module_name or not path:
        raise DiagnosisError(f"{what} is given as module:name, got {address!r}; try examples.schools:model")
    try:
        value = module = pkgutil.resolve_name(module_name)
    except ValueError:
        raise DiagnosisError(f"{what} is given as module:name, got {address!r}; try examples.schools:model") from None
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise DiagnosisError(f"module {module_name!r} needs {error.name!r}, which is not installed") from error
        raise DiagnosisError(
            f"there is no module {module_name!r}: {error}; expected one that Python finds from here; try to change to its "
            "folder, or to set PYTHONPATH"
        ) from None
    except Exception as error:
        raise DiagnosisError(f"module {module_name!r} cannot be imported: {type(error).__name__}: {error}") from error
    for part in path.split("."):
        if not hasattr(value, part):
            known = [name for name in dir(module) if callable(getattr(module, name)) and not name.startswith("_")]
            close = get_close_matches(part, known, n=1)
            guess = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known) or 'no functions'}"
            raise DiagnosisError(f"module {module_name!r} has no {part!r}; {guess}")
        value = getattr(value, part)
    return value


def _arguments(text: str | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if text is None:
        return (), {}
    if text.lstrip()[:1] not in ("[", "{"):
        make = _resolve(text, "a function that makes arguments")
        if not callable(make):
            raise DiagnosisError(f"--args {text!r} is a {type(make).__name__}; expected a function that returns the arguments")
        return (make,), {}
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise DiagnosisError(f"--args is no JSON: {error}; expected a list such as '[[1.0, 2.0], 3]', or a dict") from None
    if isinstance(given, dict):
        return (), {name: from_lists(value) for name, value in given.items()}
    return tuple(from_lists(value) for value in given), {}


if __name__ == "__main__":
    sys.exit(main())
