"""Adam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl.errors import InferenceError
from ppl.optim.base import PyroOptim, Rule, merge_arguments


def _check(arguments: Mapping[str, Any]) -> None:
    betas = arguments["betas"]
    if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
        raise InferenceError(f"Adam needs two decay rates in [0, 1), received betas={betas!r}")
    if not arguments["eps"] >= 0.0:
        raise InferenceError(f"Adam needs eps of zero or more, received {arguments['eps']!r}")


ADAM = Rule(
    "adam",
    {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False},
    {"step_size": "lr"},
    _check,
)


def Adam(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return the optimizer Adam (Kingma and Ba 2015).

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        x \leftarrow x - \mathrm{lr} \, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1e-3 if absent; ``step_size`` is another name for it.
    :param keywords: ``betas`` (0.9, 0.999), ``eps`` 1e-8, ``weight_decay`` 0 (an L2 penalty), ``amsgrad`` False,
        ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import Adam
    >>> optimizer = Adam({"lr": 0.01, "betas": (0.95, 0.999)})
    >>> optimizer.arguments("loc")["lr"]
    0.01
    """
    return PyroOptim(ADAM, merge_arguments(optim_args, lr, keywords))
