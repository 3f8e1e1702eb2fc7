"""The sites of the steps of a loop, seen from outside as one site each whose first batch dimension is time.

The message of such a site is in flight while the loop runs: on its way out, before the first draw, the handlers around the loop
decide what it is (observed, given, drawn, enumerated); then the steps are made, in which it stops at :class:`Recorder`; and when
all of them are, it comes back with the distributions and the values of all steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ppl import handlers, ops, tree
from ppl.contrib.control_flow.stacking import TimeInside, place_time, put_together, stacked, take_apart, take_time, unlike
from ppl.distributions import Delta
from ppl.distributions.score_parts import scale_and_mask
from ppl.errors import DuplicateSite, EnumerationError, PlateCollision, ShapeError, SiteError
from ppl.handlers import density
from ppl.handlers.indep import CondIndepStackFrame, IndepMessenger
from ppl.handlers.mask import combine
from ppl.handlers.messenger import Handler
from ppl.handlers.values import check_value_shape
from ppl.infer.particles import PARTICLE_PLATE
from ppl.infer.predictive import SAMPLE_PLATE
from ppl.ops import random
from ppl.runtime import draw, is_distribution, is_validation_enabled
from ppl.typing import Message

# Plates that inference puts around a whole model, left of the dimensions that the model uses.
AROUND_MODELS = frozenset({PARTICLE_PLATE, SAMPLE_PLATE})


@dataclass
class Site:
    """A site of the steps.

    :param message: its message, in flight.
    :param reached: how many handlers around the loop it has passed.
    :param inner: how many of its plates lie inside of the step.
    :param dim: the batch dimension of time, negative.
    :param source: where values come from: ``"inside"`` the step, as data do; ``"given"`` by a handler around the loop;
        ``"drawn"``; or ``"enumerated"``.
    :param given: the value from outside, with time as leading axis; the same for all steps if ``constant``.
    :param key: source of randomness of all draws.
    :param fn: the distribution of the first step.
    :param value: the value of the first step.
    :param scale: that of the first step, and ``mask`` likewise, as set by handlers inside of the step.
    """

    message: Message
    reached: int
    inner: int
    dim: int
    source: str = "drawn"
    given: Any = None
    constant: bool = False
    key: Any = None
    fn: Any = None
    value: Any = None
    scale: Any = 1.0
    mask: Any = None
    mould: Any = None
    arrays: list[Any] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The site's name."""
        return str(self.message["name"])

    @property
    def is_computed(self) -> bool:
        """Whether it records a value without a density."""
        return bool(self.message["infer"].get("_deterministic"))

    @property
    def outer_frames(self) -> tuple[CondIndepStackFrame, ...]:
        """The plates around the loop."""
        stack: tuple[CondIndepStackFrame, ...] = self.message["cond_indep_stack"]
        return stack[: len(stack) - self.inner]

    def time_frame(self, length: int) -> CondIndepStackFrame:
        """Return the frame of time, under a name of the site's own: what is true of plates is not true of time."""
        return CondIndepStackFrame(f"{self.name}_time", self.dim, length, 0, length, independent=False)


