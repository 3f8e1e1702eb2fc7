"""One row of the conformance table of distributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy

from ppl import distributions


@dataclass(frozen=True)
class Case:
    """A family at given parameters, and an independent source of its truth.

    :param name: the name of the family in :mod:`ppl.distributions`.
    :param params: keyword arguments, numbers or nested lists.
    :param oracle: from ``params`` as numpy arrays to a frozen distribution of :mod:`scipy.stats`, or an object with the methods
        of one that the tests use: ``rvs(size, random_state)``, ``logpdf`` or ``logpmf``, ``mean``, ``var`` and, where they exist,
        ``cdf``, ``ppf``, ``entropy``.
    :param batch_shape: the batch shape that the parameters imply.
    :param event_shape: the event shape that they imply.
    :param label: told apart in the test's id.
    :param smooth: parameters in which the log density is differentiable entry by entry; all floats by default.
    :param marginal: for vector events, from ``params`` to the frozen distribution of coordinate 0.
    :param dtype: the dtype of draws.
    :param moments: whether the oracle has ``mean`` and ``var``; without, the family's are its own test's business.
    :param pathwise: whether gradients flow through draws to each parameter of ``smooth``.
    :param mixed_counts: whether the batch mixes supports of different sizes, which cannot be enumerated together.
    :param generate: parameter name to ``(rng, batch_shape) -> array`` for the generated tests; the constraint decides otherwise.
    :param extremes: parameter name to the values tried in the test of extremes; the constraint decides otherwise, and an empty
        tuple keeps the parameter as it is.
    :param make: from ``params``, and options such as ``validate_args``, to the distribution, where the family itself takes more
        than arrays.
    """

    name: str
    params: Mapping[str, Any]
    oracle: Callable[..., Any]
    batch_shape: tuple[int, ...] = ()
    event_shape: tuple[int, ...] = ()
    smooth: tuple[str, ...] | None = None
    marginal: Callable[..., Any] | None = None
    label: str = field(default="")
    dtype: str = "float64"
    moments: bool = True
    pathwise: bool = True
    mixed_counts: bool = False
    generate: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    extremes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    make: Callable[..., Any] | None = None

    def __str__(self) -> str:
        return self.name + (f"-{self.label}" if self.label else "") + ("-batch" if self.batch_shape else "")

    @property
    def arrays(self) -> dict[str, Any]:
        """The parameters as numpy arrays, whole numbers kept whole."""
        return {name: value if isinstance(value, int) else numpy.asarray(value) for name, value in self.params.items()}

    def build(self, **replaced: Any) -> Any:
        """Return the distribution, with some parameters or options in the place of the row's."""
        return (self.make or getattr(distributions, self.name))(**{**self.arrays, **replaced})

    @property
    def reference(self) -> Any:
        """The frozen distribution of the oracle."""
        return self.oracle(**self.arrays)

    @property
    def differentiable(self) -> tuple[str, ...]:
        """The parameters whose gradient is compared with finite differences."""
        if self.smooth is not None:
            return self.smooth
        return tuple(name for name, value in self.arrays.items() if not isinstance(value, int))

    def log_density(self, value: Any) -> Any:
        """Return the oracle's log density or log probability."""
        reference = self.reference
        return (
            reference.logpmf(value) if hasattr(reference, "logpmf") and not hasattr(reference, "pdf") else reference.logpdf(value)
        )

    def draw(self, sample_shape: tuple[int, ...], rng: Any) -> Any:
        """Return draws from the oracle, of shape ``sample_shape + batch_shape + event_shape``."""
        size = sample_shape if self.event_shape else (*sample_shape, *self.batch_shape)
        draws = numpy.asarray(self.reference.rvs(size=size, random_state=rng), dtype="float64")
        return draws.reshape(sample_shape + self.batch_shape + self.event_shape)
