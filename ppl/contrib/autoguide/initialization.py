"""Initial values of automatic guides: functions from a site to a value."""

from ppl.infer.initialization import (
    InitMessenger,
    init_to_feasible,
    init_to_mean,
    init_to_median,
    init_to_sample,
    init_to_uniform,
    init_to_value,
)

__all__ = ["InitMessenger", "init_to_feasible", "init_to_mean", "init_to_median", "init_to_sample", "init_to_uniform",
           "init_to_value"]  # fmt: skip
