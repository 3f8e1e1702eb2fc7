"""Optimizers whose learning rate follows a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ppl import ops, registry
from ppl.errors import InferenceError
from ppl.optim.base import PyroOptim
from ppl.optim.schedules import SCHEDULES, Schedule

PREFIX = "schedule."
"""Marks what belongs to the schedule among the entries of a saved state."""


class ScheduledState(NamedTuple):
    """What a scheduled optimizer carries.

    :param rule: the state of the optimizer itself.
    :param schedule: by parameter name, its count of epochs and of steps, and the arguments that hold now.
    """

    rule: Any
    schedule: dict[str, dict[str, Any]]


class PyroLRScheduler(PyroOptim):
    """An optimizer of named parameters whose learning rate follows a schedule.

    :param scheduler_constructor: a :class:`~ppl.optim.schedules.Schedule`, or on torch a class of ``torch.optim.lr_scheduler``
        that is one of the eight known here.
    :param optim_args: a dict of the schedule's arguments and of ``optimizer``, an optimizer of :mod:`ppl.optim` (on torch also
        a class of ``torch.optim``); ``optim_args``, its arguments, a dict or a callable as for :class:`PyroOptim`; and
        ``steps_per_epoch``, ``None`` if absent.
    :param keywords: the same, by keyword; ``optim_args`` is then the optimizer's.
    :raises InferenceError: for an argument that is missing, unknown or out of its range.

    Each parameter counts its own epochs, from the step that first sees it. :meth:`step` without parameters begins the next epoch.
    With ``steps_per_epoch=n`` the next epoch begins by itself after each ``n`` steps of the optimizer, inside a compiled run
    too; ``steps_per_epoch=1`` makes the schedule one of steps.

    >>> from ppl import ops, optim
    >>> one = {"loc": ops.array(1.0)}
    >>> optimizer = optim.StepLR({"optimizer": optim.SGD, "optim_args": {"lr": 0.4}, "step_size": 1, "gamma": 0.5})
    >>> new = optimizer.step(one, one)
    >>> optimizer.step()
    >>> round(optimizer.get_last_lr()["loc"], 6)
    0.2
    """

    def __init__(self, scheduler_constructor: Any, optim_args: Any = None, **keywords: Any) -> None:
        self.schedule = _known_schedule(scheduler_constructor)
        if "optimizer" in keywords:
            optim_args, keywords = {**keywords, "optim_args": optim_args or {}}, {}
        if optim_args is not None and not isinstance(optim_args, Mapping):
            raise InferenceError(
                f"schedule {self.schedule.name} takes a dict with 'optimizer', 'optim_args' and its own arguments, "
                f"received {type(optim_args).__name__}"
            )
        if optim_args is not None and keywords:
            raise InferenceError(f"arguments come in a dict or as keywords, received both: {optim_args!r} and {keywords!r}")
        given = {**(optim_args or {}), **keywords}
        if "optimizer" not in given:
            raise InferenceError(
                f"schedule {self.schedule.name} needs the key 'optimizer', received {sorted(given)}; "
                "try {'optimizer': optim.Adam, 'optim_args': {'lr': 0.01}, ...}"
            )
        optimizer, inner = given.pop("optimizer"), given.pop("optim_args", {})
        if isinstance(optimizer, PyroOptim):
            optimizer, inner = optimizer.constructor, inner or optimizer.optim_args
        self.steps_per_epoch = given.pop("steps_per_epoch", None)
        if self.steps_per_epoch is not None and not (isinstance(self.steps_per_epoch, int) and self.steps_per_epoch > 0):
            raise InferenceError(f"steps_per_epoch is None or an int of 1 or more, received {self.steps_per_epoch!r}")
        if self.steps_per_epoch is not None and self.schedule.react is not None:
            raise InferenceError(
                f"schedule {self.schedule.name} follows a metric, which steps do not know; expected no steps_per_epoch; "
                "try optimizer.step(loss) after each epoch"
            )
        self.schedule_arguments = self.schedule.complete(given)
        super().__init__(optimizer, inner)

    def __repr__(self) -> str:
        return f"{self.schedule.name}({super().__repr__()})"

    def arguments(self, name: str) -> dict[str, Any]:
        """Return the arguments of the parameter ``name`` before any schedule.

        :raises InferenceError: if the optimizer has no argument that the schedule moves.
        """
        found = super().arguments(name)
        moved = "betas" if "betas" in found else "momentum"
        if "lr" not in found:
            raise InferenceError(
                f"schedule {self.schedule.name} moves the learning rate; expected 'lr' among the optimizer's arguments, "
                f"received {sorted(found)} for {name!r}"
            )
        if self.schedule_arguments.get("cycle_momentum") and moved not in found:
            raise InferenceError(
                f"CyclicLR moves the momentum of an optimizer, which {self._kind()!r} has not; try cycle_momentum=False"
            )
        return found

    def _values(self, name: str, epoch: Any) -> dict[str, Any]:
        return self.schedule.values(epoch, self.arguments(name), self.schedule_arguments)

    def _first(self, name: str) -> dict[str, Any]:
        memory = self.schedule.memory(self.schedule_arguments)
        entry = {"epoch": 0, "step": 0, **memory, **_flat(self._values(name, 0))}
        if registry.active().optim.STEP == "compiled":
            return {key: ops.array(value, dtype="int64" if isinstance(value, int) else None) for key, value in entry.items()}
        return entry

    def _start(self, params: dict[str, Any], exported: dict[str, dict[str, Any]]) -> ScheduledState:
        schedule = {name: self._first(name) for name in params}
        for name in set(schedule) & set(exported):
            schedule[name] = _restored(name, schedule[name], exported[name])
        inner = {name: {key: value for key, value in own.items() if not key.startswith(PREFIX)} for name, own in exported.items()}
        native, rule = self._native()
        arguments = self._scheduled(schedule, params)
        inner = {name: own for name, own in inner.items() if own}
        return ScheduledState(
            native.restore(rule, inner, params, arguments) if inner else native.init(rule, params, arguments), schedule
        )

    def _scheduled(self, schedule: dict[str, dict[str, Any]], names: Any) -> dict[str, dict[str, Any]]:
        base = self._arguments_of(names)
        return {name: {**base[name], **_structured(schedule[name], base[name])} for name in names}

    def _move(self, gradients: dict[str, Any], state: ScheduledState, params: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        native, rule = self._native()
        schedule = {**state.schedule, **{name: self._first(name) for name in params if name not in state.schedule}}
        new, inner = native.update(rule, gradients, state.rule, params, self._scheduled(schedule, params))
        if self.steps_per_epoch is not None:
            schedule.update({name: self._after_a_step(name, schedule[name]) for name in gradients})
        return new, ScheduledState(inner, schedule)

    def _after_a_step(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        step = entry["step"] + 1
        epoch = step // self.steps_per_epoch
        try:
            values = _flat(self._values(name, epoch))
        except Exception as error:
            if isinstance(epoch, int):
                raise
            raise InferenceError(
                f"the function of schedule {self.schedule.name} cannot be compiled: {type(error).__name__}; expected one of "
                "arithmetic and ppl.ops on a traced epoch; try such a function, or steps_per_epoch=None with "
                "optimizer.step() after each epoch"
            ) from error
        return {**entry, **{key: _like(value, entry[key]) for key, value in {"step": step, "epoch": epoch, **values}.items()}}

    def _merge(self, state: ScheduledState, more: ScheduledState) -> ScheduledState:
        return ScheduledState(super()._merge(state.rule, more.rule), {**state.schedule, **more.schedule})

    def _export(self, state: ScheduledState) -> dict[str, dict[str, Any]]:
        exported = {name: dict(own) for name, own in super()._export(state.rule).items()}
        for name, entry in state.schedule.items():
            plain = {PREFIX + key: _number(value) for key, value in entry.items()}
            exported.setdefault(name, {}).update(plain)
        return exported

    def step(self, gradients: Any = None, params: Any = None, *, metrics: Any = None) -> Any:
        """Begin the next epoch; or, with gradients and parameters by name, take a step of the optimizer and return the new ones.

        :param gradients: a dict of gradients; or the metric of the past epoch, for a schedule that follows one.
        :param metrics: the metric, by keyword.
        :raises InferenceError: if the schedule advances by itself, or a metric is missing or not wanted.

        Parameters that the optimizer has not met yet have no epoch to end.
        """
        if params is not None:
            return super().step(gradients, params)
        if self.steps_per_epoch is not None:
            raise InferenceError(
                f"the schedule advances by itself every {self.steps_per_epoch} steps of the optimizer, step() would count twice; "
                "try steps_per_epoch=None"
            )
        given = gradients if metrics is None else metrics
        if (given is None) != (self.schedule.react is None):
            wanted = "the metric of the epoch, a number" if self.schedule.react else "no argument"
            raise InferenceError(f"step() of schedule {self.schedule.name} takes {wanted}, received {given!r}")
        metric = None if given is None else _number(given)
        for name, own in self._pending.items():
            if PREFIX + "epoch" in own:
                entry = {key.removeprefix(PREFIX): value for key, value in own.items() if key.startswith(PREFIX)}
                own.update({PREFIX + key: value for key, value in self._next(name, entry, metric).items()})
        if self.state is not None:
            schedule = {name: self._next(name, entry, metric) for name, entry in self.state.schedule.items()}
            self.state = ScheduledState(self.state.rule, schedule)
        return None

    def _next(self, name: str, entry: dict[str, Any], metric: float | None) -> dict[str, Any]:
        """Return the entry of the next epoch, computed on Python's numbers."""
        plain = {key: _number(value) for key, value in entry.items()}
        plain["epoch"] += 1
        if self.schedule.react is not None and metric is not None:
            plain.update(self.schedule.react(plain, metric, self.schedule_arguments))
        else:
            plain.update(_flat(self._values(name, plain["epoch"])))
        return {key: _like(value, entry[key]) for key, value in plain.items()}

    def get_last_lr(self) -> dict[str, float]:
        """Return the learning rate of each parameter in this epoch."""
        return {} if self.state is None else {name: _number(entry["lr"]) for name, entry in self.state.schedule.items()}

    def _kind(self) -> str:
        return f"{self.schedule.name} of {super()._kind()}"


