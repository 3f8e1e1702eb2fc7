"""The conformance kit: what a backend, a distribution or a sampler is measured with.

Unlike the rest of :mod:`ppl` it imports numpy and scipy, because its oracles come from outside the library.
"""

from ppl.testing.case import Case
from ppl.testing.distribution import assert_distribution_ok, distribution_faults
from ppl.testing.goodness_of_fit import assert_samples_match_cdf, goodness_of_fit, monte_carlo_z
from ppl.testing.numeric import TOLERANCES, Mismatch, assert_close, assert_equal, numerical_gradient, numerical_jacobian, to_host
from ppl.testing.posterior import assert_posterior_close, posterior_faults
from ppl.testing.recorded import Draw, RecordedRandom
from ppl.testing.strict import StrictBackend
from ppl.testing.suites import assert_backend_ok, backend_faults, backend_report

__all__ = [
    "TOLERANCES",
    "Case",
    "Draw",
    "Mismatch",
    "RecordedRandom",
    "StrictBackend",
    "assert_backend_ok",
    "assert_close",
    "assert_distribution_ok",
    "assert_equal",
    "assert_posterior_close",
    "assert_samples_match_cdf",
    "backend_faults",
    "backend_report",
    "distribution_faults",
    "goodness_of_fit",
    "monte_carlo_z",
    "numerical_gradient",
    "numerical_jacobian",
    "posterior_faults",
    "to_host",
]
