"""A model run with all values of its discrete sites at once, and the factors of its density by the names of their axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

from ppl import handlers, ops
from ppl.distributions.score_parts import scale_and_mask
from ppl.errors import ExponentialContraction, InferenceError, ShapeError
from ppl.handlers import density as log_densities
from ppl.handlers.allocator import DimAllocator
from ppl.handlers.packed import Packed, Symbols, unpack
from ppl.infer.enum import batches
from ppl.infer.particles import deepest_plate
from ppl.ops import autodiff, elimination, random
from ppl.ops.elimination.rows import Row
from ppl.typing import Message, Model

# How far the product of plates' factors may be from a site's scale by rounding alone.
ROUNDING = 1e-9


class Enumerated(NamedTuple):
    """The density of one run under enumeration, as factors whose axes have symbols.

    :param factors: log densities of the sites that hold a variable: zero where masked, scaled by nothing; arrays, or
        :class:`~ppl.ops.elimination.rows.Row` of a stack where many sites are alike.
    :param names: the site of each factor.
    :param scales: for each factor what :class:`ppl.handlers.scale` multiplies it by: a number, or an array with symbols.
    :param variables: the site of each variable that is to be summed out, by symbol.
    :param plates: the name of each plate that is a dimension, by symbol.
    :param plate_scales: what each subsampled plate's elements count for, by symbol.
    :param others: log densities of the other sites by name, masked and scaled by everything.
    :param symbols: the symbols of plates and sites.
    """

    factors: list[Packed]
    names: list[str]
    scales: list[Any]
    variables: dict[str, str]
    plates: dict[str, str]
    plate_scales: dict[str, float]
    others: dict[str, Packed]
    symbols: Symbols


class Component(NamedTuple):
    """Factors that share no variable with the rest.

    :param factors: some of those of :class:`Enumerated`.
    :param names: their sites.
    :param variables: symbols of the variables.
    :param scale: what the logarithm of their sum over all values is multiplied by.
    """

    factors: list[Packed]
    names: list[str]
    variables: frozenset[str]
    scale: Any


def plate_nesting(run: Callable[[], Iterable[Any]]) -> int:
    """Return how many batch dimensions plates use in the traces that ``run()`` returns, and leave no mark of the run.

    :param run: runs a model, or a guide and a model, and returns the traces.
    """
    with handlers.block(), random.scope(0):
        return deepest_plate(run())


def enumerated(model: Model, first_available_dim: int | None = None) -> Model:
    """Return ``model`` such that the sites marked ``infer={"enumerate": "parallel"}`` take all their values.

    :param first_available_dim: the rightmost batch dimension that no plate uses; found out by one run at first if absent.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers, ops
    >>> from ppl.infer.enum import runs
    >>> def model():
    ...     x = ppl.sample("x", dist.Bernoulli(0.25), infer={"enumerate": "parallel"})
    ...     ppl.sample("y", dist.Normal(x, 1.0), obs=0.0)
    >>> density = runs.collect(handlers.trace(runs.enumerated(model)).get_trace())
    >>> round(float(ops.exp(runs.log_evidence(density))), 4)
    0.3597
    """
    found: list[int] = [] if first_available_dim is None else [first_available_dim]

    def run(*args: Any, **kwargs: Any) -> Any:
        if not found:
            found.append(-1 - plate_nesting(lambda: [handlers.trace(model).get_trace(*args, **kwargs)]))
        return handlers.enum(model, first_available_dim=found[0])(*args, **kwargs)

    return run


class beside(handlers.enum):
    """Enumerate a model that takes its other values from the run of an enumerated guide.

    :param first_available_dim: the rightmost batch dimension that no plate uses, for the guide.
    :param guide_trace: the run of the guide; the model's own dimensions lie to the left of those used there.
    :raises ShapeError: if two sites of the guide that share a dimension are seen at once in the model.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, first_available_dim: int = -1, guide_trace: Any = None) -> None:
        super().__init__(fn, first_available_dim)
        used = [first_available_dim + 1]
        used += [site["infer"].get("_enumerate_dim", 0) for site in guide_trace.nodes.values() if site["type"] == "sample"]
        self._first_own = min(used) - 1

    def begin(self) -> None:
        """Begin a run."""
        super().begin()
        self._run.allocator = DimAllocator(self._first_own)

    reset = begin

    def on_sample(self, message: Message) -> None:
        """Enumerate the site if the guide does not have it, and check that what it sees of the guide is told apart."""
        dim = message["infer"].get("_enumerate_dim")
        if dim is not None and not message["is_observed"]:
            owner = self._run.allocator.visible(message).get(dim, message["name"])
            if owner != message["name"]:
                raise ShapeError(
                    f"sites {owner!r} and {message['name']!r} share dim={dim} in the guide, but the model sees both at once; "
                    f"expected dimensions of their own; try the same ppl.markov, with the same history, in model and guide\n"
                    f"{self._run.table()}"
                )
        super().on_sample(message)


