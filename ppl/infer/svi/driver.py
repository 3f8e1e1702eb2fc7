"""The driver of stochastic variational inference: single steps, whole runs, and what is kept between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from os import PathLike
from typing import Any

from ppl import ops, registry
from ppl.errors import CheckpointError, InferenceError, PplError
from ppl.infer.objective import (
    Estimate,
    Objective,
    ParamNames,
    UnknownParam,
    constrain,
    constraints_of,
    leaves_of,
    require_params,
    standing_gradients,
)
from ppl.infer.potential import ModelArguments
from ppl.infer.svi import files, results
from ppl.infer.svi.feeds import Batches, Feed, Same
from ppl.infer.svi.known import KnownParams
from ppl.infer.svi.programs import Carried, Gradient, Loop
from ppl.infer.svi.results import SVIRunResult, SVIState
from ppl.infer.svi.stopping import EarlyStopping, Watch, as_rule
from ppl.ops import autodiff, host, random
from ppl.optim import PyroOptim
from ppl.params import get_param_store
from ppl.typing import Model

MAX_NEW_PARAMS = 1000
"""How many params may appear within one step before the model is taken to be unbounded."""


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
        self._losses: list[float] = []
        self._style = self.backend.optim.STEP
        self._loss_and_grads = loss_and_grads
        if loss_and_grads is not None and self._style != "leaves":
            raise InferenceError(
                f"loss_and_grads leaves gradients in arrays, which backend {self.backend.name!r} cannot hold; try loss= alone"
            )
        self._recorded = self._style != "compiled" and loss_and_grads is None and getattr(loss, "jit", False)
        self._known = KnownParams(model, guide, loss)
        self._loops: dict[Any, Loop] = {}
        self._gradients: dict[Any, Gradient] = {}
        self._latest: tuple[ModelArguments, Gradient] | None = None

    @property
    def losses(self) -> Any:
        """The loss of each step that :meth:`step` and :meth:`run` took, a numpy array; a resumed fit's goes on."""
        with self._active():
            return ops.to_numpy(ops.array(self._losses)) if self._losses else ops.to_numpy(ops.zeros((0,)))

    @property
    def num_steps_taken(self) -> int:
        """How many steps were taken, those left out for a loss that is not finite included."""
        return len(self._losses)

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
            losses, _, _ = self._run_compiled(Same(arguments, 1), random.next_key("SVI.step"), Watch(1, False))
            return losses[0]
        with self.backend.infer.quiet():
            if self._recorded:
                loss = self._step_recorded(arguments)
            else:
                args, kwargs = arguments.rebuild(arguments.arrays)
                loss = self._step_on_leaves(args, kwargs) if self._style == "leaves" else self._step_on_values(args, kwargs)
        self._losses.append(loss)
        return loss

    def _step_on_leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        if self._loss_and_grads is not None:
            return self._step_of_user(self._loss_and_grads, args, kwargs)
        estimate, leaves, gradients = self.objective.backward(args, kwargs, getattr(self.loss, "retain_graph", None))
        self._known.names.update(dict.fromkeys(leaves))
        loss = float(estimate.loss)
        if math.isfinite(loss) or not self._refuses(loss, estimate, leaves):
            self.optim.step(gradients, leaves)
            self._known.store(estimate.updates)
        _clear(leaves)
        return loss

    def _step_of_user(self, loss_and_grads: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        with ParamNames() as seen:
            value = loss_and_grads(self.model, self.guide, *args, **kwargs)
        loss = float(ops.to_numpy(ops.array(value)))
        require_params(seen.names)
        leaves = leaves_of(seen.names)
        self._known.names.update(seen.names)
        self.optim.step(standing_gradients(leaves), leaves)
        _clear(leaves)
        return loss

    def _step_on_values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        self._known.know(args, kwargs)
        estimate, params, gradients = self._gradients_on_values(args, kwargs)
        loss = float(ops.to_numpy(estimate.loss))
        if math.isfinite(loss) or not self._refuses(loss, estimate, params):
            self._known.store({**self.optim.step(gradients, params), **estimate.updates})
        return loss

    def _gradients_on_values(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Estimate, dict[str, Any], dict[str, Any]]:
        def evaluate(params: dict[str, Any]) -> tuple[Estimate, dict[str, Any]]:
            return self.objective.with_gradients(params, self._known.constraints(), args, kwargs)

        return self._with_all_params(evaluate, args, kwargs)

    def _step_recorded(self, arguments: ModelArguments) -> float:
        """Take a step whose loss and gradients are one compiled function."""
        args, kwargs = arguments.rebuild(arguments.arrays)
        self._known.know(args, kwargs)

        def evaluate(params: dict[str, Any]) -> tuple[Estimate, dict[str, Any]]:
            return self._gradient(arguments)(params, arguments)

        estimate, params, gradients = self._with_all_params(evaluate, args, kwargs)
        loss = float(estimate.loss)
        if math.isfinite(loss) or not self._refuses(loss, estimate, params):
            moved = self.optim.step(gradients, params)
            self._known.store({**({} if self._style == "leaves" else moved), **estimate.updates})
        return loss

    def _gradient(self, arguments: ModelArguments) -> Gradient:
        """Return the compiled function for arguments of this structure; those of the step before are found at once."""
        if self._latest is not None and self._latest[0] is arguments:
            return self._latest[1]
        constraints = self._known.constraints()
        key = self._structure(arguments, constraints)
        if key not in self._gradients:
            self._gradients[key] = Gradient(self.objective, list(self._known.names), constraints, arguments)
        self._latest = arguments, self._gradients[key]
        return self._gradients[key]

    def _with_all_params(
        self, evaluate: Callable[[dict[str, Any]], tuple[Estimate, dict[str, Any]]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Estimate, dict[str, Any], dict[str, Any]]:
        """Return the estimate, the params and their gradients, once all params of the step are known."""
        start = random.get_state() if self._style == "values" else None
        for _ in range(MAX_NEW_PARAMS):
            params = self._known.leaves()
            try:
                estimate, gradients = evaluate(params)
                return estimate, params, gradients
            except UnknownParam as unknown:
                # The same random numbers lead to the same params, which the run outside of the gradient creates.
                start = self._meet(unknown, start, args, kwargs)
        raise InferenceError(f"a single step met more than {MAX_NEW_PARAMS} new params; expected a bounded number")

    def _meet(self, unknown: UnknownParam, start: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if start is not None:
            random.set_state(start)
        self._latest = None
        self._known.discover(args, kwargs, expected=unknown)
        if start is not None:
            random.set_state(start)
        return start

    def _refuses(self, loss: float, estimate: Estimate, params: dict[str, Any]) -> bool:
        """Return whether a step of non-finite loss is left out; raise if that was not asked for."""
        bad = [name for name, term in estimate.terms.items() if not math.isfinite(float(ops.to_numpy(term)))]
        self._fail(loss, bad[:1], self.num_steps_taken, params)
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
        self,
        *args: Any,
        num_steps: int | None = None,
        progress_bar: bool = True,
        rng_key: Any = None,
        batches: Iterable[Any] | None = None,
        early_stopping: EarlyStopping | None = None,
        **kwargs: Any,
    ) -> SVIRunResult:
        """Take many steps: ``run(num_steps, *args)``, or ``run(*args)`` if ``num_steps`` was given before or by keyword.

        :param args: the number of steps, then the arguments of model and guide. A key before the number is taken as ``rng_key``.
        :param num_steps: the number of steps, a positive int.
        :param progress_bar: whether to show one, with the mean loss of the latest steps.
        :param rng_key: an int or key that makes the run reproducible.
        :param batches: an iterable that gives each step its own arguments, which follow ``args``: a tuple or list of them, a dict
            of keyword arguments, or one array. A list or data loader begins again at its end; an iterator, such as a generator,
            ends the run. Without a number of steps the run takes one pass.
        :param early_stopping: when to end before ``num_steps``.
        :raises InferenceError: as :meth:`step`; if there is no batch.

        On jax the whole run is compiled once, and one step for batches of each shape. Ctrl-C ends the run early and keeps what
        was reached.

        >>> import ppl
        >>> from ppl import distributions as dist, infer, ops
        >>> def model(x):
        ...     with ppl.plate("rows", 6, subsample_size=x.shape[0]):
        ...         ppl.sample("x", dist.Normal(ppl.param("loc", 0.0), 1.0), obs=x)
        >>> svi = infer.SVI(model, lambda x: None, ppl.optim.SGD({"lr": 0.01}), infer.Trace_ELBO())
        >>> fit = svi.run(5, batches=[ops.ones((3,)), 2.0 * ops.ones((3,))], progress_bar=False)
        >>> fit.losses.shape, fit.stopped
        ((5,), '')
        """
        with self._active():
            if args and rng_key is None and random.is_key(args[0]):
                rng_key, args = args[0], args[1:]
            if num_steps is None and self.num_steps:
                num_steps = self.num_steps
            if num_steps is None and (args or batches is None):
                num_steps, args = (args[0], args[1:]) if args else (None, args)
                _require_count(num_steps)
            elif num_steps is not None:
                _require_count(num_steps)
            feed = self._feed(args, kwargs, num_steps, batches)
            watch = Watch(num_steps, progress_bar, as_rule(early_stopping))
            try:
                return self._run(feed, rng_key, watch)
            finally:
                watch.close(self.num_skipped)

    def _feed(self, args: tuple[Any, ...], kwargs: dict[str, Any], num_steps: int | None, batches: Iterable[Any] | None) -> Feed:
        if batches is None:
            return Same(self._arguments(args, kwargs), _require_count(num_steps))
        return Batches(batches, num_steps, lambda more, named: self._arguments((*args, *more), {**kwargs, **named}))

    def _run(self, feed: Feed, rng_key: Any, watch: Watch) -> SVIRunResult:
        before = self.num_skipped
        if self._style == "compiled":
            key = random.next_key("SVI.run") if rng_key is None else random.key(rng_key)
            losses, interrupted, key = self._run_compiled(feed, key, watch)
        else:
            with nullcontext() if rng_key is None else random.scope(rng_key):
                losses, interrupted = self._run_loop(feed, watch)
            key = None
        leaves = {name: autodiff.stop_gradient(leaf) for name, leaf in self._known.leaves().items()}
        if self._style == "leaves":
            # Copies, because a later step moves them in place.
            leaves = {name: leaf + 0.0 for name, leaf in leaves.items()}
        with host.preferred():
            values = constrain(leaves, self._known.constraints())
        params = {name: ops.array(value) for name, value in values.items()}
        state = SVIState(leaves, self.optim.state, key)
        reasons = {"interrupted": interrupted, "converged": watch.converged, "batches": feed.ended}
        stopped = next((reason for reason, holds in reasons.items() if holds), "")
        return SVIRunResult(params, state, ops.to_numpy(ops.array(losses)), interrupted, self.num_skipped - before, stopped)

    def _run_loop(self, feed: Feed, watch: Watch) -> tuple[list[float], bool]:
        try:
            for arguments, _ in feed.chunks(lambda: 1):
                watch.note([self._step(arguments)], self.num_skipped)
                if watch.converged:
                    break
        except KeyboardInterrupt:
            return watch.losses, True
        return watch.losses, False

    def _run_compiled(self, feed: Feed, key: Any, watch: Watch) -> tuple[list[float], bool, Any]:
        """Run compiled steps; return their losses, whether Ctrl-C ended them, and the key that comes next."""
        key_first, key = random.split(key)
        state: Carried | None = None
        failure, interrupted, refused = None, False, self.num_skipped
        try:
            for arguments, count in feed.chunks(watch.room):
                if state is None:
                    ahead = partial(self._compile_ahead, arguments, key)
                    self._known.know(*arguments.rebuild(arguments.arrays), key_first, ahead)
                    state = self._carry(key)
                loop, state, (losses, culprits) = self._advance(arguments, state, count, key_first)
                bad = [] if self.stable_update else [row for row in range(count) if culprits[row] > -2]
                taken = [float(loss) for loss in (losses[: bad[0]] if bad else losses)]
                self.num_skipped = refused + int(ops.to_numpy(state.num_refused)) if self.stable_update else refused
                self._losses.extend(taken)
                watch.note(taken, self.num_skipped)
                if bad:
                    failure = float(losses[bad[0]]), loop.sites, int(culprits[bad[0]])
                if bad or watch.converged:
                    break
        except KeyboardInterrupt:
            interrupted = True
        finally:
            if state is not None:
                self._put_down(state)
        if failure is not None and state is not None:
            loss, sites, culprit = failure
            self._fail(loss, sites[culprit : culprit + 1] if culprit >= 0 else [], self.num_steps_taken, state.fit.params)
        return watch.losses, interrupted, key if state is None else state.fit.key

    def _carry(self, key: Any) -> Carried:
        params = self._known.leaves()
        return Carried(SVIState(params, self.optim.state_for(params), key), ops.zeros((), "int64"))

    def _advance(self, arguments: ModelArguments, state: Carried, count: int, key_first: Any) -> tuple[Loop, Carried, Any]:
        """Take compiled steps, once all their params are known; return the loop that took them, the state and its outputs.

        :raises InferenceError: if a param appears that the first run of model and guide with these arguments does not have.
        """
        for _ in range(MAX_NEW_PARAMS):
            loop = self._loop(arguments)
            try:
                return loop, *loop.run(state, count, *arguments.arrays)
            except UnknownParam as unknown:
                self._put_down(state)
                self._known.discover(*arguments.rebuild(arguments.arrays), key_first, expected=unknown)
                state = self._carry(state.fit.key)._replace(num_refused=state.num_refused)
        raise InferenceError(f"a single step met more than {MAX_NEW_PARAMS} new params; expected a bounded number")

    def _loop(self, arguments: ModelArguments) -> Loop:
        """Return the compiled loop for arguments of this structure and the params known so far."""
        constraints = self._known.constraints()
        key = self._structure(arguments, constraints)
        if key not in self._loops:
            pure_step = self._pure_step_with(constraints)
            # Steps of many small operations run no slower by it.
            quick = getattr(self.loss, "repetitive", False)
            self._loops[key] = Loop(self.backend.infer.loop, pure_step, arguments, self.stable_update, quick)
        return self._loops[key]

    def _compile_ahead(self, arguments: ModelArguments, key: Any) -> None:
        """Begin to compile the loop beside what comes before the first step, where the backend can."""
        if not self.backend.infer.COMPILES_AHEAD:
            return

        def start() -> tuple[Carried, Any]:
            params = self._known.leaves()
            return Carried(SVIState(params, self.optim.init(params), key), ops.zeros((), "int64")), tuple(arguments.arrays)

        self._loop(arguments).run.prepare(start)

    def _put_down(self, state: Carried) -> None:
        """Make what the loop carried the params and the optimizer's state."""
        self._known.store(state.fit.params)
        self.optim.state = state.fit.optim

    def _pure_step_with(self, constraints: Mapping[str, Any]) -> Callable[..., tuple[SVIState, Estimate]]:
        return lambda state, args, kwargs: self._pure_step(state, constraints, args, kwargs)

    @staticmethod
    def _structure(arguments: ModelArguments, constraints: Mapping[str, Any]) -> Any:
        """Return what compiled code depends on besides the values of arrays."""
        return arguments.signature(), tuple((name, repr(constraint)) for name, constraint in constraints.items())

    def plot_loss(self, ax: Any = None, *, window: int | None = None) -> Any:
        """Draw :attr:`losses`; see :meth:`SVIRunResult.plot_loss`."""
        return results.plot_loss(self.losses, ax, window)

    def save(self, filename: str | PathLike[str]) -> None:
        """Write the fit to one file, from which :meth:`load` goes on with the same bits.

        It holds the params, the optimizer's state, the state of the ambient source of randomness, the losses and the counts of
        steps; neither model nor guide, and no pickle. The file is replaced in one step.

        :raises CheckpointError: if no step was taken yet.
        """
        with self._active():
            if not self._known.names:
                raise CheckpointError("there is no fit to save: no step was taken; try svi.run(...) or svi.step(...) first")
            content = {
                "about": self._about(),
                "params": {name: ops.to_numpy(value) for name, value in self._known.leaves().items()},
                "optim": self.optim.get_state(),
                "random": random.get_state(),
                "losses": self._losses,
                "num_skipped": self.num_skipped,
            }
            files.write(filename, content)

    def load(self, filename: str | PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Go on with a fit that :meth:`save` wrote: the steps to come are those that would have followed there.

        :param filename: the file.
        :param args: arguments of model and guide, which run once to show their params; so with ``kwargs``.
        :raises CheckpointError: if the file is missing, damaged or newer, or of another model, optimizer, backend or default
            dtype; everything then stays as it was.

        >>> import tempfile, ppl
        >>> from ppl import distributions as dist, infer, ops
        >>> def model():
        ...     ppl.sample("x", dist.Normal(ppl.param("loc", 0.0), 1.0), obs=ops.array(3.0))
        >>> def fit():
        ...     return infer.SVI(model, lambda: None, ppl.optim.Adam({"lr": 0.1}), infer.Trace_ELBO())
        >>> first, second = fit(), fit()
        >>> _ = first.run(5, progress_bar=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first.save(f"{folder}/fit")
        ...     second.load(f"{folder}/fit")
        >>> second.num_steps_taken
        5
        """
        with self._active():
            content = files.read(filename)
            store, random_state, optim = get_param_store(), random.get_state(), self.optim.get_state()
            names, values = self._known.names, {name: ops.to_numpy(store.get_unconstrained(name)) + 0.0 for name in store.keys()}
            arguments, touched = self._arguments(args, kwargs), False
            try:
                self._known.names = {}
                with random.scope(0):
                    self._known.discover(*arguments.rebuild(arguments.arrays))
                files.require_same(filename, content["about"], self._about())
                touched = True
                self._known.store(content["params"])
                self.optim.set_state(content["optim"])
                self.optim.state_for(self._known.leaves())
            except BaseException as error:
                self._known.names = names
                for name in set(store.keys()) - values.keys():
                    del store[name]
                if touched:
                    self._known.store(values)
                    self.optim.set_state(optim)
                if touched and isinstance(error, InferenceError):
                    raise CheckpointError(f"the state in {str(filename)!r} does not fit this model: {error}") from error
                raise
            finally:
                random.set_state(random_state)
            random.set_state(content["random"])
            self._latest = None
            self._losses = [float(loss) for loss in content["losses"]]
            self.num_skipped = int(content["num_skipped"])

    def _about(self) -> dict[str, Any]:
        """Return what a file must agree with."""
        optimizer = f"{type(self.optim).__name__} {self.optim._kind()}"
        return {
            "backend": self.backend.name,
            "dtype": ops.default_dtype(),
            "optimizer": optimizer,
            "params": self._known.describe(),
        }

    def init(self, rng_key: Any, *args: Any, **kwargs: Any) -> SVIState:
        """Return the first state of a fit that carries everything itself, for :meth:`update`.

        The params start from the param store, where the first run of guide and model puts new ones.
        """
        with self._active():
            key_first, key = random.split(random.key(rng_key))
            arguments = self._arguments(args, kwargs)
            self._known.know(*arguments.rebuild(arguments.arrays), key_first)
            params = {name: autodiff.stop_gradient(value) for name, value in self._known.leaves().items()}
            return SVIState(params, self.optim.init(params), key)

    def update(self, svi_state: SVIState, *args: Any, **kwargs: Any) -> tuple[SVIState, Any]:
        """Return ``(state, loss)`` after one step, the param store left alone; on jax and numpy a pure function."""
        with self._active():
            arguments = self._arguments(args, kwargs)
            state, estimate = self._pure_step(svi_state, self._known.constraints(), *arguments.rebuild(arguments.arrays))
            return state, estimate.loss

    def get_params(self, svi_state: SVIState) -> dict[str, Any]:
        """Return the constrained parameters of a state.

        :raises InferenceError: if ``svi_state`` is none of :meth:`init` or :meth:`update`.
        """
        if not isinstance(svi_state, SVIState):
            raise InferenceError(
                f"get_params takes the state that init or update returned, got {type(svi_state).__name__}; try "
                "svi.get_params(svi.init(rng_key, *args)), or ppl.get_param_store() after svi.run"
            )
        with self._active():
            return constrain(svi_state.params, constraints_of(svi_state.params))

    def _pure_step(
        self, state: SVIState, constraints: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[SVIState, Estimate]:
        key, key_step = random.split(state.key)
        estimate, gradients = self.objective.with_gradients(state.params, constraints, args, kwargs, key_step)
        params, optim = self.optim.update(gradients, state.optim, state.params)
        return SVIState({**params, **estimate.updates}, optim, key), estimate


def _require_count(num_steps: Any) -> int:
    if not isinstance(num_steps, int) or isinstance(num_steps, bool) or num_steps < 1:
        raise InferenceError(
            f"run needs the number of steps, an int of 1 or more, received {num_steps!r}; try svi.run(1000, *args)"
        )
    return num_steps


def _as_optimizer(optim: Any) -> PyroOptim:
    if isinstance(optim, PyroOptim):
        return optim
    try:
        wrapped = PyroOptim(optim)
        # Asks the backend whether it knows the optimizer.
        wrapped.init({})
    except PplError as error:
        raise InferenceError(
            f"SVI needs an optimizer of ppl.optim or of the library of backend {registry.active().name!r} (a class or a "
            f"transformation, not an instance over parameters): {error}"
        ) from error
    return wrapped


def _clear(leaves: Mapping[str, Any]) -> None:
    for leaf in leaves.values():
        leaf.grad = None


def _short(value: Any) -> str:
    flat = ops.to_numpy(value).reshape(-1)
    shown = " ".join(f"{float(number):.4g}" for number in flat[:4])
    return shown if len(flat) <= 4 else f"[{shown} ... {len(flat)} elements]"
