"""Discrete sites of finite support summed out of a model's density, for samplers that move in continuous space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl import handlers
from ppl.infer.enum import runs
from ppl.infer.enum.probe import probe
from ppl.runtime import is_distribution
from ppl.typing import Message, Model


def has_finite_support(fn: Any) -> bool:
    """Return whether ``fn`` is a discrete distribution whose values can be enumerated.

    >>> from ppl import distributions as dist
    >>> from ppl.infer.enum.elimination import has_finite_support
    >>> has_finite_support(dist.Bernoulli(0.5)), has_finite_support(dist.Poisson(3.0)), has_finite_support(dist.Normal(0.0, 1.0))
    (True, False, False)
    """
    return is_distribution(fn) and bool(fn.has_enumerate_support) and bool(fn.support.is_discrete)


def mark(site: Message) -> dict[str, Any]:
    """Return the metadata by which :class:`ppl.handlers.enum` gives a latent site of finite support all its values at once."""
    latent = site["type"] == "sample" and not site["is_observed"] and site["value"] is None
    if not latent or not has_finite_support(site["fn"]):
        return {}
    # Exact whatever the model was marked for: no draws in place of the support, and one copy of it for all of a plate.
    return {"enumerate": "parallel", "num_samples": None, "expand": False}


class ParallelElimination:
    """Sums out every latent site of finite support, all of them enumerated in parallel.

    It is an :class:`ppl.infer.potential.Elimination`. Tensor variable elimination (Obermeyer et al. 2019) does the sum, so
    that a chain of discrete sites inside :func:`ppl.markov`, or one for each element of a plate, costs as much as its length.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers, ops
    >>> from ppl.infer.enum.elimination import ParallelElimination
    >>> def model():
    ...     side = ppl.sample("side", dist.Bernoulli(0.25))
    ...     ppl.sample("y", dist.Normal(side, 1.0), obs=0.0)
    >>> summed = ParallelElimination()
    >>> trace = handlers.trace(summed.around(model, 0)).get_trace()
    >>> round(float(ops.exp(summed.log_density(trace))), 4)
    0.3597
    """

    def covers(self, site: Message) -> bool:
        """Return whether it sums out this latent site."""
        return has_finite_support(site["fn"])

    def around(self, model: Model, max_plate_nesting: int) -> Model:
        """Return ``model`` such that the covered sites take all their values, left of the dimensions of plates."""
        return handlers.enum(handlers.infer_config(model, mark), first_available_dim=-1 - max_plate_nesting)

    def log_density(self, trace: Any) -> Any:
        """Return the log density of a run of the model under :meth:`around`, the covered sites summed out: a scalar."""
        return runs.log_evidence(runs.collect(trace))

    def check(self, model: Model, args: tuple[Any, ...], kwargs: Mapping[str, Any], max_plate_nesting: int) -> None:
        """Refuse a model that means something else when its discrete sites take all their values at once.

        :raises EnumerationError: naming the first site whose density differs.
        """
        probe(handlers.infer_config(model, mark), args, dict(kwargs), first_available_dim=-1 - max_plate_nesting)
