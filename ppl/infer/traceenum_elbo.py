"""The bound with discrete sites summed out, at the path of the reference documentation."""

from ppl.infer.discrete import BackwardSampleMessenger
from ppl.infer.elbo.jit_elbo import JitTraceEnum_ELBO
from ppl.infer.elbo.trace_enum_elbo import TraceEnum_ELBO

__all__ = ["BackwardSampleMessenger", "JitTraceEnum_ELBO", "TraceEnum_ELBO"]
