"""Guides made from models."""

from ppl.infer.autoguide.base import AutoGuide
from ppl.infer.autoguide.continuous import AutoContinuous
from ppl.infer.autoguide.delta import AutoDelta
from ppl.infer.autoguide.diagonal_normal import AutoDiagonalNormal

__all__ = ["AutoContinuous", "AutoDelta", "AutoDiagonalNormal", "AutoGuide"]
