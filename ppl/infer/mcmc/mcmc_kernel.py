"""Kernels that their owner advances by hand, one transition of one chain at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ppl import handlers, ops, registry
from ppl.errors import InferenceError, InitializationError
from ppl.infer.latents import LatentSite, split_vector
from ppl.infer.mcmc.chains import Sampler
from ppl.infer.mcmc.kernels import Kernel
from ppl.infer.mcmc.state import ChainState
from ppl.infer.potential import ModelArguments
from ppl.ops import autodiff, compile

# About how many transitions follow warm-up, which is not known here and decides how thoroughly they are compiled.
USUAL_SAMPLES = 1000


class MCMCKernel(Kernel):
    """A kernel with the methods that advance a chain by hand, abstract; parameters are those of :class:`Kernel`.

    :meth:`setup` prepares a chain, :meth:`sample` takes values and returns the next ones, the first ``warmup_steps`` of which
    adapt step size and metric. Values are unconstrained, in a dict by site; whatever has been changed in them is where the chain
    goes on. :class:`~ppl.infer.MCMC` needs none of this and changes nothing of it.

    >>> from ppl import infer, ops
    >>> kernel = infer.HMC(log_density_fn=lambda x: -0.5 * ops.sum(x * x), dimension=3, num_steps=4)
    >>> kernel.setup(warmup_steps=5)
    >>> params = kernel.initial_params
    >>> for _ in range(10):
    ...     params = kernel.sample(params)
    >>> tuple(params["position"].shape), sorted(kernel.diagnostics())
    ((3,), ['acceptance rate', 'divergences', 'step size'])
    """

    _walk: Walk | None = None
    _initial_params: Any = None

    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        """Prepare one chain on the model with these arguments, at ``initial_params`` if they were set.

        :param warmup_steps: how many of the following transitions adapt.
        :raises InferenceError: if the model cannot be sampled.
        :raises InitializationError: if there is no start of finite log density.
        """
        if isinstance(warmup_steps, bool) or not isinstance(warmup_steps, int) or warmup_steps < 0:
            raise InferenceError(f"warmup_steps must be an int of at least 0, got {warmup_steps!r}")
        self._walk = None
        arguments = ModelArguments(args, kwargs)
        potential = self.potential(arguments)
        self._walk = Walk(Sampler(self, potential, 1, warmup_steps, USUAL_SAMPLES), arguments, self._initial_params)

    def sample(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values after one transition from ``params``, unconstrained, by site.

        :raises InferenceError: before :meth:`setup`, or if a value is missing or has another shape.
        :raises InitializationError: if the log density or its gradient is not finite at ``params``.
        """
        return self._walking("sample").advance(params)

    def cleanup(self) -> None:
        """Forget the chain and what it has adapted."""
        self._walk = None

    def diagnostics(self) -> dict[str, Any]:
        """Return step size, mean acceptance probability and number of divergences of the transitions after warm-up."""
        walk = self._walking("diagnostics")
        return {"step size": walk.step_size, "acceptance rate": walk.acceptance_rate, "divergences": walk.divergences}

    def logging(self) -> dict[str, str]:
        """Return step size and mean acceptance probability as a progress bar shows them."""
        walk = self._walking("logging")
        return {"step size": f"{walk.step_size:.2e}", "acc. prob": f"{walk.acceptance_rate:.3f}"}

    def bind(self, potential: Any) -> Kernel:
        """Return a copy of the kernel for one target, without the chain that is advanced by hand."""
        bound = copy.copy(self)
        bound._walk = None
        return Kernel.bind(bound, potential)

    @property
    def step_size(self) -> float | None:
        """The step size given; after :meth:`setup` that of the next transition."""
        return self._walk.step_size if self._walk else self._step_size

    @step_size.setter
    def step_size(self, value: float | None) -> None:
        self._step_size = value

    @property
    def initial_params(self) -> Any:
        """Unconstrained values by site: those that were set, or where :meth:`setup` found a start."""
        return self._walk.initial_params if self._walk else self._initial_params

    @initial_params.setter
    def initial_params(self, value: Mapping[str, Any] | None) -> None:
        self._initial_params = value
        if self._walk and value is not None:
            self._walk.initial_params = dict(value)

    @property
    def initial_trace(self) -> Any:
        """The trace of the model at ``initial_params``, after :meth:`setup`."""
        return self._walking("initial_trace").trace(self.model)

    @property
    def inverse_mass_matrix(self) -> Any:
        """The inverse mass given; after :meth:`setup` that of the next transition: ``(D,)`` variances or ``(D, D)``.

        Coordinates are in the order of the sites in the model.
        """
        if not self._walk:
            return self.initial_inverse_mass
        with registry.using(self._walk.backend):
            return self._walk.sampler.metric.inverse_mass(self._walk.session.mass)

    @property
    def mass_matrix_size(self) -> int:
        """The number of unconstrained coordinates, after :meth:`setup`."""
        return int(self._walking("mass_matrix_size").sampler.potential.size)

    def _walking(self, wanted: str) -> Walk:
        if self._walk is None:
            name = type(self).__name__
            raise InferenceError(
                f"{name}.{wanted} needs a chain; expected {name}.setup(warmup_steps, *args, **kwargs) before it; call it, or let "
                "infer.MCMC run the kernel"
            )
        return self._walk


