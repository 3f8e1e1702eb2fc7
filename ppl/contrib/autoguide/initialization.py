"""Initial values of automatic guides: functions from a site to a value."""

from ppl.infer.initialization import init_to_feasible, init_to_mean, init_to_median, init_to_sample

__all__ = ["init_to_feasible", "init_to_mean", "init_to_median", "init_to_sample"]
