"""Runs of a model with all values of its discrete sites at once, and with single ones, and where they differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from ppl import handlers, ops
from ppl.distributions.validation import default_validate_args, validate_args_scope
from ppl.errors import EnumerationError, PplError, ShapeError
from ppl.handlers import density
from ppl.handlers.messenger import Handler
from ppl.handlers.trace_struct import Trace
from ppl.infer.enum.assignment import Assignment, Misfit, Variable, assignments, variable_of
from ppl.infer.enum.numbers import point_of
from ppl.infer.enum.source import advice
from ppl.ops import host, random
from ppl.params import get_param_store
from ppl.runtime import STACK, draw, is_distribution, validation_scope
from ppl.transforms import biject_to
from ppl.typing import Message
from ppl.user_code import failing_line

# The relative difference by size of number in bytes that no order of sums explains, and what may as well be minus infinity.
TOLERANCES, UNDERFLOW = {8: 1e-6, 4: 1e-3}, -80.0
# The entries of a node that its density depends on.
_OF_DENSITY = ("name", "fn", "args", "kwargs", "value", "is_observed", "scale", "mask", "cond_indep_stack")
# Of the sites that may be at fault, so many nearest ones are tried.
SUSPECTS = 12

Traces = dict[str, Trace]


class Fault(NamedTuple):
    """Where two runs differ.

    :param role: ``"model"`` or ``"guide"``.
    :param site: its name.
    :param misfit: the dimension and its owner, if the shape alone tells.
    :param found: the log density of the enumerated run, ``expected`` that of the run with single values.
    """

    role: str
    site: str
    misfit: Misfit | None = None
    found: float = 0.0
    expected: float = 0.0


class Comparison:
    """The runs of a model, and of a guide before it, that are compared; no parameter or random state stays behind.

    :param model: a model whose sites to enumerate are marked.
    :param guide: a guide to run first, whose values the model then gets.
    :param arguments: positional and keyword arguments of both.
    :param first_available_dim: the rightmost dimension that no plate uses.
    :param moved: a function of a parameter's message that returns another value for it, and arguments in the place of
        ``arguments``; :meth:`stand_still` does without both.
    :param unscaled: whether each density counts once, whatever :class:`ppl.handlers.scale` and minibatches say.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any] | None,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        first_available_dim: int,
        moved: tuple[Callable[[Message], Any], tuple[tuple[Any, ...], dict[str, Any]]] | None = None,
        unscaled: bool = False,
    ) -> None:
        self.model, self.guide, self.first_available_dim = model, guide, first_available_dim
        self.arguments, self.moved, self.unscaled = arguments, moved, unscaled
        self.parameters: dict[str, Any] = {}
        # What the latest run has met, also if it failed.
        self.partial = Trace()
        self.state = get_param_store().get_state()

    def stand_still(self, parameters: bool = True) -> None:
        """Leave arguments, and ``parameters``, as they are from now on."""
        self.moved = None if parameters or self.moved is None else (self.moved[0], self.arguments)
        self.parameters = {}

    def enumerated(self) -> Traces:
        """Return the traces with all values at once.

        :raises EnumerationError: if they fail where those with single values do not.
        """
        try:
            traces = self.run()
            for node in scored(traces):
                host_density(node)
            return traces
        except ShapeError as error:
            self._explain_moved(error)
            raise
        except PplError:
            raise
        except Exception as error:
            self._refuse(error)
            raise

    def _explain_moved(self, error: ShapeError) -> None:
        """Raise a sentence if a site has a stray dimension that it has not with single values."""
        met = self.partial.nodes
        try:
            plain = self.run(enumerate=False)
            role, site = next(
                (role, node) for role, trace in plain.items() for node in scored({role: trace}) if node["name"] not in met
            )
            plates = [frame.dim for frame in site["cond_indep_stack"]]
            batch = tuple(site["fn"].batch_shape)
        except Exception:
            return
        if "markov_scopes" in site or any(size > 1 and dim - len(batch) not in plates for dim, size in enumerate(batch)):
            return
        reason = self._moved(role, site["name"])
        if reason is None:
            owners = [name for name, node in met.items() if variable_of(node) is not None]
            reason = f"{str(error).partition('; expected')[0]}; expected each enumerated site along its own dimension; "
            reason += advice(plain[role], site["name"], owners, owners)
        raise EnumerationError(reason) from error

    def _moved(self, role: str, site: str) -> str | None:
        """Return a sentence on the site whose dimension another one moves, ``None`` if it is not found."""
        try:
            with validation_scope(False):
                enumerated = self.run()
                assignment = assignments(variables_of(enumerated), 1, self.first_available_dim)[0]
                single = self.single(enumerated, assignment)
                fault = first_fault(enumerated, single, assignment)
        except Exception:
            return None
        if fault is None or (fault.role, fault.site) != (role, site):
            return None
        return self.explained(enumerated, single, assignment, fault)

    def _refuse(self, error: Exception) -> None:
        """Raise a sentence if the model runs without enumeration."""
        met = [node for node in self.partial.nodes.values() if variable_of(node) is not None]
        try:
            self.run(enumerate=False)
        except Exception:
            return
        site = next((node for node in met[: -1 - SUSPECTS : -1] if self._fails_with(node["name"])), None)
        holds = ""
        if site is not None:
            shape = tuple(ops.shape(site["value"]))
            holds = f"; under enumeration site {site['name']!r} holds all of its values at once, an array of shape {shape}"
        line = failing_line(error)
        raised = f"{line} raised " if line else ""
        sequence = "" if self.guide is None else ", or infer={'enumerate': 'sequential'}, a run a value, at a site of the guide"
        raise EnumerationError(
            f"the model runs with single values of its discrete sites but not with all of them at once: {raised}"
            f"{type(error).__name__}: {error}{holds}; expected operations on arrays, which take each value along a dimension of "
            "its own; try ops.where in the place of if, Vindex(table)[x] of ppl.ops.indexing in the place of a list, and masks "
            f"in the place of loops of a random length{sequence}"
        ) from error

    def _fails_with(self, site: str) -> bool:
        """Return whether the run fails if one site alone is enumerated."""
        try:
            self.run(only=site)
        except Exception:
            return True
        return False

    def run(
        self,
        enumerate: bool = True,
        choose: Callable[[Message], Any] | None = None,
        rng_seed: int = 0,
        only: str | None = None,
    ) -> Traces:
        """Return the traces of guide and model, the guide's first.

        :param enumerate: whether marked sites are enumerated, or ``only`` that one of them.
        :param choose: from a message to the value of another latent site, or of a plate's indices; ``None`` to draw it.
        """
        traces: Traces = {}
        args, kwargs = self.arguments if self.moved is None else self.moved[1]
        validates = default_validate_args() and self.moved is None
        first = self.first_available_dim
        for role, fn in (("guide", self.guide), ("model", self.model)):
            if fn is None:
                continue
            steady = _Steady(self, choose)
            # Keys are made for the sites that have no value within.
            wrapped: Callable[..., Any] = fn if choose is not None else handlers.seed(fn, rng_seed=rng_seed)
            if "guide" in traces:
                wrapped = handlers.replay(wrapped, trace=traces["guide"])
            if only is not None:
                wrapped = handlers.infer_config(wrapped, lambda site: {} if site["name"] == only else {"enumerate": None})
            if enumerate:
                wrapped = handlers.enum(wrapped, first_available_dim=first)
            wrapped = steady(wrapped)
            if choose is not None:
                wrapped = handlers.seed(wrapped, rng_seed=rng_seed)
            with _alone(), get_param_store().scope(self.state), validate_args_scope(validates):
                recorder = handlers.trace(wrapped)
                try:
                    recorder(*args, **kwargs)
                finally:
                    self.partial = recorder.trace
            traces[role] = recorder.trace
            first = min((first, *(variable.dim - 1 for variable in variables_of(traces).values())))
        return traces

    def single(self, enumerated: Traces, assignment: Assignment) -> Traces:
        """Return the traces with the values that ``enumerated`` has at an assignment, the unenumerated ones and plates too."""
        known = nodes_of(enumerated)

        def choose(message: Message) -> Any:
            steps = assignment.steps(message["name"])
            if steps is not None:
                return steps
            node = known.get(message["name"])
            if node is None or node["type"] != message["type"]:
                return None
            if message["type"] != "sample" or not is_distribution(node["fn"]):
                return node["value"]
            event_dim = len(node["fn"].event_shape)
            value = assignment.at(node["value"], node["infer"].get("_dim_to_id", {}), event_dim)
            return _fitted(value, tuple(message["fn"].batch_shape), event_dim)

        return self.run(enumerate=False, choose=choose)

    # -- faults --

    def is_repeatable(self, enumerated: Traces, fault: Fault) -> bool:
        """Return whether the site has the same density in another enumerated run with the same values, other draws aside."""
        if fault.misfit is not None:
            return True
        known = nodes_of(enumerated)

        def choose(message: Message) -> Any:
            return known[message["name"]]["value"] if message["name"] in known else None

        again = self.run(choose=choose, rng_seed=1)[fault.role].nodes.get(fault.site)
        return (
            again is not None and difference(host_density(enumerated[fault.role].nodes[fault.site]), host_density(again)) is None
        )

    def explained(self, enumerated: Traces, single: Traces, assignment: Assignment, fault: Fault) -> str:
        node = enumerated[fault.role].nodes[fault.site]
        shape = tuple(host_density(node).shape)
        owner, loses = self._suspect(enumerated, single, assignment, fault)
        if fault.misfit is not None and fault.misfit.owner is not None:
            dim, owner, loses = fault.misfit.dim, fault.misfit.owner, False
            how = f"misreads dim={dim} of {owner!r}"
            numbers = f"its log density has shape {shape} but {owner!r} has {assignment.variables[owner].size} values"
        elif fault.misfit is not None:
            dim, loses = fault.misfit.dim, False
            how = f"moves dim={assignment.variables[owner].dim} of {owner!r}" if owner else "moves the dimension of a site"
            numbers = f"its log density has shape {shape}, and no enumerated site has dim={dim}"
        else:
            dim = assignment.variables[owner].dim if owner else -1
            how = f"{'loses' if loses else 'misreads'} dim={dim} of {owner!r}" if owner else "differs"
            values = f" with {_described(owner, enumerated, assignment)}" if owner else ""
            numbers = (
                f"its log density{values} is {fault.expected:.6g} but reads {fault.found:.6g} where all values are enumerated"
            )
        outside = [] if owner is None else _plates_left(nodes_of(enumerated)[owner], node)
        if outside:
            reason = (
                f"{fault.site!r} lies outside of plate {', '.join(map(repr, outside))} around {owner!r}, where each element "
                f"has all values at once; try to move {fault.site!r} into the plate, or ppl.plate as a loop"
            )
        else:
            owners = () if owner is None else (owner,)
            reason = advice(enumerated[fault.role], fault.site, owners, assignment.variables, loses)
        return f"site {fault.site!r} {how} in the {fault.role}: {numbers}; expected equal numbers; {reason}"

    def _suspect(self, enumerated: Traces, single: Traces, assignment: Assignment, fault: Fault) -> tuple[str | None, bool]:
        """Return the enumerated site whose dimension is lost or misread, and whether it is lost."""
        node = enumerated[fault.role].nodes[fault.site]
        before = host_density(single[fault.role].nodes[fault.site])
        table, owners = host_density(node), node["infer"].get("_dim_to_id", {})
        dims = {name: dim for dim, name in owners.items()}
        found: list[tuple[int, str]] = []
        for name in reversed(_earlier(enumerated, fault, assignment.variables)[-SUSPECTS:]):
            try:
                other = assignment.shifted(name)
                after = host_density(self.single(enumerated, other)[fault.role].nodes[fault.site])
            except Exception:
                # A run that fails shows nothing about this site.
                continue
            depends = difference(after, before) is not None
            present = name in dims and -dims[name] <= table.ndim and table.shape[dims[name]] > 1
            try:
                moved = difference(other.at(table, owners, on_host=True), assignment.at(table, owners, on_host=True))
                varies = present and moved is not None
            except Misfit:
                varies = False
            if depends and not present:
                found.append((3, name))
            elif present and not depends and varies:
                found.append((2, name))
            elif present or depends:
                found.append((1, name))
        if not found:
            return None, False
        rank, name = max(found, key=lambda pair: pair[0])
        return name, rank == 3


