"""Draws as arviz holds them: an ``InferenceData`` of arviz before version 1, a ``DataTree`` from then on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl.errors import InferenceError
from ppl.infer.draws import on_host
from ppl.infer.site_layout import SiteLayout

STATISTICS = {
    "accept_prob": "acceptance_rate",
    "num_leapfrog_steps": "n_steps",
    "divergent": "diverging",
}
RESERVED = {"chain", "draw"}


def to_arviz(
    posterior: Any,
    *,
    posterior_predictive: Mapping[str, Any] | None = None,
    prior: Mapping[str, Any] | None = None,
    prior_predictive: Mapping[str, Any] | None = None,
    log_likelihood: bool | Mapping[str, Any] = True,
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, Any] | None = None,
) -> Any:
    """Return draws, their statistics, log likelihoods and observed data as arviz holds them.

    :param posterior: an :class:`~ppl.infer.MCMC` that was run, or a :class:`~ppl.infer.Posterior`.
    :param posterior_predictive: draws of observed sites, each of shape ``(num_chains * num_draws, *site)`` as that of
        :class:`~ppl.infer.Predictive`, or ``(num_chains, num_draws, *site)``.
    :param prior: draws from the prior, of shape ``(num_draws, *site)``.
    :param prior_predictive: draws of observed sites from the prior, of the same kind.
    :param log_likelihood: whether to compute the group of that name where the model is known, or its arrays,
        ``(num_chains, num_draws, *batch)`` by observed site.
    :param coords: labels by dimension, such as ``{"school": names}``; a plate's elements are counted by default.
    :param dims: names of the dimensions by site, in place of the names of plates.
    :returns: an ``arviz.InferenceData`` or, from arviz 1 on, an ``xarray.DataTree``.
    :raises InferenceError: if arviz is not installed, or the shapes of predictive draws do not fit.

    Each plate is a dimension of its name. Other dimensions of a site are called ``<site>_dim_<axis>``.
    """
    layout, shape = posterior._sites(), posterior._shape()
    groups: dict[str, dict[str, Any]] = {"posterior": dict(posterior._kept())}
    groups["sample_stats"] = sample_statistics(posterior.get_extra_fields())
    if posterior._model is not None and layout.observed:
        groups["observed_data"] = observed_data(posterior)
        if log_likelihood is True:
            groups["log_likelihood"] = posterior._host_log_likelihood()
    if isinstance(log_likelihood, Mapping):
        groups["log_likelihood"] = {name: on_host(values) for name, values in log_likelihood.items()}
    if posterior_predictive is not None:
        groups["posterior_predictive"] = {
            name: by_chain(name, on_host(values), shape, layout) for name, values in posterior_predictive.items()
        }
    for group, draws in (("prior", prior), ("prior_predictive", prior_predictive)):
        if draws is not None:
            groups[group] = {name: on_host(values)[None] for name, values in draws.items()}
    groups = {name: arrays for name, arrays in groups.items() if arrays}
    names, labels = names_and_labels(layout, set().union(*groups.values()))
    given = set().union(*(dims or {}).values()) if dims else set()
    labels = {name: label for name, label in labels.items() if name not in given}
    return from_dict()(groups, {**names, **(dims or {})}, {**labels, **(coords or {})})


def sample_statistics(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields under arviz's names; the potential energy is minus its ``lp``."""
    named = {STATISTICS.get(name, name): field for name, field in fields.items()}
    if "potential_energy" in named:
        named["lp"] = -named.pop("potential_energy")
    return named


def observed_data(posterior: Any) -> dict[str, Any]:
    """Return the values of the observed sites as host arrays, empty ones such as those of factors left out."""
    trace = posterior.exec_traces[0]
    values = {name: on_host(trace.nodes[name]["value"]) for name in posterior._sites().observed}
    return {name: value for name, value in values.items() if value.size}


def by_chain(name: str, values: Any, shape: tuple[int, int], layout: SiteLayout) -> Any:
    """Return draws of shape ``(num_chains, num_draws, *site)``, whichever way they were grouped.

    :raises InferenceError: if their number does not fit.
    """
    chains, draws = shape
    rank = len(layout.dims[name]) if name in layout.dims else None
    grouped = values.shape[:2] == shape and (rank is None or values.ndim == rank + 2)
    if not grouped and values.shape[:1] == (chains * draws,):
        return values.reshape(chains, draws, *values.shape[1:])
    if not grouped:
        raise InferenceError(
            f"the predictive draws of {name!r} have shape {values.shape}; expected {(chains * draws,)} or {(chains, draws)} "
            "before the shape of the site; try Predictive(model, mcmc.get_samples())"
        )
    return values


def names_and_labels(layout: SiteLayout, sites: set[str]) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Return the names of the dimensions of each site, and the labels along them."""
    taken = RESERVED | sites
    plates = {plate: f"{plate}_plate" if plate in taken else plate for plate in layout.plates}
    names = {
        site: [f"{site}_dim_{axis}" if plate is None else plates[plate] for axis, plate in enumerate(dims)]
        for site, dims in layout.dims.items()
        if site in sites
    }
    used = {name for dims in names.values() for name in dims}
    return names, {plates[plate]: list(range(size)) for plate, size in layout.plates.items() if plates[plate] in used}


def from_dict() -> Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], Any]:
    """Return the function of the installed arviz that takes groups, names of dimensions and labels.

    :raises InferenceError: if none is installed.
    """
    library = _installed()
    if hasattr(library, "InferenceData"):
        return lambda groups, dims, coords: library.from_dict(**groups, dims=dims, coords=coords)
    return lambda groups, dims, coords: library.from_dict(groups, dims=dims, coords=coords)


def _installed() -> Any:
    try:
        import arviz

        return arviz
    except ModuleNotFoundError:
        pass
    try:
        # What arviz 1 builds on, for interpreters that it does not run on.
        import arviz_base

        return arviz_base
    except ModuleNotFoundError:
        raise InferenceError("to_arviz needs arviz, which is not installed; try: pip install 'ppl-generic[arviz]'") from None
