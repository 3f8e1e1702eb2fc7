"""A guide of one's own among automatic ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import handlers
from ppl.errors import InferenceError
from ppl.infer.autoguide.base import AutoGuide
from ppl.infer.latents import is_latent
from ppl.typing import Model


class AutoCallable(AutoGuide):
    """A plain guide as an automatic one, which is what :meth:`AutoGuideList.add` makes of it.

    :param model: a callable with primitives.
    :param guide: a callable with the same arguments that samples some of its latent sites.
    :param median: a callable with the same arguments that returns the medians by site; nothing is known of them if it is absent.
    :raises InferenceError: if one of them cannot be called.

    A guide that needs plates drawn at random together with other parts is a class derived from :class:`AutoGuide`.

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> def model():
    ...     ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> def guide():
    ...     ppl.sample("x", dist.Delta(ppl.param("x_loc", 2.0)))
    >>> list(infer.autoguide.AutoCallable(model, guide)())
    ['x']
    """

    def __init__(self, model: Model, guide: Model, median: Callable[..., dict[str, Any]] = lambda *args, **kwargs: {}) -> None:
        super().__init__(model)
        for what, given in (("guide", guide), ("median", median)):
            if not callable(given):
                raise InferenceError(f"the {what} of AutoCallable is a callable, received {type(given).__name__}")
        self.guide = guide
        self._median = median

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the guide itself knows its sites."""

    def _ready(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pass

    def _propose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        trace = handlers.trace(self.guide).get_trace(*args, **kwargs)
        return {name: site["value"] for name, site in trace.nodes.items() if is_latent(site)}

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what the median callable returns."""
        with self.active():
            return self._median(*args, **kwargs)

    def unconstrained_normal(self) -> None:
        """Return ``None``: nothing is known of the callable's distribution."""
        return
