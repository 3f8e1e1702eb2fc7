"""The documented path of the functions of :mod:`ppl.runtime`."""

from ppl.runtime import NonlocalExit, am_i_wrapped, apply_stack, default_process_message, effectful

__all__ = ["NonlocalExit", "am_i_wrapped", "apply_stack", "default_process_message", "effectful"]