class Recorder(Handler):
    """Stops the messages of the sites of a step and gives them their values.

    :param around: the handlers around the loop, innermost last.
    :param length: number of steps.
    :param reverse: whether the last step comes first.
    """

    def __init__(self, around: tuple[Handler, ...], length: int, reverse: bool) -> None:
        super().__init__()
        self.around, self.length, self.reverse = around, length, reverse
        self.sites: dict[str, Site] = {}
        self.outputs: dict[str, Any] = {}
        # Values that stand for those of enumerated and drawn sites while a step is checked.
        self.chosen: dict[str, Any] = {}
        self.first = True
        self._others: dict[tuple[str, str], Any] = {}
        self._slices: dict[str, Any] = {}
        self._step: Any = 0
        self._scores = False
        enumerating = [handler for handler in around if isinstance(handler, handlers.enum)]
        self.enumerating = enumerating[-1] if enumerating else None

    # -- the steps --

    def begin(self, step: Any, slices: dict[str, Any], scores: bool) -> None:
        """Begin a step after the first.

        :param slices: values and masks from outside, for this step.
        :param scores: whether log densities are wanted rather than distributions.
        """
        self.first, self.outputs, self._step, self._slices, self._scores = False, {}, step, slices, scores

    def columns(self) -> dict[str, Any]:
        """Return the values and masks that differ from step to step, time as leading axis."""
        values = {name: site.given for name, site in self.sites.items() if site.source == "given" and not site.constant}
        masks = {}
        for name, site in self.sites.items():
            mask = site.message["mask"]
            if self.enumerated() and ops.is_array(mask) and ops.ndim(mask) >= -site.dim and ops.shape(mask)[site.dim] != 1:
                masks[name] = self.in_order(take_time(mask, site.dim))
        return {"values": values, "masks": masks}

    def enumerated(self) -> list[Site]:
        """Return the sites that take all their values at once."""
        return [site for site in self.sites.values() if site.source == "enumerated"]

    def process_message(self, message: Message) -> None:
        """Give a site its value; anything else is asked once, in the first step."""
        if message["type"] == "sample":
            if self.first:
                self._meet(message)
            elif message["name"] in self.outputs:
                raise DuplicateSite(_twice(message["name"]))
            else:
                self._fill(self._known(message), message)
            message["done"] = message["stop"] = True
        elif not self.first:
            key = (message["type"], message["name"])
            if key not in self._others:
                raise SiteError(_new(message))
            message["value"], message["done"], message["stop"] = self._others[key], True, True

    def postprocess_message(self, message: Message) -> None:
        """Keep the value of a parameter, or the indices of a plate, for the other steps."""
        if message["type"] != "sample" and self.first:
            self._others[message["type"], message["name"]] = message["value"]

    def _known(self, message: Message) -> Site:
        if message["name"] not in self.sites:
            raise SiteError(_new(message))
        return self.sites[message["name"]]

    def check_complete(self) -> None:
        """Raise if the step lacked a site of the first one.

        :raises SiteError: naming it.
        """
        for name in self.sites:
            if name not in self.outputs:
                raise SiteError(
                    f"a step of scan has no site {name!r}, which the first step has; expected the same sites in each; try "
                    "handlers.mask for what counts in some steps only"
                )

    def _fill(self, site: Site, message: Message) -> None:
        """Give the site its value in this step and note what is to be stacked."""
        fn = message["fn"] if site.is_computed else _expanded(message["fn"], site)
        value = self._value(site, message, fn)
        message["value"], message["fn"] = value, fn
        if self.first:
            site.fn, site.value, site.scale, site.mask = fn, value, message["scale"], message["mask"]
            return
        if self._scores and not site.is_computed:
            self.outputs[site.name] = {"value": value, "log_prob": log_prob(site, message, self._slices["masks"])}
            return
        arrays: list[Any] = []
        if not site.is_computed:
            mould = _take_apart(message)
            arrays = mould[1]
            difference = unlike(site.mould, mould[0])
            if difference is not None:
                raise SiteError(
                    f"site {site.name!r} differs between the steps of scan: {difference}; expected one family with the same "
                    "shapes in each step; try arrays in place of Python numbers"
                )
        self.outputs[site.name] = {"value": value, "arrays": arrays}

    def _value(self, site: Site, message: Message, fn: Any) -> Any:
        if site.name in self.chosen:
            return self.chosen[site.name]
        if site.source == "inside":
            value = message["value"]
            return value if ops.is_array(value) else ops.array(value)
        if site.source == "enumerated":
            return site.message["value"]
        if site.source == "given":
            if site.constant:
                return site.given
            return site.given[0] if self.first else self._slices["values"][site.name]
        key = None if site.key is None else random.fold_in(site.key, self._step)
        return draw(site.name, fn, (), {}, key)

    # -- the first step --

    def _meet(self, message: Message) -> None:
        """Send the site of all steps through the handlers around the loop, and make its first step."""
        name, fn = message["name"], message["fn"]
        if name in self.sites:
            raise DuplicateSite(_twice(name))
        if not is_distribution(fn) or message["args"]:
            raise SiteError(
                f"site {name!r} inside scan draws from {fn!r}{' with a sample shape' if message['args'] else ''}; expected a "
                "distribution, whose batch has room for time; try .expand on it, or a ppl.plate"
            )
        inner = message["cond_indep_stack"]
        computed = bool(message["infer"].get("_deterministic"))
        inside = message["value"]
        whole = {
            **message,
            "infer": dict(message["infer"]),
            "scale": 1.0,
            "mask": False if computed else None,
            "stop": False,
            "done": False,
            "kwargs": {},
        }
        dim = -1 if computed else self._time_dim(fn, inner)
        whole["fn"] = fn if computed or self._lacks_room(dim) else _through_time(fn, dim, self.length)
        site = Site(whole, 0, len(inner), dim)
        self._send(site, fn)
        self.sites[name] = site
        self._settle(site, inside)
        self._fill(site, message)
        if not computed:
            site.mould, site.arrays = _take_apart(message)

    def _send(self, site: Site, fn: Any) -> None:
        whole = site.message
        for handler in reversed(self.around):
            site.reached += 1
            before, value = whole["fn"], whole["value"]
            if isinstance(handler, handlers.enum):
                if value is None:
                    _refuse_draws(site)
                # It looks at the dimensions of a single step, among which it finds one for the values.
                whole["fn"] = fn if site.is_computed else _expanded(fn, site)
                handler.process_message(whole)
                whole["fn"] = before
                if value is None and whole["value"] is not None:
                    site.source, site.given = "enumerated", whole["value"]
                    # The next site of the step must not get the same dimension.
                    handler.postprocess_message(whole)
            else:
                handler.process_message(whole)
                if whole["fn"] is not before and not isinstance(handler, (IndepMessenger, handlers.broadcast)):
                    raise SiteError(
                        f"{type(handler).__name__} around scan changes the distribution of site {site.name!r}, which depends on "
                        f"the step; expected it around the step; try scan(handlers.{type(handler).__name__}(step, ...), ...)"
                    )
            if whole["stop"]:
                break
        if whole["continuation"] is not None:
            raise EnumerationError(
                f"site {site.name!r} lies inside scan, which cannot be left and run again for each of its values; expected the "
                "loop to run once; try infer={'enumerate': 'parallel'}, or a Python loop under ppl.markov"
            )

    def _settle(self, site: Site, inside: Any) -> None:
        """Decide where the values of a site come from."""
        whole, infer = site.message, site.message["infer"]
        value = whole["value"]
        if site.source == "enumerated" and value is site.given and not whole["is_observed"]:
            return
        replayed = "_enumerate_dim" in infer and site.source != "enumerated" and not whole["is_observed"]
        site.given, site.source = None, "drawn"
        if value is None:
            site.key = random.next_key(site.name) if whole["rng_key"] is None else whole["rng_key"]
        elif value is inside:
            site.source = "inside"
        else:
            if replayed:
                raise EnumerationError(
                    f"site {site.name!r} inside scan has all its values at once from another run, as if the guide enumerated it; "
                    "expected enumerated sites of scan in the model alone; try to leave it out of the guide"
                )
            infer.pop("_enumerate_dim", None)
            site.source = "given"
            site.given, site.constant = self._columns_of(site, value)

    def _columns_of(self, site: Site, value: Any) -> tuple[Any, bool]:
        """Return a value from outside with time as leading axis, in the order of the steps; and whether it is one for all."""
        value = value if ops.is_array(value) else ops.array(value)
        event_dim = len(site.message["fn"].event_shape)
        shape = tuple(ops.shape(value))
        if len(shape) <= event_dim and not site.is_computed:
            return value, True
        axis = site.dim - event_dim
        if len(shape) < -axis or shape[axis] not in (1, self.length):
            raise ShapeError(
                f"the value of site {site.name!r} of scan has shape {shape}; expected {self.length} steps at its dimension "
                f"{axis}, "
                f"as in {tuple(site.message['fn'].shape())}; try a value with time as its leading axis"
            )
        if shape[axis] != self.length:
            value = ops.broadcast_to(value, (*shape[:axis], self.length, *shape[len(shape) + axis + 1 :]))
        return self.in_order(take_time(value, axis)), False

    def in_order(self, array: Any) -> Any:
        """Return what is in the order of the steps, time as leading axis, in the order of the data, or the other way round."""
        return ops.flip(array, 0) if self.reverse else array

    def _time_dim(self, fn: Any, inner: tuple[CondIndepStackFrame, ...]) -> int:
        """Return the first batch dimension left of the model's plates, and of what the distribution has itself."""
        depth = max((-frame.dim for frame in inner if frame.dim is not None), default=0)
        batch = tuple(fn.batch_shape)
        room = None if self.enumerating is None else -1 - self.enumerating.first_available_dim
        for handler in self.around:
            if isinstance(handler, IndepMessenger) and handler.frame.dim is not None:
                if handler.name in AROUND_MODELS:
                    left = -1 - handler.frame.dim
                    room = left if room is None else min(left, room)
                else:
                    depth = max(depth, -handler.frame.dim)
        if room is not None:
            batch = batch[max(len(batch) - room, 0) :]
            while batch and batch[0] == 1:
                batch = batch[1:]
        return -1 - max(depth, len(batch))

    # -- the end --

    def finish(self, rows: dict[str, Any]) -> None:
        """Send the sites back through the handlers around the loop, all steps stacked.

        :param rows: for each site, values and arrays of all steps in the order of the steps.
        """
        for name, site in self.sites.items():
            value = rows[name]["value"]
            if site.is_computed:
                self.finish_computed(site, value)
                continue
            self._check_room(site)
            message, mould = site.message, site.mould
            arrays = [self.in_order(array) for array in rows[name]["arrays"]]
            fn = stacked(site.fn, mould["fn"], arrays, self.length, site.value)
            message["fn"] = TimeInside(fn, site.dim) if len(site.fn.batch_shape) >= -site.dim else fn
            message["value"] = place_time(self.in_order(value), site.dim - len(site.fn.event_shape))
            scale, mask = (put_together(mould[part], arrays) for part in ("scale", "mask"))
            scale, mask = (place_time(part, site.dim) if ops.is_array(part) else part for part in (scale, mask))
            message["scale"], message["mask"] = scale * message["scale"], combine(mask, message["mask"])
            self._add_time(site)
            self.send_back(site)

    def finish_computed(self, site: Site, value: Any) -> None:
        """Send back a site without a density; all dimensions of its value are those of one event."""
        message = site.message
        message["value"] = self.in_order(value)
        message["fn"] = Delta(message["value"], event_dim=ops.ndim(value), validate_args=False)
        self.send_back(site)

    def _lacks_room(self, dim: int) -> bool:
        """Return whether time would stand among the dimensions of enumerated sites; where they are summed out it need not."""
        return self.enumerating is not None and dim <= self.enumerating.first_available_dim

    def _check_room(self, site: Site) -> None:
        if self.enumerating is not None and self._lacks_room(site.dim):
            raise PlateCollision(
                f"the steps of site {site.name!r} of scan use dim={site.dim}, but enum has first_available_dim="
                f"{self.enumerating.first_available_dim} and gives dimensions from there to the left; expected time to the right "
                f"of it; try first_available_dim={site.dim - 1}, or max_plate_nesting={-site.dim}"
            )

    def _add_time(self, site: Site) -> None:
        # Between the plates outside of the step and those inside.
        stack, outer = site.message["cond_indep_stack"], site.outer_frames
        site.message["cond_indep_stack"] = (*outer, site.time_frame(self.length), *stack[len(outer) :])

    def send_back(self, site: Site) -> None:
        """Let the handlers around the loop see the site as it stands."""
        message = site.message
        message["done"] = True
        if message["is_observed"] and not site.is_computed and is_validation_enabled():
            check_value_shape(message)
        for handler in self.around[len(self.around) - site.reached :]:
            handler.postprocess_message(message)


