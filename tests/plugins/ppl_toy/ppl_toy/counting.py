"""Modules whose functions count how often they are called."""

import functools
from collections import Counter
from types import FunctionType, ModuleType

calls = Counter()


def counted_module(part, module):
    """Return a module with the public functions of ``module``, each counted in :data:`calls` as ``"part.name"``."""
    counting = ModuleType(f"ppl_toy.{part}", module.__doc__)
    for name, value in vars(module).items():
        if isinstance(value, FunctionType) and not name.startswith("_"):
            setattr(counting, name, _counted(f"{part}.{name}", value))
    return counting


def _counted(label, function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        calls[label] += 1
        return function(*args, **kwargs)

    return call
