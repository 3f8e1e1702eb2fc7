"""Stochastic variational inference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from tqdm import tqdm

from ppl import ops, registry, tree
from ppl.errors import InferenceError
from ppl.infer.objective import (
    Estimate,
    Objective,
    ParamNames,
    UnknownParam,
    constrain,
    constraints_of,
    discover,
    leaves_of,
    require_params,
    standing_gradients,
)
from ppl.infer.potential import ModelArguments
from ppl.ops import autodiff, random
from ppl.optim import PyroOptim
from ppl.params import get_param_store
from ppl.typing import Model

CHUNK = 256
"""Compiled steps between two looks at the progress bar, Ctrl-C and a failed step."""

MAX_NEW_PARAMS = 1000
"""How many params may appear within one step before the model is taken to be unbounded."""


class SVIState(NamedTuple):
    """What a fit carries from step to step.

    :param params: unconstrained parameters by name.
    :param optim: the optimizer's state.
    :param key: source of randomness.
    """

    params: dict[str, Any]
    optim: Any
    key: Any


class SVIRunResult(NamedTuple):
    """What :meth:`SVI.run` gives.

    :param params: constrained parameters by name.
    :param state: the unconstrained state at the end.
    :param losses: the loss of each step taken, a numpy array.
    :param interrupted: whether Ctrl-C ended the run early.
    :param num_skipped: how many steps were left out because their loss was not finite (``stable_update``).
    """

    params: dict[str, Any]
    state: SVIState
    losses: Any
    interrupted: bool = False
    num_skipped: int = 0


class SVI:
    """Fit the params of a model and a guide by stochastic gradients of a loss.

    :param model: a callable with primitives.
    :param guide: a callable with the same arguments that samples the latent sites of the model.
    :param optim: an optimizer of :mod:`ppl.optim`, or the active library's own (a ``torch.optim`` class or an optax
        transformation).
    :param loss: an :class:`~ppl.infer.ELBO`, or a function ``loss(model, guide, *args, **kwargs)`` that can be differentiated.
    :param loss_and_grads: on torch, a function like ``loss`` that also calls ``backward`` and returns the loss.
    :param num_samples: how many posterior draws the caller wants; kept as an attribute, steps do not use it.
    :param num_steps: steps that :meth:`run` takes if its call does not say.
    :param stable_update: whether a step whose loss is not finite is left out and counted instead of raising.
    :param static_kwargs: keyword arguments for model and guide in every call.
    :raises InferenceError: for an optimizer or loss of the wrong type.

    The object keeps the backend that is active when it is built. Parameters live in the param store: a later ``step`` or ``run``
    continues from there. Arrays among the arguments are data: new values of the same shapes never recompile. Anything
    else (numbers, strings) is part of the program on jax, and a new value compiles anew.

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(ops.zeros((2,)), 1.0).to_event(1))
    >>> svi = infer.SVI(model, infer.AutoDelta(model), ppl.optim.Adam({"lr": 0.1}), loss=infer.Trace_ELBO())
    >>> fit = svi.run(3, progress_bar=False)
    >>> fit.losses.shape, list(fit.params)
    ((3,), ['auto_x'])
    """

    def __init__(
        self,
        model: Model,
        guide: Model,
        optim: Any,
        loss: Any,
        loss_and_grads: Callable[..., Any] | None = None,
        num_samples: int = 10,
        num_steps: int = 0,
        *,
        stable_update: bool = False,
        **static_kwargs: Any,
    ) -> None:
        self.backend = registry.active()
        self.model = model
        self.guide = guide
        self.optim = _as_optimizer(optim)
        self.objective = Objective(model, guide, loss)
        self.loss = loss
        self.num_samples = num_samples
        self.num_steps = num_steps
        self.stable_update = stable_update
        self.static_kwargs = static_kwargs
        self.num_skipped = 0
        self._style = self.backend.optim.STEP
        self._loss_and_grads = loss_and_grads
        if loss_and_grads is not None and self._style != "leaves":
            raise InferenceError(
                f"loss_and_grads leaves gradients in arrays, which backend {self.backend.name!r} cannot hold; try loss= alone"
            )
        self._names: dict[str, None] = {}
        self._steps_taken = 0
        self._programs: dict[Any, Program] = {}

    def _active(self) -> AbstractContextManager[Any]:
        return nullcontext() if registry.active() is self.backend else registry.using(self.backend)

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ModelArguments:
        return ModelArguments(args, {**self.static_kwargs, **kwargs})

    def step(self, *args: Any, **kwargs: Any) -> float:
        """Take one gradient step and return the loss before it; the arguments go to model and guide.

        :raises InferenceError: if the sites of model and guide do not match, there is no param, or the loss is not finite (the
            message names the site, and the params stay as they were).
        """
        with self._active():
            return self._step(self._arguments(args, kwargs))

    def _step(self, arguments: ModelArguments) -> float:
        if self._style == "compiled":
            losses, _ = self._run_compiled(arguments, 1, random.next_key("SVI.step"), None)
            return float(losses[0])
        args, kwargs = arguments.rebuild(arguments.arrays)
        take = self._step_on_leaves if self._style == "leaves" else self._step_on_values
        with self.backend.infer.quiet():
            loss = take(args, kwargs)
        self._steps_taken += 1
        return loss

    def _step_on_leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        if self._loss_and_grads is not None:
            return self._step_of_user(self._loss_and_grads, args, kwargs)
        estimate, leaves, gradients = self.objective.backward(args, kwargs, getattr(self.loss, "retain_graph", None))
        self._names.update(dict.fromkeys(leaves))
        loss = float(estimate.loss)
        if math.isfinite(loss) or not self._refuses(loss, estimate, leaves):
            self.optim.step(gradients, leaves)
        _clear(leaves)
        return loss

    def _step_of_user(self, loss_and_grads: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        with ParamNames() as seen:
            value = loss_and_grads(self.model, self.guide, *args, **kwargs)
        loss = float(ops.to_numpy(ops.array(value)))
        require_params(seen.names)
        leaves = leaves_of(seen.names)
        self._names.update(seen.names)
        self.optim.step(standing_gradients(leaves), leaves)
        _clear(leaves)
        return loss

    def _step_on_values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        self._know_params(args, kwargs)
        estimate, params, gradients = self._gradients_on_values(args, kwargs)
        loss = float(ops.to_numpy(estimate.loss))
        if math.isfinite(loss) or not self._refuses(loss, estimate, params):
            self._store(self.optim.step(gradients, params))
        return loss

    def _gradients_on_values(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Estimate, dict[str, Any], dict[str, Any]]:
        start = random.get_state()
        for _ in range(MAX_NEW_PARAMS):
            params = leaves_of(self._names)
            try:
                estimate, gradients = self.objective.with_gradients(params, constraints_of(self._names), args, kwargs)
                return estimate, params, gradients
            except UnknownParam as unknown:
                # The same random numbers lead to the same params, which the run outside of the gradient creates.
                random.set_state(start)
                self._discover(args, kwargs, expected=unknown)
                random.set_state(start)
        raise InferenceError(f"a single step met more than {MAX_NEW_PARAMS} new params; expected a bounded number")

    def _know_params(self, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any = None) -> None:
        store = get_param_store()
        if not self._names or any(name not in store for name in self._names):
            self._names.clear()
            self._discover(args, kwargs, key)

    def _discover(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any = None, expected: UnknownParam | None = None
    ) -> None:
        self._names.update(dict.fromkeys(discover(self.model, self.guide, args, kwargs, key)))
        require_params(self._names)
        if expected is not None and expected.name not in self._names:
            raise expected

    def _store(self, params: dict[str, Any]) -> None:
        store = get_param_store()
        for name, value in params.items():
            store.set_unconstrained(name, value)

    def _refuses(self, loss: float, estimate: Estimate, params: dict[str, Any]) -> bool:
        """Return whether a step of non-finite loss is left out; raise if that was not asked for."""
        bad = [name for name, term in estimate.terms.items() if not math.isfinite(float(ops.to_numpy(term)))]
        self._fail(loss, bad[:1], self._steps_taken, params)
        return True

    def _fail(self, loss: float, sites: list[str], step: int, params: dict[str, Any]) -> None:
        if self.stable_update:
            self.num_skipped += 1
            return
        where = f"the log density of {sites[0]} is not finite" if sites else "each site's log density is finite, their sum is not"
        values = constrain(params, constraints_of(params))
        shown = ", ".join(f"{name} = {_short(value)}" for name, value in values.items())
        raise InferenceError(
            f"the loss is {loss} at step {step}: {where}; expected a finite loss; "
            f"params at that step, which stay in the param store: {shown}; "
            "try a smaller learning rate, other initial values, or SVI(..., stable_update=True)"
        )

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> float:
        """Return an estimate of the loss without changing anything; the arguments go to model and guide."""
        with self._active():
            arguments = self._arguments(args, kwargs)
            args, kwargs = arguments.rebuild(arguments.arrays)
            key = random.next_key("SVI.evaluate_loss")
            estimate = self.objective.estimate(self.model, self.guide, args, kwargs, key)
            return float(ops.to_numpy(estimate.loss))

    def run(
        self, *args: Any, num_steps: int | None = None, progress_bar: bool = True, rng_key: Any = None, **kwargs: Any
    ) -> SVIRunResult:
        """Take many steps: ``run(num_steps, *args)``, or ``run(*args)`` if ``num_steps`` was given before or by keyword.

        :param args: the number of steps, then the arguments of model and guide. A key before the number is taken as ``rng_key``.
        :param num_steps: the number of steps, a positive int.
        :param progress_bar: whether to show one.
        :param rng_key: an int or key that makes the run reproducible.
        :raises InferenceError: as :meth:`step`.

        On jax the whole run is compiled once. Ctrl-C ends the run early and keeps what was reached.
        """
        with self._active():
            if args and rng_key is None and random.is_key(args[0]):
                rng_key, args = args[0], args[1:]
            if num_steps is None and self.num_steps:
                num_steps = self.num_steps
            if num_steps is None:
                num_steps, args = (args[0], args[1:]) if args else (None, args)
            if not isinstance(num_steps, int) or isinstance(num_steps, bool) or num_steps < 1:
                raise InferenceError(
                    f"run needs the number of steps, an int of 1 or more, received {num_steps!r}; try svi.run(1000, *args)"
                )
            arguments = self._arguments(args, kwargs)
            with tqdm(total=num_steps, disable=None if progress_bar else True, desc="SVI", leave=True) as bar:
                return self._run(arguments, num_steps, rng_key, bar)

    def _run(self, arguments: ModelArguments, num_steps: int, rng_key: Any, bar: Any) -> SVIRunResult:
        before = self.num_skipped
        if self._style == "compiled":
            key = random.next_key("SVI.run") if rng_key is None else random.key(rng_key)
            losses, interrupted = self._run_compiled(arguments, num_steps, key, bar)
        else:
            with nullcontext() if rng_key is None else random.scope(rng_key):
                losses, interrupted = self._run_loop(arguments, num_steps, bar)
            key = None
        # Copies, because a later step moves torch's leaves in place.
        leaves = {name: autodiff.stop_gradient(leaf) + 0.0 for name, leaf in leaves_of(self._names).items()}
        values = constrain(leaves, constraints_of(self._names))
        params = {name: ops.array(value) for name, value in values.items()}
        state = SVIState(leaves, self.optim.state, key)
        return SVIRunResult(params, state, ops.to_numpy(ops.array(losses)), interrupted, self.num_skipped - before)

    def _run_loop(self, arguments: ModelArguments, num_steps: int, bar: Any) -> tuple[list[float], bool]:
        losses: list[float] = []
        try:
            for _ in range(num_steps):
                losses.append(self._step(arguments))
                bar.update()
        except KeyboardInterrupt:
            return losses, True
        return losses, False

    def _run_compiled(self, arguments: ModelArguments, num_steps: int, key: Any, bar: Any) -> tuple[Any, bool]:
        args, kwargs = arguments.rebuild(arguments.arrays)
        key_first, key = random.split(key)
        self._know_params(args, kwargs, key_first)
        for _ in range(MAX_NEW_PARAMS):
            try:
                return self._run_program(arguments, num_steps, key, bar)
            except UnknownParam as unknown:
                self._discover(args, kwargs, key_first, expected=unknown)
        raise InferenceError(f"a single step met more than {MAX_NEW_PARAMS} new params; expected a bounded number")

    def _run_program(self, arguments: ModelArguments, num_steps: int, key: Any, bar: Any) -> tuple[Any, bool]:
        params, program = leaves_of(self._names), self._program(arguments)
        state = Carried(SVIState(params, self.optim.state_for(params), key), ops.zeros((), "int64"))
        losses, interrupted, failure = [], False, None
        try:
            for start in range(0, num_steps, CHUNK):
                count = min(CHUNK, num_steps - start)
                state, (chunk, culprits) = program.run(state, count, *arguments.arrays)
                bad = [row for row in range(count) if culprits[row] > -2]
                failure = None if self.stable_update or not bad else (float(chunk[bad[0]]), int(culprits[bad[0]]), start + bad[0])
                losses.append(chunk if failure is None else chunk[: bad[0]])
                if bar is not None:
                    bar.update(count)
                if failure is not None:
                    break
        except KeyboardInterrupt:
            interrupted = True
        self._store(state.fit.params)
        self.optim.state = state.fit.optim
        if failure is not None:
            loss, culprit, step = failure
            self._fail(
                loss, program.sites[culprit : culprit + 1] if culprit >= 0 else [], self._steps_taken + step, state.fit.params
            )
        self.num_skipped += int(ops.to_numpy(state.num_refused))
        joined = [loss for chunk in losses for loss in chunk]
        self._steps_taken += len(joined)
        return joined, interrupted

    def _program(self, arguments: ModelArguments) -> Program:
        constraints = constraints_of(self._names)
        key = arguments.signature(), tuple((name, repr(constraint)) for name, constraint in constraints.items())
        if key not in self._programs:
            self._programs[key] = Program(self, arguments, constraints)
        return self._programs[key]

    def init(self, rng_key: Any, *args: Any, **kwargs: Any) -> SVIState:
        """Return the first state of a fit that carries everything itself, for :meth:`update`.

        The params start from the param store, where the first run of guide and model puts new ones.
        """
        with self._active():
            key_first, key = random.split(random.key(rng_key))
            arguments = self._arguments(args, kwargs)
            self._know_params(*arguments.rebuild(arguments.arrays), key_first)
            params = {name: autodiff.stop_gradient(value) for name, value in leaves_of(self._names).items()}
            return SVIState(params, self.optim.init(params), key)

    def update(self, svi_state: SVIState, *args: Any, **kwargs: Any) -> tuple[SVIState, Any]:
        """Return ``(state, loss)`` after one step, the param store left alone; on jax and numpy a pure function."""
        with self._active():
            arguments = self._arguments(args, kwargs)
            state, estimate = self._pure_step(svi_state, constraints_of(self._names), *arguments.rebuild(arguments.arrays))
            return state, estimate.loss

    def get_params(self, svi_state: SVIState) -> dict[str, Any]:
        """Return the constrained parameters of a state."""
        with self._active():
            return constrain(svi_state.params, constraints_of(svi_state.params))

    def _pure_step(
        self, state: SVIState, constraints: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[SVIState, Estimate]:
        key, key_step = random.split(state.key)
        estimate, gradients = self.objective.with_gradients(state.params, constraints, args, kwargs, key_step)
        params, optim = self.optim.update(gradients, state.optim, state.params)
        return SVIState(params, optim, key), estimate


class Carried(NamedTuple):
    """What the compiled loop carries: the fit and how many steps were refused."""

    fit: SVIState
    num_refused: Any


class Program:
    """The compiled loop of a fit for arguments of one structure.

    :param svi: the fit.
    :param arguments: arguments of model and guide; their arrays are traced, the rest is fixed.
    :param constraints: of the params, by name.

    A step gives its loss and the position in :attr:`sites` of the first site that is not finite, -1 if none is to
    blame, -2 if the loss is finite. After a refused step the fit stands still, unless it is stable.
    """

    def __init__(self, svi: SVI, arguments: ModelArguments, constraints: Mapping[str, Any]) -> None:
        self.sites: list[str] = []

        def step(state: Carried, *arrays: Any) -> tuple[Carried, tuple[Any, Any]]:
            new, estimate = svi._pure_step(state.fit, constraints, *arguments.rebuild(arrays))
            self.sites[:] = list(estimate.terms)
            finite = ops.isfinite(estimate.loss)
            accepted = finite if svi.stable_update else ops.logical_and(finite, ops.equal(state.num_refused, 0))
            params, optim = tree.map(
                lambda after, before: ops.where(accepted, after, before),
                (new.params, new.optim),
                (state.fit.params, state.fit.optim),
            )
            refused = state.num_refused + ops.astype(ops.logical_not(finite), ops.dtype_name(state.num_refused))
            fit = SVIState(params, optim, new.key)
            return Carried(fit, refused), (estimate.loss, _culprit(estimate, finite))

        self.run = svi.backend.infer.loop(step)


def _culprit(estimate: Estimate, finite: Any) -> Any:
    position = ops.array(-1)
    for index, term in reversed(list(enumerate(estimate.terms.values()))):
        position = ops.where(ops.isfinite(term), position, index)
    return ops.where(finite, -2, position)


def _as_optimizer(optim: Any) -> PyroOptim:
    if isinstance(optim, PyroOptim):
        return optim
    backend = registry.active()
    native = backend.optim.adopt(optim)
    if native is None:
        raise InferenceError(
            f"SVI needs an optimizer of ppl.optim or of the library of backend {backend.name!r} (a class or a transformation, "
            f"not an instance over parameters), received {type(optim).__name__}; try optim.Adam(lr=0.01)"
        )
    return PyroOptim(native)


def _clear(leaves: Mapping[str, Any]) -> None:
    for leaf in leaves.values():
        leaf.grad = None


def _short(value: Any) -> str:
    flat = ops.to_numpy(value).reshape(-1)
    shown = " ".join(f"{float(number):.4g}" for number in flat[:4])
    return shown if len(flat) <= 4 else f"[{shown} ... {len(flat)} elements]"
