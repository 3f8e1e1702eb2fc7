"""A step of a fit as compiled code: a whole loop of steps, or the loss with its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ppl import ops, tree
from ppl.infer.objective import Estimate, Objective
from ppl.infer.potential import ModelArguments
from ppl.infer.svi.results import SVIState
from ppl.ops import compile

ALWAYS = 10**9
"""A number of calls that repays any compiler: who asks for compiled steps gets them from the first one on, so that a run and one
that was resumed round alike."""


class Carried(NamedTuple):
    """What the compiled loop carries: the fit and how many steps were refused."""

    fit: SVIState
    num_refused: Any


class Loop:
    """The compiled loop of a fit for arguments of one structure.

    :param loop: the backend's ``infer.loop``.
    :param pure_step: ``pure_step(state, args, kwargs) -> (state, estimate)``.
    :param arguments: arguments of model and guide; their arrays are traced, the rest is fixed.
    :param stable: whether the fit goes on after a refused step.
    :param quick: whether time to compile matters more than the last part of speed.

    A step gives its loss and the position in :attr:`sites` of the first site that is not finite, -1 if none is to
    blame, -2 if the loss is finite. After a refused step the fit stands still, unless it is stable.
    """

    def __init__(
        self,
        loop: Callable[..., Any],
        pure_step: Callable[..., Any],
        arguments: ModelArguments,
        stable: bool,
        quick: bool = False,
    ) -> None:
        self.sites: list[str] = []

        def step(state: Carried, *arrays: Any) -> tuple[Carried, tuple[Any, Any]]:
            new, estimate = pure_step(state.fit, *arguments.rebuild(arrays))
            self.sites[:] = list(estimate.terms)
            finite = ops.isfinite(estimate.loss)
            accepted = finite if stable else ops.logical_and(finite, ops.equal(state.num_refused, 0))
            params, optim = tree.map(
                lambda after, before: ops.where(accepted, after, before),
                (new.params, new.optim),
                (state.fit.params, state.fit.optim),
            )
            refused = state.num_refused + ops.astype(ops.logical_not(finite), ops.dtype_name(state.num_refused))
            return Carried(SVIState(params, optim, new.key), refused), (estimate.loss, _culprit(estimate, finite))

        self.run = loop(step, quick=quick)


def _culprit(estimate: Estimate, finite: Any) -> Any:
    position = ops.array(-1)
    for index, term in reversed(list(enumerate(estimate.terms.values()))):
        position = ops.where(ops.isfinite(term), position, index)
    return ops.where(finite, -2, position)


class Gradient:
    """The loss and its gradients as one compiled function, for arguments of one structure.

    :param objective: the loss of model and guide.
    :param names: of the params.
    :param constraints: of the params, by name.
    :param arguments: arguments of model and guide; their arrays are inputs, the rest is fixed.

    Model and guide run once, to be recorded; what they do besides calling ``ops`` does not happen again.
    """

    def __init__(self, objective: Objective, names: list[str], constraints: Mapping[str, Any], arguments: ModelArguments) -> None:
        self._names = names
        self._moved: list[str] = []
        self._kept: list[str] = []
        self._terms: list[str] = []

        def evaluate(*inputs: Any) -> tuple[Any, ...]:
            params, arrays = dict(zip(names, inputs, strict=False)), inputs[len(names) :]
            estimate, gradients = objective.with_gradients(params, constraints, *arguments.rebuild(arrays))
            self._moved[:], self._kept[:], self._terms[:] = gradients, estimate.updates, estimate.terms
            found = (estimate.loss, *gradients.values(), *estimate.updates.values(), *estimate.terms.values())
            return tuple(ops.array(value) for value in found)

        evaluate.__name__ = "svi_step"
        self._run = compile.compile(evaluate, horizon=ALWAYS)

    def __call__(self, params: Mapping[str, Any], arguments: ModelArguments) -> tuple[Estimate, dict[str, Any]]:
        """Return the estimate (without a surrogate) and the gradients at ``params``."""
        loss, *rest = self._run(*[params[name] for name in self._names], *arguments.arrays)
        values = iter(rest)
        gradients = {name: next(values) for name in self._moved}
        updates = {name: next(values) for name in self._kept}
        return Estimate(loss, None, dict(zip(self._terms, values, strict=True)), updates), gradients
