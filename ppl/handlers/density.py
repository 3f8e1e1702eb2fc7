"""The log density of one site: scaled, masked and checked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from ppl import ops
from ppl.distributions.masked import feasible, to_be_scored
from ppl.distributions.score_parts import ScoreParts, scale_and_mask
from ppl.errors import ConstraintError, PplError, PplWarning, ShapeError, SiteError
from ppl.handlers.values import check_value_shape
from ppl.ops import autodiff, host
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
    value = feasible(fn, node["value"], mask)
    try:
        return host.evaluate(_scored, fn, value)
    except ConstraintError:
        inside = _possible(node, value)
        if inside is None:
            raise
        return ops.where(inside, fn.log_prob(feasible(fn, value, inside)), -math.inf)


def _scored(fn: Any, value: Any) -> Any:
    return fn.log_prob(value)


def _possible(node: Message, value: Any) -> Any:
    """Return where an observed value lies in a support that depends on enumerated sites; ``None`` if it does so nowhere."""
    enumerated = node["infer"].get("_dim_to_id")
    if not enumerated or not node["is_observed"]:
        return None
    inside = found = node["fn"].support.check(value)
    for dim in enumerated:
        if -dim <= ops.ndim(found):
            found = ops.any(found, axis=dim, keepdims=True)
    return inside if bool(ops.all(found)) else None


def _score_parts(node: Message) -> ScoreParts:
    fn, mask = node["fn"], node["mask"]
    if mask is False and fn.has_rsample:
        return ScoreParts(ops.zeros(tuple(fn.batch_shape)), 0.0, 0.0)
    return fn.score_parts(to_be_scored(fn, node["value"], mask))


def compute(name: str, node: Message) -> None:
    """Add ``unscaled_log_prob``, ``log_prob`` and ``log_prob_sum`` to a node."""
    _add(name, node, _explained(_log_prob, name, node))


def _explained(part: Callable[[Message], Any], name: str, node: Message) -> Any:
    try:
        return part(node)
    except SiteError:
        raise
    except (PplError, ValueError, IndexError, RuntimeError) as error:
        raise _explain(name, node, error) from error


def _add(name: str, node: Message, unscaled: Any) -> None:
    log_prob = scale_and_mask(unscaled, node["scale"], node["mask"])
    node["unscaled_log_prob"] = unscaled
    node["log_prob"] = log_prob
    node["log_prob_sum"] = log_prob if ops.ndim(log_prob) == 0 else ops.sum(log_prob)
    if is_validation_enabled() and not autodiff.is_tracing():
        _warn_of_nan(name, node)


def compute_score_parts(name: str, node: Message) -> None:
    """Add ``score_parts`` to a node, and the entries of :func:`compute`; the parts are scaled and masked."""
    if not hasattr(node["fn"], "score_parts"):
        raise SiteError(f"site {name!r} draws from {node['fn']!r}, which has no score_parts; expected a distribution")
    parts = _explained(_score_parts, name, node)
    _add(name, node, parts.log_prob)
    log_prob, entropy = node["log_prob"], parts.entropy_term
    if entropy is parts.log_prob:
        node["score_parts"] = ScoreParts(log_prob, parts.score_function, log_prob)
    else:
        node["score_parts"] = parts._replace(log_prob=log_prob, entropy_term=scale_and_mask(entropy, node["scale"], node["mask"]))


def _explain(name: str, node: Message, error: Exception) -> SiteError:
    check_value_shape(node)
    kind = "observed value" if node["is_observed"] else "value"
    if isinstance(error, ConstraintError):
        return SiteError(f"the {kind} of site {name!r} does not fit {node['fn']!r}: {error}")
    if isinstance(error, ValueError):
        return SiteError(
            f"the {kind} of site {name!r} does not fit {node['fn']!r}: {error}; expected a value in "
            f"{getattr(node['fn'], 'support', 'its support')!r} of shape {_shape(node['fn'])}, got one of shape "
            f"{ops.shape(node['value'])}; try trace.format_shapes() to see the shapes of all sites"
        )
    return ShapeError(
        f"the log density of site {name!r} under {node['fn']!r} failed: {error}; expected a value of shape "
        f"{_shape(node['fn'])}, got one of shape "
        f"{ops.shape(node['value'])}; try trace.format_shapes() to see the shapes of all sites"
    )


def _shape(fn: Any) -> Any:
    return tuple(fn.batch_shape) + tuple(fn.event_shape) if is_distribution(fn) else "that fits"


def _warn_of_nan(name: str, node: Message) -> None:
    total = node["log_prob_sum"]
    # As a number where it is one, since a comparison of arrays costs ten times as much.
    item = getattr(total, "item", None)
    number = total if item is None else item()
    # A NaN is the only value that differs from itself; infinite densities are legitimate.
    if number != number:
        kind = "observed" if node["is_observed"] else "latent"
        warnings.warn(
            f"the log density of the {kind} site {name!r} under {node['fn']!r} is NaN; check the distribution's parameters "
            f"and the value",
            PplWarning,
            stacklevel=5,
        )
