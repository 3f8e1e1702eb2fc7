"""Which latent sites a guide with fixed maps from unconstrained space can cover."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import constraints, ops
from ppl.errors import InferenceError
from ppl.infer.initialization import init_to_uniform
from ppl.ops import autodiff
from ppl.transforms import as_constraint, biject_to


def refuse_discrete(guide: str, name: str, fn: Any) -> None:
    """Raise if ``fn``, the distribution of site ``name``, is discrete or no distribution.

    :raises InferenceError: naming the site and what to do with it.
    """
    support = getattr(fn, "support", None)
    if support is None:
        raise InferenceError(
            f"latent site {name!r} draws from {type(fn).__name__}, which has no support; expected a distribution of "
            f"ppl.distributions; try another one, or hide the site from the guide: handlers.block(model, hide=[{name!r}])"
        )
    if support.is_discrete:
        raise InferenceError(
            f"latent site {name!r} is discrete ({support!r}), but {guide} is continuous; expected continuous sites; try an "
            f"AutoGuideList of {guide}(handlers.block(model, hide=[{name!r}])) and AutoDiscreteParallel(handlers.block(model, "
            f"expose=[{name!r}])), or mark the site infer={{'enumerate': 'parallel'}} and use TraceEnum_ELBO"
        )


def refuse_changing(guide: str, sites: dict[str, dict], run: Callable[[Callable[[dict], Any]], Any]) -> None:
    """Raise if the support of a site is another one in a second run of the model from other values.

    :param run: ``run(strategy)`` gives the trace of a run whose latent sites start by a strategy.
    :raises InferenceError: naming the site.

    Only supports with bounds can change, so that most models are not run again.
    """
    bounded = {name: site["fn"].support for name, site in sites.items() if _has_bounds(site["fn"].support)}
    if not bounded:
        return
    again = run(init_to_uniform).nodes
    for name, support in bounded.items():
        if name in again and not _same_map(support, again[name]["fn"].support, tuple(ops.shape(sites[name]["value"]))):
            raise InferenceError(
                f"the support of latent site {name!r} was {support!r} in one run and {again[name]['fn'].support!r} in another, "
                f"but the map of {guide} to it is fixed; expected bounds that hang on no other site and no minibatch; try to "
                "sample a fraction, dist.Uniform(0, 1), and to scale it by ppl.deterministic"
            )


def _has_bounds(support: Any) -> bool:
    support = as_constraint(support)
    while isinstance(support, constraints.independent):
        support = as_constraint(support.base_constraint)
    return support.name is None and bool(vars(support))


def _same_map(one: Any, other: Any, shape: tuple[int, ...]) -> bool:
    first, second = biject_to(one), biject_to(other)
    for point in (0.0, 1.0):
        at = ops.full(first.inverse_shape(shape), point)
        images = [autodiff.stop_gradient(map_(at)) for map_ in (first, second)]
        if ops.shape(images[0]) != ops.shape(images[1]) or not bool(ops.all(images[0] == images[1])):
            return False
    return True
