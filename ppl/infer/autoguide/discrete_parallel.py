"""A mean-field guide over discrete sites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ppl import constraints, ops
from ppl.distributions import Bernoulli, Categorical, Independent, OneHotCategorical
from ppl.errors import InferenceError
from ppl.infer.autoguide.base import AutoGuide, whole
from ppl.ops import autodiff
from ppl.primitives import param, sample
from ppl.transforms import as_constraint
from ppl.typing import Model

# How far an initial probability is kept from zero, where its gradient would vanish for ever.
LEAST_WEIGHT = 1e-4


class Support(NamedTuple):
    """What the guide knows of a site with finitely many values.

    :param family: the guide's distribution of it, a function of probabilities.
    :param is_boolean: whether one probability, of the value 1, describes it; else there is one for each value.
    :param event_dim: batch dimensions of ``family`` that are one event of the site.
    :param start: initial probabilities, of the site's batch shape (and the number of values).
    """

    family: Callable[..., Any]
    is_boolean: bool
    event_dim: int
    start: Any

    @property
    def param_event_dim(self) -> int:
        """Trailing dimensions of the probabilities that are no plates."""
        return self.event_dim + (0 if self.is_boolean else 1)


class AutoDiscreteParallel(AutoGuide):
    r"""Independent distributions over the values of discrete sites: :math:`q(z) = \prod_{x,i} q_{x,i}(z_{x,i})`.

    :param model: a callable with primitives, whose latent sites are all discrete with finitely many values; blocks around it
        leave the others out.
    :param prefix: begins the name of every param.
    :param create_plates: see :class:`AutoGuide`.
    :raises InferenceError: if a latent site is continuous, or its values are neither numbers from 0 nor unit vectors.

    Site ``x`` has the param ``auto_x_probs`` (after the prefix): the probability of 1 for a Bernoulli site, else those of all
    values along the last dimension; they start at the prior's. The sites are marked for parallel enumeration; a bound that does
    not enumerate samples them and uses the score function.

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> guide = infer.autoguide.AutoDiscreteParallel(lambda: ppl.sample("z", dist.Categorical(ops.array([0.2, 0.3, 0.5]))))
    >>> draw = guide()
    >>> int(guide.median()["z"]), tuple(ppl.get_param_store()["auto_z_probs"].shape)
    (2, (3,))
    """

    def __init__(self, model: Model, prefix: str = "auto", create_plates: Callable[..., Any] | None = None) -> None:
        super().__init__(model, prefix, create_plates=create_plates)

    def _covers(self, site: dict) -> bool:
        return True

    def _learn(self, trace: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.supports = {name: _support(name, site) for name, site in self.sites.items()}

    def _propose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        plates = self.plates(*args, **kwargs)
        values = {}
        for name, site in self.sites.items():
            support = self.supports[name]
            # Elements of one event cannot be enumerated apart.
            infer = {} if support.event_dim else {"enumerate": "parallel"}
            with self._inside(site, plates):
                values[name] = sample(name, self._distribution(name), infer=infer)
        return values

    def _distribution(self, name: str) -> Any:
        support = self.supports[name]
        return support.family(self._probs(name)).to_event(support.event_dim)

    def _probs(self, name: str) -> Any:
        support = self.supports[name]
        return param(
            f"{self.prefix}_{name}_probs",
            lambda: whole(self.sites[name], support.start, support.param_event_dim),
            constraint=constraints.unit_interval if support.is_boolean else constraints.simplex,
            event_dim=support.param_event_dim,
        )

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the most probable value of each element of each site (values need have no order), for whole plates."""
        with self.active(), self._with_params(args, kwargs):
            return {name: self._mode(name) for name in self.sites}

    def _mode(self, name: str) -> Any:
        probs, family = autodiff.stop_gradient(self._probs(name)), self.supports[name].family
        if family is Bernoulli:
            return ops.astype(probs > 0.5, ops.dtype_name(probs))
        mode = ops.argmax(probs, axis=-1)
        return mode if family is Categorical else ops.one_hot(mode, ops.shape(probs)[-1], dtype=ops.dtype_name(probs))

    def _draw_posterior(self, shape: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {name: self._distribution(name).sample(shape) for name in self.sites}

    def param_names(self) -> list[str]:
        """Return the names of the guide's params, once it has run."""
        return [f"{self.prefix}_{name}_probs" for name in self.sites]

    def unconstrained_normal(self) -> None:
        """Return ``None``: nothing here is continuous."""
        return


def _support(name: str, site: dict) -> Support:
    fn, event_dim = site["fn"], 0
    while isinstance(fn, Independent):
        fn, event_dim = fn.base_dist, event_dim + fn.reinterpreted_batch_ndims
    if not getattr(getattr(fn, "support", None), "is_discrete", False):
        raise InferenceError(
            f"latent site {name!r} is no discrete site: its distribution is a {type(fn).__name__}, but AutoDiscreteParallel "
            f"covers finitely many values; expected discrete sites alone; try AutoDiscreteParallel(handlers.block(model, "
            f"hide=[{name!r}])) in an AutoGuideList with a guide of the other sites"
        )
    try:
        values = fn.enumerate_support(expand=False)
    except NotImplementedError as gap:
        raise _unsupported(name, fn, str(gap)) from None
    weights = autodiff.stop_gradient(ops.exp(fn.log_prob(values)))
    count = ops.shape(values)[0]
    weights = ops.moveaxis(ops.broadcast_to(weights, (count, *tuple(fn.batch_shape))), 0, -1)
    weights = weights / ops.sum(weights, axis=-1, keepdims=True)
    weights = (weights + LEAST_WEIGHT) / (1.0 + count * LEAST_WEIGHT)
    numbers = ops.to_numpy(values)
    if fn.event_dim == 0 and numbers.reshape(-1).tolist() == list(range(count)):
        if as_constraint(fn.support) == constraints.boolean:
            return Support(Bernoulli, True, event_dim, weights[..., 1])
        return Support(Categorical, False, event_dim, weights)
    if as_constraint(fn.support) == constraints.one_hot:
        return Support(OneHotCategorical, False, event_dim, weights)
    raise _unsupported(name, fn, f"its values are {numbers.reshape(-1)[:4].tolist()} ...")


def _unsupported(name: str, fn: Any, why: str) -> InferenceError:
    return InferenceError(
        f"AutoDiscreteParallel cannot cover site {name!r}, a {type(fn).__name__}: {why}; expected the values 0, 1, ..., n or "
        f"unit vectors; try to hide {name!r} from it by handlers.block and to write the guide of that site"
    )
