"""A backend that offers the contract and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy

from ppl import ops, registry
from ppl.backend import CONTRACT, Backend
from ppl.ops import autodiff, compile, control, linalg, random

ARRAY_PARTS = ("ops", "special", "linalg", "random", "autodiff", "compile", "control")


def _declarations() -> dict[str, Any]:
    found = dict(ops.ARRAY_FUNCTIONS)
    for module in (autodiff, compile, control, random, linalg):
        found.update(vars(module))
    return found


def declared_functions(part: str) -> tuple[str, ...]:
    """Return the names that :mod:`ppl.ops` declares for a part of a backend, sorted."""
    return tuple(sorted(CONTRACT[part]))


def declaration(part: str, name: str) -> Callable[..., Any]:
    """Return the function of :mod:`ppl.ops` that declares ``name`` for a part of a backend."""
    if name not in CONTRACT[part]:
        raise KeyError(f"part {part!r} has no function {name!r}; expected one of {', '.join(declared_functions(part))}")
    return _declarations()[name]


def _read_only(value: Any) -> Any:
    """Return ``value`` with its arrays as read-only views and its functions wrapped alike."""
    if type(value) is numpy.ndarray:
        view = value.view()
        view.flags.writeable = False
        return view
    if isinstance(value, dict):
        return {key: _read_only(child) for key, child in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_read_only(child) for child in value)
    if callable(value) and hasattr(value, "__code__"):
        return _guarded(value)
    return value


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _read_only(function(*args, **kwargs))

    return call


def _strict_module(part: str, module: ModuleType) -> ModuleType:
    strict = ModuleType(f"strict_{part}", f"The declared functions of {module.__name__}, results read-only.")
    for name in declared_functions(part):
        if hasattr(module, name):
            setattr(strict, name, _guarded(getattr(module, name)))
    return strict


class StrictBackend(Backend):
    """numpy behind exactly the functions that :mod:`ppl.ops` declares, with read-only results.

    Shared mathematics that runs here uses no array function outside the contract and changes no array in place. Functions
    of :mod:`ppl.ops.derived` run in their shared form, because the strict ``ops`` holds no override.

    :param inner: the backend that computes; its arrays must be ``numpy.ndarray``.
    """

    def __init__(self, inner: str | Backend = "numpy") -> None:
        inner = registry.load(inner)
        strict: dict[str, Any] = {part: _strict_module(part, getattr(inner, part)) for part in ARRAY_PARTS}
        native: dict[str, Any] = {part: getattr(inner, part) for part in ("distributions", "optim", "infer", "nn")}
        super().__init__(name="strict", library=inner.library, gaps=inner.gaps, **strict, **native)