def collect(trace: Any, given: Iterable[str] = (), symbols: Symbols | None = None) -> Enumerated:
    """Return the factors of a run under enumeration; the log densities are computed where they are missing.

    :param trace: a :class:`~ppl.handlers.Trace` of a model under :func:`enumerated`.
    :param given: names of enumerated sites that are not to be summed out, such as those of the guide.
    :param symbols: symbols that plates and sites have already.
    :raises ShapeError: if a log density has a dimension that is no plate's and no enumerated site's; the message has the table of
        shapes.
    :raises InferenceError: if a site outside of a plate depends on an enumerated one inside.
    """
    kept = set(given)
    density = Enumerated([], [], [], {}, {}, {}, {}, Symbols() if symbols is None else symbols)
    home: dict[str, set[str]] = {}
    rows, reshaped = batches.log_densities(trace), {}
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or site["infer"].get("_deterministic"):
            continue
        row = rows.get(name)
        if row is None and "log_prob" not in site:
            log_densities.compute(name, site)
        log_prob = _along_values(site, site["log_prob"]) if row is None else row
        shape = tuple(ops.shape(log_prob)) if row is None else row.shape
        dims, axes = _axes(trace, site, shape, density)
        if "_enumerate_dim" in site["infer"]:
            own = density.symbols.of_variable(name)
            home[own] = set(dims).intersection(density.plates)
            if name not in kept:
                density.variables[own] = name
        for symbol in dims:
            if symbol in home and not home[symbol].issubset(dims):
                raise InferenceError(_outside(density, name, symbol, home[symbol].difference(dims)))
        summed = [symbol for symbol in dims if symbol in density.variables]
        if not summed:
            scaled_row = None if row is None else scale_and_mask(row.array(), site["scale"])
            density.others[name] = Packed(_reshaped(log_prob if row is None else scaled_row, axes), dims)
            continue
        if row is None:
            if not is_one(site["scale"]):
                log_prob = _along_values(site, scale_and_mask(site["unscaled_log_prob"], 1.0, site["mask"]))
            factor = _reshaped(log_prob, axes)
        elif axes == shape:
            factor = row
        else:
            key = id(row.stack), axes
            if key not in reshaped:
                reshaped[key] = ops.reshape(row.stack, (row.stack.shape[0], *axes))
            factor = Row(reshaped[key], row.index)
        density.factors.append(Packed(factor, dims))
        density.names.append(name)
        density.scales.append(_own_scale(trace, site, density))
    return density


def _along_values(site: Message, log_prob: Any) -> Any:
    """Return ``log_prob`` with an entry for each value of an enumerated site: a site that is masked whole lacks that axis."""
    dim = site["infer"].get("_enumerate_dim")
    if dim is None or site["mask"] is not False:
        return log_prob
    batch = tuple(ops.shape(site["value"]))[: ops.ndim(site["value"]) - len(site["fn"].event_shape)]
    own = (batch[dim], *(1,) * (-dim - 1)) if -dim <= len(batch) else ()
    return ops.broadcast_to(log_prob, ops.broadcast_shapes(tuple(ops.shape(log_prob)), own))


