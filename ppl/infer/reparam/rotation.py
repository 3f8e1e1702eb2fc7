"""Sites expressed through their coordinates along other axes."""

from __future__ import annotations

from typing import Any

from ppl.distributions import TransformedDistribution
from ppl.errors import InferenceError
from ppl.infer.reparam.strategy import Reparam, draw_auxiliary


class Rotation(Reparam):
    """Draw the image of a site under a linear map of determinant one, and compute the site from it; abstract.

    :param transform: the map, with its axis ``dim``.
    :param suffix: what the image's name adds to the site's.
    """

    def __init__(self, transform: Any, suffix: str) -> None:
        self.transform = transform
        self.suffix = suffix

    def apply(self, name: str, fn: Any, value: Any) -> tuple[Any, Any]:
        """Draw the image and return the point behind it."""
        needed = -self.transform.dim
        if fn.event_dim < needed:
            raise InferenceError(
                f"{type(self).__name__} along dim={-needed} got site {name!r} with event shape {tuple(fn.event_shape)}; expected "
                f"at least {needed} event dimension(s); try .to_event({needed - fn.event_dim}) on its distribution"
            )
        image = None if value is None else self.transform(value)
        return fn, self.transform.inv(draw_auxiliary(f"{name}_{self.suffix}", TransformedDistribution(fn, self.transform), image))
