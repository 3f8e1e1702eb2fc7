"""Which formula serves a pair of families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ppl import ops
from ppl.distributions.distribution import Distribution
from ppl.errors import BackendError, ConstraintError, GapError, PplError, ShapeError
from ppl.registry import active, using


class Rule(NamedTuple):
    """A closed form, and the condition on the two objects under which it holds; ``None`` is always."""

    formula: Callable[[Any, Any], Any]
    when: Callable[[Any, Any], bool] | None


RULES: dict[tuple[Any, Any], Rule] = {}
_chosen: dict[tuple[Any, Any], Rule | None] = {}


def register_kl(type_p: Any, type_q: Any, when: Callable[[Any, Any], bool] | None = None) -> Any:
    """Return a decorator that makes ``formula(p, q)`` the divergence of ``type_q`` from ``type_p`` and of their subclasses.

    :param type_p: the family of the distribution that the expectation is over.
    :param type_q: the family that it is compared with.
    :param when: ``when(p, q)`` tells whether the formula holds for these two objects; by default it always does.
    :raises ConstraintError: if an argument is not a class of distributions.

    The pair that is most specific in both families wins. The formula is written over :mod:`ppl.ops` and runs under the backend
    of its arguments; its result is broadcast to their common batch shape.

    >>> from ppl import distributions as dist, ops
    >>> class Shifted(dist.Normal):
    ...     pass
    >>> @dist.register_kl(Shifted, dist.Cauchy)
    ... def kl_shifted_cauchy(p, q):
    ...     return ops.log(q.scale / p.scale)
    >>> round(float(dist.kl_divergence(Shifted(0.0, 1.0), dist.Cauchy(0.0, 2.0))), 4)
    0.6931
    """
    pair = _definition(type_p), _definition(type_q)
    if not all(isinstance(family, type) and issubclass(family, Distribution) for family in pair):
        raise ConstraintError(
            f"register_kl takes two classes of distributions, received {type_p!r} and {type_q!r}; try register_kl(Normal, Gamma)"
        )

    def decorate(formula: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        RULES[pair] = Rule(formula, when)
        _chosen.clear()
        return formula

    return decorate


def _definition(family: Any) -> Any:
    """Return the public class behind a class that was built for one backend."""
    return vars(family).get("definition", family) if isinstance(family, type) else family


def kl_divergence(p: Any, q: Any) -> Any:
    r"""Return the Kullback-Leibler divergence of ``q`` from ``p``, one number for each element of their common batch.

    .. math:: KL(p \| q) = E_{x \sim p} [\log p(x) - \log q(x)]

    :param p: the distribution that the expectation is over.
    :param q: the distribution it is compared with, of the same backend and event shape.
    :raises GapError: if no closed form is registered for the pair.
    :raises BackendError: if the two are of different backends.
    :raises ShapeError: if event shapes differ, or batch shapes do not broadcast.

    It is infinite where ``p`` puts mass that ``q`` does not.

    >>> from ppl import distributions as dist
    >>> round(float(dist.kl_divergence(dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0))), 4)
    0.4431
    """
    rule, shape = _rule(p, q), _batch_shape(p, q)
    if rule is None:
        raise GapError(
            f"kl_divergence({described(p)}, {described(q)}) has no closed form registered; expected a registered pair; "
            "try Monte Carlo: mean of p.log_prob(x) - q.log_prob(x)"
        )
    return _filling(_under_backend(rule.formula, p, q), shape)


def has_kl(p: Any, q: Any) -> bool:
    """Return whether :func:`kl_divergence` has a closed form for these two objects.

    >>> from ppl import distributions as dist
    >>> from ppl.distributions.kl import has_kl
    >>> has_kl(dist.Normal(0.0, 1.0), dist.Gamma(1.0)), has_kl(dist.StudentT(3.0), dist.Cauchy(0.0, 1.0))
    (True, False)
    """
    return _rule(p, q) is not None


def described(d: Any) -> str:
    """Return the name of the family, with those of the distributions that it wraps."""
    base = getattr(d, "base_dist", None)
    return f"{type(d).__name__}({described(base)})" if isinstance(base, Distribution) else type(d).__name__


def _rule(p: Any, q: Any) -> Rule | None:
    """Return the rule for two objects, or ``None`` if none holds."""
    for d in (p, q):
        if not isinstance(d, Distribution):
            raise ConstraintError(
                f"kl_divergence takes two distributions of ppl, received {type(d).__name__}; try ppl.distributions"
            )
    if p.backend is not q.backend:
        raise BackendError(
            f"kl_divergence({described(p)}, {described(q)}) mixes backends {p.backend.name!r} and {q.backend.name!r}; expected "
            "one; try to make both under the same ppl.pyro_backend"
        )
    families = type(p).definition, type(q).definition
    if families not in _chosen:
        _chosen[families] = most_specific(*families)
    rule = _chosen[families]
    return rule if rule is None or rule.when is None or _under_backend(rule.when, p, q) else None


def _under_backend(function: Callable[[Any, Any], Any], p: Any, q: Any) -> Any:
    if active() is p.backend:
        return function(p, q)
    with using(p.backend):
        return function(p, q)


def most_specific(family_p: Any, family_q: Any) -> Rule | None:
    """Return the rule nearest to two classes in the method resolution order of both, ``None`` if there is none.

    :raises PplError: if the nearest to the one is not the nearest to the other.
    """
    ranks_p, ranks_q = ({cls: rank for rank, cls in enumerate(family.__mro__)} for family in (family_p, family_q))
    fits = {(ranks_p[a], ranks_q[b]): (a, b) for a, b in RULES if a in ranks_p and b in ranks_q}
    if not fits:
        return None
    best = min(rank for rank, _ in fits), min(rank for _, rank in fits)
    if best not in fits:
        left, right = fits[min(fits)], fits[min(fits, key=lambda rank: rank[::-1])]
        names = " and ".join(f"({a.__name__}, {b.__name__})" for a, b in (left, right))
        raise PplError(
            f"kl_divergence({family_p.__name__}, {family_q.__name__}) is ambiguous: {names} are registered; expected one pair "
            f"that is most specific in both; try register_kl({left[0].__name__}, {right[1].__name__})"
        )
    return RULES[fits[best]]


def _batch_shape(p: Any, q: Any) -> tuple[int, ...]:
    if tuple(p.event_shape) != tuple(q.event_shape):
        raise ShapeError(
            f"kl_divergence({described(p)}, {described(q)}) needs equal event shapes, received {tuple(p.event_shape)} and "
            f"{tuple(q.event_shape)}; try to_event"
        )
    shapes = tuple(p.batch_shape), tuple(q.batch_shape)
    try:
        return ops.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(
            f"kl_divergence({described(p)}, {described(q)}) needs batch shapes that broadcast, received {shapes[0]} "
            f"and {shapes[1]}"
        ) from None


def _filling(divergence: Any, shape: tuple[int, ...]) -> Any:
    return divergence if tuple(divergence.shape) == shape else ops.broadcast_to(divergence, shape)


def full_batch(value: float, p: Any, q: Any) -> Any:
    """Return one ``value`` for each element of the common batch."""
    return ops.full(_batch_shape(p, q), value, dtype=p.dtype)
