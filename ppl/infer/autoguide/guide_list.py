"""Several guides as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ppl.errors import InferenceError
from ppl.infer.autoguide.approximation import UnconstrainedNormal, joined
from ppl.infer.autoguide.base import AutoGuide, _shared_plates
from ppl.infer.autoguide.callable_guide import AutoCallable
from ppl.infer.initialization import init_to_median
from ppl.typing import Model


class AutoGuideList(AutoGuide):
    """A guide put together from parts, each of which covers some of the model's latent sites.

    :param model: a callable with primitives.
    :param prefix: kept as an attribute; the params have the prefixes of the parts.
    :param create_plates: see :class:`AutoGuide`; what the parts create is used too.

    The parts see the same minibatch of a subsampled plate.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers, infer
    >>> def model():
    ...     kind = ppl.sample("kind", dist.Bernoulli(0.5))
    ...     ppl.sample("x", dist.Normal(kind, 1.0))
    >>> guide = infer.autoguide.AutoGuideList(model)
    >>> guide.add(infer.AutoDiagonalNormal(handlers.block(model, hide=["kind"])))
    >>> guide.add(infer.autoguide.AutoDiscreteParallel(handlers.block(model, expose=["kind"])))
    >>> sorted(guide())
    ['kind', 'x']
    """

    def __init__(self, model: Model, prefix: str = "auto", create_plates: Callable[..., Any] | None = None) -> None:
        super().__init__(model, prefix, init_to_median, create_plates)
        self.parts: list[AutoGuide] = []

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[AutoGuide]:
        return iter(self.parts)

    def __getitem__(self, index: int) -> AutoGuide:
        return self.parts[index]

    def add(self, part: AutoGuide | Model) -> None:
        """Add a guide of sites that no other part covers.

        :param part: an automatic guide of the blocked model, or a callable, which becomes an :class:`AutoCallable`.
        :raises InferenceError: if it cannot be called.
        """
        if not callable(part):
            raise InferenceError(f"a part of an AutoGuideList is a guide, a callable; received {type(part).__name__}")
        self.parts.append(part if isinstance(part, AutoGuide) else AutoCallable(self.model, part))
        self.prototype_trace = None

    append = add

    def _covers(self, site: dict) -> bool:
        return True

    def _plates_of_sites(self) -> dict[str, Any]:
        """Leave the plates to the parts, of which a callable makes its own."""
        return {}

    def _learn(self, trace: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.parts:
            raise InferenceError("the AutoGuideList has no parts; expected at least one; try guide.add(AutoNormal(model))")
        for part in self.parts:
            part.setup(*args, **kwargs)
        _refuse_common("latent site", [(part, list(part.sites)) for part in self.parts], "block the model of one of them")
        _refuse_common("param", [(part, part.param_names()) for part in self.parts], "give one of them another prefix")
        for part in self.parts:
            for name in part.sites:
                if name not in self.sites:
                    raise InferenceError(
                        f"a part of the AutoGuideList, {type(part).__name__}, covers the site {name!r}, which the model lacks; "
                        f"latent sites of the model: {sorted(self.sites)}; sites of the part: {sorted(part.sites)}; try to make "
                        "the part of the list's model, blocked"
                    )
        self.frames = {name: frame for part in self.parts for name, frame in part.frames.items()}

    def _created_plates(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        made = super()._created_plates(args, kwargs)
        for part in self.parts:
            created = part._created_plates(args, kwargs) if part.create_plates else {}
            made.update({name: one for name, one in created.items() if name not in made})
        return made

    @contextmanager
    def _sharing(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
        token = _shared_plates.set(self.plates(*args, **kwargs))
        try:
            yield
        finally:
            _shared_plates.reset(token)

    def _propose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        with self._sharing(args, kwargs):
            return {name: value for part in self.parts for name, value in part(*args, **kwargs).items()}

    def sample_latent(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Return a list with the draw of each part in its own coordinates."""
        with self.active():
            self.setup(*args, **kwargs)
            with self._sharing(args, kwargs):
                return [part.sample_latent(*args, **kwargs) for part in self.parts]

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the median of each latent site by name, from the parts that know it."""
        with self.active(), self._with_params(args, kwargs):
            rest = args[1:] if self._starts_with_params(args) else args
            return {name: value for part in self.parts for name, value in part.median(*rest, **kwargs).items()}

    def _quantile(self, level: float) -> dict[str, Any]:
        return {name: value for part in self.parts for name, value in part._quantile(level).items()}

    def _starts_with_params(self, args: tuple[Any, ...]) -> bool:
        return bool(args) and isinstance(args[0], Mapping) and self._are_params(args[0])

    def _are_params(self, given: Mapping[str, Any]) -> bool:
        return any(part._are_params(given) for part in self.parts)

    def _draw_posterior(self, shape: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {name: value for part in self.parts for name, value in part._draw_posterior(shape, args, kwargs).items()}

    def param_names(self) -> list[str]:
        """Return the names of the parts' params, once the guide has run."""
        return [name for part in self.parts for name in part.param_names()]

    def unconstrained_normal(self) -> UnconstrainedNormal | None:
        """Return the parts over continuous sites as one normal distribution.

        :raises InferenceError: if a part has not been fitted, or is no such distribution.
        """
        parts = [part.unconstrained_normal() for part in self.parts]
        continuous = [part for part in parts if part is not None]
        return joined(continuous) if continuous else None


def _refuse_common(what: str, owned: list[tuple[AutoGuide, list[str]]], advice: str) -> None:
    owners: dict[str, AutoGuide] = {}
    for part, names in owned:
        for name in names:
            if name in owners:
                both = f"{type(owners[name]).__name__} and {type(part).__name__}"
                raise InferenceError(
                    f"two parts of an AutoGuideList, {both}, have the {what} {name!r}; expected each once; {advice}"
                )
            owners[name] = part
