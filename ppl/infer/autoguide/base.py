"""What automatic guides share: the prototype run of the model, names and plates."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from ppl import handlers, ops, registry
from ppl.errors import InferenceError
from ppl.handlers.messenger import Handler
from ppl.infer.autoguide.approximation import UnconstrainedNormal
from ppl.infer.autoguide.supports import refuse_changing, refuse_discrete
from ppl.infer.initialization import InitMessenger, init_to_median
from ppl.infer.latents import is_latent
from ppl.ops import autodiff, random
from ppl.params import get_param_store
from ppl.primitives import plate
from ppl.typing import Message, Model

# The plates that the parts of a list enter together: a minibatch is the same for all of them.
_shared_plates: ContextVar[dict[str, Any] | None] = ContextVar("ppl_shared_plates", default=None)


@contextmanager
def _together(contexts: Iterable[AbstractContextManager[Any]]) -> Iterator[None]:
    """Enter contexts one inside the other."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


class AutoGuide:
    """A guide made from a model.

    :param model: a callable with primitives; blocks around it choose which latent sites the guide covers.
    :param prefix: begins the name of every param and auxiliary site of the guide.
    :param init_loc_fn: gives a site's initial value, a function of the site such as :func:`~ppl.infer.init_to_median`.
    :param create_plates: a function of the model's arguments that returns the plates to use, for those whose subsample the
        model was given from outside.

    The first call runs the model once, hidden from other handlers, to learn its latent sites; later calls must have the same.
    The guide keeps the backend that is active when it is built. A derived class gives :meth:`__call__`; it may use
    :meth:`setup`, :attr:`sites` and :meth:`plates`.
    """

    def __init__(
        self,
        model: Model,
        prefix: str = "auto",
        init_loc_fn: Callable[[dict], Any] = init_to_median,
        create_plates: Callable[..., Any] | None = None,
    ) -> None:
        if not callable(model):
            raise InferenceError(f"an automatic guide is made from a model, a callable; received {type(model).__name__}")
        self.backend = registry.active()
        self.model = model
        self.prefix = prefix
        self.init_loc_fn = init_loc_fn
        self.create_plates = create_plates
        self.prototype_trace: Any = None
        self.sites: dict[str, dict] = {}
        self.frames: dict[str, Any] = {}
        self._given = GivenSubsamples()

    def active(self) -> AbstractContextManager[Any]:
        """Return a context in which the guide's backend is active."""
        return nullcontext() if registry.active() is self.backend else registry.using(self.backend)

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Run the model once, unless that was done, and note its latent sites and their plates.

        :raises InferenceError: if there is no latent site, or one that the guide cannot cover.
        """
        if self.prototype_trace is not None:
            return
        if autodiff.is_tracing():
            raise InferenceError(
                f"{type(self).__name__} meets its model for the first time inside compiled code, where nothing can be kept; "
                "expected an earlier run; try to call the guide once, with the model's arguments, outside"
            )
        trace = self._run_model(self.init_loc_fn, args, kwargs)
        for name in [name for name, site in trace.nodes.items() if is_latent(site) and not self._covers(site)]:
            trace.remove_node(name)
        self.sites = {name: site for name, site in trace.nodes.items() if is_latent(site)}
        if not self.sites:
            raise InferenceError(
                "the model has no latent site for a guide to cover: every sample site is observed, hidden or enumerated; "
                "try to leave out the value of obs= of what is to be inferred"
            )
        self.frames = self._plates_of_sites()
        self._learn(trace, args, kwargs)
        self.prototype_trace = trace

    def _run_model(self, strategy: Callable[[dict], Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with handlers.block(), self._given:
            return handlers.trace(InitMessenger(strategy)(self.model)).get_trace(*args, **kwargs)

    def _plates_of_sites(self) -> dict[str, Any]:
        """Return the frames of the plates that the sites stand in, by name."""
        frames = {}
        for site in self.sites.values():
            for frame in site["cond_indep_stack"]:
                if not frame.vectorized:
                    raise InferenceError(
                        f"latent site {site['name']!r} stands in the sequential plate {frame.name!r}, which an automatic guide "
                        f"cannot repeat; try the vectorized form: with ppl.plate({frame.name!r}, size): ..."
                    )
                frames[frame.name] = frame
        return frames

    def _covers(self, site: dict) -> bool:
        """Return whether a latent site is the guide's: all but those that enumeration is to sum out."""
        return not site["infer"].get("enumerate")

    def _learn(self, trace: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Judge the sites of the prototype run and keep what the guide needs of them."""

    def _learn_continuous(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse discrete sites, and those whose support is not always the same."""
        for name, site in self.sites.items():
            refuse_discrete(type(self).__name__, name, site["fn"])
        refuse_changing(type(self).__name__, self.sites, lambda strategy: self._run_model(strategy, args, kwargs))

    def plates(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return plates by name, those of ``create_plates`` included; subsampled ones draw their indices here.

        The parts of an :class:`AutoGuideList` get the same plates within one call.
        """
        shared = _shared_plates.get()
        if shared is not None and all(name in shared for name in self.frames):
            return shared
        made = self._created_plates(args, kwargs)
        for name, frame in self.frames.items():
            if name in made:
                continue
            if name in self._given.names:
                raise InferenceError(
                    f"the model was given the subsample of plate {name!r} from outside, so that {type(self).__name__} cannot "
                    f"draw the same; expected create_plates; try {type(self).__name__}(model, create_plates=lambda *args: "
                    f"ppl.plate({name!r}, size, subsample=...)) with the indices that the model gets"
                )
            made[name] = plate(name, frame.full_size or frame.size, subsample_size=frame.size, dim=frame.dim)
        return made

    def _created_plates(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if self.create_plates is None:
            return {}
        given = self.create_plates(*args, **kwargs)
        return {one.name: one for one in (given if isinstance(given, (list, tuple)) else [given])}

    def _inside(self, site: dict, plates: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """Return a context in the plates that ``site`` stands in."""
        around = [plates[frame.name] for frame in site["cond_indep_stack"]]
        if len(around) < 2:
            return around[0] if around else nullcontext()
        return _together(around)

    def _propose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Sample the latent sites and return their values."""
        raise InferenceError(
            f"{type(self).__name__} does not say how it samples; a class derived from AutoGuide defines __call__"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the guide, with the arguments of the model, and return each latent site's value by name."""
        with self.active():
            self.setup(*args, **kwargs)
            return self._propose(args, kwargs)

    def sample_latent(self, *args: Any, **kwargs: Any) -> Any:
        """Return a draw in the guide's own coordinates: here, the values by name."""
        return self(*args, **kwargs)

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the median of each latent site by name; the fitted params may be given in place of the arguments.

        :raises InferenceError: if the guide has not run yet and the arguments do not fit the model.
        """
        raise InferenceError(f"{type(self).__name__} has no median; try the mean or median of sample_posterior(...)")

    def quantiles(self, quantiles: Any, *args: Any, **kwargs: Any) -> dict[str, list[Any]]:
        """Return, for each latent site, a list with its value at each of ``quantiles``, numbers in (0, 1).

        They are exact where a site's map from unconstrained space acts on each element alone; for a simplex or a matrix they are
        images of unconstrained quantiles. Fitted params may stand before ``quantiles`` or after; arguments of the model follow.

        :raises InferenceError: if a number lies outside, or the guide has none.
        """
        if isinstance(quantiles, Mapping):
            quantiles, args = args[0], (quantiles, *args[1:])
        levels = [float(level) for level in quantiles] if ops.ndim(quantiles) else [float(quantiles)]
        outside = [level for level in levels if not 0.0 < level < 1.0]
        if outside:
            raise InferenceError(f"quantiles are probabilities strictly between 0 and 1, received {outside[0]:g}; try 0.05, 0.95")
        with self.active(), self._with_params(args, kwargs):
            columns = [autodiff.stop_gradient(self._quantile(level)) for level in levels]
            return {name: [ops.array(column[name]) for column in columns] for name in columns[0]}

    def _quantile(self, level: float) -> dict[str, Any]:
        """Return the quantile of each site at one level."""
        raise InferenceError(f"{type(self).__name__} has no quantiles; try those of the draws of sample_posterior(...)")

    def param_names(self) -> list[str]:
        """Return the names of the guide's params, as far as they are known: those of a list must differ."""
        return []

    def unconstrained_normal(self) -> UnconstrainedNormal | None:
        """Return the fitted guide as a normal distribution over unconstrained values, ``None`` if it covers nothing continuous.

        :raises InferenceError: if the guide has not been fitted, or is no such distribution.
        """
        raise InferenceError(
            f"{type(self).__name__} is no normal distribution over unconstrained values; try one of AutoNormal, "
            "AutoDiagonalNormal, AutoMultivariateNormal, AutoLowRankMultivariateNormal, AutoLaplaceApproximation or AutoDelta"
        )

    def _require_fitted(self) -> None:
        """Raise unless the guide has run and its params stand in the param store, all finite."""
        store, why = get_param_store(), ""
        if self.prototype_trace is None:
            why = "it has not run yet"
        for name in self.param_names():
            if not why and name not in store:
                why = f"its param {name!r} is not in the param store"
            elif not why and not bool(ops.all(ops.isfinite(store.get_unconstrained(name)))):
                why = f"its param {name!r} is not finite"
        if why:
            raise InferenceError(
                f"{type(self).__name__} is not fitted: {why}; expected a guide after SVI; try svi.run(...) before, in the same "
                "param store"
            )

    def _ready(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Learn the sites from these arguments of the model if that is still to be done, or say why they do not serve."""
        if self.prototype_trace is None and not _fits(self.model, args, kwargs):
            raise InferenceError(
                f"{type(self).__name__} has not seen its model's sites: it has not run yet, and the arguments given here are not "
                "the model's; try to fit it, or call it once with the model's arguments, first"
            )
        self.setup(*args, **kwargs)

    def _with_params(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AbstractContextManager[Any]:
        """Read params from the first argument if it is a dict of them, else from the param store."""
        if args and isinstance(args[0], Mapping) and self._are_params(args[0]):
            self._ready(args[1:], kwargs)
            return handlers.substitute(data={name: ops.array(value) for name, value in args[0].items()})
        self._ready(args, kwargs)
        return nullcontext()

    def _are_params(self, given: Mapping[str, Any]) -> bool:
        return any(str(name).startswith(f"{self.prefix}_") for name in given)

    def sample_posterior(
        self, rng_key: Any = None, params: Mapping[str, Any] | None = None, *args: Any, sample_shape: Any = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Return draws of the latent sites, each of shape ``(*sample_shape, *site shape)``.

        :param rng_key: an int or key; ``None`` draws from the ambient source.
        :param params: fitted params; ``None`` reads the param store.

        A site in a subsampled plate is drawn for the whole plate where the guide has params for all of it.
        """
        with self.active():
            self._ready(args, kwargs)
            shape = (sample_shape,) if isinstance(sample_shape, int) else tuple(sample_shape)
            with handlers.block(), handlers.substitute(data={name: ops.array(value) for name, value in (params or {}).items()}):
                with nullcontext() if rng_key is None else random.scope(rng_key):
                    return autodiff.stop_gradient(self._draw_posterior(shape, args, kwargs))

    def _draw_posterior(self, shape: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        draws = [self(*args, **kwargs) for _ in range(math.prod(shape))]
        if not shape:
            return draws[0]
        return {
            name: ops.reshape(ops.stack([draw[name] for draw in draws]), (*shape, *ops.shape(draws[0][name])))
            for name in draws[0]
        }


class GivenSubsamples(Handler):
    """Collect the names of plates whose indices the model brings along instead of drawing them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def on_subsample(self, message: Message) -> None:
        """Note a plate whose indices stand before any handler outside of the model gave them."""
        if message["value"] is not None:
            self.names.add(message["name"])


def whole(site: dict, value: Any, event_dim: int) -> Any:
    """Return ``value``, the elements along a subsampled plate repeated up to the whole plate.

    :param value: an array of the batch dimensions of ``site`` and ``event_dim`` more.
    """
    for frame in site["cond_indep_stack"]:
        axis = frame.dim - event_dim
        if frame.full_size in (None, frame.size) or ops.ndim(value) < -axis or ops.shape(value)[axis] == 1:
            continue
        value = ops.take(value, ops.remainder(ops.arange(0, frame.full_size), frame.size), axis=axis)
    return value


def _fits(model: Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a call of the model with these arguments is meant: without any, only if it takes none.

    A model whose data may be left out draws them then, so that they would be taken for latent sites.
    """
    try:
        signature = inspect.signature(model)
    except (TypeError, ValueError):
        return bool(args or kwargs)
    if not args and not kwargs:
        return not signature.parameters
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True
