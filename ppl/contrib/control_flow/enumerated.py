"""A loop with sites that take all their values at once: one step gives the weights of all ways to go on from the one before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any, NamedTuple, NoReturn
from weakref import WeakSet

from ppl import ops, tree
from ppl.contrib.control_flow.factors import Reduced, Steps, Term, Variable, trimmed
from ppl.contrib.control_flow.sites import Recorder, Site, followed, log_prob
from ppl.contrib.control_flow.stacking import place_time
from ppl.contrib.control_flow.states import States, Summed
from ppl.errors import EnumerationError, ShapeError
from ppl.ops import autodiff
from ppl.runtime import is_validation_enabled
from ppl.typing import Shape, Tree

Move = Mapping[int, int]

# How many runs with single values a step is compared with.
RUNS = 3
_checked: WeakSet[CodeType] = WeakSet()


class Leaf(NamedTuple):
    """What an array of the carry is.

    :param dims: the dimensions of enumerated sites, of this step or of steps before, that it depends on.
    :param events: how many event dimensions it has: those of a site's own values are known, what is computed must have none.
    :param origin: the dimension of the site whose values it is, its place in the carry before the loop, or ``None`` if computed.
    """

    dims: frozenset[int]
    events: int
    origin: tuple[str, int] | None


class Part(NamedTuple):
    """One of the first steps, or all later ones.

    :param time: the first of its steps.
    :param carry: what that step starts with, and ``leaves`` what the arrays of it are.
    :param output: outputs with time as leading axis, and ``rows`` what the sites say.
    """

    time: int
    carry: Tree
    leaves: list[Leaf]
    output: Tree
    rows: dict[str, Any]


class EnumeratedLoop:
    """The later steps of a loop whose first one has enumerated sites.

    As many steps as later ones look back are run one by one, since they see what was before the loop; the others are alike.

    :param recorder: with the sites of the first step.
    :param further: runs a later step: from carry, column and ``scores=True`` to carry, output and rows.
    :param init: the carry before the first step, ``carry`` that after it.
    :param history: how many steps back a site may look.
    :raises EnumerationError: if the carry is not one that a chain of that history can have.
    """

    def __init__(self, recorder: Recorder, further: Callable[..., Any], init: Tree, carry: Tree, history: int) -> None:
        self.recorder, self.further, self.carry = recorder, further, carry
        self.first_dim: int = -1 if recorder.enumerating is None else recorder.enumerating.first_available_dim
        self.sites = {site.message["infer"]["_enumerate_dim"]: site for site in recorder.enumerated()}
        self.owners: dict[int, str] = {}
        for site in recorder.sites.values():
            self.owners.update(site.message["infer"].get("_dim_to_id", {}))
        self.owners.update({dim: site.name for dim, site in self.sites.items()})
        self.init = init
        start = [Leaf(frozenset(), 0, ("init", place)) for place in range(len(tree.leaves(init)))]
        self.generations = dict(self.owners)
        self.leaves = self._described(init, start, carry)
        self.carried = sorted(set().union(*(leaf.dims for leaf in self.leaves))) if self.leaves else []
        if self.carried and history < 1:
            self._refuse_history(self.sites[self.carried[0]].name, history)
        self.history = min(history, recorder.length) if self.carried else 1
        self.before = {dim: self._dims_before(place) for place, dim in enumerate(self.carried)}
        self.move: dict[int, int] = {}
        for dim, before in self.before.items():
            self.move.update(zip((dim, *before[:-1]), before, strict=True))
            self.generations.update(dict.fromkeys(before, self.sites[dim].name))
        self.parts: list[Part] = []
        self.variables = [self._variable(dim, site) for dim, site in self.sites.items()]

    def _dims_before(self, place: int) -> tuple[int, ...]:
        """Return the dimensions of a carried site's values one step before, two steps before, and so on."""
        return tuple(min(self.owners) - 1 - back * len(self.carried) - place for back in range(self.history))

    def _variable(self, dim: int, site: Site) -> Variable:
        return Variable(site.name, dim, self.before.get(dim, ()), self._batch(site.value, site)[dim], self._inner_plates(site))

    def _inner_plates(self, site: Site) -> frozenset[int]:
        stack = site.message["cond_indep_stack"]
        return frozenset(frame.dim for frame in stack[len(stack) - site.inner :] if frame.dim is not None)

    def _depth(self, site: Site) -> int:
        """Return how many dimensions the plates of a site reach to the left."""
        return max((-frame.dim for frame in site.message["cond_indep_stack"] if frame.dim is not None), default=0)

    def _batch(self, value: Any, site: Site) -> Shape:
        shape = tuple(ops.shape(value))
        return shape[: len(shape) - len(site.message["fn"].event_shape)]

    def _wide(self, shape: Shape) -> set[int]:
        """Return the dimensions of an array that are left of those of plates and longer than one."""
        return {dim for dim in range(-len(shape), self.first_dim + 1) if shape[dim] != 1}

    # -- the carry --

    def _described(self, before: Tree, known: list[Leaf], after: Tree) -> list[Leaf]:
        """Return what the arrays of a carry are.

        :param before: the carry that the step began with, and ``known`` what its arrays are.
        """
        old = tree.leaves(before)
        return [self._leaf(new, place, old, known) for place, new in enumerate(tree.leaves(after))]

    def _leaf(self, new: Any, place: int, old: list[Any], known: list[Leaf]) -> Leaf:
        for dim, site in self.sites.items():
            if new is site.value:
                return Leaf(frozenset({dim}), len(site.fn.event_shape), ("site", dim))
        if new is old[place]:
            return known[place]
        for array, leaf in zip(old, known, strict=True):
            if new is array and leaf.dims:
                return leaf
        shape = tuple(ops.shape(new))
        if not known[place].dims and shape == tuple(ops.shape(old[place])):
            return Leaf(frozenset(), 0, None)
        wide = self._wide(shape)
        for dim in wide:
            owner = self.sites.get(dim)
            if dim not in self.generations or (owner is not None and self._batch(owner.value, owner)[dim] != shape[dim]):
                raise EnumerationError(
                    f"the carry of scan has an array of shape {shape}, whose dim={dim} of size {shape[dim]} is that of no "
                    f"enumerated site; expected the values of {[site.name for site in self.sites.values()]} in the carry, "
                    "without event dimensions; try to compute what follows from them in the next step"
                )
        return Leaf(frozenset(dim for dim in wide if dim in self.sites or dim not in self.owners), 0, None)

    def moved(self, carry: Tree, leaves: list[Leaf]) -> tuple[Tree, list[Leaf]]:
        """Return a carry with the values of each step as those of the step before it, and what its arrays are."""
        arrays, found = [], []
        for array, leaf in zip(tree.leaves(carry), leaves, strict=True):
            # The oldest values first: each goes where no other is.
            for dim in sorted(leaf.dims):
                array = _swapped(array, dim - leaf.events, self.move[dim] - leaf.events)
            arrays.append(array)
            found.append(leaf._replace(dims=frozenset(self.move[dim] for dim in leaf.dims)))
        return tree.unflatten(carry, arrays), found

    def _handed_on(self, carry: Tree) -> Tree:
        """Return the carry after the loop, of which the values of the last step alone can be used."""
        arrays: list[Any] = []
        for array, leaf in zip(tree.leaves(carry), self.leaves, strict=True):
            if leaf.dims - self.sites.keys():
                arrays.append(Gone("a value of the last carry"))
                continue
            for dim in leaf.dims:
                array = _swapped(array, self.move[dim] - leaf.events, dim - leaf.events)
            arrays.append(_stripped(array, leaf.events - self.first_dim) if leaf.dims else array)
        return tree.unflatten(carry, arrays)

    def _check_carry(self, after: Tree) -> None:
        """Refuse a carry that depends on more than the carry after the first steps does."""
        for array, known, leaf in zip(tree.leaves(after), tree.leaves(self.carry), self.leaves, strict=True):
            shape, before, events = tuple(ops.shape(array)), tuple(ops.shape(known)), leaf.events
            wide = self._wide(shape[: len(shape) - events]) - self._wide(before[: len(before) - events])
            old = {dim for dim in wide if dim in self.generations and dim not in self.owners}
            if old:
                self._refuse_history(self.generations[min(old)], self.history)
            if wide & self.sites.keys() and not leaf.dims:
                self._refuse_late(min(wide & self.sites.keys()))
            if _core(shape) != _core(before):
                raise ShapeError(
                    f"the carry of scan has an array of shape {before} after the first step and {shape} after "
                    "the next; expected the same; try to broadcast it in the step"
                )

    def _refuse_late(self, dim: int) -> NoReturn:
        raise EnumerationError(
            f"an array of the carry of scan depends on {self.generations[dim]!r} after a later step but "
            "not after the first; expected the same in each step; try to give the first step its own site before scan"
        )

    def _refuse_history(self, name: str, history: int) -> NoReturn:
        raise EnumerationError(
            f"enumerated site {name!r} of scan, or a latent value that depends on it, is seen by later steps than "
            f"history={history} "
            f"allows; expected steps that look no further back; try history={history + 1}, or a guide for continuous sites"
        )

    # -- the steps --

    def run(self, output: Tree, columns: Mapping[str, Any] | None) -> Tree:
        """Run the later steps and return the carry after the last one.

        :param output: that of the first step.
        :param columns: what differs from step to step; ``None`` if there are no more.
        """
        self.parts = [Part(0, self.init, [], tree.map(_alone, output), {})]
        if columns is None:
            return self.carry
        for time in range(1, self.history):
            self._run_one(time, tree.map(lambda column, time=time: column[time - 1], dict(columns)))
        start, leaves = self.moved(self.carry, self.leaves)
        if self.history == self.recorder.length:
            return self._handed_on(start)
        columns = tree.map(lambda column: column[self.history - 1 :], dict(columns))
        still = all(leaf.origin == ("init", place) or leaf.dims for place, leaf in enumerate(self.leaves))
        answer = self._at_once(start, leaves, columns) if still and all(leaf.origin for leaf in self.leaves) else None
        last = start
        if answer is None:

            def step(carry: Tree, column: Mapping[str, Any]) -> tuple[Tree, Any]:
                after, row = self.further(carry, column, scores=True)
                self._check_carry(after)
                return self.moved(after, self.leaves)[0], row

            last, answer = ops.control.scan(step, start, dict(columns))
        self.parts.append(Part(self.history, start, leaves, *answer))
        return self._handed_on(last)

    def _run_one(self, time: int, column: Mapping[str, Any]) -> None:
        start, known = self.moved(self.carry, self.leaves)
        after, (output, rows) = self.further(start, column, scores=True)
        leaves = self._described(start, known, after)
        late = set().union(*(leaf.dims for leaf in leaves)) & (self.sites.keys() - set(self.carried))
        if late:
            self._refuse_late(min(late))
        self.parts.append(Part(time, start, known, tree.map(_alone, output), tree.map(_alone, rows)))
        self.carry, self.leaves = after, leaves

    def _at_once(self, start: Tree, known: list[Leaf], columns: Mapping[str, Any]) -> tuple[Any, Any] | None:
        """Return outputs and rows of all later steps, mapped over time: where the carry is the same in each.

        ``None`` if it is not, or if the step cannot be mapped.
        """
        moving = False

        def step(column: Mapping[str, Any]) -> Any:
            nonlocal moving
            after, row = self.further(start, column, scores=True)
            self._check_carry(after)
            moving = moving or self._described(start, known, after) != self.leaves
            return row

        try:
            answer = autodiff.vmap(step)(dict(columns))
        except RuntimeError:
            # Torch maps no step whose Python code looks at values; the loop runs it, or raises what is wrong with it.
            return None
        return None if moving else answer

    # -- the sum --

    def terms(self, rows: Mapping[str, Any], masks: Mapping[str, Any]) -> list[Term]:
        """Return the log densities of the first step, or of the later ones by their rows."""
        found = []
        for name, site in self.recorder.sites.items():
            if site.is_computed:
                continue
            if not rows:
                message = {**site.message, "fn": site.fn, "value": site.value, "scale": site.scale, "mask": site.mask}
                array = ops.expand_dims(log_prob(site, message, {key: mask[0] for key, mask in masks.items()}), 0)
            else:
                array = rows[name]["log_prob"]
            self._refuse_stray(site, tuple(ops.shape(array))[1:])
            found.append(Term(name, array, self._inner_plates(site)))
        return found

    def _refuse_stray(self, site: Site, shape: Shape) -> None:
        plates = {frame.dim for frame in site.message["cond_indep_stack"]}
        known = self.generations.keys()
        for dim in range(-1, -len(shape) - 1, -1):
            if shape[dim] != 1 and dim not in plates and (dim > self.first_dim or dim not in known):
                raise EnumerationError(
                    f"site {site.name!r} inside scan has a log density of shape {shape} in one step, whose dim={dim} belongs to "
                    f"no plate and to no enumerated site; expected plates and {sorted(self.owners.values())} alone; try "
                    ".to_event on its distribution, or Vindex(table)[value, ...] of ppl.ops.indexing where it reads a table by "
                    "an enumerated value"
                )

    def finish(self, masks: Mapping[str, Any]) -> Tree:
        """Send all sites back, the weight of all ways through the loop with one of them, and return the outputs.

        :raises EnumerationError: if sites have scales of their own, or a latent value depends on an enumerated site.
        """
        sites, length = self.recorder.sites, self.recorder.length
        self._check_scales()
        terms = [self.terms(part.rows, masks) for part in self.parts]
        rank = max([-min(self.move.values(), default=-1)] + [ops.ndim(term.array) - 1 for part in terms for term in part])
        frames = {}
        for site in sites.values():
            stack = site.message["cond_indep_stack"]
            frames.update({frame.dim: frame for frame in stack[len(stack) - site.inner :] if frame.dim is not None})
        steps = Steps(self.variables, frames, rank, self.history)
        reduced = [steps.reduce(part) for part in terms]
        constants = _summed(reduced)
        order = [site for site in sites.values() if site.source == "enumerated"]
        head = next((site for site in order if site.message["infer"]["_enumerate_dim"] in self.before), order[0])
        states = States(steps, terms, self.owners, {site.name: site for site in order}, self.recorder.reverse)
        # The sum over the whole loop is left until it is asked for: a run that only looks at the sites has no use for it.
        weights: Any = lambda: trimmed(steps.last_state(reduced))  # noqa: E731
        shape = steps.last_shape(reduced)
        if not steps.carried:
            weights = weights()
        for name, site in sites.items():
            if site.source == "enumerated":
                self._finish_enumerated(site, head, (weights, shape), states, constants.pop(name, None))
                continue
            value = followed(_alone(site.value), *(part.rows[name]["value"] for part in self.parts[1:]))
            self._finish_other(site, value, constants.pop(name, None), length)
        return tree.map(self._output, *(part.output for part in self.parts))

    def _finish_enumerated(self, site: Site, head: Site, summed: tuple[Any, Shape], states: States, constant: Any) -> None:
        message, (weights, shape) = site.message, summed
        dim = message["infer"]["_enumerate_dim"]
        message["infer"] = {**message["infer"], "_scan": states, "_dim_to_id": {**message["infer"]["_dim_to_id"], **self.owners}}
        message["mask"] = None
        if constant is not None:
            raise EnumerationError(
                f"site {site.name!r} inside scan stands outside of a plate inside of the step, in which {head.name!r} stands, "
                "that the next step sees; expected the same plates; try ppl.plate around scan"
            )
        if dim not in self.before:
            if site is not head:
                return
            # Nothing goes on from step to step: the site stands for the sum, each of its values for an equal part of it.
            size = self._batch(site.value, site)[dim]
            weights = weights - ops.log(ops.full((size, *(1,) * (-dim - 1)), float(size)))
            shape = tuple(ops.shape(weights))
        others = {other for other in self.before if other != dim}
        if site is not head:
            shape = tuple(1 if axis - len(shape) in others else size for axis, size in enumerate(shape))
            weights = ops.zeros(shape)
        message["scale"] = site.scale * message["scale"]
        message["fn"] = Summed(site.message["fn"], weights, shape)
        message["value"] = site.value
        self.recorder.send_back(site)

    def _finish_other(self, site: Site, value: Any, constant: Any, length: int) -> None:
        message, event_dim = site.message, len(site.fn.event_shape)
        batch = tuple(ops.shape(value))[1 : ops.ndim(value) - (ops.ndim(value) - 1 if site.is_computed else event_dim)]
        depends = any(size != 1 for size in batch[: len(batch) + self.first_dim + 1])
        if site.is_computed:
            if self._wide(tuple(ops.shape(value))[1:]):
                # It has one value for each of those that are summed out, which no one number is.
                return
            self.recorder.finish_computed(site, value)
            return
        if depends and site.source == "drawn":
            raise EnumerationError(
                f"site {site.name!r} inside scan is latent and depends on the enumerated sites {sorted(self.owners.values())}, "
                "so that "
                "it was drawn once for each of their values; expected a value for it; try a guide that has it, or "
                "handlers.condition"
            )
        message["infer"] = {**message["infer"], "_scan": True}
        message["mask"] = None
        weights = ops.array(0.0) if constant is None else trimmed(constant)
        value = self.recorder.in_order(value)
        fn = message["fn"]
        message["fn"] = Summed(fn, weights, (length, *batch[max(len(batch) + site.dim + 1, 0) :]))
        message["value"] = place_time(value, site.dim - event_dim)
        self.recorder.send_back(site)

    def _check_scales(self) -> None:
        scales = {site.name: site.message["scale"] for site in self.recorder.sites.values() if not site.is_computed}
        names = list(scales)
        for name, scale in scales.items():
            if scale is not scales[names[0]] and not _equal(scale, scales[names[0]]):
                raise EnumerationError(
                    f"sites {names[0]!r} and {name!r} of scan have the scales {scales[names[0]]} and {scale} from around the "
                    "loop; expected one for all, since the sum over enumerated sites has one; try one handlers.scale around scan"
                )
        for site in self.recorder.sites.values():
            stack = site.message["cond_indep_stack"]
            expected = 1.0
            for frame in stack[len(stack) - site.inner :]:
                if frame.size and frame.full_size:
                    expected *= frame.full_size / frame.size
            if not site.is_computed and not _equal(site.scale, expected):
                raise EnumerationError(
                    f"site {site.name!r} has the scale {site.scale} inside of the step of scan, whose enumerated sites are "
                    "summed out; expected one scale for all sites; try handlers.scale around scan"
                )
            site.scale = 1.0 if site.message["infer"].get("_enumerate_dim") not in self.before else expected

    def _output(self, *columns: Any) -> Any:
        if any(self._wide(tuple(ops.shape(column))[1:]) for column in columns):
            return Gone("an output")
        return self.recorder.in_order(followed(*columns))

    # -- the check --

    def check(self, code: Any, columns: Mapping[str, Any]) -> None:
        """Refuse a step that means something else when its sites take all their values at once, once for each function.

        :param code: that of the step's function, or ``None``.
        :param columns: what differs from step to step, of all steps.
        :raises EnumerationError: naming the first site whose log density differs.
        """
        if autodiff.is_tracing() or not is_validation_enabled() or code in _checked:
            return
        for part in self.parts:
            found = {term.name: term.array[0] for term in self.terms(part.rows, columns["masks"])}
            column = tree.map(lambda one, time=part.time: one[time], dict(columns))
            for run in range(RUNS):
                self._compare(part, column, found, run)
        if isinstance(code, CodeType):
            _checked.add(code)

    def _leaf_at(self, array: Any, before: Mapping[int, int], leaf: Leaf) -> Any:
        """Return an array of the carry at single values of the sites of the steps before."""
        names = {self.generations[dim] for dim in leaf.dims}
        depth = max(self._depth(self.recorder.sites[name]) for name in names)
        return _single(array, {dim - leaf.events: index for dim, index in before.items()}, depth + leaf.events)

    def _compare(self, part: Part, column: Mapping[str, Any], found: Mapping[str, Any], run: int) -> None:
        now = {v.dim: (run + place) % v.size for place, v in enumerate(self.variables)}
        before = {
            dim: (2 * run + 1 + back + place) % v.size
            for place, v in enumerate(self.variables)
            for back, dim in enumerate(v.before)
        }
        chosen = {}
        for name, site in self.recorder.sites.items():
            event_dim = len(site.fn.event_shape)
            if site.source == "enumerated":
                dim = site.message["infer"]["_enumerate_dim"]
                chosen[name] = _single(site.value, {dim - event_dim: now[dim]}, self._depth(site) + event_dim)
            elif site.source == "drawn":
                chosen[name] = part.rows[name]["value"][0] if part.time else site.value
        arrays = (
            [
                self._leaf_at(array, before, leaf) if leaf.dims else array
                for array, leaf in zip(tree.leaves(part.carry), part.leaves, strict=True)
            ]
            if part.time
            else tree.leaves(part.carry)
        )
        self.recorder.chosen = chosen
        try:
            _, (_, single) = self.further(tree.unflatten(part.carry, arrays), column, scores=True)
        except Exception:
            # A step that is written for all values at once alone cannot be judged.
            return
        finally:
            self.recorder.chosen = {}
        for name, array in found.items():
            expected, read = ops.to_numpy(single[name]["log_prob"]), ops.to_numpy(_single(array, now | before, None))
            if not _close(expected, read):
                raise EnumerationError(
                    f"site {name!r} in step {part.time} of scan has the log density {expected.reshape(-1)[:3]} with single "
                    f"values of {[variable.name for variable in self.variables]}, but reads {read.reshape(-1)[:3]} where all "
                    "their values are enumerated; expected one density, however the step is run; x[value] puts the axes of an "
                    "enumerated value first, so that a further index takes one of them; try Vindex(table)[value, ...] of "
                    "ppl.ops.indexing"
                )