class Walk:
    """A chain that is advanced by hand.

    :param sampler: of one chain.
    :param arguments: those of the model.
    :param initial_params: where it starts; ``None`` to look for a start.
    """

    def __init__(self, sampler: Sampler, arguments: ModelArguments, initial_params: Mapping[str, Any] | None) -> None:
        self.sampler = sampler
        self.arguments = arguments
        self.backend = registry.active()
        self.session = sampler.begin(self.backend.infer.entropy(None), arguments.arrays)
        self.divergences = 0
        self._accepted, self._count = 0.0, 0
        potential = sampler.potential
        size = (potential.size,)
        self._sites = getattr(potential, "sites", [LatentSite(name, size, size, 0) for name in potential.names])
        self._energy_and_gradient = compile.compile(
            autodiff.value_and_grad(lambda point, data: -potential.log_density(point, data)), horizon=USUAL_SAMPLES
        )
        self.initial_params: dict[str, Any] = self._values() if initial_params is None else dict(initial_params)

    @property
    def step_size(self) -> float:
        """The step size of the next transition."""
        window = self.sampler.window(self.session.iteration)
        adapting = window is not None and self.sampler.kernel.adapt_step_size
        with registry.using(self.backend):
            return float(self.sampler.kernel.adaptation().tuning(self.session.state.adaptation, adapting).step_size)

    @property
    def acceptance_rate(self) -> float:
        """The mean acceptance probability after warm-up; NaN before its end."""
        return self._accepted / self._count if self._count else float("nan")

    def advance(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values after one transition from ``params``."""
        with registry.using(self.backend):
            self._move(params)
            warming_up = self.sampler.window(self.session.iteration) is not None
            draws = self.sampler.advance(self.session, 1, self.arguments.arrays)
            if not warming_up:
                # The chain has no last draw, so that it stays at the first one after warm-up.
                self.session.iteration = self.sampler.num_warmup
                self.divergences += int(draws.divergent.sum())
                self._accepted, self._count = self._accepted + float(draws.accept_prob.sum()), self._count + 1
            return self._values()

    def trace(self, model: Any) -> Any:
        """Return the trace of ``model`` at the initial values."""
        if model is None:
            raise InferenceError("initial_trace needs a model; a log density of one's own has no trace; try initial_params")
        with registry.using(self.backend):
            values = self.sampler.potential.constrain(self._vector(self.initial_params), self.arguments.arrays)
            args, kwargs = self.arguments.container
            return handlers.trace(handlers.substitute(model, data=values)).get_trace(*args, **kwargs)

    def _values(self) -> dict[str, Any]:
        return split_vector(self._sites, self.session.state.chains.position[0])

    def _vector(self, params: Mapping[str, Any]) -> Any:
        expected = {site.name: site.unconstrained_shape for site in self._sites}
        received = {name: tuple(ops.shape(ops.array(value))) for name, value in params.items()}
        if expected != received:
            raise InferenceError(
                f"sample needs unconstrained values of shapes {expected}, got {received}; try kernel.initial_params"
            )
        dtype = ops.dtype_name(self.session.state.chains.position)
        pieces = [ops.reshape(ops.astype(ops.array(params[site.name]), dtype), (site.size,)) for site in self._sites]
        return ops.concat(pieces, axis=0)

    def _move(self, params: Mapping[str, Any]) -> None:
        """Go on from ``params`` if they are not where the chain stands."""
        vector, state = self._vector(params), self.session.state
        if bool(ops.all(vector == state.chains.position[0])):
            return
        with self.backend.infer.quiet():
            energy, gradient = self._energy_and_gradient(vector, self.arguments.arrays)
            finite = bool(ops.isfinite(energy)) and bool(ops.all(ops.isfinite(gradient)))
        if not finite:
            explanation = self.sampler.potential.explain(vector, self.arguments.arrays)
            raise InitializationError(
                f"the log density or its gradient is not finite at the values given to sample:\n{explanation}"
            )
        self.session.state = state._replace(chains=ChainState(vector[None], energy[None], gradient[None]))
