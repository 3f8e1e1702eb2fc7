"""A model and its arguments as a log density of one flat unconstrained vector.

Samplers see only that vector and the list of data arrays; they never call primitives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import isfinite
from typing import Any, Protocol

from ppl import handlers, ops, registry, tree
from ppl.errors import ConcreteValueError, EnumerationError, InferenceError, PplError, PplWarning
from ppl.infer.latents import LatentSite, is_latent, refuse_discrete, split_vector
from ppl.infer.particles import deepest_plate
from ppl.ops import autodiff, compile
from ppl.primitives.validation import is_validation_enabled, validation_enabled
from ppl.transforms import biject_to
from ppl.typing import Message, Model


class ModelArguments:
    """The arguments of a model, its arrays taken out so that they can be traced.

    :param args: positional arguments; numpy arrays among them become arrays of the active backend, floating ones in the
        default dtype.
    :param kwargs: keyword arguments.
    """

    def __init__(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self.container = (tuple(args), dict(kwargs))
        self.leaves = tree.leaves(self.container)
        self.traced = [index for index, leaf in enumerate(self.leaves) if hasattr(leaf, "dtype") and hasattr(leaf, "shape")]
        self.arrays = [as_data(self.leaves[index]) for index in self.traced]

    def rebuild(self, arrays: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return ``(args, kwargs)`` with ``arrays`` in the places of the arrays."""
        leaves = list(self.leaves)
        for index, array in zip(self.traced, arrays, strict=True):
            leaves[index] = array
        return tree.unflatten(self.container, leaves)

    def signature(self) -> Any:
        """Return what must stay equal for compiled code to be reused: structure, static values, shapes and dtypes."""
        static = [repr(leaf) for index, leaf in enumerate(self.leaves) if index not in self.traced]
        return tree.structure(self.container), tuple(static), tuple((ops.shape(a), ops.dtype_name(a)) for a in self.arrays)


def as_data(value: Any) -> Any:
    """Return ``value`` as an array of the active backend; a foreign floating array takes the default dtype."""
    if ops.is_array(value) and registry.active().library != "numpy":
        return value
    array = ops.array(value)
    return ops.astype(array, ops.default_dtype()) if ops.is_floating(array) else array


class Elimination(Protocol):
    """What sums discrete latent sites out of a model's density, the hook of :class:`Potential` for them."""

    def covers(self, site: Message) -> bool:
        """Return whether it sums out this latent site of finite support."""

    def around(self, model: Model, max_plate_nesting: int) -> Model:
        """Return ``model`` such that the covered sites take all their values.

        :param max_plate_nesting: how many batch dimensions plates use.
        """

    def log_density(self, trace: Any) -> Any:
        """Return the log density of a run of the model under :meth:`around`, the covered sites summed out: a scalar."""

    def check(self, model: Model, args: tuple[Any, ...], kwargs: dict[str, Any], max_plate_nesting: int) -> None:
        """Raise if ``model``, all of whose other latent sites have values, means something else under :meth:`around`."""


