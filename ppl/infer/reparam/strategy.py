"""What strategies share: refusals, wrappers of the family, and the sites that they draw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ppl.distributions import ExpandedDistribution, Independent, MaskedDistribution
from ppl.errors import InferenceError
from ppl.handlers.substitute import substitute
from ppl.ops import random
from ppl.primitives.sample import sample
from ppl.runtime import is_distribution
from ppl.typing import Message

Wrap = Callable[[Any], Any]


class Reparam(ABC):
    """A strategy for :class:`ppl.handlers.reparam`; abstract.

    A subclass defines :meth:`apply`. Calling it with a site's message gives a distribution and a value, as the handler asks.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> from ppl.infer.reparam import Reparam
    >>> class Reflect(Reparam):
    ...     def apply(self, name, fn, value):
    ...         return fn, -ppl.sample(f"{name}_reflected", fn)
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> handlers.trace(handlers.reparam(model, config={"x": Reflect()})).get_trace().stochastic_nodes
    ['x_reflected']
    """

    def __call__(self, site: Message) -> tuple[Any, Any]:
        """Apply the strategy to a latent site.

        :raises InferenceError: if the site is observed or draws from a plain function.
        """
        name, fn = site["name"], site["fn"]
        kind = type(self).__name__
        if site["is_observed"]:
            raise InferenceError(
                f"{kind} got the observed site {name!r}: the density of its data would lack the Jacobian of the map; expected a "
                "latent site; try to leave it out of the config of reparam"
            )
        if not is_distribution(fn):
            raise InferenceError(
                f"{kind} got site {name!r}, which draws from {fn!r}; expected a distribution; try to leave it out of the config "
                "of reparam"
            )
        if site["rng_key"] is None:
            return self.apply(name, fn, site["value"])
        # The site's own key serves those that are drawn in its place.
        with random.scope(site["rng_key"]):
            return self.apply(name, fn, site["value"])

    @abstractmethod
    def apply(self, name: str, fn: Any, value: Any) -> tuple[Any, Any]:
        """Return the site's distribution and its value, ``None`` to draw it.

        :param name: the site's name.
        :param fn: its distribution.
        :param value: the value that a handler further in has given the latent site, else ``None``.
        """


def unwrap(fn: Any) -> tuple[Any, Wrap]:
    """Return the family inside ``to_event``, ``mask`` and ``expand``, and a function that puts them around another one.

    >>> from ppl import distributions as dist, ops
    >>> family, wrap = unwrap(dist.Normal(ops.zeros((3,)), 1.0).to_event(1))
    >>> tuple(family.batch_shape), tuple(wrap(dist.Cauchy(ops.zeros((3,)), 1.0)).event_shape)
    ((3,), (3,))
    """
    if isinstance(fn, Independent):
        count = fn.reinterpreted_batch_ndims
        return _inside(fn, lambda family: family.to_event(count))
    if isinstance(fn, MaskedDistribution):
        mask = fn._mask
        return _inside(fn, lambda family: family.mask(mask))
    if isinstance(fn, ExpandedDistribution):
        batch_shape = tuple(fn.batch_shape)
        return _inside(fn, lambda family: family.expand(batch_shape))
    return fn, lambda family: family


def _inside(fn: Any, outer: Wrap) -> tuple[Any, Wrap]:
    family, inner = unwrap(fn.base_dist)
    return family, lambda other: outer(inner(other))


def draw_auxiliary(name: str, fn: Any, value: Any) -> Any:
    """Return a draw of a site that a strategy adds; ``value``, if not ``None``, is what it is to be, still latent."""
    if value is None:
        return sample(name, fn)
    with substitute(data={name: value}):
        return sample(name, fn)
