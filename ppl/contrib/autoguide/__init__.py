"""Automatic guides, under the path that the reference documents."""

from ppl.contrib.autoguide import initialization
from ppl.infer.autoguide import AutoContinuous, AutoDelta, AutoDiagonalNormal, AutoGuide

__all__ = ["AutoContinuous", "AutoDelta", "AutoDiagonalNormal", "AutoGuide", "initialization"]
