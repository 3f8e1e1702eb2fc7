"""Loops whose body is written once."""

from ppl.contrib.control_flow.scan import scan

__all__ = ["scan"]
