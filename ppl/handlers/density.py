"""The log density of one site: scaled, masked and checked."""

from __future__ import annotations

import warnings
from typing import Any

from ppl import ops
from ppl.distributions.score_parts import ScoreParts, scale_and_mask
from ppl.errors import ConstraintError, PplError, PplWarning, ShapeError, SiteError
from ppl.handlers.values import check_value_shape, feasible
from ppl.ops import autodiff
from ppl.runtime import is_distribution, is_validation_enabled
from ppl.typing import Message


def _log_prob(node: Message) -> Any:
    fn, mask = node["fn"], node["mask"]
    if not is_distribution(fn):
        log_prob = getattr(fn, "log_prob", None)
        if log_prob is None:
            raise SiteError(
                f"site {node['name']!r} draws from the plain function {fn!r}, which has no log_prob; expected a distribution; "
                "try to hide the site with handlers.block"
            )
        return log_prob(node["value"], *node["args"], **node["kwargs"])
    if mask is False:
        return ops.zeros(tuple(fn.batch_shape))
    return fn.log_prob(_kept_value(node))


def _kept_value(node: Message) -> Any:
    mask = node["mask"]
    if mask is None or isinstance(mask, bool):
        return node["value"]
    # Left-out elements move to a point of finite density: a zero times a NaN would spoil the gradient.
    return feasible(node["fn"], node["value"], mask)


def compute(name: str, node: Message) -> None:
    """Add ``unscaled_log_prob``, ``log_prob`` and ``log_prob_sum`` to a node."""
    try:
        unscaled = _log_prob(node)
    except SiteError:
        raise
    except (PplError, ValueError, IndexError, RuntimeError) as error:
        raise _explain(name, node, error) from error
    log_prob = scale_and_mask(unscaled, node["scale"], node["mask"])
    node["unscaled_log_prob"] = unscaled
    node["log_prob"] = log_prob
    node["log_prob_sum"] = log_prob if ops.ndim(log_prob) == 0 else ops.sum(log_prob)
    if is_validation_enabled() and not autodiff.is_tracing():
        _warn_of_nan(name, node)


def compute_score_parts(name: str, node: Message) -> None:
    """Add ``score_parts`` to a node, and the entries of :func:`compute`; the parts are scaled and masked."""
    compute(name, node)
    score_parts = getattr(node["fn"], "score_parts", None)
    if score_parts is None:
        raise SiteError(f"site {name!r} draws from {node['fn']!r}, which has no score_parts; expected a distribution")
    if node["mask"] is False:
        node["score_parts"] = ScoreParts(node["log_prob"], 0.0, 0.0)
    else:
        node["score_parts"] = score_parts(_kept_value(node)).scale_and_mask(node["scale"], node["mask"])


def _explain(name: str, node: Message, error: Exception) -> SiteError:
    check_value_shape(node)
    kind = "observed value" if node["is_observed"] else "value"
    if isinstance(error, (ConstraintError, ValueError)):
        return SiteError(
            f"the {kind} of site {name!r} does not fit {node['fn']!r}: {error}; expected a value in "
            f"{getattr(node['fn'], 'support', 'its support')!r} of shape {_shape(node['fn'])}, got one of shape "
            f"{ops.shape(node['value'])}"
        )
    return ShapeError(
        f"the log density of site {name!r} under {node['fn']!r} failed: {error}; value of shape {ops.shape(node['value'])}"
    )


def _shape(fn: Any) -> Any:
    return tuple(fn.batch_shape) + tuple(fn.event_shape) if is_distribution(fn) else "that fits"


def _warn_of_nan(name: str, node: Message) -> None:
    total = node["log_prob_sum"]
    # A NaN is the only value that differs from itself; infinite densities are legitimate.
    if total != total:
        kind = "observed" if node["is_observed"] else "latent"
        warnings.warn(
            f"the log density of the {kind} site {name!r} under {node['fn']!r} is NaN; check the distribution's parameters "
            f"and the value",
            PplWarning,
            stacklevel=4,
        )
