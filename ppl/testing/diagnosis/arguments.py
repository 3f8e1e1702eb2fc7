"""The model and the arguments that a user hands in."""

from __future__ import annotations

import inspect
from typing import Any

from ppl import tree
from ppl.errors import DiagnosisError
from ppl.testing.diagnosis.runs import Subject, is_array


def subject_of(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Subject:
    """Return the model with its arguments.

    :raises DiagnosisError: if they cannot be used.
    """
    if not callable(model):
        raise DiagnosisError(
            f"a model is a function with sites, got {type(model).__name__}; expected a callable; try check_model(model, *args) "
            "without calling the model"
        )
    make = args[0] if len(args) == 1 and not kwargs and _makes_arguments(args[0]) else None
    for argument in tree.leaves((args, kwargs)):
        _refuse(argument)
    if make is None:
        _bind(model, args, kwargs)
    return Subject(model, args, kwargs, make)


def _makes_arguments(argument: Any) -> bool:
    if not inspect.isroutine(argument):
        return False
    try:
        return not inspect.signature(argument).parameters
    except (TypeError, ValueError):
        return False


def _refuse(argument: Any) -> None:
    if hasattr(argument, "__next__"):
        raise DiagnosisError(
            f"an argument is a {type(argument).__name__}, which one run would use up; expected arrays and numbers; try list(...)"
        )
    if hasattr(argument, "to_numpy") and hasattr(argument, "iloc"):
        raise DiagnosisError(
            f"an argument is a {type(argument).__name__}, which no backend takes as an array; expected arrays; try .to_numpy()"
        )
    if is_array(argument) and getattr(argument.dtype, "kind", "f") in "OUSMm":
        raise DiagnosisError(
            f"an argument is an array of dtype {argument.dtype}, which no backend holds; expected numbers; try .astype(float)"
        )


def _bind(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(model)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise DiagnosisError(
            f"the model cannot be called with these arguments: {error}; expected those of its signature {signature}; try "
            "check_model(model, *args) with the arguments that the model itself takes"
        ) from None