class Gone:
    """Something that depends on values which are summed out: any use of it is an error.

    :param what: how it is named.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise EnumerationError(
            f"{self._what} of scan depends on enumerated sites of its steps, which are summed out; expected it to be unused in "
            "this run; try the last carry, or infer_discrete to draw the sites"
        )

    __getitem__ = __iter__ = __len__ = __float__ = __int__ = __bool__ = __array__ = __neg__ = __abs__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._refuse()

    def __repr__(self) -> str:
        return "<summed out>"


def _single(array: Any, at: Mapping[int, int], rank: int | None) -> Any:
    """Return an array at indices along some dimensions, with ``rank`` dimensions at the most if the others have size 1."""
    shape = tuple(ops.shape(array))
    for dim, index in at.items():
        if -dim <= len(shape) and shape[dim] != 1:
            array = array[(..., slice(index, index + 1), *(slice(None),) * (-1 - dim))]
    return trimmed(array) if rank is None else _stripped(array, rank)


def _alone(array: Any) -> Any:
    return ops.expand_dims(array, 0)


def _close(expected: Any, read: Any) -> bool:
    """Return whether two host arrays are equal but for rounding; one that broadcasts, or NaN, says nothing."""
    try:
        difference = abs(expected - read)
    except ValueError:
        return False
    tolerance = (1e-3 if min(expected.dtype.itemsize, read.dtype.itemsize) < 8 else 1e-6) * (1.0 + abs(expected) + abs(read))
    return not bool(((difference > tolerance) & (expected != read)).any())


def _summed(reduced: list[Reduced]) -> dict[str, Any]:
    constants: dict[str, Any] = {}
    for part in reduced:
        for name, array in part.constants.items():
            constants[name] = constants.get(name, 0.0) + ops.sum(array, axis=0)
    return constants


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return abs(first - second) <= 1e-9 * abs(first)
    return False


def _swapped(array: Any, dim: int, other: int) -> Any:
    shape = tuple(ops.shape(array))
    rank = max(len(shape), -dim, -other)
    array = ops.reshape(array, (*(1,) * (rank - len(shape)), *shape))
    axes = list(range(rank))
    axes[dim], axes[other] = axes[other], axes[dim]
    return ops.permute_dims(array, tuple(axes))


def _core(shape: Shape) -> Shape:
    """Return a shape without leading ones."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _stripped(array: Any, rank: int) -> Any:
    shape = tuple(ops.shape(array))
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return ops.reshape(array, shape)
