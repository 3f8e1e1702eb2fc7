"""Where latent sites start. Each strategy maps a sample site (a message) to a value in its support.

``init_to_uniform`` and the others can be given as they are, or called with options only: ``init_to_uniform(radius=0.5)``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from ppl import ops
from ppl.errors import InferenceError
from ppl.handlers.messenger import Handler
from ppl.infer.latents import is_latent
from ppl.ops import autodiff, host, random
from ppl.transforms import biject_to

Site = dict[str, Any]


class InitMessenger(Handler):
    """Give the continuous latent sites of a model the values of an initialization strategy in place of draws.

    :param init_fn: a function from a site to a value in its support, such as :func:`init_to_median`; ``None`` from it leaves the
        draw.
    :raises InferenceError: if it cannot be called.

    Observed and discrete sites are left alone.

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> with infer.initialization.InitMessenger(infer.init_to_feasible):
    ...     start = ppl.sample("scale", dist.HalfNormal(5.0))
    >>> float(start)
    1.0
    """

    def __init__(self, init_fn: Callable[[Site], Any]) -> None:
        super().__init__()
        if not callable(init_fn):
            raise InferenceError(
                f"an initialization strategy is a function of a site, received {type(init_fn).__name__}; try init_to_median"
            )
        self.init_fn = init_fn

    def on_sample(self, message: Site) -> None:
        """Set the value."""
        support = getattr(message["fn"], "support", None)
        if message["value"] is not None or not is_latent(message) or support is None or support.is_discrete:
            return
        site = message
        if message["rng_key"] is None:
            site = {**message, "rng_key": random.next_key(message["name"])}
        message["value"] = self.init_fn(site)


def _strategy(function: Callable) -> Callable:
    """Let ``function(site, **options)`` be called with options alone, giving a function of the site."""

    @functools.wraps(function)
    def call(site: Site | None = None, **options: Any) -> Any:
        if site is None:
            # Of what the module itself names, so that a worker in another process can be sent it.
            return functools.wraps(call)(functools.partial(call, **options))
        return function(site, **options)

    return call


@_strategy
def init_to_uniform(site: Site, radius: float = 2.0) -> Any:
    """Return a point uniform on ``[-radius, radius]`` in unconstrained space.

    >>> from ppl import distributions as dist, infer
    >>> start = infer.init_to_uniform(radius=1.0)({"name": "x", "fn": dist.Normal(0.0, 100.0)})
    >>> -1.0 <= float(start) <= 1.0
    True
    """
    transform = biject_to(site["fn"].support)
    shape = transform.inverse_shape(tuple(site["fn"].shape()))
    return transform(radius * (2.0 * random.uniform(site.get("rng_key"), shape) - 1.0))


@_strategy
def init_to_feasible(site: Site) -> Any:
    """Return the point of the support whose unconstrained coordinates are zero.

    >>> from ppl import distributions as dist, infer
    >>> float(infer.init_to_feasible({"name": "x", "fn": dist.HalfNormal(5.0)}))
    1.0
    """
    transform = biject_to(site["fn"].support)
    return transform(ops.zeros(transform.inverse_shape(tuple(site["fn"].shape()))))


@_strategy
def init_to_sample(site: Site) -> Any:
    """Return a draw from the prior.

    >>> from ppl import distributions as dist, infer
    >>> 1.0 <= float(infer.init_to_sample({"name": "x", "fn": dist.Uniform(1.0, 3.0)})) <= 3.0
    True
    """
    return host.draw(site["fn"], (), site.get("rng_key"))


@_strategy
def init_to_median(site: Site, num_samples: int = 15) -> Any:
    """Return the elementwise median of ``num_samples`` prior draws, or a feasible point where it is not finite or not known.

    A median that left the support, as that of points on a simplex does, is moved back into it.

    >>> from ppl import distributions as dist, infer, ops
    >>> tuple(infer.init_to_median({"name": "x", "fn": dist.Normal(ops.zeros((2,)), 1.0)}).shape)
    (2,)
    """
    fn = site["fn"]
    try:
        draws = host.draw(fn, (num_samples,), site.get("rng_key"))
    except NotImplementedError:
        return init_to_feasible(site)
    middle = _into_support(fn, _middle(draws))
    return middle if _all_finite(middle) else ops.where(ops.isfinite(middle), middle, init_to_feasible(site))


@_strategy
def init_to_mean(site: Site) -> Any:
    """Return the prior mean, or the median of prior draws where the mean is not finite or not known.

    A mean outside of the support, as that of Cholesky factors of correlations is, is moved into it.

    >>> from ppl import distributions as dist, infer
    >>> float(infer.init_to_mean({"name": "x", "fn": dist.Normal(3.0, 1.0)}))
    3.0
    """
    fn = site["fn"]
    try:
        mean = ops.array(fn.mean)
    except NotImplementedError:
        return init_to_median(site)
    value = ops.broadcast_to(mean, tuple(fn.shape()))
    if not _all_finite(value):
        value = ops.where(ops.isfinite(value), value, init_to_median(site))
    return _into_support(fn, value)


@_strategy
def init_to_value(site: Site, values: Mapping[str, Any] | None = None, fallback: Callable[[Site], Any] = init_to_uniform) -> Any:
    """Return ``values[name]`` where it is given, else what the strategy ``fallback`` gives.

    :raises InferenceError: if ``values`` is missing or the shape differs from the site's.

    >>> from ppl import distributions as dist, infer
    >>> float(infer.init_to_value(values={"x": 2.0})({"name": "x", "fn": dist.Normal(0.0, 1.0)}))
    2.0
    """
    if values is None:
        raise InferenceError("init_to_value needs values=..., a dict from site name to value")
    if site["name"] not in values:
        return fallback(site)
    value = ops.array(values[site["name"]])
    if ops.shape(value) != tuple(site["fn"].shape()):
        expected, received = tuple(site["fn"].shape()), ops.shape(value)
        raise InferenceError(f"init_to_value: site {site['name']!r} has shape {expected}, but the value given has {received}")
    return value


def _middle(draws: Any) -> Any:
    """Return the elementwise median of an odd number of draws, which outside of compiled code takes least on the host."""
    place = ops.shape(draws)[0] // 2
    if autodiff.is_tracing():
        return ops.sort(draws, axis=0)[place]
    numbers = ops.to_numpy(draws).copy()
    numbers.sort(axis=0)
    middle, device = ops.array(numbers[place], dtype=draws.dtype), ops.device(draws)
    return middle if ops.device(middle) == device else ops.to_device(middle, device)


def _all_finite(value: Any) -> bool:
    """Return whether every element is known to be finite, which inside compiled code none is."""
    if autodiff.is_tracing():
        return False
    return bool((abs(ops.to_numpy(value)) < math.inf).all())


def _into_support(fn: Any, value: Any) -> Any:
    """Send ``value`` through unconstrained space and back, so that rounding or sorting cannot leave the support."""
    return host.evaluate(_there_and_back, biject_to(fn.support), value)


def _there_and_back(transform: Any, value: Any) -> Any:
    return transform(transform.inv(value))
