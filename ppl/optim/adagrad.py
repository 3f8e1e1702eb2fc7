"""Optimizers that divide by the size of past gradients."""

from __future__ import annotations

from typing import Any

from ppl.optim.base import PyroOptim, Rule, merge_arguments
from ppl.optim.ranges import both, decay_rates, not_negative

ADAGRAD = Rule(
    "adagrad",
    {"lr": 1e-2, "lr_decay": 0.0, "weight_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10, "maximize": False},
    {"step_size": "lr"},
    not_negative("lr_decay", "weight_decay", "initial_accumulator_value", "eps"),
)


def Adagrad(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return Adagrad (Duchi, Hazan and Singer 2011).

    .. math::
        s \leftarrow s + g^2, \quad x \leftarrow x - \frac{\mathrm{lr}}{1 + (t - 1) d} \, \frac{g}{\sqrt s + \epsilon}

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1e-2 if absent; ``step_size`` is another name for it.
    :param keywords: ``lr_decay`` 0 (:math:`d`), ``weight_decay`` 0 (an L2 penalty), ``initial_accumulator_value`` 0,
        ``eps`` 1e-10, ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import Adagrad
    >>> Adagrad(lr=0.1).arguments("loc")["lr"]
    0.1
    """
    return PyroOptim(ADAGRAD, merge_arguments(optim_args, lr, keywords))


ADAGRAD_RMSPROP = Rule(
    "adagrad_rmsprop",
    {"eta": 1.0, "delta": 1e-16, "t": 0.1, "maximize": False},
    {"step_size": "eta"},
    both(not_negative("eta"), decay_rates("t")),
)


def AdagradRMSProp(optim_args: Any = None, **keywords: Any) -> PyroOptim:
    r"""Return the blend of Adagrad and RMSprop by Kucukelbir et al. 2017, equation 10.

    .. math::
        s \leftarrow \tau g^2 + (1 - \tau) s, \quad x \leftarrow x - \eta \, k^{\delta - 1/2} \, \frac{g}{1 + \sqrt s}

    Here :math:`k` counts the steps from 1, and the first :math:`s` is :math:`g^2`.

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        scale ``eta`` alone.
    :param keywords: ``eta`` 1 (:math:`\eta`), ``delta`` 1e-16 (:math:`\delta`), ``t`` 0.1 (:math:`\tau`),
        ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import AdagradRMSProp
    >>> AdagradRMSProp({"eta": 0.5}).arguments("loc")["eta"]
    0.5
    """
    return PyroOptim(ADAGRAD_RMSPROP, merge_arguments(optim_args, None, keywords, "eta"))


ADADELTA = Rule(
    "adadelta",
    {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "maximize": False},
    {"step_size": "lr"},
    both(decay_rates("rho"), not_negative("eps", "weight_decay")),
)


def Adadelta(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return Adadelta (Zeiler 2012).

    .. math::
        s \leftarrow \rho s + (1 - \rho) g^2, \quad \Delta = \sqrt{\frac{a + \epsilon}{s + \epsilon}} \, g, \quad
        a \leftarrow \rho a + (1 - \rho) \Delta^2, \quad x \leftarrow x - \mathrm{lr} \, \Delta

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1 if absent; ``step_size`` is another name for it.
    :param keywords: ``rho`` 0.9, ``eps`` 1e-6, ``weight_decay`` 0 (an L2 penalty), ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import Adadelta
    >>> Adadelta({"rho": 0.95}).arguments("loc")["lr"]
    1.0
    """
    return PyroOptim(ADADELTA, merge_arguments(optim_args, lr, keywords))


RMSPROP = Rule(
    "rmsprop",
    {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "centered": False, "maximize": False},
    {"step_size": "lr"},
    both(decay_rates("alpha"), not_negative("eps", "weight_decay", "momentum")),
)


def RMSprop(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return RMSprop (Tieleman and Hinton 2012; the centred form is that of Graves 2013).

    .. math::
        s \leftarrow \alpha s + (1 - \alpha) g^2, \quad
        b \leftarrow \mu b + \frac{g}{\sqrt s + \epsilon}, \quad x \leftarrow x - \mathrm{lr} \, b

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1e-2 if absent; ``step_size`` is another name for it.
    :param keywords: ``alpha`` 0.99, ``eps`` 1e-8, ``weight_decay`` 0 (an L2 penalty), ``momentum`` 0 (:math:`\mu`),
        ``centered`` False (whether the square of the gradient's average is taken off :math:`s`), ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import RMSprop
    >>> RMSprop(0.1, momentum=0.9).arguments("loc")["momentum"]
    0.9
    """
    return PyroOptim(RMSPROP, merge_arguments(optim_args, lr, keywords))