class Potential:
    """The log density of a model's latent sites, given its observations, on unconstrained space.

    :param model: a callable with primitives.
    :param arguments: its arguments.
    :param elimination: what sums out discrete sites; without one they are refused.
    :param max_plate_nesting: how many batch dimensions plates use, for ``elimination``; found by a run if ``None``.
    :raises InferenceError: if the model has no continuous latent site, a discrete one that cannot be summed out, a subsampled
        plate, or plates deeper than ``max_plate_nesting``.

    ``log_density(vector, data)`` is pure: ``vector`` has shape ``(size,)`` and ``data`` is ``arguments.arrays`` or arrays of
    the same shapes. The transform of each site is taken from its support as the model runs, so supports may depend on other
    sites, but for those that are summed out. Deterministic sites behind one of these may depend on its value, so that they
    have none themselves; a warning names them.
    """

    def __init__(
        self,
        model: Model,
        arguments: ModelArguments,
        elimination: Elimination | None = None,
        max_plate_nesting: int | None = None,
    ) -> None:
        self.model = model
        self.arguments = arguments
        self.elimination = elimination
        self.max_plate_nesting = max_plate_nesting or 0
        self.backend = registry.active()
        self.sites: list[LatentSite] = []
        self.eliminated: list[str] = []
        self.deterministic: list[str] = []
        self._all_inside: Callable[..., Any] | None = None
        self._compared = False
        self._discover(max_plate_nesting)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(site.size for site in self.sites)

    @property
    def names(self) -> list[str]:
        """Names of the latent sites, in the order of the vector."""
        return [site.name for site in self.sites]

    def _discover(self, max_plate_nesting: int | None) -> None:
        found: list[LatentSite] = []
        behind: list[str] = []

        def run(data: Sequence[Any]) -> None:
            args, kwargs = self.arguments.rebuild(data)
            trace = handlers.trace(handlers.seed(self.model, rng_seed=0)).get_trace(*args, **kwargs)
            offset = 0
            found.clear()
            behind.clear()
            self.deterministic.clear()
            self.eliminated.clear()
            for name, site in trace.nodes.items():
                infer = site.get("infer") or {}
                if infer.get("_deterministic"):
                    (behind if self.eliminated else self.deterministic).append(name)
                elif site["type"] == "subsample" and infer.get("_subsampled"):
                    _refuse_subsampling(name)
                elif is_latent(site):
                    support = site["fn"].support
                    if self.elimination is not None and support.is_discrete:
                        if not self.elimination.covers(site):
                            _refuse_infinite(name, site["fn"])
                        self.eliminated.append(name)
                        continue
                    refuse_discrete(name, support)
                    shape = ops.shape(site["value"])
                    place = LatentSite(name, shape, tuple(biject_to(support).inverse_shape(shape)), offset)
                    found.append(place)
                    offset += place.size
            if self.eliminated:
                self.max_plate_nesting = _nesting(trace, max_plate_nesting)

        with self.explaining(max_plate_nesting):
            self.backend.infer.evaluate_shapes(run, self.arguments.arrays)
        if not found:
            raise InferenceError(
                "the model has no latent site: it has no sample site that is not observed; expected at least one unobserved "
                "continuous site; try to leave out the value of obs= (or the condition) of what is to be inferred"
                + (", or infer.infer_discrete where all latent sites are discrete, as here" if self.eliminated else "")
            )
        self.sites = found
        if behind:
            warnings.warn(
                f"deterministic sites {behind} come after {self.eliminated[0]!r}, which is summed out, so that they may have no "
                "single value, and no draws of them are kept; try to compute them before it, or "
                "infer.Predictive(model, posterior_samples, infer_discrete=True)",
                PplWarning,
                stacklevel=2,
            )

    def _run(self, vector: Any, data: Sequence[Any]) -> tuple[Any, Any]:
        unconstrained = split_vector(self.sites, vector)
        total = 0.0

        def value_of(site: dict) -> Any:
            nonlocal total
            if site["name"] not in unconstrained or site["type"] != "sample":
                return None
            transform = biject_to(site["fn"].support)
            point = unconstrained[site["name"]]
            value = transform(point)
            if self.eliminated and tuple(ops.shape(value)) != shapes[site["name"]]:
                _refuse_moving_support(site, self.eliminated)
            log_det = transform.log_abs_det_jacobian(point, value)
            total = total + ops.sum(log_det)
            return value

        args, kwargs = self.arguments.rebuild(data)
        shapes = {site.name: tuple(site.shape) for site in self.sites}
        model = self._summing_out(handlers.substitute(self.model, substitute_fn=value_of))
        return handlers.trace(model).get_trace(*args, **kwargs), total

    @contextmanager
    def explaining(self, max_plate_nesting: int | None = None) -> Iterator[None]:
        """Say so if what a block evaluates fails because the sites that are summed out take all their values at once.

        :raises EnumerationError: naming the line of the model and the site.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, PplError) and not isinstance(error, ConcreteValueError):
                raise
            # Outside of the block values are concrete, and go where abstract ones, of which a backend learns shapes, do not.
            reason = self._reason(max_plate_nesting)
            if reason is None:
                raise
            raise reason from error

    def _reason(self, max_plate_nesting: int | None) -> EnumerationError | None:
        """Return why the model does not run with all values of its discrete sites at once, ``None`` if it is not known."""
        if self.elimination is None or autodiff.is_tracing():
            return None
        args, kwargs = self.arguments.rebuild(self.arguments.arrays)
        model = handlers.seed(self.model, rng_seed=0)
        try:
            nesting = _nesting(handlers.trace(model).get_trace(*args, **kwargs), max_plate_nesting)
            self.elimination.check(model, args, kwargs, nesting)
        except EnumerationError as reason:
            return reason
        except Exception:
            # The error of the block says it better.
            pass
        return None

    def _summing_out(self, model: Model) -> Model:
        """Return ``model`` with all values of the sites that are summed out."""
        if self.elimination is None or not self.eliminated:
            return model
        return self.elimination.around(model, self.max_plate_nesting)

    def log_density(self, vector: Any, data: Sequence[Any]) -> Any:
        """Return the joint log density of latent and observed sites, Jacobian included: a scalar."""
        trace, log_det = self._run(vector, data)
        if self.elimination is not None and self.eliminated:
            return self.elimination.log_density(trace) + log_det
        return trace.log_prob_sum() + log_det

    def constrain(self, vector: Any, data: Sequence[Any]) -> dict[str, Any]:
        """Return the values of latent and deterministic sites at ``vector``."""
        trace, _ = self._run(vector, data)
        return {name: ops.array(trace.nodes[name]["value"]) for name in [*self.names, *self.deterministic]}

    def unconstrain(self, values: dict[str, Any], data: Sequence[Any]) -> Any:
        """Return the vector at which the latent sites take ``values`` (constrained, by name)."""
        args, kwargs = self.arguments.rebuild(data)
        trace = handlers.trace(self._summing_out(handlers.substitute(self.model, data=values))).get_trace(*args, **kwargs)
        pieces = []
        for site in self.sites:
            node = trace.nodes[site.name]
            pieces.append(ops.reshape(biject_to(node["fn"].support).inv(node["value"]), (site.size,)))
        return ops.concat(pieces, axis=0)

    def initial(self, key: Any, strategy: Callable[[dict], Any], data: Sequence[Any]) -> Any:
        """Return the vector at which each latent site takes the value that ``strategy(site)`` gives while the model runs."""
        args, kwargs = self.arguments.rebuild(data)
        names = set(self.names)

        def value_of(site: dict) -> Any:
            return strategy(site) if site["type"] == "sample" and site["name"] in names else None

        model = handlers.substitute(handlers.seed(self.model, rng_seed=key), substitute_fn=value_of)
        trace = handlers.trace(model).get_trace(*args, **kwargs)
        return self.unconstrain({name: trace.nodes[name]["value"] for name in self.names}, data)

    def check_data(self, vector: Any, data: Sequence[Any]) -> None:
        """Refuse observed values outside their supports; ``vector`` is a point of finite log density.

        :raises SiteError: naming the site and the value.
        :raises EnumerationError: if the model means something else where discrete sites take all their values.

        Compiled code checks nothing, and the formula of a discrete log density may be finite at any real number.
        """
        if not is_validation_enabled():
            return
        if self._all_inside is None:
            self._all_inside = compile.compile(self._observations_inside, horizon=1)
        with validation_enabled(False):
            inside, values = self._all_inside(vector, data)
        if not bool(inside):
            with validation_enabled(True):
                self._run(vector, data)[0].compute_log_prob()
        if self.elimination is not None and self.eliminated and not self._compared:
            args, kwargs = self.arguments.rebuild(data)
            known = handlers.substitute(self.model, data=values)
            self.elimination.check(handlers.seed(known, rng_seed=0), args, kwargs, self.max_plate_nesting)
            self._compared = True

    def _observations_inside(self, vector: Any, data: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
        """Return whether observed values lie in their supports and, where sites are summed out, the values of the others."""
        inside, trace = ops.array(True), self._run(vector, data)[0]
        for site in trace.nodes.values():
            if site["type"] == "sample" and site["is_observed"] and site["mask"] is not False:
                try:
                    checked = site["fn"].support.check(site["value"])
                except NotImplementedError:
                    continue
                inside = inside & ops.all(for_some_value(ops.any, checked, site))
        return inside, {name: ops.array(trace.nodes[name]["value"]) for name in self.names if self.eliminated}

    def explain(self, vector: Any, data: Sequence[Any]) -> str:
        """Return a table of each site at ``vector``: value, whether it lies in the support, log density, gradient.

        Where a site depends on others that are summed out, it is told of at the values that suit it best.
        The first complaint that the checks of sites and distributions make there follows the table.
        """
        with registry.using(self.backend), self.backend.infer.quiet():
            with validation_enabled(False):
                trace, _ = self._run(vector, data)
                trace.compute_log_prob()
                gradient = autodiff.grad(lambda point: self.log_density(point, data))(vector)
                rows: list[tuple[str, ...]] = [("site", "kind", "value", "in support", "log density", "gradient")]
                for name, site in trace.nodes.items():
                    if site["type"] == "sample" and not site["infer"].get("_deterministic"):
                        rows.append(self._explain_site(name, site, gradient))
            complaint = self._complaint(vector, data)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        suspects = [row[0] for row in rows[1:] if row[3] == "NO" or not isfinite(float(row[4])) or row[5] == "NOT FINITE"]
        culprit = [f"look at {', '.join(f'site {name!r}' for name in suspects)}"] if suspects else []
        return "\n".join([*lines, *culprit, *complaint])

    def _complaint(self, vector: Any, data: Sequence[Any]) -> list[str]:
        try:
            with validation_enabled(True), warnings.catch_warnings():
                warnings.simplefilter("ignore", PplWarning)
                self._run(vector, data)[0].compute_log_prob()
        except PplError as error:
            return [f"the checks say: {error}"]
        return []

    def _explain_site(self, name: str, site: dict, gradient: Any) -> tuple[str, ...]:
        value = ops.array(site["value"])
        try:
            inside = bool(ops.all(for_some_value(ops.any, site["fn"].support.check(value), site)))
        except NotImplementedError:
            inside = True
        place = next((place for place in self.sites if place.name == name), None)
        finite = "-"
        if place is not None:
            finite = "finite" if bool(ops.all(ops.isfinite(gradient[place.offset : place.offset + place.size]))) else "NOT FINITE"
        kind = "observed" if site["is_observed"] else "summed out" if name in self.eliminated else "latent"
        log_prob = ops.sum(for_some_value(ops.max, site["log_prob"], site))
        return name, kind, _preview(value), "yes" if inside else "NO", f"{float(log_prob):.6g}", finite


def _preview(value: Any) -> str:
    flat = ops.to_numpy(value).reshape(-1)
    shown = " ".join(f"{float(number):.4g}" for number in flat[:3])
    return shown if len(flat) <= 3 else f"{shown} ... ({len(flat)})"


def _nesting(trace: Any, given: int | None) -> int:
    """Return how many batch dimensions plates use: what was given, if it suffices for ``trace``."""
    found = deepest_plate([trace])
    if given is not None and given < found:
        raise InferenceError(
            f"max_plate_nesting={given}, but the plates of the model use {found} dimension(s), which leaves none for the values "
            f"of discrete sites; expected at least {found}; try max_plate_nesting={found}, or to leave it out"
        )
    return found if given is None else given


def for_some_value(reduce: Callable[..., Any], array: Any, site: dict) -> Any:
    """Return ``array``, of the batch shape of a site, reduced along the values of the enumerated sites that it depends on."""
    for dim in site["infer"].get("_dim_to_id", ()):
        if -dim <= ops.ndim(array):
            array = reduce(array, axis=dim, keepdims=True)
    return array


def _refuse_infinite(name: str, fn: Any) -> None:
    """Raise because a latent site can neither be moved nor summed out."""
    raise InferenceError(
        f"latent site {name!r} is discrete, and {fn!r} does not have a small finite support that could be summed over; expected "
        f"every discrete latent site to have one; try to observe {name!r}, to put dist.Categorical over the values that matter, "
        "to replace .to_event by a ppl.plate, or a continuous family that integrates it out, such as dist.GammaPoisson"
    )


def _refuse_moving_support(site: dict, eliminated: Sequence[str]) -> None:
    raise InferenceError(
        f"the support {site['fn'].support!r} or the shape of the latent site {site['name']!r} depends on one of the discrete "
        f"sites {list(eliminated)}, which are summed out; expected one support for all of their values; try to sample a "
        "fraction, dist.Uniform(0, 1), or a standardised value, and to scale it by the value of the discrete site"
    )


def _refuse_subsampling(name: str) -> None:
    raise InferenceError(
        f"plate {name!r} is subsampled, so its log density is a random estimate, which HMC and NUTS cannot use; expected the "
        f"whole plate; try to drop subsample_size= and subsample= of {name!r}, or fit by SVI"
    )


class FunctionPotential:
    """A user's own log density as a potential: for those who bring no model.

    :param log_density_fn: ``fn(vector, *data) -> scalar`` over the active backend's arrays.
    :param size: length of the vector.
    :param arguments: what is handed to the function after the vector.
    """

    def __init__(self, log_density_fn: Callable[..., Any], size: int, arguments: ModelArguments) -> None:
        self.backend = registry.active()
        self.arguments = arguments
        self.size = size
        self.names = ["position"]
        self.deterministic: list[str] = []
        self._log_density_fn = log_density_fn

    def log_density(self, vector: Any, data: Sequence[Any]) -> Any:
        """Return the user's log density at ``vector``."""
        args, kwargs = self.arguments.rebuild(data)
        return self._log_density_fn(vector, *args, **kwargs)

    def constrain(self, vector: Any, data: Sequence[Any]) -> dict[str, Any]:
        """Return the vector itself, under the name ``position``."""
        return {"position": vector}

    def explaining(self) -> AbstractContextManager[None]:
        """Add nothing to what a block raises."""
        return nullcontext()

    def check_data(self, vector: Any, data: Sequence[Any]) -> None:
        """Accept the data: a density of one's own names no supports."""

    def explain(self, vector: Any, data: Sequence[Any]) -> str:
        """Return the value of the log density at ``vector``."""
        return f"log density {float(self.log_density(vector, data)):.6g} at {_preview(vector)}"
