"""Sites expressed through their wavelets."""

from __future__ import annotations

from ppl.infer.reparam.rotation import Rotation
from ppl.transforms import HaarTransform


class HaarReparam(Rotation):
    """Draw the Haar transform of a site along an event axis, and compute the site from it.

    :param dim: the axis, negative, among the event's.
    :param flip: whether to reverse the axis first.
    :raises InferenceError: if the event has too few dimensions.

    The transform is site ``<name>_haar``. It helps where neighbours along the axis are correlated from some point on.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers, ops
    >>> from ppl.infer.reparam import HaarReparam
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(ops.zeros((4,)), 1.0).to_event(1))
    >>> handlers.trace(handlers.reparam(model, config={"x": HaarReparam()})).get_trace().stochastic_nodes
    ['x_haar']
    """

    def __init__(self, dim: int = -1, flip: bool = False) -> None:
        super().__init__(HaarTransform(dim, flip), "haar")