def packed_as(trace: Any, site: Message, array: Any, density: Enumerated) -> Packed:
    """Return an array of a site's batch shape, such as a score function, with symbols for its axes."""
    dims, lengths = _axes(trace, site, tuple(ops.shape(array)), density)
    return Packed(_reshaped(array, lengths), dims)


def is_one(scale: Any) -> bool:
    """Return whether ``scale`` is the number one."""
    return isinstance(scale, (int, float)) and scale == 1.0


def _reshaped(array: Any, shape: tuple[int, ...]) -> Any:
    return array if tuple(array.shape) == shape else ops.reshape(array, shape)


def _axes(trace: Any, site: Message, shape: tuple[int, ...], density: Enumerated) -> tuple[str, tuple[int, ...]]:
    """Return the symbols of the axes of a site's log density that tell elements apart, and the lengths of these axes."""
    infer = site["infer"]
    owners, own = infer.get("_dim_to_id", {}), infer.get("_enumerate_dim")
    frames = {}
    for frame in site["cond_indep_stack"]:
        if frame.dim is not None:
            frames[frame.dim] = frame
            symbol = density.symbols.of_plate(frame.name)
            density.plates[symbol] = frame.name
            if _factor(frame) != 1.0:
                density.plate_scales[symbol] = _factor(frame)
    dims, lengths = "", []
    for dim in range(-len(shape), 0):
        size, frame = shape[dim], frames.get(dim)
        if frame is not None:
            # An axis of length one counts where its plate is a minibatch of one.
            if size == 1 and not (frame.size == 1 and _factor(frame) != 1.0):
                continue
            if frame.size not in (None, size) or (dim in owners and size > 1):
                raise ShapeError(_misfit(trace, site, shape, dim))
            dims += density.symbols.of_plate(frame.name)
        elif dim in owners and (size > 1 or dim == own):
            dims += density.symbols.of_variable(owners[dim])
        elif size == 1:
            continue
        else:
            raise ShapeError(_misfit(trace, site, shape, dim))
        lengths.append(size)
    return dims, tuple(lengths)


def _factor(frame: Any) -> float:
    """Return what an element of a plate counts for."""
    if frame.full_size is None or not frame.size or frame.full_size == frame.size:
        return 1.0
    return float(frame.full_size / frame.size)


def _own_scale(trace: Any, site: Message, density: Enumerated) -> Any:
    """Return the scale of a site without that of its plates."""
    scale = site["scale"]
    plates = prod(_factor(frame) for frame in site["cond_indep_stack"])
    if isinstance(scale, (int, float)):
        own = scale / plates
        return 1.0 if abs(own - 1.0) < ROUNDING else own
    own = scale / plates
    if ops.ndim(own) == 0:
        return own
    dims, lengths = _axes(trace, site, tuple(own.shape), density)
    return Packed(_reshaped(own, lengths), dims)


def components(density: Enumerated) -> list[Component]:
    """Return the factors in groups, each of sites that hang together by variables.

    :raises InferenceError: if the sites of one group have different scales.
    """
    groups: list[tuple[set[str], list[int]]] = []
    for index, factor in enumerate(density.factors):
        held, members = {symbol for symbol in factor.dims if symbol in density.variables}, [index]
        rest = []
        for group in groups:
            if held.isdisjoint(group[0]):
                rest.append(group)
            else:
                held |= group[0]
                members += group[1]
        groups = [*rest, (held, members)]
    result = []
    for held, members in groups:
        members.sort()
        names = [density.names[index] for index in members]
        scale = _common_scale(names, [density.scales[index] for index in members])
        result.append(Component([density.factors[index] for index in members], names, frozenset(held), scale))
    return result


