"""A guide whose sites depend on each other as its user says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ppl import constraints, ops
from ppl.distributions import MultivariateNormal, Normal
from ppl.errors import InferenceError
from ppl.infer.autoguide.base import AutoGuide
from ppl.infer.autoguide.continuous import AutoContinuous
from ppl.infer.autoguide.scale import require_scale
from ppl.infer.initialization import init_to_median
from ppl.infer.latents import LatentSpace
from ppl.ops import autodiff
from ppl.primitives import param, sample
from ppl.typing import Model

CONDITIONALS = ("delta", "normal", "mvn")
LINEAR = "linear"


class AutoStructured(AutoContinuous):
    r"""Each site is a location, noise of its own, and what it takes over from other sites, all in unconstrained space.

    .. math:: u_x = \mu_x + d_x, \quad d_x = \epsilon_x + \sum_{y \to x} f_{yx}(d_y)

    See :class:`AutoGuide` for the parameters.

    :param init_scale: initial standard deviation of every noise, positive; linear dependencies start at zero.
    :param conditionals: the family of the noise :math:`\epsilon_x`, one for all sites or a dict by site: ``"normal"``
        (independent elements; also that of sites that the dict lacks), ``"mvn"`` (any covariance within the site), ``"delta"``
        (no noise), or a callable without arguments that samples a noise around zero, of shape ``(n,)`` for a site of ``n``
        unconstrained elements.
    :param dependencies: a dict from site to a dict from the sites it depends on to :math:`f_{yx}`: ``"linear"`` for a matrix, or
        a callable from a flat deviation ``(..., m)`` to one of shape ``(..., n)``. Both kinds of callable may use ``ppl.param``.
    :raises InferenceError: if a word is another one, a site is unknown or dependencies form a circle.

    With dependencies along a Markov chain of ``T`` numbers it has ``3 T - 1`` params, and holds every normal distribution that is
    such a chain, as the posterior of a linear Gaussian state space model is (Archer et al. 2015, "Black box variational inference
    for state space models"). The params are ``auto_loc``, ``auto_scale`` of all ``"normal"`` sites, ``auto_weights`` of all
    linear dependencies, laid one after the other, and ``auto_x_scale_tril`` of an ``"mvn"`` site ``x`` (after the prefix).

    >>> import ppl
    >>> from ppl import distributions as dist, infer
    >>> def model():
    ...     x = ppl.sample("x", dist.Normal(0.0, 1.0))
    ...     return ppl.sample("y", dist.Normal(x, 1.0))
    >>> guide = infer.AutoStructured(model, conditionals="normal", dependencies={"y": {"x": "linear"}})
    >>> sorted(guide()), guide.param_names()
    (['x', 'y'], ['auto_loc', 'auto_scale', 'auto_weights'])
    """

    def __init__(
        self,
        model: Model,
        prefix: str = "auto",
        init_loc_fn: Callable[[dict], Any] = init_to_median,
        init_scale: float = 0.1,
        create_plates: Callable[..., Any] | None = None,
        *,
        conditionals: str | Mapping[str, str | Callable[[], Any]] = "normal",
        dependencies: Mapping[str, Mapping[str, str | Callable[[Any], Any]]] | None = None,
    ) -> None:
        super().__init__(model, prefix, init_loc_fn, create_plates)
        self.init_scale = require_scale(init_scale)
        self.conditionals = _checked_conditionals(conditionals)
        self.dependencies = _checked_dependencies(dependencies or {})

    def _learn(self, trace: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super()._learn(trace, args, kwargs)
        if not isinstance(self.conditionals, str):
            self._refuse_unknown("conditionals", self.conditionals)
        self._refuse_unknown("dependencies", [name for pair in self.dependencies.items() for name in (pair[0], *pair[1])])
        # Sites follow those they depend on, which makes the whole covariance's factor triangular.
        graph = TopologicalSorter({name: self.dependencies.get(name, {}) for name in self.sites})
        places, sites, offset = {site.name: site for site in self.latents.sites}, [], 0
        for name in graph.static_order():
            sites.append(replace(places[name], offset=offset))
            offset += places[name].size
        self.latents = LatentSpace(sites, {site.name: self.latents.supports[site.name] for site in sites})
        start = {name: site["value"] for name, site in self.sites.items()}
        self.initial = autodiff.stop_gradient(self.latents.unconstrain(start))
        self.sizes = {site.name: site.size for site in sites}
        self._normal_sites = [name for name in self.sizes if self._family(name) == "normal"]
        self._linear = [
            (upstream, name)
            for name in self.sizes
            for upstream, dependency in self.dependencies.get(name, {}).items()
            if dependency == LINEAR
        ]

    def _refuse_unknown(self, what: str, named: Any) -> None:
        unknown = [name for name in named if name not in self.sites]
        if unknown:
            raise InferenceError(
                f"the {what} of AutoStructured name the site {unknown[0]!r}, which is no latent site of the model; expected some "
                f"of {sorted(self.sites)}, received {sorted(set(named))}; try the name as the model spells it"
            )

    def _family(self, name: str) -> Any:
        return self.conditionals if isinstance(self.conditionals, str) else self.conditionals.get(name, "normal")

    @property
    def _is_normal(self) -> bool:
        """Whether the whole is a normal distribution, perhaps without noise in some directions."""
        families = [self._family(name) for name in self.sizes]
        return all(isinstance(family, str) for family in families) and len(self._linear) == sum(
            len(upstream) for upstream in self.dependencies.values()
        )

    def param_names(self) -> list[str]:
        """Return the names of the guide's own params, once it has run; callables may have more."""
        if self.prototype_trace is None:
            return []
        names = ["loc", *(["scale"] if self._normal_sites else []), *(["weights"] if self._linear else [])]
        names += [f"{name}_scale_tril" for name in self.sizes if self._family(name) == "mvn"]
        return [f"{self.prefix}_{name}" for name in names]

    def _loc(self) -> Any:
        return param(f"{self.prefix}_loc", lambda: self.initial)

    def _full(self, size: int, value: float) -> Any:
        return ops.full((size,), value, dtype=ops.dtype_name(self.initial))

    def _scale(self) -> Any:
        size = sum(self.sizes[name] for name in self._normal_sites)
        return param(f"{self.prefix}_scale", lambda: self._full(size, self.init_scale), constraint=constraints.positive)

    def _scale_tril(self, name: str) -> Any:
        def start() -> Any:
            return ops.diag_embed(self._full(self.sizes[name], self.init_scale))

        return param(f"{self.prefix}_{name}_scale_tril", start, constraint=constraints.lower_cholesky)

    def _weights(self) -> dict[tuple[str, str], Any]:
        """Return the matrix of each linear dependency, rows by the elements of the site depended on."""
        if not self._linear:
            return {}
        shapes = {(upstream, name): (self.sizes[upstream], self.sizes[name]) for upstream, name in self._linear}
        total = sum(rows * columns for rows, columns in shapes.values())
        flat, matrices, offset = param(f"{self.prefix}_weights", lambda: self._full(total, 0.0)), {}, 0
        for pair, (rows, columns) in shapes.items():
            matrices[pair] = ops.reshape(flat[offset : offset + rows * columns], (rows, columns))
            offset += rows * columns
        return matrices

    def _noise(self, draw: Callable[[str, Any], Any]) -> dict[str, Any]:
        """Return the noise of each site that has some, of shape ``(*batch, size)``; ``draw(name, fn)`` draws it."""
        noise = {}
        if self._normal_sites:
            scale = self._scale()
            vector, offset = draw(f"_{self.prefix}_latent", Normal(ops.zeros_like(scale), scale).to_event(1)), 0
            for name in self._normal_sites:
                noise[name] = vector[..., offset : offset + self.sizes[name]]
                offset += self.sizes[name]
        for name, size in self.sizes.items():
            family = self._family(name)
            if family == "mvn":
                fn = MultivariateNormal(self._full(size, 0.0), scale_tril=self._scale_tril(name))
                noise[name] = draw(f"_{self.prefix}_{name}_latent", fn)
            elif callable(family):
                noise[name] = self._sized(f"the conditional of site {name!r}", name, family())
        return noise

    def _sized(self, what: str, name: str, value: Any) -> Any:
        value = ops.array(value)
        if not ops.ndim(value) and self.sizes[name] == 1:
            return ops.expand_dims(value, 0)
        if not ops.ndim(value) or ops.shape(value)[-1] != self.sizes[name]:
            raise InferenceError(
                f"{what} in AutoStructured returned shape {tuple(ops.shape(value))}; expected (..., {self.sizes[name]}), the "
                f"unconstrained elements of {name!r} in its last dimension; try a distribution of event shape "
                f"({self.sizes[name]},), such as Normal(ops.zeros({self.sizes[name]}), 1.0).to_event(1)"
            )
        return value

    def _deviations(self, noise: Mapping[str, Any]) -> Any:
        """Return the vector's deviation from its location, of shape ``(*batch, latent_dim)``."""
        weights, batch = self._weights(), self._batch(noise)
        deviations: dict[str, Any] = {}
        for name, size in self.sizes.items():
            total = noise.get(name)
            for upstream, dependency in self.dependencies.get(name, {}).items():
                above = deviations[upstream]
                if dependency != LINEAR:
                    taken = self._sized(f"the dependency of site {name!r} on {upstream!r}", name, dependency(above))
                elif self.sizes[upstream] == 1:
                    taken = above * weights[upstream, name][0]
                else:
                    taken = ops.matmul(above, weights[upstream, name])
                total = taken if total is None else total + taken
            total = self._full(size, 0.0) if total is None else total
            deviations[name] = total if ops.ndim(total) > len(batch) else ops.broadcast_to(total, (*batch, size))
        return ops.concat(list(deviations.values()), axis=-1)

    def _batch(self, noise: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the leading dimensions of the noise, the same for all sites, or none."""
        shapes = {name: tuple(ops.shape(value))[:-1] for name, value in noise.items()}
        batch = next((shape for shape in shapes.values() if shape), ())
        for name, shape in shapes.items():
            if shape not in ((), batch):
                raise InferenceError(
                    f"the noise of site {name!r} in AutoStructured has the leading dimensions {shape}, but that of others "
                    f"{batch}; expected the same; try to draw it as one event, such as Normal(ops.zeros("
                    f"{self.sizes[name]}), 1.0).to_event(1)"
                )
        return batch

    def sample_latent(self, *args: Any, **kwargs: Any) -> Any:
        """Return a draw of the unconstrained vector, whose noises are auxiliary sites."""
        with self.active():
            self.setup(*args, **kwargs)
            return self._loc() + self._deviations(self._noise(lambda name, fn: sample(name, fn, infer={"is_auxiliary": True})))

    def _draw_posterior(self, shape: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if not self._is_normal:
            return AutoGuide._draw_posterior(self, shape, args, kwargs)
        vector = self._loc() + self._deviations(self._noise(lambda name, fn: fn.sample(shape)))
        return self.latents.constrain(ops.broadcast_to(vector, (*shape, self.latent_dim)))

    def _factor(self) -> Any:
        """Return the lower triangular factor of the covariance: each standard normal number, taken through the guide alone."""
        if not self._is_normal:
            raise InferenceError(
                "an AutoStructured with a callable among its conditionals or dependencies is no known distribution; expected "
                "words alone; try the draws of sample_posterior(...)"
            )
        rows, noise = {}, {}
        if self._normal_sites:
            scale, offset = self._scale(), 0
            for name in self._normal_sites:
                rows[name] = ops.diag_embed(scale[offset : offset + self.sizes[name]])
                offset += self.sizes[name]
        for site in self.latents.sites:
            family = self._family(site.name)
            if family != "delta":
                own = rows[site.name] if family == "normal" else ops.matrix_transpose(self._scale_tril(site.name))
                after = self.latent_dim - site.offset - site.size
                parts = [ops.zeros((count, site.size), dtype=ops.dtype_name(own)) for count in (site.offset, after)]
                noise[site.name] = ops.concat([parts[0], own, parts[1]], axis=0)
        deviations = ops.broadcast_to(self._deviations(noise), (self.latent_dim, self.latent_dim))
        return ops.matrix_transpose(deviations)

    def get_posterior(self, *args: Any, **kwargs: Any) -> Any:
        """Return the normal distribution over the unconstrained vector; arguments are the model's, or fitted params.

        :raises InferenceError: if a site has no noise, or a conditional or dependency is a callable.
        """
        with self.active(), self._with_params(args, kwargs):
            still = [name for name in self.sizes if self._family(name) == "delta"]
            if still and self._is_normal:
                raise InferenceError(
                    f"site {still[0]!r} of AutoStructured is a 'delta', so that the whole has no density; expected noise in "
                    f"every site; try conditionals={{{still[0]!r}: 'normal'}}, or the draws of sample_posterior(...)"
                )
            return MultivariateNormal(self._loc(), scale_tril=self._factor())

    def _moments(self, covariance: bool) -> tuple[Any, Any]:
        factor = self._factor()
        if not covariance:
            return self._loc(), ops.sum(factor**2, axis=-1)
        # A site without noise leaves the whole without a density, as a point among the parts of a list does.
        still = any(self._family(name) == "delta" for name in self.sizes)
        return self._loc(), None if still else ops.matmul(factor, ops.matrix_transpose(factor))


def _checked_conditionals(given: Any) -> Any:
    if not isinstance(given, (str, Mapping)):
        raise InferenceError(
            f"the conditionals of AutoStructured are one word or a dict by site, received {type(given).__name__}; try "
            'conditionals="normal"'
        )
    families = {"all sites": given} if isinstance(given, str) else dict(given)
    for name, family in families.items():
        if not callable(family) and family not in CONDITIONALS:
            raise InferenceError(
                f"the conditional of {name!r} in AutoStructured is {family!r}; expected one of {list(CONDITIONALS)} or a "
                'callable that samples noise around zero; try "normal"'
            )
    return given if isinstance(given, str) else families


def _checked_dependencies(given: Any) -> dict[str, dict[str, Any]]:
    advice = 'try dependencies={"y": {"x": "linear"}} where y depends on x'
    if not isinstance(given, Mapping):
        raise InferenceError(f"the dependencies of AutoStructured are a dict by site, received {given!r}; {advice}")
    for name, upstream in given.items():
        if not isinstance(upstream, Mapping):
            raise InferenceError(
                f"the dependencies of site {name!r} in AutoStructured are a dict by site, received {upstream!r}; {advice}"
            )
        for other, dependency in upstream.items():
            if not callable(dependency) and dependency != LINEAR:
                raise InferenceError(
                    f"the dependency of site {name!r} on {other!r} in AutoStructured is {dependency!r}; expected 'linear' or a "
                    f"callable from deviations to deviations; {advice}"
                )
    try:
        TopologicalSorter(given).prepare()
    except CycleError as found:
        raise InferenceError(
            f"the dependencies of AutoStructured form a circle: {' -> '.join(map(repr, found.args[1]))}; expected an order in "
            "which each site depends on earlier ones; try to leave one of them out"
        ) from None
    return {name: dict(upstream) for name, upstream in given.items()}
