"""Mark the sites of a guide or a model that are to be enumerated."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ppl import handlers
from ppl.errors import InferenceError
from ppl.runtime import is_distribution
from ppl.typing import Message, Model

STRATEGIES = ("parallel", "sequential", None)


def config_enumerate(
    guide: Model | None = None, default: str | None = "parallel", expand: bool = False, num_samples: int | None = None
) -> Any:
    """Mark the unobserved sites of finite support with ``infer={"enumerate": default}``; marks that stand already stay.

    :param guide: a guide or a model; without it, the result decorates one.
    :param default: ``"parallel"``, ``"sequential"``, or ``None`` for sites that are not enumerated.
    :param expand: whether values are expanded to the batch shape of their distribution.
    :param num_samples: how many independent draws along a dimension of their own instead of all values, with
        ``default="parallel"``; every site is marked then, whatever its support.
    :raises InferenceError: for another ``default`` or ``num_samples``, or an ``expand`` that is no bool.

    See :class:`~ppl.infer.TraceEnum_ELBO` for what the marks do.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers, infer
    >>> @infer.config_enumerate
    ... def guide():
    ...     ppl.sample("x", dist.Bernoulli(0.5))
    ...     ppl.sample("y", dist.Normal(0.0, 1.0))
    >>> trace = handlers.trace(guide).get_trace()
    >>> trace.nodes["x"]["infer"]["enumerate"], trace.nodes["y"]["infer"]
    ('parallel', {})
    """
    _check(default, expand, num_samples)
    if guide is None:
        return functools.partial(config_enumerate, default=default, expand=expand, num_samples=num_samples)
    return handlers.infer_config(guide, config_fn=_marks(default, expand, num_samples))


def _check(default: Any, expand: Any, num_samples: Any) -> None:
    if default not in STRATEGIES:
        raise InferenceError(f"config_enumerate got default={default!r}; expected one of {STRATEGIES}; try 'parallel'")
    if not isinstance(expand, bool):
        raise InferenceError(f"config_enumerate got expand={expand!r}; expected a bool; try expand=False")
    if num_samples is None:
        return
    if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples < 1:
        raise InferenceError(f"config_enumerate got num_samples={num_samples!r}; expected a positive int, or None for all values")
    if default != "parallel":
        raise InferenceError(
            f"config_enumerate got num_samples={num_samples} and default={default!r}; draws lie along a dimension of their own; "
            "try default='parallel'"
        )


def _marks(default: str | None, expand: bool, num_samples: int | None) -> Callable[[Message], dict[str, Any]]:
    def marks(site: Message) -> dict[str, Any]:
        fn, infer = site["fn"], site["infer"]
        if site["type"] != "sample" or site["is_observed"] or not is_distribution(fn) or infer.get("_deterministic"):
            return {}
        if num_samples is not None:
            # What stands at the site already says more than this.
            return {"enumerate": default, "num_samples": num_samples, "expand": expand, **infer}
        if not getattr(fn, "has_enumerate_support", False):
            return {}
        return {"enumerate": default, "expand": expand, **infer}

    return marks
