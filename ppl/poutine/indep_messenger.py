"""The documented path of :class:`IndepMessenger`."""

from ppl.handlers.indep import CondIndepStackFrame, IndepMessenger

__all__ = ["CondIndepStackFrame", "IndepMessenger"]
