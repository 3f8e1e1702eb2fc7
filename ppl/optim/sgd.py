"""Gradient descent: plain, averaged, and by signs alone."""

from __future__ import annotations

from typing import Any

from ppl.optim.base import PyroOptim, Rule, merge_arguments
from ppl.optim.ranges import both, not_negative, sgd_arguments, step_factors

SGD_RULE = Rule(
    "sgd",
    {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False},
    {"step_size": "lr", "mass": "momentum"},
    both(not_negative("momentum", "weight_decay"), sgd_arguments),
)


def SGD(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return stochastic gradient descent with momentum (Sutskever et al. 2013).

    .. math::
        b \leftarrow \mu b + (1 - \tau) g, \quad x \leftarrow x - \mathrm{lr} \, b

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1e-3 if absent; ``step_size`` is another name for it.
    :param keywords: ``momentum`` 0 (:math:`\mu`), ``dampening`` 0 (:math:`\tau`), ``weight_decay`` 0 (an L2 penalty),
        ``nesterov`` False, ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import SGD
    >>> SGD(0.1, momentum=0.9).arguments("loc")["momentum"]
    0.9
    """
    return PyroOptim(SGD_RULE, merge_arguments(optim_args, lr, keywords))


ASGD_RULE = Rule(
    "asgd",
    {"lr": 1e-2, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6, "weight_decay": 0.0, "maximize": False},
    {"step_size": "lr"},
    not_negative("lambd", "weight_decay"),
)


def ASGD(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return averaged stochastic gradient descent (Polyak and Juditsky 1992).

    .. math::
        x \leftarrow (1 - \lambda \eta_t) x - \eta_t g, \quad
        \eta_{t + 1} = \frac{\mathrm{lr}}{(1 + \lambda \, \mathrm{lr} \, t)^\alpha}

    The average of the iterates from step ``t0`` on is kept in the state as ``ax``; the parameters are not averaged.

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1e-2 if absent; ``step_size`` is another name for it.
    :param keywords: ``lambd`` 1e-4 (:math:`\lambda`), ``alpha`` 0.75, ``t0`` 1e6, ``weight_decay`` 0 (an L2 penalty),
        ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import ASGD
    >>> ASGD(0.1).arguments("loc")["alpha"]
    0.75
    """
    return PyroOptim(ASGD_RULE, merge_arguments(optim_args, lr, keywords))


RPROP = Rule(
    "rprop",
    {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0), "maximize": False},
    {"step_size": "lr"},
    step_factors,
)


def Rprop(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return resilient backpropagation, which looks at the signs of full-batch gradients (Riedmiller and Braun 1993).

    .. math::
        x \leftarrow x - \operatorname{sign}(g) \, \delta, \quad \delta \leftarrow \delta \, \eta_\pm

    The learning rate is the first step size of each element. An element rests for a step when its sign changes.

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1e-2 if absent; ``step_size`` is another name for it.
    :param keywords: ``etas`` (0.5, 1.2), the factors of a step size after a changed and after a kept sign;
        ``step_sizes`` (1e-6, 50), its bounds; ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import Rprop
    >>> Rprop(0.1).arguments("loc")["etas"]
    (0.5, 1.2)
    """
    return PyroOptim(RPROP, merge_arguments(optim_args, lr, keywords))
