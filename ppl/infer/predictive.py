"""Draws of a model's sites given draws of its latent sites."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ppl import handlers, ops, registry
from ppl.errors import InferenceError, ParamError, PplWarning
from ppl.infer.discrete import Learned, infer_every_discrete
from ppl.infer.draws import DRAWS_A_BLOCK, same_number
from ppl.infer.latents import is_latent
from ppl.infer.likelihood import observed_sites
from ppl.infer.objective import ParamNames
from ppl.infer.particles import deepest_plate, has_explicit_keys, in_plate, map_over_keys
from ppl.infer.potential import ModelArguments
from ppl.ops import autodiff, control, random
from ppl.ops.compile import compile as compiled
from ppl.params import get_param_store
from ppl.typing import Message, Model

SAMPLE_PLATE = "_num_predictive_samples"
RETURN = "_RETURN"
# Mapping a model over its draws takes about as long as so many runs of it.
FEW_DRAWS = 4


class Predictive:
    """Run a model once for each draw of its latent sites and collect the other sites.

    :param model: a callable with primitives.
    :param posterior_samples: draws by site name, each of shape ``(num_samples, *site shape)``; sites that they lack are drawn.
    :param guide: draws the latent sites instead, once for each sample.
    :param params: constrained values of params by name, such as ``svi.run(...).params``; the others come from the param store.
    :param num_samples: how many draws to make where ``posterior_samples`` does not say.
    :param return_sites: name or names to return (``"_RETURN"`` is the model's result); by default every sample site that is
        not among the posterior samples, and every deterministic site.
    :param parallel: whether all draws are made at once: mapped over keys on jax, in an outer plate elsewhere, which needs
        a model whose operations broadcast on the left. Otherwise they are made in a compiled loop on jax, mapped over in blocks
        on torch where it can map the model's draws, and else one by one.
    :param batch_ndims: how many leading dimensions of the posterior samples count draws, 2 for chains and draws.
    :param infer_discrete: whether latent sites of finite support that the posterior samples lack are drawn from their exact joint
        posterior given the samples and what the model observes, in place of their prior; see :func:`ppl.infer.infer_discrete`.
    :param exclude_deterministic: whether deterministic sites among the posterior samples are left out and computed anew, as new
        data need; otherwise the model goes on with the values that they had.
    :raises InferenceError: if the numbers of draws disagree or are not given.

    The first call warns of names that the model has no site of, among the posterior samples or the guide's sites, and of sites
    that are drawn from the prior because the guide lacks them, where the model observes its data or the guide has none of its
    sites; without data they cannot be told from what is to be predicted.

    The object keeps the backend that is active when it is built. On jax the model is compiled, once for each set of shapes.

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> def model():
    ...     return ppl.sample("y", dist.Normal(ppl.sample("x", dist.Normal(0.0, 1.0)), 1.0))
    >>> predictive = infer.Predictive(model, posterior_samples={"x": ops.zeros((4,))})
    >>> {name: tuple(draws.shape) for name, draws in predictive(rng_key=0).items()}
    {'y': (4,)}
    """

    def __init__(
        self,
        model: Model,
        posterior_samples: Mapping[str, Any] | None = None,
        guide: Model | None = None,
        num_samples: int | None = None,
        return_sites: str | Collection[str] | None = None,
        parallel: bool = False,
        *,
        params: Mapping[str, Any] | None = None,
        batch_ndims: int = 1,
        infer_discrete: bool = False,
        exclude_deterministic: bool = True,
    ) -> None:
        self.backend = registry.active()
        self.model = model
        self.guide = guide
        self.params = {name: ops.array(value) for name, value in (params or {}).items()}
        names = [return_sites] if isinstance(return_sites, str) else return_sites
        self.return_sites = None if not names else tuple(names)
        self.parallel = parallel
        self.infer_discrete = infer_discrete
        self.exclude_deterministic = exclude_deterministic
        samples = {name: ops.array(value) for name, value in (posterior_samples or {}).items()}
        if guide is not None and samples:
            raise InferenceError("Predictive takes posterior_samples or a guide that draws them, received both")
        self.batch_shape = _batch_shape(samples, batch_ndims, num_samples)
        self.num_samples = math.prod(self.batch_shape)
        self.samples = {
            name: ops.reshape(value, (self.num_samples, *ops.shape(value)[batch_ndims:])) for name, value in samples.items()
        }
        self._programs: dict[Any, Any] = {}
        self._learned = Learned()
        # What is to be said of the names, known from the first run on and then said once.
        self._remarks: list[str] | None = None

    def _active(self) -> AbstractContextManager[Any]:
        return nullcontext() if registry.active() is self.backend else registry.using(self.backend)

    def __call__(self, *args: Any, rng_key: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Return draws by site name, each of shape ``(num_samples, *site shape)``.

        :param args: arguments of the model (and guide); a key before them is taken as ``rng_key``.
        :param rng_key: an int or key that makes the draws reproducible.
        """
        with self._active():
            if args and rng_key is None and random.is_key(args[0]):
                rng_key, args = args[0], args[1:]
            with nullcontext() if rng_key is None else random.scope(rng_key):
                drawn = self._draw(ModelArguments(args, kwargs))
            for remark in self._remarks or ():
                warnings.warn(remark, PplWarning, stacklevel=2)
            self._remarks = []
            return {name: ops.reshape(value, (*self.batch_shape, *ops.shape(value)[1:])) for name, value in drawn.items()}

    def get_samples(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what a call returns."""
        return self(*args, **kwargs)

    forward = get_samples

    def _draw(self, arguments: ModelArguments) -> dict[str, Any]:
        if has_explicit_keys():
            return self._draw_mapped(arguments)
        with self.backend.infer.quiet():
            args, kwargs = arguments.rebuild(arguments.arrays)
            return autodiff.stop_gradient(
                self._draw_in_plate(args, kwargs) if self.parallel else self._draw_in_turn(args, kwargs)
            )

    def _one(
        self,
        key: Any,
        values: Mapping[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        around: Callable[[Model], Model] = lambda fn: fn,
    ) -> dict[str, Any]:
        """Return the chosen sites of one run; ``around`` wraps model and guide."""
        model, guide = around(self.model), None if self.guide is None else around(self.guide)
        key_model, key_guide = (None, None) if key is None else random.split(key)
        if guide is not None and key is not None:
            guide = handlers.seed(guide, rng_seed=key_guide)
        names = list(values)
        if guide is not None:
            values, names = self._guided(guide, args, kwargs)
        fixed = {**self.params, **values}
        model = handlers.substitute(model, data=fixed) if fixed else model
        model = infer_every_discrete(model, self._learned) if self.infer_discrete else model
        model = model if key is None else handlers.seed(model, rng_seed=key_model)
        model = model if self.exclude_deterministic else recall(model, values)
        trace = handlers.trace(model).get_trace(*args, **kwargs)
        if self._remarks is None:
            self._remarks = self._compare(trace, names)
        return self._collect(trace, values)

    def _guided(self, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return the values of a run of the guide and the names of its sites that stand for some of the model's."""
        guide = handlers.substitute(guide, data=self.params) if self.params else guide
        nodes = handlers.trace(guide).get_trace(*args, **kwargs).nodes
        values = {name: site["value"] for name, site in nodes.items() if site["type"] in ("sample", "subsample")}
        samples = [name for name, site in nodes.items() if site["type"] == "sample"]
        return values, [name for name in samples if not nodes[name]["infer"].get("is_auxiliary")]

    def _compare(self, trace: Any, given: list[str]) -> list[str]:
        """Return what is to be said of names given to the model, and of sites that the guide lacks."""
        remarks, source = [], "the posterior samples hold" if self.guide is None else "the guide samples"
        sites = [name for name, site in trace.nodes.items() if site["type"] == "sample"]
        unknown = [name for name in given if name not in trace.nodes]
        if unknown:
            remarks.append(
                f"{source} {', '.join(map(repr, unknown))}, which the model has no site of, so that Predictive makes no use of it"
                f"; sites of the model: {sites}; names given: {given}; try the model that was fitted, or leave it out"
            )
        if self.guide is not None:
            latent = [name for name in sites if is_latent(trace.nodes[name])]
            drawn = [name for name in latent if name not in given]
            # A factor is observed too, but no data.
            has_data = any(tuple(trace.nodes[name]["fn"].event_shape) != (0,) for name in observed_sites(trace))
            if drawn and (has_data or len(drawn) == len(latent)):
                remarks.append(
                    f"the guide lacks {', '.join(map(repr, drawn))}, so that Predictive draws from the prior there; latent sites "
                    f"of the model: {latent}; sites of the guide: {given}; try a guide of all latent sites"
                )
        return remarks

    def _collect(self, trace: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        if self.return_sites is None:
            names = [name for name, site in trace.nodes.items() if site["type"] == "sample" and self._is_new(name, site, given)]
        else:
            absent = [name for name in self.return_sites if name not in trace.nodes]
            if absent:
                known = [name for name, site in trace.nodes.items() if site["type"] == "sample"]
                raise InferenceError(f"the model has no site {absent[0]!r} to return; expected some of {[*known, RETURN]}")
            names = list(self.return_sites)
        return {name: ops.array(trace.nodes[name]["value"]) for name in names}

    def _is_new(self, name: str, site: Any, given: Mapping[str, Any]) -> bool:
        return name not in given or self.guide is not None or bool(site["infer"].get("_deterministic"))

    def _draw_in_turn(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        def draw(index: int) -> dict[str, Any]:
            return self._one(None, {name: value[index] for name, value in self.samples.items()}, args, kwargs)

        # The first draw makes params, is checked, and shows errors as they are.
        first = draw(0)
        rest = self._draw_in_blocks(args, kwargs) if self.num_samples > FEW_DRAWS else None
        if rest is None:
            return _stack([first, *(draw(index) for index in range(1, self.num_samples))])
        return {name: ops.concat([ops.expand_dims(value, 0), rest[name]]) for name, value in first.items()}

    def _draw_in_blocks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """Return all draws but the first, or ``None`` if the backend cannot map the model or warns of how it would."""

        def one(index: Any, values: dict[str, Any]) -> dict[str, Any]:
            return self._one(None, values, args, kwargs)

        mapped, blocks = autodiff.vmap(one), []
        for start in range(1, self.num_samples, DRAWS_A_BLOCK):
            rows = slice(start, min(start + DRAWS_A_BLOCK, self.num_samples))
            values = {name: value[rows] for name, value in self.samples.items()}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    blocks.append(mapped(ops.arange(rows.start, rows.stop), values))
            except Exception:
                return None
        return {name: ops.concat([block[name] for block in blocks]) for name in blocks[0]}

    def _draw_mapped(self, arguments: ModelArguments) -> dict[str, Any]:
        key = random.next_key("Predictive")
        signature = arguments.signature()
        if signature not in self._programs:
            self._programs[signature] = self._program(arguments), self._param_names(key, arguments)
        program, names = self._programs[signature]
        # Params are arguments too: a fit that goes on must show in the next draws.
        store = get_param_store()
        params = {**{name: store[name] for name in names if name not in self.params}, **self.params}
        return program(key, params, self.samples, arguments.arrays)

    def _program(self, arguments: ModelArguments) -> Callable[..., dict[str, Any]]:
        def run(key: Any, params: dict[str, Any], samples: dict[str, Any], arrays: list[Any]) -> dict[str, Any]:
            args, kwargs = arguments.rebuild(arrays)

            def one(own: Any, values: dict[str, Any]) -> dict[str, Any]:
                with handlers.substitute(data=params):
                    return self._one(own, values, args, kwargs)

            def one_of_many(index: Any, values: dict[str, Any]) -> dict[str, Any]:
                return one(random.fold_in(key, index), values)

            if self.parallel:
                return map_over_keys(one, key, self.num_samples, samples)
            if autodiff.is_tracing():
                rows = ops.arange(self.num_samples), samples
                return control.scan(lambda carry, row: (carry, one_of_many(*row)), None, rows)[1]
            values = [{name: value[index] for name, value in samples.items()} for index in range(self.num_samples)]
            return _stack([one_of_many(index, row) for index, row in enumerate(values)])

        return compiled(run)

    def _param_names(self, key: Any, arguments: ModelArguments) -> list[str]:
        """Return the names of the params that model and guide read, created where they are new."""
        values = {name: value[0] for name, value in self.samples.items()}

        def run(arrays: list[Any]) -> None:
            args, kwargs = arguments.rebuild(arrays)
            self._one(key, values, args, kwargs)

        with ParamNames() as seen:
            # A guide may note things at its first run, which must be values, and discrete sites are checked by them.
            if self.guide is None and not self.infer_discrete:
                try:
                    self.backend.infer.evaluate_shapes(run, arguments.arrays)
                except ParamError:
                    run(arguments.arrays)
            else:
                run(arguments.arrays)
        return list(seen.names)

    def _draw_in_plate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        with handlers.block():
            probe = handlers.trace(handlers.substitute(self.model, data=self.params)).get_trace(*args, **kwargs)
            nesting = deepest_plate([probe])
            if self.guide is not None:
                nesting = max(nesting, deepest_plate([handlers.trace(self.guide).get_trace(*args, **kwargs)]))
        values = {name: self._align(value, probe, name, nesting) for name, value in self.samples.items()}
        drawn = self._one(None, values, args, kwargs, lambda fn: in_plate(fn, SAMPLE_PLATE, self.num_samples, nesting))
        return {name: self._unalign(value, probe, name) for name, value in drawn.items()}

    def _align(self, value: Any, probe: Any, name: str, nesting: int) -> Any:
        """Insert dimensions between that of the draws and the site's own, up to the plate's dimension."""
        if name not in probe.nodes or probe.nodes[name]["type"] != "sample":
            return value
        if probe.nodes[name]["infer"].get("_deterministic"):
            # Its own distribution counts every dimension as one of the event.
            batch = min(ops.ndim(value) - 1, _depth(probe.nodes[name]))
        else:
            batch = ops.ndim(value) - 1 - len(tuple(probe.nodes[name]["fn"].event_shape))
        return ops.reshape(value, (self.num_samples, *(1,) * (nesting - batch), *ops.shape(value)[1:]))

    def _unalign(self, value: Any, probe: Any, name: str) -> Any:
        own = ops.shape(ops.array(probe.nodes[name]["value"])) if name in probe.nodes else ops.shape(value)[1:]
        if math.prod(ops.shape(value)) == math.prod(own):
            # The site ignores the draws: every one of them sees the same value.
            value = ops.broadcast_to(ops.reshape(value, own), (self.num_samples, *own))
        return ops.reshape(value, (self.num_samples, *own))


class recall(handlers.Handler):
    """Give deterministic sites the values of ``data`` in place of those that the model computes."""

    def __init__(self, fn: Model, data: Mapping[str, Any]) -> None:
        super().__init__(fn)
        self.data = data

    def on_sample(self, message: Message) -> None:
        """Replace the value."""
        if message["infer"].get("_deterministic") and message["name"] in self.data:
            message["value"] = self.data[message["name"]]


def _depth(site: Mapping[str, Any]) -> int:
    """Return how many dimensions the plates of a site reach to the left."""
    return max((-frame.dim for frame in site["cond_indep_stack"] if frame.dim), default=0)


def _stack(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: ops.stack([row[name] for row in rows]) for name in rows[0]}


def _batch_shape(samples: Mapping[str, Any], batch_ndims: int, num_samples: int | None) -> tuple[int, ...]:
    if not samples:
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
            raise InferenceError(
                f"Predictive needs posterior_samples, or num_samples of 1 or more; received num_samples={num_samples!r}; "
                "try num_samples=1000 for draws from the prior"
            )
        return (num_samples,)
    batch_shape = same_number(samples, batch_ndims)
    if not math.prod(batch_shape):
        raise InferenceError(f"the posterior samples hold no draws: their shape begins with {batch_shape}; expected one or more")
    if num_samples is not None and num_samples != math.prod(batch_shape):
        raise InferenceError(
            f"num_samples={num_samples} but the posterior samples hold {math.prod(batch_shape)} draws; try to leave it out"
        )
    return batch_shape