class _Steady(Handler):
    """Moves parameters, the same way in each run, and gives latent sites their values.

    :param comparison: whose runs these are.
    :param choose: from a message to the value of a latent site or of a plate's indices; ``None`` to draw it.
    """

    def __init__(self, comparison: Comparison, choose: Callable[[Message], Any] | None) -> None:
        super().__init__()
        self.comparison, self.choose = comparison, choose

    def on_sample(self, message: Message) -> None:
        """Give the site its value if it has none."""
        if self.comparison.unscaled:
            message["scale"] = 1.0
        if message["is_observed"] or message["done"] or message["value"] is not None:
            # What a guide proposed stands in the model's runs too.
            return
        value = None if self.choose is None else self.choose(message)
        if value is None and is_distribution(message["fn"]):
            value = _drawn(message)
        if value is not None:
            message["value"] = value

    def on_subsample(self, message: Message) -> None:
        """Give a plate the indices of the first run."""
        if self.choose is not None and message["value"] is None:
            message["value"] = self.choose(message)

    def after_param(self, message: Message) -> None:
        """Give the parameter the value of the first run."""
        name, known = message["name"], self.comparison.parameters
        if name not in known:
            moved = self.comparison.moved
            known[name] = message["value"] if moved is None else moved[0](message)
        if tuple(ops.shape(known[name])) == tuple(ops.shape(message["value"])):
            message["value"] = known[name]


