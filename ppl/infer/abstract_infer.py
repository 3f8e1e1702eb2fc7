"""Posteriors as bags of executed traces, and the marginal distributions of their sites."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ppl import handlers, ops, registry
from ppl.distributions import Empirical
from ppl.errors import InferenceError
from ppl.infer.draws import on_host
from ppl.infer.information_criterion import information_criterion
from ppl.infer.likelihood import observed_log_probs, observed_sites
from ppl.ops import random
from ppl.typing import Model

RETURN = "_RETURN"


class TracePosterior:
    """A bag of traces from an approximate posterior, filled by :meth:`run`; algorithms inherit from it.

    :param num_chains: number of chains that the traces come from.

    A subclass defines ``_traces(*args, **kwargs)``, which yields ``(trace, log_weight)`` or ``(trace, log_weight, chain)``.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers, infer
    >>> class Prior(infer.TracePosterior):
    ...     def _traces(self, model, num):
    ...         yield from ((handlers.trace(model).get_trace(), 0.0) for _ in range(num))
    >>> prior = Prior().run(lambda: ppl.sample("x", dist.Normal(0.0, 1.0)), 10)
    >>> len(prior.exec_traces), tuple(prior.marginal("x").empirical["x"].samples.shape)
    (10, (10,))
    """

    def __init__(self, num_chains: int = 1) -> None:
        self.num_chains = num_chains
        self._reset()

    def _reset(self) -> None:
        self._exec_traces: list[Any] = []
        self._log_weights: list[Any] = []
        self._chain_ids: list[int] = []

    @property
    def exec_traces(self) -> Sequence[Any]:
        """The traces, in the order in which they came."""
        return self._exec_traces

    @property
    def log_weights(self) -> Sequence[Any]:
        """The logarithm of each trace's weight, not normalised."""
        return self._log_weights

    @property
    def chain_ids(self) -> Sequence[int]:
        """The chain that each trace belongs to, counted from 0."""
        return self._chain_ids

    def _traces(self, *args: Any, **kwargs: Any) -> Iterator[tuple[Any, ...]]:
        raise NotImplementedError(f"{type(self).__name__} must define _traces(*args, **kwargs): it yields traces and log weights")

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Replace the bag by the traces of ``_traces(*args, **kwargs)`` and return this object."""
        self._reset()
        with handlers.block():
            rows = list(self._traces(*args, **kwargs))
        self._exec_traces = [row[0] for row in rows]
        self._log_weights = [row[1] for row in rows]
        self._chain_ids = [int(row[2]) if len(row) > 2 else 0 for row in rows]
        return self

    def __call__(self) -> Any:
        """Return one of the traces, drawn according to the weights."""
        return self.exec_traces[self._draw_index()]

    def _draw_index(self) -> int:
        traces = len(self.exec_traces)
        self._require(traces)
        log_weights = ops.stack([ops.array(weight) for weight in self.log_weights])
        if not float(ops.max(log_weights)) > -math.inf:
            raise InferenceError(
                f"none of the {traces} traces has a weight above zero, so that none can be drawn; expected a finite log weight; "
                "try another guide or more traces"
            )
        return int(random.categorical(None, ops.astype(log_weights, ops.default_dtype()), ()))

    def _latent_draw(self) -> dict[str, Any]:
        """Return the latent values of a trace drawn according to the weights."""
        return {name: site["value"] for name, site in self().iter_stochastic_nodes()}

    def _require(self, count: int) -> None:
        if not count:
            raise InferenceError(f"this {type(self).__name__} holds no traces; expected run(...) to come first; call it")

    def _by_chain(self, items: Sequence[Any], of: str) -> Any:
        """Return one item of each trace as an array of shape ``(num_chains, num_draws, ...)``."""
        chains: dict[int, list[Any]] = {}
        for chain, item in zip(self.chain_ids, items, strict=True):
            chains.setdefault(chain, []).append(ops.array(item))
        shapes = sorted({tuple(ops.shape(item)) for chain in chains.values() for item in chain})
        lengths = sorted({len(chain) for chain in chains.values()})
        if len(shapes) > 1 or len(lengths) > 1:
            raise InferenceError(
                f"{of} does not make one table: its shapes are {shapes} and the lengths of the chains {lengths}; expected one of "
                "each; try another site"
            )
        return ops.stack([ops.stack(chains[chain]) for chain in sorted(chains)])

    def _site_draws(self, name: str) -> Any:
        """Return the values of a site, of shape ``(num_chains, num_draws, *site shape)``."""
        self._require(len(self.exec_traces))
        for trace in self.exec_traces:
            if name not in trace.nodes or trace.nodes[name]["value"] is None:
                known = [*trace.stochastic_nodes, *trace.observation_nodes, RETURN]
                raise InferenceError(f"a trace has no value at the site {name!r}; expected some of {known}")
        return self._by_chain([trace.nodes[name]["value"] for trace in self.exec_traces], f"site {name!r}")

    def _weights_by_chain(self) -> Any:
        """Return the log weights, of shape ``(num_chains, num_draws)``."""
        return ops.astype(self._by_chain(self.log_weights, "the log weights"), ops.default_dtype())

    def _pointwise(self) -> dict[str, Any]:
        """Return the log likelihoods of each observed site as host arrays, ``(num_chains * num_draws, *batch shape)``."""
        self._require(len(self.exec_traces))
        names = observed_sites(self.exec_traces[0])
        if not names:
            raise InferenceError("the traces observe nothing, so that there is no log likelihood; try obs= or handlers.condition")
        rows = [{name: on_host(value) for name, value in observed_log_probs(trace).items()} for trace in self.exec_traces]
        with registry.using("numpy"):
            return {name: ops.stack([row[name] for row in rows]) for name in names}

    def _default_sites(self) -> Sequence[str]:
        """Return the sites of :meth:`marginal` where none are named."""
        return [RETURN]

    def _relative_efficiency(self) -> float:
        return 1.0

    def marginal(self, sites: str | Sequence[str] | None = None) -> Marginals:
        """Return the marginal distributions of sites.

        :param sites: a name or a list of names; by default the model's result, ``"_RETURN"``.
        """
        return Marginals(self, sites)

    def information_criterion(self, pointwise: bool = False, method: str = "waic") -> OrderedDict[str, Any]:
        """Return an estimate of how well the model predicts new observations, on the scale of the deviance.

        :param pointwise: whether to give the values of single observations instead of their sums.
        :param method: ``"waic"``, or ``"loo"`` for leave-one-out cross-validation by Pareto smoothed importance sampling.
        :returns: ``waic`` and ``p_waic``, the effective number of parameters; or ``loo``, ``p_loo`` and ``pareto_k``, the tail
            shape of each observation, above 0.7 where the estimate is not to be trusted.
        :raises InferenceError: if the model observes nothing.

        See :func:`ppl.infer.waic` and :func:`ppl.infer.loo`, which also give standard errors.
        """
        log_weights = on_host(self._weights_by_chain()).reshape(-1)
        weighted = None if (log_weights == log_weights[0]).all() else log_weights
        results = information_criterion(self._pointwise(), method, pointwise, weighted, self._relative_efficiency())
        return OrderedDict((name, ops.array(value)) for name, value in results.items())


class EmpiricalMarginal(Empirical):
    """The draws of a site as a distribution.

    :param trace_posterior: a :class:`TracePosterior` that has been run.
    :param sites: a name; or a list of names of sites of one shape, whose values are stacked along a new first axis of the event.
        By default the model's result, ``"_RETURN"``.
    :raises InferenceError: if a trace lacks a site, or the shapes differ.

    With several chains, these are the batch: ``samples`` has shape ``(num_chains, num_draws, *event)``.

    >>> import numpy
    >>> from ppl import infer
    >>> posterior = infer.Posterior({"x": numpy.array([[1.0, 2.0, 3.0, 6.0]])})
    >>> marginal = infer.EmpiricalMarginal(posterior, "x")
    >>> float(marginal.mean), marginal.sample_size
    (3.0, 4)
    """

    def __init__(self, trace_posterior, sites=None, validate_args=None):
        sites = RETURN if sites is None else sites
        if isinstance(sites, str):
            samples = trace_posterior._site_draws(sites)
        else:
            draws = [trace_posterior._site_draws(name) for name in sites]
            shapes = {name: tuple(ops.shape(value)[2:]) for name, value in zip(sites, draws, strict=True)}
            if len(set(shapes.values())) != 1:
                raise InferenceError(
                    f"an EmpiricalMarginal of several sites needs sites of one shape, received {shapes}; try Marginals, or "
                    "posterior.marginal(sites), which holds each by itself"
                )
            samples = ops.stack(draws, axis=2)
        log_weights = trace_posterior._weights_by_chain()
        if ops.shape(log_weights)[0] == 1:
            samples, log_weights = samples[0], log_weights[0]
        super().__init__(samples, log_weights, validate_args=validate_args)


class Marginals:
    """The marginal distributions of some sites of a posterior.

    :param trace_posterior: a :class:`TracePosterior` that has been run.
    :param sites: a name or a list of names; by default the model's result, ``"_RETURN"``.

    >>> import numpy
    >>> from ppl import infer
    >>> posterior = infer.Posterior({"x": numpy.array([[1.0, 2.0, 3.0, 6.0]])})
    >>> marginals = infer.Marginals(posterior, ["x"])
    >>> float(marginals.empirical["x"].mean), tuple(marginals.support()["x"].shape)
    (3.0, (4,))
    """

    def __init__(
        self, trace_posterior: TracePosterior, sites: str | Iterable[str] | None = None, validate_args: bool | None = None
    ) -> None:
        chosen: Iterable[str] = trace_posterior._default_sites() if sites is None else sites
        self.sites = [chosen] if isinstance(chosen, str) else list(chosen)
        self._empirical = OrderedDict(
            (name, EmpiricalMarginal(trace_posterior, name, validate_args=validate_args)) for name in self.sites
        )

    @property
    def empirical(self) -> OrderedDict[str, Any]:
        """The :class:`EmpiricalMarginal` of each site."""
        return self._empirical

    def support(self, flatten: bool = False) -> OrderedDict[str, Any]:
        """Return the draws of each site: with several chains ``(num_chains, num_draws, *site)``, else ``(num_draws, *site)``.

        :param flatten: whether to join the chains: ``(num_chains * num_draws, *site)``.
        """
        support = OrderedDict((name, marginal.samples) for name, marginal in self._empirical.items())
        if flatten:
            for name, marginal in self._empirical.items():
                support[name] = ops.reshape(marginal.samples, (-1, *marginal.event_shape))
        return support


class TracePredictive(TracePosterior):
    """Traces of a model run forward from draws of a posterior; their results are draws of the predictive distribution.

    :param model: a callable with primitives.
    :param posterior: a :class:`TracePosterior`; if it was not run, ``run`` runs it on the same arguments.
    :param num_samples: number of traces.
    :param keep_sites: name or names of the sites that take their values from the posterior, by default all; others are drawn.

    A latent site whose shape is another one on the new arguments, such as an effect of each row, is drawn anew too.

    >>> import numpy, ppl
    >>> from ppl import distributions as dist, infer
    >>> def model():
    ...     return 2.0 * ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> posterior = infer.Posterior({"x": numpy.array([[1.0, 1.0]])})
    >>> predictive = infer.TracePredictive(model, posterior, num_samples=3).run()
    >>> [float(value) for value in predictive.marginal().empirical["_RETURN"].samples]
    [2.0, 2.0, 2.0]
    """

    def __init__(
        self, model: Model, posterior: TracePosterior, num_samples: int, keep_sites: str | Iterable[str] | None = None
    ) -> None:
        super().__init__()
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
            raise InferenceError(f"num_samples must be an int of at least 1, got {num_samples!r}; try num_samples=100")
        self.model = model
        self.posterior = posterior
        self.num_samples = num_samples
        keep_sites = [keep_sites] if isinstance(keep_sites, str) else keep_sites
        self.keep_sites = None if keep_sites is None else set(keep_sites)

    def _traces(self, *args: Any, **kwargs: Any) -> Iterator[tuple[Any, float]]:
        if not len(self.posterior.exec_traces):
            self.posterior.run(*args, **kwargs)
        own = handlers.trace(self.model).get_trace(*args, **kwargs)
        shapes = {name: tuple(ops.shape(own.nodes[name]["value"])) for name in own.stochastic_nodes}
        for _ in range(self.num_samples):
            values = {
                name: value
                for name, value in self.posterior._latent_draw().items()
                if (self.keep_sites is None or name in self.keep_sites) and shapes.get(name) == tuple(ops.shape(value))
            }
            yield handlers.trace(handlers.substitute(self.model, data=values)).get_trace(*args, **kwargs), 0.0

    def marginal(self, sites: str | Sequence[str] | None = None) -> Marginals:
        """Return the predictive distributions of sites, by default of the model's result, ``"_RETURN"``."""
        return Marginals(self, sites)
