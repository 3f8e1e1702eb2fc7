"""Adam and its relatives."""

from __future__ import annotations

from typing import Any

from ppl.optim.base import PyroOptim, Rule, merge_arguments
from ppl.optim.ranges import both, decay_rates, not_negative, positive

ADAM = Rule(
    "adam",
    {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False},
    {"step_size": "lr"},
    both(decay_rates("betas"), not_negative("eps", "weight_decay")),
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
    >>> Adam({"lr": 0.01, "betas": (0.95, 0.999)}).arguments("loc")["lr"]
    0.01
    """
    return PyroOptim(ADAM, merge_arguments(optim_args, lr, keywords))


ADAMW = Rule(
    "adamw",
    {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2, "amsgrad": False, "maximize": False},
    {"step_size": "lr"},
    both(decay_rates("betas"), not_negative("eps", "weight_decay")),
)


def AdamW(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    .. math::
        x \leftarrow (1 - \mathrm{lr} \, \lambda) x, \quad \text{then a step of Adam without penalty}

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1e-3 if absent; ``step_size`` is another name for it.
    :param keywords: ``betas`` (0.9, 0.999), ``eps`` 1e-8, ``weight_decay`` 0.01 (:math:`\lambda`), ``amsgrad`` False,
        ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import AdamW
    >>> AdamW(lr=0.01).arguments("loc")["weight_decay"]
    0.01
    """
    return PyroOptim(ADAMW, merge_arguments(optim_args, lr, keywords))


CLIPPED_ADAM = Rule(
    "clipped_adam",
    {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "clip_norm": 10.0, "lrd": 1.0, "maximize": False},
    {"step_size": "lr"},
    both(decay_rates("betas"), not_negative("eps", "weight_decay", "lrd"), positive("clip_norm")),
)


def ClippedAdam(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return Adam on clipped gradients, with a learning rate that decays at every step.

    .. math::
        g \leftarrow \min(\max(g, -c), c), \quad \mathrm{lr}_t = \mathrm{lr} \, d^t, \quad
        x \leftarrow x - \mathrm{lr}_t \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \, \frac{m}{\sqrt v + \epsilon}

    The averages :math:`m` and :math:`v` are those of :func:`Adam`.

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1e-3 if absent; ``step_size`` is another name for it.
    :param keywords: ``betas`` (0.9, 0.999), ``eps`` 1e-8, ``weight_decay`` 0 (an L2 penalty), ``clip_norm`` 10
        (:math:`c`, for each element), ``lrd`` 1 (:math:`d`), ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import ClippedAdam
    >>> ClippedAdam({"lr": 0.01, "clip_norm": 5.0}).arguments("loc")["clip_norm"]
    5.0
    """
    return PyroOptim(CLIPPED_ADAM, merge_arguments(optim_args, lr, keywords))


SPARSE_ADAM = Rule(
    "sparse_adam",
    {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "maximize": False},
    {"step_size": "lr"},
    both(decay_rates("betas"), not_negative("eps")),
)


def SparseAdam(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return Adam for gradients that are mostly zero: an element whose gradient is zero stays, and so do its averages.

    The gradient may be dense: its elements other than zero make up the sparse gradient that torch.optim.SparseAdam
    expects. torch's sparse gradients are taken as they are, with the zeros that they hold.

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1e-3 if absent; ``step_size`` is another name for it.
    :param keywords: ``betas`` (0.9, 0.999), ``eps`` 1e-8, ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import SparseAdam
    >>> SparseAdam(lr=0.01).arguments("loc")["betas"]
    (0.9, 0.999)
    """
    return PyroOptim(SPARSE_ADAM, merge_arguments(optim_args, lr, keywords))


ADAMAX = Rule(
    "adamax",
    {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "maximize": False},
    {"step_size": "lr"},
    both(decay_rates("betas"), not_negative("eps", "weight_decay")),
)


def Adamax(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return Adamax, Adam in the infinity norm (Kingma and Ba 2015, algorithm 2).

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad u \leftarrow \max(\beta_2 u, |g| + \epsilon), \quad
        x \leftarrow x - \frac{\mathrm{lr}}{1 - \beta_1^t} \frac m u

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 2e-3 if absent; ``step_size`` is another name for it.
    :param keywords: ``betas`` (0.9, 0.999), ``eps`` 1e-8, ``weight_decay`` 0 (an L2 penalty), ``maximize`` False.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import Adamax
    >>> Adamax(lr=0.01).arguments("loc")["lr"]
    0.01
    """
    return PyroOptim(ADAMAX, merge_arguments(optim_args, lr, keywords))
