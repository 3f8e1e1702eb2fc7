"""Sites expressed through their frequencies."""

from __future__ import annotations

from ppl.infer.reparam.rotation import Rotation
from ppl.transforms import DiscreteCosineTransform


class DiscreteCosineReparam(Rotation):
    """Draw the discrete cosine transform of a site along an event axis, and compute the site from it.

    :param dim: the axis, negative, among the event's.
    :param smooth: the exponent of :class:`ppl.transforms.DiscreteCosineTransform`: 0 for white, 1 for Brownian noise.
    :raises InferenceError: if the event has too few dimensions.

    The transform is site ``<name>_dct``. It helps where neighbours along the axis are strongly correlated.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers, ops
    >>> from ppl.infer.reparam import DiscreteCosineReparam
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(ops.zeros((4,)), 1.0).to_event(1))
    >>> handlers.trace(handlers.reparam(model, config={"x": DiscreteCosineReparam()})).get_trace().stochastic_nodes
    ['x_dct']
    """

    def __init__(self, dim: int = -1, smooth: float = 0.0) -> None:
        super().__init__(DiscreteCosineTransform(dim, smooth), "dct")