@contextmanager
def _alone() -> Iterator[None]:
    """Hide the sites of a block from handlers outside that record, enumerate or seed, and from no others."""
    token = STACK.set(
        tuple(handler for handler in STACK.get() if not isinstance(handler, (handlers.trace, handlers.enum, handlers.seed)))
    )
    try:
        yield
    finally:
        STACK.reset(token)


def _drawn(message: Message) -> Any:
    fn = message["fn"]
    try:
        point = point_of(fn.support, (*fn.batch_shape, *fn.event_shape), message["name"])
        return point if point is not None else draw(message["name"], fn, message["args"], message["kwargs"], message["rng_key"])
    except PplError:
        # An improper prior has a support all the same.
        shape = (*fn.batch_shape, *fn.event_shape)
        transform = biject_to(fn.support)
        return transform(random.normal(message["rng_key"], tuple(transform.inverse_shape(shape))))


def _fitted(value: Any, batch: tuple[int, ...], event_dim: int) -> Any:
    """Return a value of single values with the batch shape of its distribution."""
    shape = tuple(ops.shape(value))
    own, event = shape[: len(shape) - event_dim], shape[len(shape) - event_dim :]
    surplus = len(own) - len(batch)
    if surplus > 0 and all(size == 1 for size in own[:surplus]):
        own = own[surplus:]
        value = ops.reshape(value, (*own, *event))
    fits = len(own) <= len(batch) and all(
        size in (1, wanted) for size, wanted in zip(reversed(own), reversed(batch), strict=False)
    )
    return ops.broadcast_to(value, (*batch, *event)) if fits and own != batch else value