def _common_scale(names: list[str], scales: list[Any]) -> Any:
    first = scales[0]
    for name, scale in zip(names, scales, strict=True):
        if not _same(first, scale):
            raise InferenceError(
                f"sites {names[0]!r} and {name!r} hang together by enumerated sites, but handlers.scale multiplies their log "
                f"densities by {_shown(first)} and {_shown(scale)}; expected one number for all of {names}, since a sum over "
                "joint values has one scale; try the same handlers.scale around all of them"
            )
    return first


def _same(first: Any, second: Any) -> bool:
    if first is second:
        return True
    if isinstance(first, Packed) or isinstance(second, Packed):
        if not (isinstance(first, Packed) and isinstance(second, Packed) and first.dims == second.dims):
            return False
        first, second = first.array, second.array
    numbers = isinstance(first, (int, float)) and isinstance(second, (int, float))
    if not numbers and autodiff.is_tracing():
        return False
    return bool(ops.all(ops.array(abs(first - second) <= ROUNDING * abs(first))))


def _shown(scale: Any) -> str:
    return str(scale) if isinstance(scale, (int, float)) else "an array"


def log_evidence(density: Enumerated) -> Any:
    """Return the log density of a run, its variables summed out: a scalar.

    Minibatches count for their plates. See :func:`collect`.
    """
    total: Any = 0.0
    for factor in density.others.values():
        total = total + ops.sum(factor.array)
    return total + sum_out(density)


def sum_out(density: Enumerated) -> Any:
    """Return the logarithm of the sum, over all joint values of the variables, of the product of the factors: a scalar.

    :raises InferenceError: as :func:`components`.
    """
    total: Any = 0.0
    if not density.factors:
        return total
    if all(is_one(scale) for scale in density.scales):
        groups = [Component(density.factors, density.names, frozenset(density.variables), 1.0)]
    else:
        groups = components(density)
    for group in groups:
        shared = common_plates(density, group) if isinstance(group.scale, Packed) else frozenset()
        plates = set(density.plates) - shared
        with by_name(density):
            results = elimination.eliminate(group.factors, set(group.variables), plates, plate_scales=density.plate_scales)
        for array, dims in results:
            factor = prod(density.plate_scales.get(symbol, 1.0) for symbol in dims)
            total = total + factor * ops.sum(scaled(Packed(array, dims), group.scale).array)
    return total


@contextmanager
def by_name(density: Enumerated) -> Iterator[None]:
    """Say of a refused sum what sites and plates its symbols stand for."""
    try:
        yield
    except ExponentialContraction as error:
        told = str(error)
        names = [f"{symbol!r} is plate {name!r}" for symbol, name in density.plates.items() if repr(symbol) in told]
        names += [f"{symbol!r} is site {name!r}" for symbol, name in density.variables.items() if repr(symbol) in told]
        raise ExponentialContraction(f"{told}; {', '.join(names)}") from error


def common_plates(density: Enumerated, group: Component) -> frozenset[str]:
    """Return the plates around all variables of a group: products over them come after all sums."""
    plates = frozenset(density.plates)
    for factor in group.factors:
        plates = plates.intersection(factor.dims)
    return plates


def scaled(factor: Packed, scale: Any) -> Packed:
    """Return ``factor`` times a number, or times an array whose axes have symbols.

    :raises InferenceError: if the array has an axis that the factor has not.
    """
    if not isinstance(scale, Packed):
        return factor if is_one(scale) else Packed(factor.array * scale, factor.dims)
    if not set(scale.dims) <= set(factor.dims):
        raise InferenceError(
            f"an array of scales with axes {scale.dims!r} multiplies a sum over enumerated sites with axes {factor.dims!r}; "
            "expected a scale for each of the plates around all of these sites alone; try a number in handlers.scale"
        )
    places = [symbol for symbol in factor.dims if symbol in scale.dims]
    array = ops.permute_dims(scale.array, tuple(scale.dims.index(symbol) for symbol in places))
    shape = [factor.array.shape[axis] if symbol in scale.dims else 1 for axis, symbol in enumerate(factor.dims)]
    return Packed(factor.array * ops.reshape(array, tuple(shape)), factor.dims)


