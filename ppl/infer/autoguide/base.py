"""What automatic guides share: the prototype run of the model, names and plates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ppl import handlers, ops, registry
from ppl.errors import InferenceError
from ppl.infer.initialization import init_to_median
from ppl.infer.latents import is_latent
from ppl.ops import autodiff, random
from ppl.primitives import plate
from ppl.typing import Model


class AutoGuide(ABC):
    """A guide made from a model.

    :param model: a callable with primitives; blocks around it choose which latent sites the guide covers.
    :param prefix: begins the name of every param and auxiliary site of the guide.
    :param init_loc_fn: gives a site's initial value, a function of the site such as :func:`~ppl.infer.init_to_median`.
    :param create_plates: a function of the model's arguments that returns the plates to use, for those whose subsample the
        model was given from outside.

    The first call runs the model once, hidden from other handlers, to learn its latent sites; later calls must have the same.
    The guide keeps the backend that is active when it is built.
    """

    def __init__(
        self,
        model: Model,
        prefix: str = "auto",
        *,
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

    def active(self) -> AbstractContextManager[Any]:
        """Return a context in which the guide's backend is active."""
        return nullcontext() if registry.active() is self.backend else registry.using(self.backend)

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Run the model once, unless that was done, and note its latent sites and their plates.

        :raises InferenceError: if there is no latent site.
        """
        if self.prototype_trace is not None:
            return
        with handlers.block():
            initialized = handlers.substitute(self.model, substitute_fn=self._initial_value)
            self.prototype_trace = handlers.trace(initialized).get_trace(*args, **kwargs)
        self.sites = {name: site for name, site in self.prototype_trace.nodes.items() if is_latent(site)}
        if not self.sites:
            self.prototype_trace = None
            raise InferenceError(
                "the model has no latent site for a guide to cover: every sample site is observed or hidden; "
                "try to leave out the value of obs= of what is to be inferred"
            )
        for site in self.sites.values():
            for frame in site["cond_indep_stack"]:
                if not frame.vectorized:
                    raise InferenceError(
                        f"latent site {site['name']!r} stands in the sequential plate {frame.name!r}, which an automatic guide "
                        f"cannot repeat; try the vectorized form: with ppl.plate({frame.name!r}, size): ..."
                    )
                self.frames[frame.name] = frame

    def _initial_value(self, site: dict) -> Any:
        if site["type"] != "sample" or not is_latent(site):
            return None
        if getattr(site["fn"].support, "is_discrete", False):
            return None
        if site["rng_key"] is None:
            site = {**site, "rng_key": random.next_key(site["name"])}
        return self.init_loc_fn(site)

    def plates(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return fresh plates by name, those of ``create_plates`` included; subsampled ones draw their indices here."""
        made: dict[str, Any] = {}
        if self.create_plates is not None:
            given = self.create_plates(*args, **kwargs)
            made = {one.name: one for one in (given if isinstance(given, (list, tuple)) else [given])}
        for name, frame in self.frames.items():
            if name not in made:
                full = frame.size if frame.full_size is None else frame.full_size
                made[name] = plate(name, full, subsample_size=frame.size, dim=frame.dim)
        return made

    @abstractmethod
    def _propose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Sample the latent sites and return their values."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the guide, with the arguments of the model, and return each latent site's value by name."""
        with self.active():
            self.setup(*args, **kwargs)
            return self._propose(args, kwargs)

    def sample_latent(self, *args: Any, **kwargs: Any) -> Any:
        """Return a draw in the guide's own coordinates: here, the values by name."""
        return self(*args, **kwargs)

    @abstractmethod
    def median(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the median of each latent site by name; the fitted params may be given in place of the arguments."""

    def _with_params(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AbstractContextManager[Any]:
        """Read params from the first argument if it is a dict of them, else from the param store."""
        if args and isinstance(args[0], Mapping) and any(str(name).startswith(f"{self.prefix}_") for name in args[0]):
            if self.prototype_trace is None:
                raise InferenceError(
                    f"{type(self).__name__} has not seen its model's sites; try to fit it, or call it once, first"
                )
            return handlers.substitute(data={name: ops.array(value) for name, value in args[0].items()})
        self.setup(*args, **kwargs)
        return nullcontext()

    def sample_posterior(
        self, rng_key: Any = None, params: Mapping[str, Any] | None = None, *args: Any, sample_shape: Any = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Return draws of the latent sites, each of shape ``(*sample_shape, *site shape)``.

        :param rng_key: an int or key; ``None`` draws from the ambient source.
        :param params: fitted params; ``None`` reads the param store.
        """
        with self.active():
            if self.prototype_trace is None:
                self.setup(*args, **kwargs)
            shape = (sample_shape,) if isinstance(sample_shape, int) else tuple(sample_shape)
            with handlers.block(), handlers.substitute(data=dict(params or {})):
                with nullcontext() if rng_key is None else random.scope(rng_key):
                    return autodiff.stop_gradient(self._draw_posterior(shape, args, kwargs))

    def _draw_posterior(self, shape: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        num = 1
        for size in shape:
            num *= size
        draws = [self._propose(args, kwargs) for _ in range(num)]
        if not shape:
            return draws[0]
        return {
            name: ops.reshape(ops.stack([draw[name] for draw in draws]), (*shape, *ops.shape(draws[0][name])))
            for name in draws[0]
        }
