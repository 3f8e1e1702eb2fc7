"""Draws of a posterior on the host, by chain, and everything that is asked of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from ppl import handlers, ops, registry
from ppl.errors import InferenceError
from ppl.infer import arviz_export, posterior_file
from ppl.infer.abstract_infer import Marginals, TracePosterior
from ppl.infer.diagnostics import Summary, ess_mean, summarize
from ppl.infer.discrete import Learned, infer_every_discrete
from ppl.infer.draws import DrawsOfModel, on_host, same_number
from ppl.infer.likelihood import is_summed_out, pointwise_log_likelihood, require_draws
from ppl.infer.potential import ModelArguments, as_data
from ppl.infer.predictive import Predictive
from ppl.infer.site_layout import SiteLayout, layout_of
from ppl.ops import random
from ppl.typing import Model


class Posterior(TracePosterior):
    """Draws of a model's sites, by chain.

    :param samples: arrays of shape ``(num_chains, num_draws, *site shape)`` by site.
    :param extra_fields: arrays of shape ``(num_chains, num_draws, ...)`` that describe the draws.
    :param model: what the draws belong to, if log likelihoods, traces or the names of plates will be asked for.
    :param args: the arguments of the model.
    :param kwargs: its keyword arguments.
    :raises InferenceError: if there are no draws, or the sites disagree on their number.

    >>> import numpy
    >>> from ppl import infer
    >>> posterior = infer.Posterior({"x": numpy.array([[1.0, 2.0, 3.0, 6.0]])})
    >>> tuple(posterior.get_samples()["x"].shape), float(posterior.marginal("x").empirical["x"].mean)
    ((4,), 3.0)
    """

    backend: Any
    _samples: dict[str, Any] | None = None
    _fields: dict[str, Any]
    _model: Model | None
    _arguments: ModelArguments | None
    _layout: SiteLayout | None

    def __init__(
        self,
        samples: Mapping[str, Any],
        extra_fields: Mapping[str, Any] | None = None,
        model: Model | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backend = registry.active()
        if not samples:
            raise InferenceError("a Posterior needs draws of at least one site, received none; try {'x': draws}")
        arguments = None if model is None else ModelArguments(args, dict(kwargs or {}))
        self._hold(
            {name: on_host(value) for name, value in samples.items()},
            {name: on_host(value) for name, value in (extra_fields or {}).items()},
            model,
            arguments,
        )
        shape = same_number({**self._kept(), **self._fields}, 2)
        self.num_chains = shape[0]

    def _hold(
        self,
        samples: Mapping[str, Any],
        fields: Mapping[str, Any],
        model: Model | None = None,
        arguments: ModelArguments | None = None,
    ) -> None:
        """Keep draws: host arrays of shape ``(num_chains, num_draws, ...)``, and what was sampled on which arguments."""
        self._samples, self._fields, self._model, self._arguments = dict(samples), dict(fields), model, arguments
        self._layout = None

    def _kept(self) -> dict[str, Any]:
        return self._samples or {}

    def _shape(self) -> tuple[int, int]:
        """Return the numbers of chains and of draws of each."""
        chains, draws = next(iter(self._kept().values())).shape[:2]
        return chains, draws

    def _draws_of_model(self) -> DrawsOfModel:
        samples = self._kept()
        if self._model is None or self._arguments is None:
            raise InferenceError(
                "these draws know no model: expected a Posterior with model=..., or an MCMC of a model; try "
                "infer.Posterior(samples, model=model, args=(...,))"
            )
        return DrawsOfModel(self._model, self._arguments, {name: x.reshape(-1, *x.shape[2:]) for name, x in samples.items()})

    def _sites(self) -> SiteLayout:
        self._kept()
        if self._layout is None:
            with registry.using(self.backend):
                self._layout = SiteLayout() if self._model is None else layout_of(self._draws_of_model())
        return self._layout

    def get_samples(self, group_by_chain: bool = False) -> dict[str, Any]:
        """Return the draws of each latent and deterministic site as arrays of the backend.

        :param group_by_chain: shape ``(num_chains, num_samples, *site)`` instead of ``(num_chains * num_samples, *site)``.
        :raises InferenceError: before the first run.
        """
        samples = self._kept()
        with registry.using(self.backend):
            return {name: ops.array(x if group_by_chain else x.reshape(-1, *x.shape[2:])) for name, x in samples.items()}

    def get_extra_fields(self, group_by_chain: bool = True) -> dict[str, Any]:
        """Return what else is known of each draw, as host arrays.

        :param group_by_chain: shape ``(num_chains, num_samples)`` instead of ``(num_chains * num_samples,)``.
        :raises InferenceError: before the first run.

        After MCMC these are ``potential_energy``, ``accept_prob``, ``num_leapfrog_steps``, ``divergent`` and ``step_size``.
        """
        self._kept()
        return {name: field if group_by_chain else field.reshape(-1, *field.shape[2:]) for name, field in self._fields.items()}

    def thin(self, thinning: int) -> Posterior:
        """Return a posterior of every ``thinning``-th draw of each chain, the last of each group.

        :raises InferenceError: unless there is at least one.
        """
        _, draws = self._shape()
        if not isinstance(thinning, int) or not 1 <= thinning <= draws:
            raise InferenceError(f"thinning must be an int from 1 to the number of draws {draws}, got {thinning!r}; try 2")
        rows = slice(thinning - 1, None, thinning)
        fields = {name: field[:, rows] for name, field in self._fields.items()}
        return self._copy({name: draws[:, rows] for name, draws in self._kept().items()}, fields)

    def _copy(self, samples: Mapping[str, Any], fields: Mapping[str, Any]) -> Posterior:
        with registry.using(self.backend):
            copy = Posterior(samples, fields)
        copy._model, copy._arguments, copy._layout = self._model, self._arguments, self._layout
        return copy

    def diagnostics(self, sites: Sequence[str] | None = None) -> dict[str, Any]:
        """Return per site ``n_eff`` (bulk ESS) and ``r_hat``, and the number of divergent transitions of each chain if known.

        :param sites: names, by default of all sites.
        :raises InferenceError: for a site of which no draws are kept, such as ``"_RETURN"``.
        """
        samples = self._kept()
        unknown = sorted(set(sites or ()) - set(samples))
        if unknown:
            raise InferenceError(f"there are no draws of {unknown[0]!r} to diagnose; expected some of {sorted(samples)}")
        table = summarize(samples if sites is None else {name: samples[name] for name in sites})
        result: dict[str, Any] = {name: {"n_eff": row["ess_bulk"], "r_hat": row["r_hat"]} for name, row in table.items()}
        if "divergent" in self._fields:
            counts = {f"chain {index}": int(chain.sum()) for index, chain in enumerate(self._fields["divergent"])}
            result["divergences"] = counts
        return result

    def summary(self, prob: float = 0.9) -> Summary:
        """Print a table of every site and return it as a dict from site to statistic to array.

        Statistics: ``mean sd median``, the ends of the central interval of probability ``prob``, ``ess_bulk ess_tail r_hat``
        (Vehtari et al. 2021). Divergent transitions are counted below.
        """
        return self._print(self._kept(), prob)

    def print_summary(self, prob: float = 0.9, exclude_deterministic: bool = True) -> None:
        """Print the table of :meth:`summary`.

        :param prob: probability of the central interval.
        :param exclude_deterministic: whether to leave out deterministic sites.
        """
        hidden = set(self._sites().deterministic) if exclude_deterministic else set()
        self._print({name: draws for name, draws in self._kept().items() if name not in hidden}, prob)

    def _print(self, samples: Mapping[str, Any], prob: float) -> Summary:
        summary = summarize(samples, prob)
        print(summary.table())
        chains, draws = self._shape()
        divergent = self._fields.get("divergent")
        known = "" if divergent is None else f"; divergences: {int(divergent.sum())}"
        print(f"\n{chains * draws} draws from {chains} chains{known}")
        return summary

    def marginal(self, sites: str | Sequence[str] | None = None) -> Marginals:
        """Return the marginal distributions of sites.

        :param sites: a name or a list of names, by default of every latent and deterministic site. Other sites, and the result
            ``"_RETURN"``, are computed by running the model at each draw.
        """
        with registry.using(self.backend):
            return Marginals(self, sites)

    def log_likelihood(self) -> dict[str, Any]:
        """Return the log likelihood of each observation at each draw: ``(num_chains, num_draws, *batch shape)`` by observed site.

        :raises InferenceError: if the draws know no model, or it observes nothing.
        """
        with registry.using(self.backend):
            return {name: ops.array(table) for name, table in self._host_log_likelihood().items()}

    def _host_log_likelihood(self) -> dict[str, Any]:
        shape = self._shape()
        return {name: table.reshape(*shape, *table.shape[1:]) for name, table in self._pointwise().items()}

    def information_criterion(self, pointwise: bool = False, method: str = "waic") -> OrderedDict[str, Any]:
        with registry.using(self.backend):
            return super().information_criterion(pointwise, method)

    information_criterion.__doc__ = TracePosterior.information_criterion.__doc__

    def to_arviz(self, **groups: Any) -> Any:
        """Return the draws as arviz holds them; see :func:`ppl.infer.to_arviz`, which documents the arguments."""
        return arviz_export.to_arviz(self, **groups)

    def save(self, path: str | PathLike[str]) -> None:
        """Write draws, extra fields and the layout of the sites to a safetensors file that every backend reads.

        The file appears whole or not at all, and bears a checksum of everything in it. The model is not in it.
        """
        header = {"layout": self._sites().as_json(), "order": list(self._kept()), "backend": self.backend.name}
        posterior_file.write(path, {"samples": self._kept(), "fields": self._fields}, header)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        model: Model | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Posterior:
        """Return the posterior of a file, on the active backend.

        :param path: what :meth:`save` wrote, on any backend.
        :param model: the model of the draws, if log likelihoods or traces will be asked for.
        :param args: the arguments of the model.
        :param kwargs: its keyword arguments.
        :raises InferenceError: if the file is missing, damaged, foreign or of a newer schema.

        Damage shows by the checksum; files of the first schema have none and are read as they are.
        """
        sections, header = posterior_file.read(path)
        try:
            samples = {name: sections["samples"][name] for name in header["order"]}
            layout = SiteLayout(**header["layout"])
            complete = len(samples) == len(sections["samples"])
        except (KeyError, TypeError) as error:
            raise InferenceError(f"the header of {str(path)!r} is damaged: {error}; try an older copy of the file") from error
        if not complete:
            raise InferenceError(f"{str(path)!r} is damaged: its header and its arrays name different sites; try an older copy")
        posterior = Posterior(samples, sections["fields"], model, args, kwargs)
        posterior._layout = layout
        return posterior

    # -- what a TracePosterior is asked for --

    @property
    def exec_traces(self) -> Sequence[Any]:
        """The traces of the draws, each made when it is looked at by running the model."""
        return TracesOfDraws(self)

    @property
    def log_weights(self) -> Sequence[float]:
        """Zeros: the draws count alike."""
        return [0.0] * len(self.exec_traces)

    @property
    def chain_ids(self) -> Sequence[int]:
        """The chain of each draw."""
        if not self._samples:
            return []
        chains, draws = self._shape()
        return [chain for chain in range(chains) for _ in range(draws)]

    def _traces(self, *args: Any, **kwargs: Any) -> Iterator[tuple[Any, ...]]:
        raise InferenceError("the draws of a Posterior were made elsewhere, and it cannot be run; try infer.MCMC, which can")

    def _default_sites(self) -> Sequence[str]:
        return list(self._kept())

    def _draw_index(self) -> int:
        chains, draws = self._shape()
        return int(random.randint(None, (), 0, chains * draws))

    def _latent_draw(self) -> dict[str, Any]:
        chain, draw = divmod(self._draw_index(), self._shape()[1])
        hidden = set(self._sites().deterministic)
        return {name: as_data(draws[chain, draw]) for name, draws in self._kept().items() if name not in hidden}

    def _site_draws(self, name: str) -> Any:
        samples = self._kept()
        if name in samples:
            return ops.array(samples[name])
        if self._model is None:
            raise InferenceError(f"there are no draws of the site {name!r}; expected some of {sorted(samples)}")
        draws = self._draws_of_model()
        discrete: list[str] = []

        def look(trace: Any) -> None:
            discrete[:] = _without_draws(trace, draws)
            require_draws(trace, dict.fromkeys(discrete, None) | draws.samples)
            _require_value(trace, name)

        draws.inspect(look)
        if discrete:
            predictive = Predictive(draws.model, draws.samples, infer_discrete=True, return_sites=[name])
            args, kwargs = draws.arguments.rebuild(draws.arguments.arrays)
            values = on_host(predictive(*args, rng_key=0, **kwargs)[name])
        else:
            values = draws.evaluate(lambda trace: trace.nodes[name]["value"])
        return ops.array(values.reshape(*self._shape(), *values.shape[1:]))

    def _weights_by_chain(self) -> Any:
        return ops.zeros(self._shape())

    def _pointwise(self) -> dict[str, Any]:
        with registry.using(self.backend):
            return pointwise_log_likelihood(self._draws_of_model())

    def _relative_efficiency(self) -> float:
        """Return the average effective sample size of the means over the number of draws, as arviz takes it; 1 for one chain."""
        chains, draws = self._shape()
        if chains == 1:
            return 1.0
        sizes = []
        for values in self._kept().values():
            columns = values.reshape(chains, draws, -1)
            sizes += [ess_mean(columns[:, :, index]) for index in range(columns.shape[2])]
        return sum(sizes) / len(sizes) / (chains * draws)


class TracesOfDraws(Sequence[Any]):
    """One trace for each draw, made when it is asked for: nothing is stored."""

    def __init__(self, posterior: Posterior) -> None:
        self._posterior = posterior

    def __len__(self) -> int:
        samples = self._posterior._samples
        return 0 if not samples else next(iter(samples.values())).shape[0] * next(iter(samples.values())).shape[1]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        with registry.using(self._posterior.backend):
            return _trace(self._posterior._draws_of_model(), place)


def _trace(draws: DrawsOfModel, index: int) -> Any:
    """Return the trace of one draw; discrete sites that were summed out are drawn from their posterior."""
    trace = draws.trace(index)
    if not _without_draws(trace, draws):
        return trace
    args, kwargs = draws.arguments.rebuild(draws.arguments.arrays)
    known = handlers.substitute(draws.model, data=draws.values(index))
    return handlers.trace(handlers.seed(infer_every_discrete(known, Learned()), rng_seed=index)).get_trace(*args, **kwargs)


def _without_draws(trace: Any, draws: DrawsOfModel) -> list[str]:
    """Return the names of latent sites of finite support that have no draws."""
    return [name for name, site in trace.nodes.items() if name not in draws.samples and is_summed_out(site)]


def _require_value(trace: Any, name: str) -> None:
    value = trace.nodes[name]["value"] if name in trace.nodes else None
    if not hasattr(value, "shape") and not isinstance(value, (bool, int, float)):
        known = [site for site, node in trace.nodes.items() if node["type"] in ("sample", "return")]
        raise InferenceError(f"the model has no array at the site {name!r}; expected some of {known}")
