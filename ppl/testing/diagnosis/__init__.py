"""What is wrong with this model, and where: :func:`ppl.check_model` and :func:`ppl.debug`.

Like the rest of :mod:`ppl.testing` it imports numpy and scipy, because its truths come from outside the library.
"""

from ppl.testing.diagnosis.agreement import check, check_model
from ppl.testing.diagnosis.report import CheckReport, DebugReport, Fault
from ppl.testing.diagnosis.rerun import debug

__all__ = ["CheckReport", "DebugReport", "Fault", "check", "check_model", "debug"]
