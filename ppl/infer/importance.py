r"""Importance sampling: a guide proposes, and each draw :math:`z` weighs :math:`p(x, z) / q(z)`.

Sources: Owen (2013), "Monte Carlo theory, methods and examples", chapter 9; for the diagnostic Yao, Vehtari, Simpson and Gelman
(2018), "Yes, but did it work?: evaluating variational inference", ICML.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

from ppl import handlers, ops
from ppl.errors import InferenceError, PplWarning
from ppl.infer import pareto
from ppl.infer.abstract_infer import TracePosterior
from ppl.infer.draws import on_host
from ppl.infer.elbo.matching import check_match
from ppl.infer.particles import PARTICLE_PLATE, deepest_plate, has_explicit_keys, in_plate, map_over_keys, run_pair
from ppl.ops import autodiff, random
from ppl.typing import Model

DEFAULT_NUM_SAMPLES = 10


class Importance(TracePosterior):
    r"""The posterior as weighted traces, proposed by a guide.

    :param model: a callable with primitives.
    :param guide: a callable with the same arguments that samples the latent sites of the model; by default the model itself,
        its observations left out, which proposes from the prior.
    :param num_samples: number of traces, by default 10.
    :raises InferenceError: if ``num_samples`` is not a positive int; from :meth:`run`, if the sites of model and guide do not
        match or a weight is infinite or NaN.

    ``run(*args, **kwargs)`` runs guide and model ``num_samples`` times, one after another, so that both may branch on values. Of
    ``log_weights`` the exponential of each is :math:`w_i = p(x, z_i) / q(z_i)`.

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> def model():
    ...     ppl.sample("rain", dist.Delta(1.0))
    ...     ppl.sample("wet", dist.Bernoulli(0.25), obs=1.0)
    >>> posterior = infer.Importance(model, num_samples=4).run()
    >>> round(float(posterior.get_log_normalizer()), 4), round(float(posterior.get_ESS()), 4)
    (-1.3863, 4.0)
    """

    def __init__(self, model: Model, guide: Model | None = None, num_samples: int | None = None) -> None:
        super().__init__()
        if num_samples is None:
            num_samples = DEFAULT_NUM_SAMPLES
            warnings.warn(
                f"Importance was not told num_samples and takes {num_samples}, which is few; try num_samples=1000",
                PplWarning,
                stacklevel=2,
            )
        self.model = model
        self.guide = guide
        self.num_samples = _count("num_samples", num_samples)

    def _traces(self, *args: Any, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        for _ in range(self.num_samples):
            if self.guide is None:
                # The prior's density stands in model and guide alike, so that only the observations weigh.
                guide_trace = None
                model_trace = handlers.trace(self.model).get_trace(*args, **kwargs)
                log_weight = model_trace.log_prob_sum(lambda name, site: site["is_observed"])
            else:
                model_trace, guide_trace = run_pair(self.model, self.guide, args, kwargs)
                check_match(model_trace, guide_trace)
                log_weight = model_trace.log_prob_sum() - guide_trace.log_prob_sum()
            log_weight = autodiff.stop_gradient(ops.array(log_weight, ops.default_dtype()))
            _require_usable(log_weight, model_trace, guide_trace)
            yield model_trace, log_weight

    def _weights_by_chain(self) -> Any:
        self._require(len(self.exec_traces))
        log_weights = super()._weights_by_chain()
        _require_some_weight(log_weights)
        return log_weights

    def _draw_index(self) -> int:
        self._weights_by_chain()
        return super()._draw_index()

    def get_log_normalizer(self) -> Any:
        r"""Return :math:`\log \frac{1}{n} \sum_i w_i`, whose exponential estimates :math:`p(x)` without bias, a scalar.

        It is ``-inf`` if every weight is zero.
        """
        self._require(len(self.exec_traces))
        return ops.logsumexp(ops.stack(list(self.log_weights))) - math.log(len(self.log_weights))

    def get_normalized_weights(self, log_scale: bool = False) -> Any:
        r"""Return :math:`w_i / \sum_j w_j`, of shape ``(num_samples,)``.

        :param log_scale: whether to return logarithms.
        :raises InferenceError: if every weight is zero.
        """
        log_weights = _normalized(self._weights_by_chain()[0])
        return log_weights if log_scale else ops.exp(log_weights)

    def get_ESS(self) -> Any:
        r"""Return the effective sample size :math:`(\sum_i w_i)^2 / \sum_i w_i^2`, between 1 and ``num_samples``, a scalar.

        :raises InferenceError: if every weight is zero.
        """
        return ops.exp(-ops.logsumexp(2.0 * self.get_normalized_weights(log_scale=True)))

    def resample(self, num: int | None = None, rng_key: Any = None) -> Resampled:
        r"""Return a posterior of traces of equal weight, drawn from these in proportion to their weights.

        :param num: how many, by default as many as there are.
        :param rng_key: an int or key that makes the choice reproducible.
        :raises InferenceError: if ``num`` is not a positive int, or every weight is zero.

        The choice is systematic: a trace of normalised weight :math:`w` comes :math:`\lfloor num\, w \rfloor` or
        :math:`\lceil num\, w \rceil` times, :math:`num\, w` on average (Douc, Cappé and Moulines 2005).
        """
        weights = on_host(self.get_normalized_weights())
        num = len(weights) if num is None else _count("num", num)
        key = random.next_key("Importance.resample") if rng_key is None else random.key(rng_key)
        offset = float(on_host(random.uniform(key, ())))
        return Resampled([self.exec_traces[index] for index in systematic(weights, num, offset)])


class Resampled(TracePosterior):
    """Traces of equal weight.

    :param traces: the traces.
    """

    def __init__(self, traces: list[Any]) -> None:
        super().__init__()
        self.run(traces)

    def _traces(self, traces: list[Any]) -> Iterator[tuple[Any, float]]:
        yield from ((trace, 0.0) for trace in traces)


def systematic(weights: Any, num: int, offset: float) -> list[int]:
    r"""Return ``num`` indices in ascending order: those where :math:`(k + u) / num` falls in the weights laid end to end.

    :param weights: normalised, a host array of shape ``(n,)``.
    :param offset: :math:`u` in [0, 1).

    >>> from ppl.infer.importance import systematic
    >>> systematic([0.5, 0.0, 0.25, 0.25], 4, 0.5)
    [0, 0, 2, 3]
    """
    chosen, reached, index = [], 0.0, -1
    last = max(index for index, weight in enumerate(weights) if weight > 0.0)
    for step in range(num):
        # Rounding may leave the weights' total just below the last point.
        while index < last and (step + offset) / num >= reached:
            index += 1
            reached += float(weights[index])
        chosen.append(index)
    return chosen


def vectorized_importance_weights(
    model: Model,
    guide: Model,
    *args: Any,
    num_samples: int = 1,
    max_plate_nesting: int | None = None,
    normalized: bool = False,
    num_particles: int | None = None,
    **kwargs: Any,
) -> tuple[Any, Any, Any]:
    """Return the log weights of many draws made at once, with the traces of model and guide that hold them.

    :param model: a callable with primitives whose operations broadcast on the left and whose sites do not depend on values.
    :param guide: a callable with the same arguments that samples the latent sites of the model.
    :param num_samples: number of draws.
    :param max_plate_nesting: at least as many as the batch dimensions that model and guide take, by default as many; one more
        run tells.
    :param normalized: whether the exponentials of the log weights sum to one.
    :param num_particles: another name of ``num_samples``.
    :returns: log weights of shape ``(num_samples,)``, which have gradients in the params; and the two traces, in which the draws
        are a plate in dimension ``-1 - max_plate_nesting``.
    :raises InferenceError: if ``num_samples`` is not a positive int, ``max_plate_nesting`` is too small, the sites of model and
        guide do not match, a weight is infinite or NaN, or all are zero where they are to be normalised.

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> def model():
    ...     with ppl.plate("rows", 2):
    ...         x = ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> weigh = infer.importance.vectorized_importance_weights
    >>> log_weights, model_trace, _ = weigh(model, model, num_samples=3, max_plate_nesting=1)
    >>> [float(log_weight) for log_weight in log_weights], tuple(model_trace.nodes["x"]["value"].shape)
    ([0.0, 0.0, 0.0], (3, 2))
    """
    num = _count("num_samples", num_samples) if num_particles is None else _count("num_particles", num_particles)
    nesting = _nesting(model, guide, args, kwargs, max_plate_nesting)
    log_weights, model_trace, guide_trace = _in_plate(model, guide, args, kwargs, num, nesting)
    if not autodiff.is_tracing():
        _require_usable(log_weights, model_trace, guide_trace)
    if normalized:
        if not autodiff.is_tracing():
            _require_some_weight(log_weights)
        log_weights = _normalized(log_weights)
    return log_weights, model_trace, guide_trace


def psis_diagnostic(
    model: Model,
    guide: Model,
    *args: Any,
    num_particles: int = 1000,
    max_simultaneous_particles: int | None = None,
    max_plate_nesting: int | None = None,
    vectorized: bool = True,
    **kwargs: Any,
) -> float:
    r"""Return the shape :math:`\hat k` of the tail of the importance weights, which says how well a guide fits.

    :param model: a callable with primitives.
    :param guide: a callable with the same arguments that samples the latent sites of the model.
    :param num_particles: number of weights.
    :param max_simultaneous_particles: how many to compute at once, a divisor of ``num_particles``; by default all.
    :param max_plate_nesting: at least as many as the batch dimensions that model and guide take, by default as many; one more
        run tells.
    :param vectorized: whether the weights are computed at once: mapped over keys on jax, in an outer plate elsewhere, which
        needs a model whose operations broadcast on the left. Otherwise model and guide run once for each.
    :returns: below 0.5 the guide is close to the posterior, below 0.7 useful, above a poor fit. Below 0 the weights are bounded.
        Infinite, with a warning, if fewer than five weights make the tail.
    :raises InferenceError: if a number is not a positive int or does not divide, the sites of model and guide do not match, a
        weight is infinite or NaN, or all are zero.

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> ppl.set_rng_seed(0)
    >>> def model():
    ...     return ppl.sample("x", dist.Normal(0.0, 1.0))
    >>> def narrow():
    ...     return ppl.sample("x", dist.Normal(0.0, 0.5))
    >>> def wide():
    ...     return ppl.sample("x", dist.Normal(0.0, 2.0))
    >>> infer.psis_diagnostic(model, narrow) > 0.5, infer.psis_diagnostic(model, wide) < 0.5
    (True, True)
    """
    total = _count("num_particles", num_particles)
    block = total if max_simultaneous_particles is None else _count("max_simultaneous_particles", max_simultaneous_particles)
    if total % block:
        raise InferenceError(
            f"num_particles={total} is not a multiple of max_simultaneous_particles={block}; expected blocks of equal size; "
            f"try num_particles={-(-total // block) * block}"
        )
    with handlers.block():
        # This run also creates params, which a mapped run cannot.
        nesting = _nesting(model, guide, args, kwargs, max_plate_nesting)
        blocks = []
        for _ in range(total // block):
            if not vectorized:
                found = _one_by_one(model, guide, args, kwargs, block)
            elif has_explicit_keys():
                found = _mapped(model, guide, args, kwargs, block)
            else:
                found, _, _ = _in_plate(model, guide, args, kwargs, block, nesting)
            blocks.append(autodiff.stop_gradient(found))
    log_weights = ops.concat(blocks)
    _require_usable(log_weights)
    _require_some_weight(log_weights)
    shape = float(pareto.smooth(log_weights)[1])
    if not math.isfinite(shape):
        warnings.warn(
            f"the largest of {total} importance weights are too few or too equal to tell the shape of their tail; "
            f"try num_particles={10 * total}",
            PplWarning,
            stacklevel=2,
        )
    return shape


def _in_plate(
    model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], num: int, nesting: int
) -> tuple[Any, Any, Any]:
    """Return the log weights of ``num`` draws in a plate left of ``nesting`` batch dimensions, and the traces."""
    around = [in_plate(fn, PARTICLE_PLATE, num, nesting) for fn in (model, guide)]
    model_trace, guide_trace = run_pair(around[0], around[1], args, kwargs)
    check_match(model_trace, guide_trace)
    log_weights = _per_particle(model_trace, num, nesting) - _per_particle(guide_trace, num, nesting)
    return log_weights, model_trace, guide_trace


def _one_by_one(model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], num: int) -> Any:
    return ops.stack([_log_weight(model, guide, args, kwargs) for _ in range(num)])


def _mapped(model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], num: int) -> Any:
    key = random.next_key("importance")
    return map_over_keys(lambda own: _log_weight(model, guide, args, kwargs, own), key, num)


def _log_weight(model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any = None) -> Any:
    model_trace, guide_trace = run_pair(model, guide, args, kwargs, key)
    check_match(model_trace, guide_trace)
    return ops.array(model_trace.log_prob_sum() - guide_trace.log_prob_sum(), ops.default_dtype())


def _nesting(model: Model, guide: Model, args: tuple[Any, ...], kwargs: dict[str, Any], given: int | None) -> int:
    """Return ``given``, or how many batch dimensions the sites take, whether a plate declares them or not.

    :raises InferenceError: if the sites take more, so that particles and data would share a dimension.
    """
    with handlers.block():
        traces = run_pair(model, guide, args, kwargs)
    check_match(*traces)
    sites = [site for trace in traces for site in trace.nodes.values() if site["type"] == "sample"]
    taken = max([deepest_plate(traces), *(len(getattr(site["fn"], "batch_shape", ())) for site in sites)])
    if given is not None and given < taken:
        raise InferenceError(
            f"max_plate_nesting={given} is too small: the sites of model and guide take {taken} batch dimensions, and the draws "
            f"lie left of them; try max_plate_nesting={taken}, or leave it out"
        )
    return taken if given is None else given


def _per_particle(trace: Any, num: int, nesting: int) -> Any:
    """Return the log density of each particle, of shape ``(num,)``; in sites they lie left of ``nesting`` dimensions."""
    trace.compute_log_prob()
    total = ops.zeros((num,), ops.default_dtype())
    for name in (*trace.stochastic_nodes, *trace.observation_nodes):
        log_prob = trace.nodes[name]["log_prob"]
        shape = tuple(ops.shape(log_prob))
        aligned = ops.reshape(log_prob, (1,) * max(0, nesting + 1 - len(shape)) + shape)
        others = tuple(axis for axis in range(ops.ndim(aligned)) if axis != ops.ndim(aligned) - 1 - nesting)
        total = total + (ops.sum(aligned, axis=others) if others else aligned)
    return total


def _normalized(log_weights: Any) -> Any:
    return log_weights - ops.logsumexp(log_weights)


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InferenceError(f"{name} must be an int of at least 1, received {value!r}; try {name}=1000")
    return value


def _require_usable(log_weights: Any, *traces: Any) -> None:
    """Raise if a weight is infinite or NaN, and name the site that is to blame if a trace shows it."""
    host = on_host(log_weights).reshape(-1)
    bad = [float(value) for value in host[(host != host) | (host == math.inf)]]
    if not bad:
        return
    sites = [
        f"{kind} site {name!r}"
        for kind, trace in zip(("model", "guide"), traces, strict=False)
        if trace is not None
        for name, site in trace.nodes.items()
        if "log_prob" in site and not _is_weight(on_host(site["log_prob"]), -1.0 if kind == "guide" else 1.0)
    ]
    where = f"the log density of {sites[0]} is NaN or infinite" if sites else "a log density of model or guide is NaN or infinite"
    raise InferenceError(
        f"an importance weight is not a number: its logarithm is {bad[0]} ({len(bad)} of {len(host)}); {where}; expected finite "
        "log densities, or -inf in the model for an impossible draw; try other parameters or data at that site"
    )


def _is_weight(log_prob: Any, sign: float) -> bool:
    """Return whether a site's log densities leave the weight finite or zero."""
    signed = sign * log_prob
    return bool(((signed == signed) & (signed < math.inf)).all())


def _require_some_weight(log_weights: Any) -> None:
    host = on_host(log_weights)
    if (host == -math.inf).all():
        raise InferenceError(
            f"all {host.size} importance weights are zero: the model gives density 0 to each draw of the guide with the "
            "observations; expected some draws of positive density; try a guide nearer to the posterior, or more samples"
        )
