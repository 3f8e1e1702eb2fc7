"""Sites of a transformed distribution expressed through their base."""

from __future__ import annotations

from typing import Any

from ppl import distributions as dist
from ppl import ops, transforms
from ppl.errors import InferenceError
from ppl.infer.reparam.strategy import Reparam, draw_auxiliary, unwrap

# Families that are not written as a transformed distribution, and the one each of them is: its base and its transforms.
_TRANSFORMED: dict[Any, Any] = {
    dist.LogNormal: lambda d: (dist.Normal(d.loc, d.scale), [transforms.ExpTransform()]),
    dist.LogUniform: lambda d: (dist.Uniform(ops.log(d.low), ops.log(d.high)), [transforms.ExpTransform()]),
    dist.LogisticNormal: lambda d: (dist.Normal(d.loc, d.scale).to_event(1), [transforms.StickBreakingTransform()]),
    dist.InverseGamma: lambda d: (dist.Gamma(d.concentration, d.rate), [transforms.PowerTransform(-1.0)]),
    dist.Pareto: lambda d: (dist.Exponential(d.alpha), [transforms.ExpTransform(), transforms.AffineTransform(0.0, d.scale)]),
    dist.Weibull: lambda d: (
        dist.Exponential(ops.ones_like(d.scale)),
        [transforms.PowerTransform(1.0 / d.concentration), transforms.AffineTransform(0.0, d.scale)],
    ),
}


class TransformReparam(Reparam):
    r"""Draw the base of a transformed distribution, and compute the site from it.

    .. math:: y \sim \text{base}, \quad x = t(y)

    :raises InferenceError: if the site's family is not a transformed distribution.

    Serves :class:`TransformedDistribution` and the families that are one by another name: ``LogNormal``, ``LogUniform``,
    ``LogisticNormal``, ``InverseGamma``, ``Pareto`` and ``Weibull``. The base is site ``<name>_base``.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers, ops
    >>> from ppl.infer.reparam import TransformReparam
    >>> def model():
    ...     return ppl.sample("x", dist.LogNormal(1.0, 2.0))
    >>> trace = handlers.trace(handlers.reparam(model, config={"x": TransformReparam()})).get_trace()
    >>> bool(trace.nodes["x"]["value"] == ops.exp(trace.nodes["x_base"]["value"]))
    True
    """

    def apply(self, name: str, fn: Any, value: Any) -> tuple[Any, Any]:
        """Draw the base and return its image."""
        family, wrap = unwrap(fn)
        base, chain = _as_transformed(name, family)
        if value is not None:
            for transform in reversed(chain):
                value = transform.inv(value)
        value = draw_auxiliary(f"{name}_base", wrap(base), value)
        for transform in chain:
            value = transform(value)
        return fn, value


def _as_transformed(name: str, family: Any) -> tuple[Any, list[Any]]:
    if isinstance(family, dist.TransformedDistribution):
        return family.base_dist, list(family.transforms)
    for known, transformed in _TRANSFORMED.items():
        if isinstance(family, known):
            base, chain = transformed(family)
            return base, chain
    raise InferenceError(
        f"TransformReparam got site {name!r} of {family!r}; expected a TransformedDistribution or one of "
        f"{', '.join(known.__name__ for known in _TRANSFORMED)}; try LocScaleReparam for a family with loc and scale"
    )
