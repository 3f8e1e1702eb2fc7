"""Sites whose way to unconstrained space is the user's own."""

from __future__ import annotations

from typing import Any

from ppl import distributions as dist
from ppl.errors import InferenceError
from ppl.infer.reparam.strategy import Reparam, draw_auxiliary
from ppl.transforms import Transform


class GivenTransform(Reparam):
    """Draw ``transform(x)`` in place of ``x``: site ``<name>_unconstrained``, from which ``x`` is computed.

    :param transform: from the support of the site to unconstrained space.
    :raises InferenceError: if it is no transform.
    """

    def __init__(self, transform: Any) -> None:
        if not isinstance(transform, Transform):
            raise InferenceError(
                f"transforms must map site names to transforms, got {transform!r}; try {{'x': biject_to(support).inv}}"
            )
        self.transform = transform

    def apply(self, name: str, fn: Any, value: Any) -> tuple[Any, Any]:
        """Draw the image and return its preimage."""
        if value is not None:
            value = self.transform(value)
        image = dist.TransformedDistribution(fn, [self.transform])
        return fn, self.transform.inv(draw_auxiliary(f"{name}_unconstrained", image, value))
