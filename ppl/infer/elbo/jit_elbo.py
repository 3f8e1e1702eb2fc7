"""Bounds that ask for compilation."""

from __future__ import annotations

from typing import Any

from ppl import handlers, ops, registry
from ppl.infer.elbo.base import ELBO
from ppl.infer.elbo.trace_elbo import Trace_ELBO
from ppl.infer.elbo.trace_enum_elbo import TraceEnum_ELBO
from ppl.infer.elbo.trace_graph_elbo import TraceGraph_ELBO
from ppl.infer.elbo.trace_mean_field_elbo import TraceMeanField_ELBO
from ppl.infer.objective import Objective
from ppl.ops import autodiff, jit
from ppl.params import get_param_store
from ppl.typing import Model


class _Compiled(ELBO):
    """Compiles :meth:`differentiable_loss` where a backend runs steps as they are, once for each model and guide."""

    jit = True

    def differentiable_loss(self, model: Model, guide: Model, *args: Any, **kwargs: Any) -> Any:
        """Return an array whose value is the loss and whose gradient is the gradient estimate.

        :param args: arrays, or trees of them.
        :param kwargs: anything else that can be hashed; each set of values compiles anew.
        """
        if registry.active().optim.STEP != "leaves" or autodiff.is_tracing():
            return super().differentiable_loss(model, guide, *args, **kwargs)
        programs: dict[Any, Any] = self.__dict__.setdefault("_programs", {})
        # The functions are kept, so that no other one can take over their identity.
        _, _, program = programs.setdefault((id(model), id(guide)), (model, guide, self._program(model, guide)))
        return program(*args, **kwargs)

    def _program(self, model: Model, guide: Model) -> Any:
        plain = super().differentiable_loss

        def differentiable_loss(*args: Any, **kwargs: Any) -> Any:
            # Handlers further out see the params alone, which are inputs of the compiled function.
            with handlers.block(expose_types=["param"]):
                return plain(model, guide, *args, **kwargs)

        return jit.trace(differentiable_loss)

    def loss_and_surrogate_loss(self, model: Model, guide: Model, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return the loss without derivatives, and an array of the same value whose gradient is the gradient estimate."""
        surrogate = self.differentiable_loss(model, guide, *args, **kwargs)
        return autodiff.stop_gradient(surrogate), surrogate

    def loss_and_grads(self, model: Model, guide: Model, *args: Any, **kwargs: Any) -> float:
        """Return the loss as a float and leave the gradients behind, as the uncompiled form does."""
        if registry.active().optim.STEP != "leaves":
            return super().loss_and_grads(model, guide, *args, **kwargs)
        objective = Objective(model, guide, self.differentiable_loss)
        estimate, _, self.gradients = objective.backward(args, kwargs, self.retain_graph)
        for name, value in estimate.updates.items():
            get_param_store().set_unconstrained(name, value)
        return float(ops.to_numpy(estimate.loss))


class JitTrace_ELBO(_Compiled, Trace_ELBO):
    """:class:`Trace_ELBO` whose steps are compiled where the backend does not compile them anyway.

    On torch the first call records the loss, which then needs neither the model's code nor its handlers. So model and guide have
    the same sites and shapes at each call and read no global arrays but params; arrays are passed by position, and anything else
    by keyword, where each set of values compiles anew. On jax every step of :class:`~ppl.infer.SVI` is compiled; on numpy a step
    with this loss replays a recording, which takes a sixth of the time, while the methods are those of the plain form. See
    :class:`~ppl.infer.elbo.base.ELBO` for the parameters.

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> def model(x):
    ...     ppl.sample("x", dist.Normal(ppl.param("loc", 0.0), 1.0), obs=x)
    >>> loss, surrogate = infer.JitTrace_ELBO().loss_and_surrogate_loss(model, lambda x: None, ops.array(0.5))
    >>> round(float(loss), 4)
    1.0439
    """


class JitTraceGraph_ELBO(_Compiled, TraceGraph_ELBO):
    """:class:`TraceGraph_ELBO` whose steps are compiled as those of :class:`JitTrace_ELBO`.

    >>> from ppl import infer
    >>> infer.JitTraceGraph_ELBO().jit
    True
    """


class JitTraceMeanField_ELBO(_Compiled, TraceMeanField_ELBO):
    """:class:`TraceMeanField_ELBO` whose steps are compiled as those of :class:`JitTrace_ELBO`.

    >>> from ppl import infer
    >>> infer.JitTraceMeanField_ELBO().jit
    True
    """


class JitTraceEnum_ELBO(_Compiled, TraceEnum_ELBO):
    """:class:`TraceEnum_ELBO` whose steps are compiled as those of :class:`JitTrace_ELBO`.

    >>> from ppl import infer
    >>> infer.JitTraceEnum_ELBO().jit
    True
    """
