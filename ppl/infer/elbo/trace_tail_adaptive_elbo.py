"""Gradients of a divergence that adapts to the tail of the importance weights."""

from __future__ import annotations

from typing import Any

from ppl import handlers, ops
from ppl.errors import InferenceError
from ppl.handlers.messenger import Handler
from ppl.infer.elbo.trace_mean_field_elbo import refuse_score_functions
from ppl.infer.elbo.weights import WeightedELBO
from ppl.infer.objective import Estimate
from ppl.ops import autodiff
from ppl.typing import Message, Model


class _Constant(Handler):
    """Gives params their values and hides them from the handlers further out, which have others for them."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self.values = values

    def on_param(self, message: Message) -> None:
        if message["name"] in self.values:
            message["value"], message["done"], message["stop"] = self.values[message["name"]], True, True


class TraceTailAdaptive_ELBO(WeightedELBO):
    r"""Gradients of the tail-adaptive f-divergence (Wang, Liu and Liu 2018, algorithm 1).

    .. math:: -\sum_k \hat\gamma_k\, \nabla_\phi z_k\, \nabla_{z} \log w(z_k), \quad
        \hat\gamma_k \propto \left(\frac{1}{K} \sum_j 1[w_j \ge w_k]\right)^\beta, \quad w = p / q

    Weight follows the rank of a particle, not its size, so that its variance is finite whatever the tail of :math:`w` is. At
    :math:`\beta = 0` all particles would weigh alike. Particles must run at once, and each draw of the guide must be
    reparameterised; a plate must not be subsampled. See :class:`~ppl.infer.elbo.base.ELBO` for the parameters, ``num_particles``
    and ``tail_adaptive_beta`` (:math:`\beta`, in [-1, 0)) among them.

    The divergence itself is never computed: :meth:`loss` refuses, and the loss of a step of :class:`~ppl.infer.SVI` is the
    negative evidence lower bound, to watch. Params of the model learn from :math:`\sum_k \hat\gamma_k \nabla \log p`.

    :raises InferenceError: if ``num_particles`` is 1, ``vectorize_particles`` is false, or ``tail_adaptive_beta`` is outside
        [-1, 0); from the methods, if the guide has a draw that is not reparameterised or a plate is subsampled.

    >>> from ppl import infer
    >>> infer.TraceTailAdaptive_ELBO(num_particles=16, vectorize_particles=True).tail_adaptive_beta
    -1.0
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not self.vectorize_particles:
            raise InferenceError(
                "TraceTailAdaptive_ELBO ranks particles that run at once; received "
                f"num_particles={self.num_particles} and vectorize_particles=False, or a single particle; "
                "try TraceTailAdaptive_ELBO(num_particles=32, vectorize_particles=True)"
            )
        if not -1.0 <= self.tail_adaptive_beta < 0.0:
            raise InferenceError(
                f"TraceTailAdaptive_ELBO needs a tail_adaptive_beta in [-1, 0), received {self.tail_adaptive_beta!r}; try -1.0"
            )

    def estimate(
        self, model: Model, guide: Model, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, key: Any = None
    ) -> Estimate:
        """Return the negative evidence lower bound and the tail-adaptive gradient at the current parameters."""
        sums = self.particles(model, guide, args, {} if kwargs is None else kwargs, key)
        log_weights = sums.log_model - sums.log_guide
        fixed = autodiff.stop_gradient(log_weights)
        weights = self._tail_weights(fixed)
        return Estimate(-ops.mean(fixed), -ops.sum(weights * log_weights), sums.terms)

    def density_trace(self, guide: Model, guide_trace: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the guide's trace with the same draws and constant params, so that only the draws carry derivatives."""
        refuse_score_functions(guide_trace, type(self).__name__)
        params = {
            name: autodiff.stop_gradient(site["value"]) for name, site in guide_trace.nodes.items() if site["type"] == "param"
        }
        with _Constant(params):
            return handlers.trace(handlers.replay(guide, trace=guide_trace)).get_trace(*args, **kwargs)

    def _tail_weights(self, log_weights: Any) -> Any:
        """Return the normalised powers of the fractions of particles that weigh at least as much."""
        places = ops.argsort(ops.argsort(-log_weights))
        powers = ops.astype(places + 1, ops.dtype_name(log_weights)) ** self.tail_adaptive_beta
        return powers / ops.sum(powers)

    def loss(self, model: Model, guide: Model, *args: Any, **kwargs: Any) -> float:
        """Refuse: the divergence is not computed.

        :raises InferenceError: always.
        """
        raise InferenceError(
            "TraceTailAdaptive_ELBO gives gradients of its divergence but never its value; "
            "try Trace_ELBO().loss or RenyiELBO().loss of the same model and guide to watch a fit"
        )