def _plates_left(inner: Message, outer: Message) -> list[str]:
    """Return the plates around one site that are not around another."""
    around = {frame.name for frame in outer["cond_indep_stack"]}
    return [frame.name for frame in inner["cond_indep_stack"] if frame.vectorized and frame.name not in around]


def nodes_of(traces: Traces) -> dict[str, Message]:
    """Return the nodes of model and guide by name; where both have one, the guide's."""
    nodes: dict[str, Message] = {}
    for trace in reversed(list(traces.values())):
        nodes.update(trace.nodes)
    return nodes


def variables_of(traces: Traces) -> dict[str, Variable]:
    """Return the enumerated sites of guide and model by name."""
    found: dict[str, Variable] = {}
    for trace in traces.values():
        for name, node in trace.nodes.items():
            variable = variable_of(node)
            if variable is not None:
                found.setdefault(name, variable)
    return found


def _counts(node: Message) -> bool:
    """Return whether the density of a site can be compared; that of a loop which is summed out has no single values."""
    known = node["type"] == "sample" and is_distribution(node["fn"])
    return known and not node["infer"].get("_deterministic") and "_scan" not in node["infer"]


def scored(traces: Traces) -> list[Message]:
    """Return the nodes that have a density."""
    return [node for trace in traces.values() for node in trace.nodes.values() if _counts(node)]


