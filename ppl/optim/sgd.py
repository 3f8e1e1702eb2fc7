"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl.errors import InferenceError
from ppl.optim.base import PyroOptim, Rule, merge_arguments


def _check(arguments: Mapping[str, Any]) -> None:
    if not arguments["momentum"] >= 0.0:
        raise InferenceError(f"SGD needs momentum of zero or more, received {arguments['momentum']!r}")
    if arguments["nesterov"] and (arguments["momentum"] == 0.0 or arguments["dampening"] != 0.0):
        raise InferenceError(
            f"Nesterov's momentum needs momentum above 0 and dampening 0, received momentum={arguments['momentum']!r}, "
            f"dampening={arguments['dampening']!r}"
        )


SGD_RULE = Rule(
    "sgd",
    {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False},
    {"step_size": "lr", "mass": "momentum"},
    _check,
)


def SGD(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return stochastic gradient descent with momentum (Sutskever et al. 2013).

    .. math:: b \leftarrow \mu b + (1 - \tau) g, \quad x \leftarrow x - \mathrm{lr} \, b

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1e-3 if absent; ``step_size`` is another name for it.
    :param keywords: ``momentum`` 0, ``dampening`` 0, ``weight_decay`` 0 (an L2 penalty), ``nesterov`` False, ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import SGD
    >>> SGD(0.1, momentum=0.9).arguments("loc")["momentum"]
    0.9
    """
    return PyroOptim(SGD_RULE, merge_arguments(optim_args, lr, keywords))
