"""The Laplace approximation: a maximum, and the curvature there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ppl import constraints, handlers, ops, registry
from ppl.distributions import Delta
from ppl.errors import InferenceError, PplWarning
from ppl.handlers.messenger import Handler
from ppl.infer.autoguide.approximation import on_host
from ppl.infer.autoguide.continuous import AutoContinuous
from ppl.infer.autoguide.multivariate_normal import AutoMultivariateNormal
from ppl.ops import autodiff, random
from ppl.params import get_param_store
from ppl.primitives import param
from ppl.typing import Message, Model


class AutoLaplaceApproximation(AutoContinuous):
    r"""A point in unconstrained space, to be fitted; :meth:`laplace_approximation` makes a normal distribution around it.

    .. math:: q(u) = N(u \mid \hat u, H^{-1}), \quad H = -\nabla^2 \log p(x, u) \text{ at its maximum } \hat u

    The density is that of the unconstrained vector, Jacobian included (MacKay 2003, "Information Theory, Inference, and Learning
    Algorithms", ch. 27). See :class:`AutoGuide` for the parameters. The param is ``auto_loc`` (after the prefix), of shape
    ``(latent_dim,)``.

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> start = infer.init_to_value(values={"x": 0.0})
    >>> guide = infer.autoguide.AutoLaplaceApproximation(lambda: ppl.sample("x", dist.Normal(0.0, 2.0)), init_loc_fn=start)
    >>> point = guide()
    >>> variance = guide.laplace_approximation().get_posterior().variance
    >>> round(float(ops.to_numpy(variance)[0]), 4)
    4.0
    """

    PARAMS = ("loc",)

    def get_posterior(self, *args: Any, **kwargs: Any) -> Any:
        """Return the point as a distribution over the unconstrained vector; arguments are the model's, or fitted params."""
        with self.active(), self._with_params(args, kwargs):
            return Delta(param(f"{self.prefix}_loc", lambda: self.initial), event_dim=1)

    def laplace_approximation(self, *args: Any, **kwargs: Any) -> AutoMultivariateNormal:
        """Return the guide whose posterior is the normal distribution around the fitted point.

        :param args: arguments of the model, whose data the curvature is that of. A subsampled plate counts with all its elements,
            for which the model runs once more with the plate whole; where it cannot, a warning says so, and the curvature is the
            estimate from one minibatch.
        :raises InferenceError: if the curvature is not positive and finite in every direction: the point is no maximum.

        It has this guide's prefix and ``auto_loc``, and writes the param ``auto_scale_tril``.
        """
        with self.active():
            self._ready(args, kwargs)
            point = autodiff.stop_gradient(self.get_posterior().v)
            # What the model draws, such as the rows of a minibatch, is drawn from one key: a trace has no source of its own.
            key = random.next_key("laplace_approximation")
            values, plates = self.latents.constrain(point), WholePlates(self.model)
            whole, why = self._can_be_whole(lambda: self._trace(plates, values, key, args, kwargs))
            model = plates if whole else self.model
            if why:
                warnings.warn(
                    f"{why}, so that the curvature is an estimate from one minibatch; for the exact one, make an "
                    "AutoLaplaceApproximation of the model with whole plates, whose params are the same",
                    PplWarning,
                    stacklevel=2,
                )

            def energy(vector: Any) -> Any:
                values, log_det = self.latents.constrain_with_log_det(vector)
                return -(self._trace(model, values, key, args, kwargs).log_prob_sum() + log_det)

            hessian = autodiff.hessian(energy)(point)
            scale_tril = ops.array(self._factor(on_host(hessian)), dtype=ops.dtype_name(point))
            guide = AutoMultivariateNormal(self.model, self.prefix, self.init_loc_fn, create_plates=self.create_plates)
            for known in ("prototype_trace", "sites", "frames", "latents", "initial"):
                setattr(guide, known, getattr(self, known))
            store, name = get_param_store(), f"{self.prefix}_scale_tril"
            if name in store:
                del store[name]
            store.setdefault(name, scale_tril, constraints.lower_cholesky)
            return guide

    def _trace(self, model: Model, values: dict[str, Any], key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the trace of the model at ``values``."""
        model = model if key is None else handlers.seed(model, rng_seed=key)
        with handlers.block():
            return handlers.trace(handlers.substitute(model, data=values)).get_trace(*args, **kwargs)

    def _can_be_whole(self, run: Callable[[], Any]) -> tuple[bool, str]:
        """Return whether the model can run with whole plates in place of minibatches, and if it should but cannot, why."""
        sizes = {
            name: len(site["value"])
            for name, site in self.prototype_trace.nodes.items()
            if site["type"] == "subsample" and site["infer"].get("_subsampled")
        }
        if not sizes:
            return False, ""
        given = [name for name in sizes if name in self._given.names]
        if given:
            return False, f"the model was given the subsample of plate {given[0]!r}"
        try:
            trace = run()
            trace.compute_log_prob()
        except Exception as failure:
            return False, f"plate {next(iter(sizes))!r} is subsampled, and the model fails with the whole of it ({failure})"
        for name in trace.observation_nodes:
            site = trace.nodes[name]
            is_data = not site["infer"].get("_deterministic") and tuple(site["fn"].event_shape) != (0,)
            for frame in site["cond_indep_stack"] if is_data else ():
                axis = ops.ndim(site["value"]) - site["fn"].event_dim + (frame.dim or 0)
                # One row of data would be counted for each element of the plate, which no error tells.
                if frame.vectorized and sizes.get(frame.name) == 1 and (axis < 0 or ops.shape(site["value"])[axis] == 1):
                    return False, f"plate {frame.name!r} is subsampled, and site {name!r} has data for one of its elements alone"
        return True, ""

    def _factor(self, hessian: Any) -> Any:
        """Return the Cholesky factor of the inverse of a host matrix."""
        with registry.using("numpy"):
            hessian = 0.5 * (hessian + ops.matrix_transpose(hessian))
            finite = bool(ops.all(ops.isfinite(hessian)))
            if finite:
                curvatures, directions = ops.eigh(hessian)
                if curvatures[0] > 0.0:
                    return ops.cholesky(ops.inv(hessian))
                flattest = int(ops.argmax(ops.abs(directions[:, 0])))
                what = f"its least curvature is {float(curvatures[0]):.4g}, mostly along {self._element(flattest)}"
            else:
                row = int(ops.argmax(ops.astype(ops.any(~ops.isfinite(hessian), axis=1), "int64")))
                what = f"it is not finite at {self._element(row)}"
        raise InferenceError(
            f"the Hessian of minus the log density at the fitted point has no inverse that is a covariance: {what}; expected "
            "positive curvature, as at a maximum; try more steps of SVI or another start, or AutoMultivariateNormal"
        )

    def _element(self, index: int) -> str:
        site = next(site for site in self.latents.sites if site.offset <= index < site.offset + site.size)
        return f"element {index - site.offset} of site {site.name!r}"


class WholePlates(Handler):
    """Take every element of plates that would draw a minibatch."""

    def on_subsample(self, message: Message) -> None:
        """Give all indices, unless the model brings some along."""
        if message["value"] is None:
            message["value"], message["infer"]["_whole"] = ops.arange(0, message["fn"].size), True
