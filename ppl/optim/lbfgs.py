"""The quasi-Newton method L-BFGS."""

from __future__ import annotations

from typing import Any

from ppl.optim.base import PyroOptim, Rule, merge_arguments
from ppl.optim.ranges import both, not_negative, positive

LBFGS_RULE = Rule(
    "lbfgs",
    {"lr": 1.0, "history_size": 100, "tolerance_grad": 1e-7, "tolerance_change": 1e-9},
    {"step_size": "lr"},
    both(positive("history_size"), not_negative("tolerance_grad", "tolerance_change")),
    together=True,
)


def LBFGS(optim_args: Any = None, *, lr: float | None = None, **keywords: Any) -> PyroOptim:
    r"""Return L-BFGS, one iteration a step (Nocedal and Wright 2006, algorithm 7.4).

    .. math::
        x \leftarrow x - \mathrm{lr} \, H g, \quad H \approx (\nabla^2 f)^{-1} \text{ from the last moves and changes of gradient}

    It is torch.optim.LBFGS with ``max_iter=1``: a step sees one gradient, so there is no line search, and noisy
    gradients mislead it. All parameters form one vector and have the same arguments; a new parameter makes it forget
    its history.

    :param optim_args: a dict of the arguments below, a callable that returns such a dict for a parameter's name, or the
        learning rate alone.
    :param lr: learning rate, 1 if absent; ``step_size`` is another name for it.
    :param keywords: ``history_size`` 100, ``tolerance_grad`` 1e-7 (a gradient that small in all elements ends the
        descent), ``tolerance_change`` 1e-9.
    :raises InferenceError: for an unknown argument or one out of its range.

    >>> from ppl.optim import LBFGS
    >>> LBFGS(0.5, history_size=20).arguments("loc")["history_size"]
    20
    """
    return PyroOptim(LBFGS_RULE, merge_arguments(optim_args, lr, keywords))