def _known_schedule(constructor: Any) -> Schedule:
    if isinstance(constructor, Schedule):
        return constructor
    name = registry.active().optim.adopt_schedule(constructor)
    if name not in SCHEDULES:
        shown = getattr(constructor, "__name__", repr(constructor))
        raise InferenceError(
            f"{shown} is not a schedule that backend {registry.active().name!r} can take; expected one of {sorted(SCHEDULES)}; "
            "try ppl.optim.LambdaLR with a function of the epoch"
        )
    return SCHEDULES[name]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Return scheduled arguments with the first of two decay rates as an entry of its own."""
    return {("beta1" if key == "betas" else key): (value[0] if key == "betas" else value) for key, value in values.items()}


def _structured(entry: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that an entry of the schedule sets."""
    values = {key: entry[key] for key in ("lr", "momentum") if key in entry}
    return {**values, "betas": (entry["beta1"], *base["betas"][1:])} if "beta1" in entry else values


def _number(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float)) else ops.to_numpy(ops.array(value)).item()


def _like(value: Any, old: Any) -> Any:
    """Return ``value`` as what ``old`` is: a number of its type, or an array of its dtype."""
    if isinstance(old, (int, float)):
        return type(old)(value)
    return ops.astype(ops.array(value), ops.dtype_name(old))


