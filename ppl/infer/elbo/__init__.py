"""Evidence lower bounds, the losses of variational inference."""

from ppl.infer.elbo.base import ELBO
from ppl.infer.elbo.jit_elbo import JitTrace_ELBO, JitTraceEnum_ELBO, JitTraceGraph_ELBO, JitTraceMeanField_ELBO
from ppl.infer.elbo.renyi_elbo import RenyiELBO
from ppl.infer.elbo.trace_elbo import Trace_ELBO
from ppl.infer.elbo.trace_enum_elbo import TraceEnum_ELBO
from ppl.infer.elbo.trace_graph_elbo import TraceGraph_ELBO
from ppl.infer.elbo.trace_mean_field_elbo import TraceMeanField_ELBO
from ppl.infer.elbo.trace_tail_adaptive_elbo import TraceTailAdaptive_ELBO

__all__ = ["ELBO", "JitTraceEnum_ELBO", "JitTraceGraph_ELBO", "JitTraceMeanField_ELBO", "JitTrace_ELBO", "RenyiELBO",
           "TraceEnum_ELBO", "TraceGraph_ELBO", "TraceMeanField_ELBO", "TraceTailAdaptive_ELBO", "Trace_ELBO"]  # fmt: skip
