"""Evidence lower bounds, the losses of variational inference."""

from ppl.infer.elbo.base import ELBO
from ppl.infer.elbo.trace_elbo import Trace_ELBO

__all__ = ["ELBO", "Trace_ELBO"]