def _restored(name: str, fresh: dict[str, Any], exported: Mapping[str, Any]) -> dict[str, Any]:
    wrong = [key for key in fresh if not isinstance(exported.get(PREFIX + key), (int, float))]
    if wrong:
        raise InferenceError(
            f"optimizer state of param {name!r} does not fit: it lacks {PREFIX + wrong[0]!r}; try the schedule that saved it"
        )
    return {key: _like(exported[PREFIX + key], value) for key, value in fresh.items()}


def LambdaLR(optim_args: Any = None, **keywords: Any) -> PyroLRScheduler:
    r"""Return an optimizer whose learning rate is multiplied by a function of the epoch.

    .. math:: \mathrm{lr}_e = \mathrm{lr} \, f(e)

    With ``steps_per_epoch`` on jax the function meets a traced array.

    :param optim_args: a dict of ``optimizer``, ``optim_args`` and ``steps_per_epoch`` as for
        :class:`PyroLRScheduler`, and of ``lr_lambda``, the function :math:`f` of the epoch.
    :param keywords: the same, by keyword; ``optim_args`` is then the optimizer's.
    :raises InferenceError: for an argument that is missing, unknown or out of its range.

    >>> from ppl import ops, optim
    >>> one = {"loc": ops.array(1.0)}
    >>> optimizer = optim.LambdaLR({"optimizer": optim.SGD, "optim_args": {"lr": 0.4}, "lr_lambda": lambda epoch: 0.5**epoch})
    >>> new = optimizer.step(one, one)
    >>> optimizer.step()
    >>> round(optimizer.get_last_lr()["loc"], 6)
    0.2
    """
    return PyroLRScheduler(SCHEDULES["LambdaLR"], optim_args, **keywords)


