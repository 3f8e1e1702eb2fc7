"""Find out before inference whether a model means the same with all values of a site at once as with one of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ppl import ops, tree
from ppl.errors import EnumerationError, PplWarning
from ppl.infer.enum.assignment import assignments
from ppl.infer.enum.comparison import Comparison, Traces, first_fault, host_density, scored, variables_of
from ppl.infer.enum.numbers import noise, on_host, placed
from ppl.ops import autodiff, host
from ppl.params import get_param_store
from ppl.transforms import transform_to
from ppl.typing import Message
from ppl.user_code import failing_line

RUNS = 3
# How far parameters and arguments move, in unconstrained units and relative to themselves.
SHIFT, PART = 0.3, 0.15


def probe(
    model: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    first_available_dim: int = -1,
    guide: Callable[..., Any] | None = None,
) -> None:
    """Raise unless each site has the density with its parents enumerated that it has with single values of them.

    :param model: a model whose sites to enumerate are marked ``infer={"enumerate": "parallel"}``.
    :param args: its positional arguments, ``kwargs`` those by keyword.
    :param first_available_dim: as for :class:`ppl.handlers.enum`: the rightmost dimension that no plate uses.
    :param guide: a guide to run first, marked likewise, whose values the model then gets.
    :raises EnumerationError: naming the first site that differs, the enumerated site whose dimension it lost or misread, and
        how to index; or where the model cannot run with all values at once although it runs with single ones.

    A :class:`~ppl.errors.PplWarning` says so if the model runs with all values at once but never with single ones, since nothing
    can be compared then.

    A table ``P[x][1]``, where ``x`` holds all its values at once, is read at ``x = 1`` for good and for all: no shape tells.
    So the model is run enumerated and three times with single values; parameters and floating arguments are moved a little,
    lest equal numbers hide what was read. The caller asks once, where validation is enabled, and remembers it; no parameter,
    random state or warning of the model stays behind. Inside compiled code nothing is asked.

    >>> import ppl
    >>> from ppl import distributions as dist, ops
    >>> from ppl.infer.enum.probe import probe
    >>> table = ops.array([[[0.9, 0.1], [0.7, 0.3]], [[0.4, 0.6], [0.05, 0.95]]])
    >>> def model(read):
    ...     rain = ppl.sample("rain", dist.Bernoulli(0.2), infer={"enumerate": "parallel"})
    ...     ppl.sample("wet", dist.Categorical(read(ops.astype(rain, "int64"))), obs=ops.array(1))
    >>> probe(model, (lambda rain: table[rain, 1],))
    >>> probe(model, (lambda rain: table[rain][1],))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ppl.errors.EnumerationError: site 'wet' misreads dim=-1 of 'rain' ...
    """
    if autodiff.is_tracing():
        return
    with warnings.catch_warnings(), host.preferred():
        warnings.simplefilter("ignore")
        arguments = (args, kwargs or {})
        try:
            places, names = tree.map(_moved, [list(args), kwargs or {}])
        except Exception:
            # Containers that cannot be made anew stay as they are.
            places, names = arguments
        failure = _check(Comparison(model, guide, arguments, first_available_dim, (_moved_parameter, (tuple(places), names))))
    if failure is not None:
        warnings.warn(_unknown(failure), PplWarning, stacklevel=2)


def _check(comparison: Comparison) -> Exception | None:
    """Raise at a site that differs; return why no run with single values came to its end, ``None`` if one did."""
    enumerated = _enumerated(comparison)
    variables = variables_of(enumerated)
    failures: list[Exception] = []
    for assignment in assignments(variables, RUNS, comparison.first_available_dim) if variables else ():
        try:
            single = comparison.single(enumerated, assignment)
            fault = first_fault(enumerated, single, assignment)
        except Exception as error:
            # A model that is written for all values at once alone cannot be judged.
            failures.append(error)
            continue
        if fault is not None and comparison.is_repeatable(enumerated, fault):
            raise EnumerationError(comparison.explained(enumerated, single, assignment, fault))
    return failures[0] if len(failures) == RUNS else None


def _unknown(failure: Exception) -> str:
    """Return a sentence on a model that only runs with all values at once."""
    line = failing_line(failure)
    return (
        "the model runs with all values of its discrete sites at once but not with single ones, so that it is not known whether "
        f"both mean the same: all {RUNS} runs with single values failed, first {line + ' raised' if line else 'with'} "
        f"{type(failure).__name__}: {failure}; expected a model that runs either way; try to count axes from the right, "
        "x[..., 0], and Vindex(table)[x, ...] of ppl.ops.indexing, then ppl.check_enumeration(model), which tries every joint "
        "value"
    )


def _enumerated(comparison: Comparison) -> Traces:
    # Moved numbers may lie where the model has no meaning; they are not the user's.
    for parameters in (False, True):
        try:
            traces = comparison.run()
            if not any((density != density).any() for density in map(host_density, scored(traces))):
                return traces
        except Exception:
            pass
        comparison.stand_still(parameters)
    return comparison.enumerated()


def _moved_parameter(message: Message) -> Any:
    name, value, store = message["name"], message["value"], get_param_store()
    if name not in store or not ops.is_floating(value):
        return value
    free = store.get_unconstrained(name)
    numbers = on_host(free)
    if numbers is None:
        return value
    transform = transform_to(message["kwargs"].get("constraint"))
    moved = host.evaluate(transform, placed(numbers + SHIFT * noise(numbers.shape, name), free))
    finite = on_host(moved)
    return moved if finite is not None and bool((finite - finite == 0.0).all()) else value


def _moved(value: Any) -> Any:
    """Return a floating array with numbers near those of ``value``: what is positive, or a probability, stays so."""
    numbers = on_host(value) if ops.is_array(value) and ops.is_floating(value) else None
    if numbers is None:
        return value
    shift = noise(numbers.shape, "argument")
    if ((numbers >= 0.0) & (numbers <= 1.0)).all():
        moved = numbers + PART * (0.5 + 0.5 * shift - numbers)
    elif (numbers >= 0.0).all():
        moved = numbers * (1.0 + PART * shift) + 0.2 * PART * (1.0 + shift)
    else:
        moved = numbers * (1.0 + PART * shift) + 0.2 * PART * shift
    return placed(moved, value)
