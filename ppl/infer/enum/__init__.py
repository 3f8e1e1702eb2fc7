"""Exact sums over the values of discrete sites, for the algorithms of inference."""

from ppl.infer.enum.config import config_enumerate

__all__ = ["config_enumerate"]