def StepLR(optim_args: Any = None, **keywords: Any) -> PyroLRScheduler:
    r"""Return an optimizer whose learning rate is multiplied by ``gamma`` every ``step_size`` epochs.

    .. math:: \mathrm{lr}_e = \mathrm{lr} \, \gamma^{\lfloor e / s \rfloor}

    :param optim_args: a dict of ``optimizer``, ``optim_args`` and ``steps_per_epoch`` as for
        :class:`PyroLRScheduler`, and of ``step_size`` (:math:`s`), ``gamma`` 0.1.
    :param keywords: the same, by keyword; ``optim_args`` is then the optimizer's.
    :raises InferenceError: for an argument that is missing, unknown or out of its range.

    >>> from ppl import ops, optim
    >>> one = {"loc": ops.array(1.0)}
    >>> optimizer = optim.StepLR({"optimizer": optim.SGD, "optim_args": {"lr": 0.4}, "step_size": 1, "gamma": 0.5})
    >>> new = optimizer.step(one, one)
    >>> optimizer.step()
    >>> round(optimizer.get_last_lr()["loc"], 6)
    0.2
    """
    return PyroLRScheduler(SCHEDULES["StepLR"], optim_args, **keywords)


def MultiStepLR(optim_args: Any = None, **keywords: Any) -> PyroLRScheduler:
    r"""Return an optimizer whose learning rate is multiplied by ``gamma`` at each milestone.

    .. math:: \mathrm{lr}_e = \mathrm{lr} \, \gamma^{\#\{m \le e\}}

    :param optim_args: a dict of ``optimizer``, ``optim_args`` and ``steps_per_epoch`` as for
        :class:`PyroLRScheduler`, and of ``milestones``, the epochs :math:`m`; ``gamma`` 0.1.
    :param keywords: the same, by keyword; ``optim_args`` is then the optimizer's.
    :raises InferenceError: for an argument that is missing, unknown or out of its range.

    >>> from ppl import ops, optim
    >>> one = {"loc": ops.array(1.0)}
    >>> optimizer = optim.MultiStepLR({"optimizer": optim.SGD, "optim_args": {"lr": 0.4}, "milestones": [1, 5], "gamma": 0.5})
    >>> new = optimizer.step(one, one)
    >>> optimizer.step()
    >>> round(optimizer.get_last_lr()["loc"], 6)
    0.2
    """
    return PyroLRScheduler(SCHEDULES["MultiStepLR"], optim_args, **keywords)


def ExponentialLR(optim_args: Any = None, **keywords: Any) -> PyroLRScheduler:
    r"""Return an optimizer whose learning rate is multiplied by ``gamma`` every epoch.

    .. math:: \mathrm{lr}_e = \mathrm{lr} \, \gamma^e

    :param optim_args: a dict of ``optimizer``, ``optim_args`` and ``steps_per_epoch`` as for
        :class:`PyroLRScheduler`, and of ``gamma``.
    :param keywords: the same, by keyword; ``optim_args`` is then the optimizer's.
    :raises InferenceError: for an argument that is missing, unknown or out of its range.

    >>> from ppl import ops, optim
    >>> one = {"loc": ops.array(1.0)}
    >>> optimizer = optim.ExponentialLR({"optimizer": optim.SGD, "optim_args": {"lr": 0.4}, "gamma": 0.5})
    >>> new = optimizer.step(one, one)
    >>> optimizer.step()
    >>> round(optimizer.get_last_lr()["loc"], 6)
    0.2
    """
    return PyroLRScheduler(SCHEDULES["ExponentialLR"], optim_args, **keywords)


def CosineAnnealingLR(optim_args: Any = None, **keywords: Any) -> PyroLRScheduler:
    r"""Return an optimizer whose learning rate is lowered along a cosine.

    .. math:: \mathrm{lr}_e = \mathrm{lr}_{\min} + \tfrac12 (\mathrm{lr} - \mathrm{lr}_{\min}) (1 + \cos(\pi e / T))

    :param optim_args: a dict of ``optimizer``, ``optim_args`` and ``steps_per_epoch`` as for
        :class:`PyroLRScheduler`, and of ``T_max`` (:math:`T`), ``eta_min`` 0 (:math:`\mathrm{lr}_{\min}`).
    :param keywords: the same, by keyword; ``optim_args`` is then the optimizer's.
    :raises InferenceError: for an argument that is missing, unknown or out of its range.

    >>> from ppl import ops, optim
    >>> one = {"loc": ops.array(1.0)}
    >>> optimizer = optim.CosineAnnealingLR({"optimizer": optim.SGD, "optim_args": {"lr": 0.4}, "T_max": 2})
    >>> new = optimizer.step(one, one)
    >>> optimizer.step()
    >>> round(optimizer.get_last_lr()["loc"], 6)
    0.2
    """
    return PyroLRScheduler(SCHEDULES["CosineAnnealingLR"], optim_args, **keywords)


