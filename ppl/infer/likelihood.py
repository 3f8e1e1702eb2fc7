"""The log likelihood of each observation at each draw of the latent sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl import handlers, ops
from ppl.distributions.score_parts import scale_and_mask
from ppl.errors import InferenceError
from ppl.infer.draws import DrawsOfModel, flat_draws, same_number
from ppl.infer.enum import pointwise
from ppl.infer.enum.elimination import ParallelElimination, has_finite_support
from ppl.infer.latents import is_latent
from ppl.infer.particles import deepest_plate
from ppl.infer.potential import ModelArguments, for_some_value
from ppl.primitives.validation import is_validation_enabled, validation_enabled
from ppl.typing import Message, Model, Shape


def log_likelihood(
    model: Model,
    posterior_samples: Mapping[str, Any],
    *args: Any,
    params: Mapping[str, Any] | None = None,
    parallel: bool = True,
    batch_ndims: int = 1,
    **kwargs: Any,
) -> dict[str, Any]:
    """Return the log density of each observed site at each draw, without scales and zero where masked.

    :param model: a callable with primitives, called with ``args`` and ``kwargs``.
    :param posterior_samples: draws of every latent site, each of shape ``batch + site shape``. Sites of finite support may be
        left out: they are summed out of the log density of each observation that they bear on.
    :param params: constrained values of params by name; the others come from the param store.
    :param parallel: whether draws are mapped over by the backend, in blocks, rather than taken one by one. A model that
        cannot be mapped is run draw by draw either way.
    :param batch_ndims: how many leading dimensions of the posterior samples count draws, 2 for chains and draws.
    :returns: arrays of shape ``batch + batch shape of the site`` by the name of the observed site.
    :raises InferenceError: if a latent site has no draws, a plate is subsampled, nothing is observed, or a discrete site without
        draws bears on several observations, such as the states of a chain do.
    :raises SiteError: if an observed value lies outside its support.

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> def model(y):
    ...     mean = ppl.sample("mean", dist.Normal(0.0, 1.0))
    ...     with ppl.plate("rows", 2):
    ...         ppl.sample("y", dist.Normal(mean, 1.0), obs=y)
    >>> pointwise = infer.log_likelihood(model, {"mean": ops.array([0.0, 1.0, 2.0])}, ops.array([0.0, 1.0]))["y"]
    >>> [[round(float(value), 3) for value in row] for row in pointwise]
    [[-0.919, -1.419], [-1.419, -0.919], [-2.919, -1.419]]
    """
    if not posterior_samples:
        raise InferenceError("log_likelihood needs posterior_samples, draws of the latent sites by name; received none")
    batch_shape = same_number(posterior_samples, batch_ndims)
    draws = DrawsOfModel(model, ModelArguments(args, kwargs), flat_draws(posterior_samples, batch_shape), params)
    pointwise = pointwise_log_likelihood(draws, parallel)
    return {name: ops.array(table.reshape(*batch_shape, *table.shape[1:])) for name, table in pointwise.items()}


def pointwise_log_likelihood(draws: DrawsOfModel, together: bool = True) -> dict[str, Any]:
    """Return host arrays of shape ``(num_draws, *batch shape of the site)`` by observed site, as :func:`log_likelihood` does."""
    shapes: dict[str, Shape] = {}
    support_sizes: list[int] = []
    nesting = 0

    def look(trace: Any) -> None:
        nonlocal nesting
        summed = [site for name, site in trace.nodes.items() if name not in draws.samples and is_summed_out(site)]
        support_sizes[:] = [int(ops.shape(site["fn"].enumerate_support(expand=False))[0]) for site in summed]
        require_draws(trace, dict.fromkeys((site["name"] for site in summed), None) | draws.samples)
        shapes.clear()
        shapes.update({name: _batch_shape(trace.nodes[name]) for name in observed_sites(trace)})
        nesting = deepest_plate([trace])
        if not shapes:
            raise InferenceError("the model observes nothing, so that there is no log likelihood; try obs= or handlers.condition")

    draws.inspect(look)
    checks = is_validation_enabled()
    if support_sizes:
        elimination = ParallelElimination()
        if checks:
            args, kwargs = draws.arguments.rebuild(draws.arguments.arrays)
            known = handlers.substitute(draws.model, data={**draws.params, **draws.values(0)})
            elimination.check(handlers.seed(known, rng_seed=0), args, kwargs, nesting)
        draws = draws.inside(lambda model: elimination.around(model, nesting), max(support_sizes))

    def collect(trace: Any) -> dict[str, Any]:
        log_prob = pointwise.log_likelihoods(trace, shapes) if support_sizes else observed_log_probs(trace)
        return {"log_prob": log_prob, "inside": _inside(trace) if checks else ops.array(True)}

    results = draws.evaluate(collect, together)
    if not results["inside"].all():
        with validation_enabled(True):
            draws.trace(int(results["inside"].argmin())).compute_log_prob()
    return {name: results["log_prob"][name] for name in shapes}


def observed_sites(trace: Any) -> list[str]:
    """Return the names of observed sites, deterministic ones left out."""
    return [name for name in trace.observation_nodes if not trace.nodes[name]["infer"].get("_deterministic")]


def require_draws(trace: Any, samples: Mapping[str, Any]) -> None:
    """Refuse a model whose trace depends on more than the draws.

    :raises InferenceError: if a plate is subsampled or a latent site has no draws.
    """
    for name, site in trace.nodes.items():
        if site["type"] == "subsample" and site["infer"].get("_subsampled"):
            raise InferenceError(
                f"plate {name!r} is subsampled, so each draw would see other observations; expected the whole plate; try to drop "
                f"subsample_size= and subsample= of {name!r}"
            )
        if is_latent(site) and name not in samples:
            raise InferenceError(
                f"the posterior samples lack the latent site {name!r}; expected draws of every latent site, received "
                f"{sorted(samples)}; try the samples of a run on this very model, or handlers.condition for known values"
                + (", or infer.Predictive(..., infer_discrete=True) for what was summed out" if is_summed_out(site) else "")
            )


def is_summed_out(site: Message) -> bool:
    """Return whether samplers of continuous sites sum out this site of a trace, so that they give no draws of it."""
    return is_latent(site) and has_finite_support(site["fn"])


def observed_log_probs(trace: Any) -> dict[str, Any]:
    """Return the log density of each observed site, not scaled and zero where masked."""
    trace.compute_log_prob()
    nodes = {name: trace.nodes[name] for name in observed_sites(trace)}
    return {name: scale_and_mask(node["unscaled_log_prob"], 1.0, node["mask"]) for name, node in nodes.items()}


def _batch_shape(site: Message) -> Shape:
    shape = tuple(ops.shape(site["value"]))
    return ops.broadcast_shapes(shape[: len(shape) - len(site["fn"].event_shape)], tuple(site["fn"].batch_shape))


def _inside(trace: Any) -> Any:
    """Return whether each observed value lies in its support, whatever is masked aside."""
    inside = ops.array(True)
    for name in observed_sites(trace):
        site = trace.nodes[name]
        if site["mask"] is False:
            continue
        try:
            checked = site["fn"].support.check(site["value"])
        except NotImplementedError:
            continue
        unmasked = site["mask"] is None or site["mask"] is True
        inside = inside & ops.all(for_some_value(ops.any, checked if unmasked else checked | ~site["mask"], site))
    return inside