def _refuse_draws(site: Site) -> None:
    """Raise if a site asks for some of its values, drawn, in the place of all."""
    infer = site.message["infer"]
    if infer.get("enumerate") == "parallel" and infer.get("num_samples") is not None:
        raise EnumerationError(
            f"site {site.name!r} inside scan is marked with num_samples={infer['num_samples']}; expected all values of its "
            "support, which are the same in each step; try to leave num_samples out"
        )


def log_prob(site: Site, message: Message, masks: dict[str, Any]) -> Any:
    """Return the log density of a site in one step, masked, and scaled by what handlers inside of the step set.

    :param masks: masks from outside that differ from step to step.
    """
    outer = masks.get(site.name, site.message["mask"])
    node = {**message, "mask": combine(message["mask"], outer), "infer": {}}
    density.compute(site.name, node)
    return scale_and_mask(node["unscaled_log_prob"], 1.0, node["mask"])


def _take_apart(message: Message) -> tuple[Any, list[Any]]:
    arrays: list[Any] = []
    return take_apart({part: message[part] for part in ("fn", "scale", "mask")}, arrays), arrays


def _through_time(fn: Any, dim: int, length: int) -> Any:
    """Return the distribution of one step expanded to all of them."""
    batch = tuple(fn.batch_shape)
    target = [1] * (-dim - len(batch)) + list(batch)
    target[dim] = length
    return fn.expand(tuple(target))