def CosineAnnealingWarmRestarts(optim_args: Any = None, **keywords: Any) -> PyroLRScheduler:
    r"""Return an optimizer whose learning rate is lowered along a cosine and restarted.

    .. math:: \mathrm{lr}_e = \mathrm{lr}_{\min} + \tfrac12 (\mathrm{lr} - \mathrm{lr}_{\min}) (1 + \cos(\pi e_i / T_i))

    Here :math:`e_i` counts from the last restart and :math:`T_i` is :math:`T_0` times ``T_mult`` to the number of
    restarts (Loshchilov and Hutter 2017).

    :param optim_args: a dict of ``optimizer``, ``optim_args`` and ``steps_per_epoch`` as for
        :class:`PyroLRScheduler`, and of ``T_0``, ``T_mult`` 1, ``eta_min`` 0 (:math:`\mathrm{lr}_{\min}`).
    :param keywords: the same, by keyword; ``optim_args`` is then the optimizer's.
    :raises InferenceError: for an argument that is missing, unknown or out of its range.

    >>> from ppl import ops, optim
    >>> one = {"loc": ops.array(1.0)}
    >>> optimizer = optim.CosineAnnealingWarmRestarts({"optimizer": optim.SGD, "optim_args": {"lr": 0.4}, "T_0": 2})
    >>> new = optimizer.step(one, one)
    >>> optimizer.step()
    >>> round(optimizer.get_last_lr()["loc"], 6)
    0.2
    """
    return PyroLRScheduler(SCHEDULES["CosineAnnealingWarmRestarts"], optim_args, **keywords)


def CyclicLR(optim_args: Any = None, **keywords: Any) -> PyroLRScheduler:
    r"""Return an optimizer whose learning rate is moved up and down between two bounds.

    The learning rate rises from ``base_lr`` to ``max_lr`` and falls back, the momentum (the first decay rate of an
    Adam) the reverse (Smith 2017).

    :param optim_args: a dict of ``optimizer``, ``optim_args`` and ``steps_per_epoch`` as for
        :class:`PyroLRScheduler`, and of ``base_lr``, ``max_lr``, ``step_size_up`` 2000, ``step_size_down`` (as up),
        ``mode`` ('triangular', 'triangular2' or 'exp_range'), ``gamma`` 1, ``scale_fn``, ``scale_mode`` 'cycle',
        ``cycle_momentum`` True, ``base_momentum`` 0.8, ``max_momentum`` 0.9.
    :param keywords: the same, by keyword; ``optim_args`` is then the optimizer's.
    :raises InferenceError: for an argument that is missing, unknown or out of its range.

    >>> from ppl import ops, optim
    >>> one = {"loc": ops.array(1.0)}
    >>> optimizer = optim.CyclicLR({"optimizer": optim.SGD, "optim_args": {},
    ...                             "base_lr": 0.1, "max_lr": 0.3, "step_size_up": 2})
    >>> new = optimizer.step(one, one)
    >>> optimizer.step()
    >>> round(optimizer.get_last_lr()["loc"], 6)
    0.2
    """
    return PyroLRScheduler(SCHEDULES["CyclicLR"], optim_args, **keywords)


def ReduceLROnPlateau(optim_args: Any = None, **keywords: Any) -> PyroLRScheduler:
    r"""Return an optimizer whose learning rate is lowered when a metric stands still.

    ``optimizer.step(metric)`` ends an epoch; the rate falls by ``factor`` when the metric has not improved for more
    than ``patience`` of them.

    :param optim_args: a dict of ``optimizer``, ``optim_args`` and ``steps_per_epoch`` as for
        :class:`PyroLRScheduler`, and of ``mode`` 'min' or 'max', ``factor`` 0.1, ``patience`` 10, ``threshold`` 1e-4,
        ``threshold_mode`` 'rel' or 'abs', ``cooldown`` 0, ``min_lr`` 0, ``eps`` 1e-8.
    :param keywords: the same, by keyword; ``optim_args`` is then the optimizer's.
    :raises InferenceError: for an argument that is missing, unknown or out of its range.

    >>> from ppl import ops, optim
    >>> one = {"loc": ops.array(1.0)}
    >>> optimizer = optim.ReduceLROnPlateau({"optimizer": optim.SGD, "optim_args": {"lr": 0.4},
    ...                                      "factor": 0.5, "patience": 0, "mode": "max"})
    >>> new = optimizer.step(one, one)
    >>> optimizer.step(1.0)
    >>> optimizer.step(0.0)
    >>> round(optimizer.get_last_lr()["loc"], 6)
    0.2
    """
    return PyroLRScheduler(SCHEDULES["ReduceLROnPlateau"], optim_args, **keywords)