def host_density(node: Message) -> Any:
    """Return the log density of a node as a host array."""
    if "host" not in node:
        with validation_scope(False):
            known = {key: node[key] for key in _OF_DENSITY}
            owners = {"_dim_to_id": node["infer"].get("_dim_to_id")}
            node["host"] = host.evaluate(_density, {**known, "infer": owners}, stays=True)
    return node["host"]


def _density(node: Message) -> Any:
    density.compute(node["name"], node)
    return ops.to_numpy(node["log_prob"])


def first_fault(enumerated: Traces, single: Traces, assignment: Assignment) -> Fault | None:
    """Return the first site whose density with single values is not that of the enumerated run there."""
    for role, trace in enumerated.items():
        for name, node in trace.nodes.items():
            other = single[role].nodes.get(name)
            if not _counts(node) or other is None or not _counts(other):
                continue
            try:
                found = assignment.at(host_density(node), node["infer"].get("_dim_to_id", {}), on_host=True)
            except Misfit as misfit:
                return Fault(role, name, misfit)
            pair = difference(found, host_density(other))
            if pair is not None:
                return Fault(role, name, None, *pair)
    return None


def difference(found: Any, expected: Any) -> tuple[float, float] | None:
    """Return the first entries that differ by more than rounding, ``None`` if there are none; NaN says nothing."""
    size = min(found.dtype.itemsize, expected.dtype.itemsize, 4 if ops.default_dtype() == "float32" else 8)
    tolerance = TOLERANCES.get(size, 0.05)
    try:
        same = found == expected
        found, expected = found + (same & False), expected + (same & False)
    except ValueError:
        return math.nan, math.nan
    apart = abs(found - expected) > tolerance * (1.0 + abs(found) + abs(expected))
    # An infinity differs from any number but one that all but underflows.
    infinite = (abs(found) == math.inf) != (abs(expected) == math.inf)
    apart = (apart & ~infinite) | (infinite & ((found > UNDERFLOW) | (expected > UNDERFLOW)))
    if not apart.any():
        return None
    where = int(apart.reshape(-1).argmax())
    return float(found.reshape(-1)[where]), float(expected.reshape(-1)[where])


def _earlier(enumerated: Traces, fault: Fault, variables: Mapping[str, Variable]) -> list[str]:
    """Return the enumerated sites before the faulty one."""
    names: dict[str, None] = {}
    for role, trace in enumerated.items():
        for name in trace.nodes:
            if (role, name) == (fault.role, fault.site):
                return [name for name in names if name != fault.site]
            if name in variables:
                names[name] = None
    return list(names)


def _described(name: str, enumerated: Traces, assignment: Assignment) -> str:
    """Return an equation of a site and its value."""
    index = assignment.index(name)
    if not isinstance(index, int):
        return f"single values of {name!r}"
    node = nodes_of(enumerated)[name]
    values = ops.to_numpy(node["value"])
    if values.size != assignment.variables[name].size:
        return f"a single value of {name!r}"
    return f"{name}={values.reshape(-1)[index].item():.6g}"