def _expanded(fn: Any, site: Site) -> Any:
    """Return the distribution of one step expanded to the plates around the loop, with all dimensions right of time."""
    batch = list(fn.batch_shape)
    batch = [1] * (-site.dim - 1 - len(batch)) + batch
    for frame in site.outer_frames:
        if frame.dim is not None and frame.size is not None:
            batch = [1] * (-frame.dim - len(batch)) + batch
            if batch[frame.dim] == 1:
                batch[frame.dim] = frame.size
    return fn if tuple(batch) == tuple(fn.batch_shape) else fn.expand(tuple(batch))


def leading(first: Any, rest: Any) -> Any:
    """Return the trees ``first`` of one step and ``rest`` of the others, with time as leading axis, as one."""
    return tree.map(_leading, first, rest)


def _leading(first: Any, rest: Any) -> Any:
    return followed(ops.expand_dims(first if ops.is_array(first) else ops.array(first), 0), rest)


def followed(*parts: Any) -> Any:
    """Return arrays with time as leading axis one behind the other, the other axes broadcast."""
    shapes = {tuple(ops.shape(part))[1:] for part in parts}
    if len(shapes) > 1:
        common = ops.broadcast_shapes(*shapes)
        parts = tuple(ops.broadcast_to(_padded(part, len(common)), (ops.shape(part)[0], *common)) for part in parts)
    return parts[0] if len(parts) == 1 else ops.concat(list(parts), axis=0)


def _padded(array: Any, rank: int) -> Any:
    shape = tuple(ops.shape(array))
    return ops.reshape(array, (shape[0], *(1,) * (rank + 1 - len(shape)), *shape[1:]))


def _twice(name: str) -> str:
    return (
        f"two sites of one step of scan have the name {name!r}; expected distinct names, each of them a site of all steps; try "
        "other names, or a ppl.plate"
    )


def _new(message: Message) -> str:
    return (
        f"a step of scan has the {message['type']} site {message['name']!r}, which the first step has not; expected the same "
        "sites in each; try handlers.mask for what counts in some steps only"
    )
