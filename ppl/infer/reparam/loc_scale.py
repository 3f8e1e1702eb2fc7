"""Sites of a location-scale family expressed through their noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppl import constraints, ops
from ppl.constraints import Constraint
from ppl.errors import InferenceError
from ppl.infer.reparam.strategy import Reparam, draw_auxiliary, unwrap
from ppl.primitives.param import param


class LocScaleReparam(Reparam):
    r"""Draw noise, and compute the site from it, its location and its scale.

    .. math:: y \sim F(c \mu, \sigma^c), \quad x = \mu + \sigma^{1 - c} (y - c \mu)

    :param centered: the number :math:`c`: 0 draws standard noise, 1 leaves the site as it is. An array, such as the value of a
        parameter, serves as well. By default a parameter ``<name>_centered`` of the shape of the event is learnt from 0.5.
    :param shape_params: names of the family's parameters besides ``loc`` and ``scale``, by default all of them.
    :raises InferenceError: if ``centered`` is no number between 0 and 1, or the site's family is no location-scale family over
        the reals.

    :math:`x` has the distribution :math:`F(\mu, \sigma)` of the site whatever :math:`c` is. The noise is site
    ``<name>_decentered``. Source: Gorinova, Moore, Hoffman 2020, Automatic reparameterisation of probabilistic programs.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> from ppl.infer.reparam import LocScaleReparam
    >>> def model():
    ...     return ppl.sample("x", dist.StudentT(4.0, 5.0, 2.0))
    >>> trace = handlers.trace(handlers.reparam(model, config={"x": LocScaleReparam(0.0)})).get_trace()
    >>> noise = trace.nodes["x_decentered"]
    >>> float(noise["fn"].df), float(noise["fn"].loc), float(noise["fn"].scale)
    (4.0, 0.0, 1.0)
    """

    def __init__(self, centered: Any = None, shape_params: Sequence[str] | None = ()) -> None:
        if isinstance(centered, (int, float)) and not 0.0 <= centered <= 1.0:
            raise InferenceError(
                f"LocScaleReparam got centered={centered!r}; expected a number from 0 to 1, an array, or None to learn it"
            )
        self.centered = centered
        self.shape_params = tuple(shape_params or ())

    def apply(self, name: str, fn: Any, value: Any) -> tuple[Any, Any]:
        """Draw the noise and return the value computed from it."""
        family, wrap = unwrap(fn)
        _check_family(name, family)
        centered = self.centered
        if centered is None:
            shape = tuple(fn.event_shape)
            start = ops.full(shape, 0.5)
            centered = param(f"{name}_centered", start, constraint=constraints.unit_interval, event_dim=len(shape))
        if isinstance(centered, (int, float)) and centered == 1.0:
            return fn, value
        shape_values = {each: getattr(family, each) for each in self._shape_params(name, family)}
        loc, scale = family.loc, family.scale
        if isinstance(centered, (int, float)) and centered == 0.0:
            # Constants, so that no gradient is sought through them.
            shift, noise_scale, stretch = ops.zeros_like(loc), ops.ones_like(scale), scale
        else:
            shift, noise_scale = centered * loc, ops.power(scale, centered)
            stretch = ops.power(scale, 1.0 - centered)
        noise_fn = wrap(family.definition(loc=shift, scale=noise_scale, **shape_values))
        noise = draw_auxiliary(f"{name}_decentered", noise_fn, None if value is None else (value - loc) / stretch + shift)
        return fn, loc + stretch * (noise - shift)

    def _shape_params(self, name: str, family: Any) -> tuple[str, ...]:
        known = [each for each in family.arg_constraints if each not in ("loc", "scale")]
        wrong = sorted(set(self.shape_params) - set(known))
        if wrong:
            raise InferenceError(
                f"LocScaleReparam got shape_params {wrong} at site {name!r}, which {type(family).__name__} does not have; "
                f"expected some of {known}"
            )
        return self.shape_params or tuple(known)


def _check_family(name: str, family: Any) -> None:
    """Refuse families that are not closed under shifting and stretching the whole line."""
    kinds, support = family.arg_constraints, family.support
    on_the_line = isinstance(support, Constraint) and support is constraints.real
    if not (on_the_line and kinds.get("loc") is constraints.real and kinds.get("scale") is constraints.positive):
        raise InferenceError(
            f"LocScaleReparam got site {name!r} of {family!r}; expected a family with loc and scale over the real numbers, such "
            "as Normal, StudentT, Cauchy, Laplace or Gumbel; try TransformReparam for one that is a transform of these"
        )
