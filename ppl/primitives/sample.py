"""Draw from a distribution, or score an observation under it."""

from __future__ import annotations

from typing import Any

from ppl.errors import SiteError
from ppl.handlers.values import check_value_shape
from ppl.runtime import STACK, apply_stack, draw, is_validation_enabled, new_message


def sample(
    name: str,
    fn: Any,
    *args: Any,
    obs: Any = None,
    infer: dict[str, Any] | None = None,
    rng_key: Any = None,
    **kwargs: Any,
) -> Any:
    """Return a value of the site ``name`` with distribution ``fn``; the handlers around the call decide which.

    :param name: the site's name, distinct within a model.
    :param fn: a distribution, or a function that returns a draw.
    :param args: arguments of ``fn``; for a distribution, the sample shape.
    :param obs: data; the site is then observed and returns it.
    :param infer: metadata for inference algorithms, such as ``{"enumerate": "parallel"}``.
    :param rng_key: a key of the active backend, for this draw alone.
    :returns: an array of shape ``sample_shape + batch_shape + event_shape``; inside plates the batch shape includes their sizes.
    :raises SiteError: if ``name`` is no string or ``fn`` cannot be called; if an observed value does not fit.
    :raises RandomKeyError: on jax, inside compiled code without :class:`ppl.handlers.seed`.

    Without any handler the call returns ``obs``, or a draw.

    >>> import ppl
    >>> from ppl import distributions as dist
    >>> tuple(ppl.sample("x", dist.Normal(0.0, 1.0).expand((3,))).shape)
    (3,)
    >>> float(ppl.sample("y", dist.Normal(0.0, 1.0), obs=2.0))
    2.0
    """
    if not isinstance(name, str) or not callable(fn):
        raise SiteError(_malformed(name, fn))
    if not STACK.get():
        return draw(name, fn, args, kwargs, rng_key) if obs is None else obs
    message = new_message("sample", name, fn, args, kwargs, obs, obs is not None, infer, rng_key)
    apply_stack(message)
    if message["is_observed"] and is_validation_enabled() and not message["infer"].get("_deterministic"):
        check_value_shape(message)
    return message["value"]


def _malformed(name: Any, fn: Any) -> str:
    if not isinstance(name, str):
        return f"a sample site's name is a str, got {name!r}; try ppl.sample('name', distribution)"
    return (
        f"sample site {name!r} needs a distribution of ppl.distributions or a function that returns a draw, got "
        f"{type(fn).__name__}; "
        "try ppl.deterministic for a value that is computed"
    )