def support_of(site: Message) -> Any:
    """Return the values of an enumerated site of a trace along a first axis, before those of an event.

    :raises InferenceError: if elements of a batch have different values.
    """
    fn, dim = site["fn"], site["infer"]["_enumerate_dim"]
    values = fn.enumerate_support(expand=False)
    shape = tuple(values.shape)
    event = shape[len(shape) - len(fn.event_shape) :]
    if prod(shape) != shape[0] * prod(event):
        raise InferenceError(
            f"the enumerated values of site {site['name']!r}, of shape {shape} along dim={dim}, differ from element to element; "
            "expected the same support for all of them; try a site for each element"
        )
    return ops.reshape(values, (shape[0], *event))


def indices_of(trace: Any, drawn: Mapping[str, tuple[Any, str]], density: Enumerated) -> dict[str, Any]:
    """Return drawn indices of the variables by site, with an axis for each dimension of the site's plates.

    :param drawn: for each variable integers, and symbols of the plates along which they differ.
    """
    found: dict[str, Any] = {}
    for symbol, name in density.variables.items():
        frames = [frame for frame in trace.nodes[name]["cond_indep_stack"] if frame.dim is not None]
        index = unpack(Packed(*drawn[symbol]), {density.symbols.of_plate(frame.name): frame.dim for frame in frames})
        sizes = {0: 1} | {-frame.dim: frame.size or 1 for frame in frames}
        plates = tuple(sizes.get(dim, 1) for dim in range(max(sizes), 0, -1))
        found[name] = ops.broadcast_to(index, ops.broadcast_shapes(tuple(ops.shape(index)), plates))
    return found


def value_at(site: Message, indices: Mapping[str, Any]) -> Any:
    """Return the value of an enumerated site of a trace at the indices of the sites that it depends on, itself among them.

    :param indices: as :func:`indices_of` returns them.
    """
    value, owners = site["value"], site["infer"]["_dim_to_id"]
    batch = tuple(ops.shape(value))[: ops.ndim(value) - len(site["fn"].event_shape)]
    places: list[Any] = []
    for dim, size in zip(range(-len(batch), 0), batch, strict=True):
        if size == 1:
            places.append(0)
        elif dim in owners:
            places.append(indices[owners[dim]])
        else:
            places.append(ops.reshape(ops.arange(size), (size, *(1,) * (-dim - 1))))
    return value[tuple(places)]


def _outside(density: Enumerated, name: str, symbol: str, plates: Iterable[str]) -> str:
    names = ", ".join(repr(density.plates[plate]) for plate in plates)
    inside = next(site for site, known in density.symbols.variables.items() if known == symbol)
    return (
        f"site {name!r} lies outside of plate {names} but depends on the enumerated site {inside!r} inside; "
        f"expected what depends on it to be inside of the plate too, since a sum over its values is taken for each element by "
        f"itself; try to move {name!r} into the plate, or ppl.plate as a loop"
    )


def _misfit(trace: Any, site: Message, shape: tuple[int, ...], dim: int) -> str:
    plates = ", ".join(
        f"{frame.name!r} (dim={frame.dim}, size={frame.size})" for frame in site["cond_indep_stack"] if frame.dim is not None
    )
    owner = site["infer"].get("_dim_to_id", {}).get(dim)
    claim = "belongs to no plate and to no enumerated site that it sees" if owner is None else f"is that of {owner!r} too"
    return (
        f"site {site['name']!r} has a log density of shape {shape}, whose dim={dim} of size {shape[dim]} {claim}; plates around "
        f"it: {plates or 'none'}; expected a plate or an enumerated site for each dimension; try max_plate_nesting={-dim} if a "
        f"plate is meant, .to_event({-dim}) on the distribution, or a larger history in ppl.markov\n{trace.format_shapes()}"
    )
