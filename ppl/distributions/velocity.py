r"""Mixtures of normals whose draws carry the derivative of a velocity field.

A parameter :math:`\theta` moves the mass of a density :math:`p_\theta` as a flow of velocity :math:`v` if the two satisfy the
transport equation

.. math:: \partial_\theta p_\theta + \nabla \cdot (p_\theta v) = 0,

and then :math:`\partial_\theta E[f(x)] = E[v \cdot \nabla f(x)]` (Jankowiak and Karaletsos 2018, arXiv:1806.01856).
A draw that has the value of ``x`` and the derivative ``v`` gives that estimator through any automatic differentiation:
``stop(x) + stop(v) * (theta - stop(theta))``. The derivative of first order is right; those of higher order are not.
"""

from abc import abstractmethod

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import CONTINUOUS, NO_CLOSED_FORM, VECTOR
from ppl.distributions.normal import HALF_LOG_TWO_PI
from ppl.errors import ShapeError
from ppl.ops import random
from ppl.ops.autodiff import stop_gradient


class NormalMixture(Distribution):
    r"""Mixture of :math:`K` normal distributions over vectors of length :math:`D`, each of diagonal covariance; abstract.

    .. math:: p(x) = \sum_k \pi_k q_k(x), \quad q_k = N(\mu_k, \mathrm{diag}(\sigma_k^2)), \quad \pi \propto e^{\ell}

    A concrete family has ``component_logits``, gives all means and scales in ``_components``, and solves the transport equation
    for the weights in ``_weight_field``. The means and scales need no solution of their own: with
    :math:`r_k = \pi_k q_k / p` the velocity of a parameter of component :math:`k` is :math:`r_k` times that of the component
    alone, which is a shift or a stretch.
    """

    support = constraints.real_vector
    has_rsample = True
    gaps = {**VECTOR, **CONTINUOUS, "entropy": NO_CLOSED_FORM}

    @abstractmethod
    def _components(self):
        """Return means and scales, both of shape ``batch_shape + (K, D)``."""

    @abstractmethod
    def _weight_field(self, value, log_density, locs, scales, probs):
        r"""Return, for each component, the velocity :math:`w_k` at ``value`` of its weight, of shape ``(..., K, D)``.

        Weights that change by :math:`d\pi`, of sum zero, move the mass by :math:`\sum_k w_k \, d\pi_k`: the fields satisfy
        :math:`\nabla \cdot (p w_k) = c - q_k` with :math:`c` the same for all components.
        """

    @property
    def mean(self):
        """The average of the component means."""
        return _average(ops.softmax(self.component_logits, axis=-1), self._components()[0])

    @property
    def variance(self):
        """The variance of each coordinate: within the components and between them."""
        probs = ops.softmax(self.component_logits, axis=-1)
        locs, scales = self._components()
        centred = locs - ops.expand_dims(_average(probs, locs), -2)
        return _average(probs, ops.square(scales) + ops.square(centred))

    def sample(self, sample_shape=(), rng_key=None):
        logits, locs, scales = stop_gradient((self.component_logits, *self._components()))
        key_component, key_noise = random.split(rng_key)
        shape = self.shape(sample_shape)
        component = random.categorical(key_component, logits, shape[:-1])
        noise = random.normal(key_noise, shape, self.dtype)
        return _choose(locs, component) + _choose(scales, component) * noise

    def rsample(self, sample_shape=(), rng_key=None):
        return self._attach_gradients(self.sample(sample_shape, rng_key))

    def _attach_gradients(self, value):
        """Return ``value`` with the velocities of the parameters as its derivatives."""
        locs, scales = self._components()
        probs = ops.softmax(self.component_logits, axis=-1)
        fixed_locs, fixed_scales, fixed_probs = stop_gradient((locs, scales, probs))
        noise = (ops.expand_dims(value, -2) - fixed_locs) / fixed_scales
        log_joint = _log_joint(stop_gradient(self.component_logits), noise, fixed_scales)
        log_density = ops.logsumexp(log_joint, axis=-1, keepdims=True)
        responsibility = ops.expand_dims(ops.exp(log_joint - log_density), -1)
        field = self._weight_field(value, log_density, fixed_locs, fixed_scales, fixed_probs)
        # Of the three differences each is zero; their derivatives are not.
        moved = responsibility * ((locs - fixed_locs) + noise * (scales - fixed_scales))
        return value + ops.sum(moved + field * ops.expand_dims(probs - fixed_probs, -1), axis=-2)

    def log_prob(self, value):
        locs, scales = self._components()
        noise = (ops.expand_dims(value, -2) - locs) / scales
        return ops.logsumexp(_log_joint(self.component_logits, noise, scales), axis=-1)


def check_components(family, **sizes):
    """Refuse parameters that disagree on how many components or coordinates there are.

    :param sizes: for each axis, what each parameter says: ``components={"locs": 3, "component_logits": 2}``.
    :raises ShapeError: naming the axis and the sizes.
    """
    for axis, named in sizes.items():
        if len(set(named.values())) > 1:
            received = ", ".join(f"{size} in {name!r}" for name, size in named.items())
            raise ShapeError(f"{family}: parameters differ in the number of {axis}; expected one number, received {received}")


def cdf_difference(lower, upper):
    """Return the standard normal probability between two numbers, to full relative precision in both tails."""
    # Both in the right tail: by symmetry the left one, where differences of small numbers are exact.
    flipped = lower + upper > 0.0
    return ops.ndtr(ops.where(flipped, -lower, upper)) - ops.ndtr(ops.where(flipped, -upper, lower))


def pairwise_field(value, log_density, locs, scale, probs):
    r"""Return the velocities that move mass between normals of one diagonal covariance, along the lines between their means.

    With every coordinate divided by its scale the two normals of a pair differ in one direction :math:`n_{jk}`, from mean
    :math:`k` to mean :math:`j`, and agree across it. The flow along the line through ``value``,

    .. math:: u_{jk} = n_{jk} \, \phi_{D-1}(x_\perp) \, [\Phi(x_\parallel - \mu_k) - \Phi(x_\parallel - \mu_j)],

    with means along the line, turns the one into the other, :math:`\nabla \cdot u_{jk} = q_k - q_j`, and
    :math:`w_j = \sum_k \pi_k u_{jk} / p` (Jankowiak and Karaletsos 2018, the section on mixtures). Its variance grows with the
    distance between the means in scales: what flows from one mode to another crosses a desert where few draws carry it all.

    :param value: draws, ``(..., D)``.
    :param log_density: log density of the mixture at them, ``(..., 1)``.
    :param locs: means, ``(..., K, D)``.
    :param scale: the scale that all share, ``(..., D)``.
    :param probs: weights, ``(..., K)``.
    """
    scale = ops.expand_dims(scale, -2)
    offsets = (ops.expand_dims(value, -2) - locs) / scale
    centres = (locs - ops.mean(locs, axis=-2, keepdims=True)) / scale
    squared = ops.sum(ops.square(ops.expand_dims(centres, -2) - ops.expand_dims(centres, -3)), axis=-1)
    apart = squared > 0.0
    lengths = ops.sqrt(ops.where(apart, squared, ops.ones_like(squared)))
    # Of draw, j and k: how far the draw lies beyond mean j, and beyond mean k, on the way from k to j. Products with the
    # directions are left as differences of products with the means, so that no array has all of draws, pairs and coordinates.
    products = offsets @ ops.matrix_transpose(centres)
    beyond_target = (ops.expand_dims(ops.diagonal(products), -1) - products) / lengths
    beyond_source = beyond_target + ops.where(apart, lengths, ops.zeros_like(lengths))
    distances = ops.sum(ops.square(offsets), axis=-1)
    from_target = ops.expand_dims(distances, -1) - ops.square(beyond_target)
    from_source = ops.expand_dims(distances, -2) - ops.square(beyond_source)
    # The two are equal but for rounding, which the nearer mean has less of.
    nearer = ops.abs(beyond_target) <= ops.abs(beyond_source)
    across = ops.maximum(ops.where(nearer, from_target, from_source), ops.zeros_like(from_target))
    normalizer = (value.shape[-1] - 1) * HALF_LOG_TWO_PI + ops.sum(ops.log(scale), axis=-1)
    relative = ops.exp(-0.5 * across - ops.expand_dims(normalizer + log_density, -1))
    flow = ops.expand_dims(probs, -2) * relative * cdf_difference(beyond_target, beyond_source) / lengths
    return scale * (ops.sum(flow, axis=-1, keepdims=True) * centres - flow @ centres)


def _log_joint(logits, noise, scales):
    """Return the logarithm of weight times density of each component at its standardised ``noise``."""
    log_densities = -0.5 * ops.square(noise) - ops.log(scales) - HALF_LOG_TWO_PI
    return ops.log_softmax(logits, axis=-1) + ops.sum(log_densities, axis=-1)


def _average(probs, components):
    return ops.sum(ops.expand_dims(probs, -1) * components, axis=-2)


def _choose(table, component):
    """Return the row of ``table``, of shape ``batch + (K, D)``, for each index in ``component``, of shape ``sample + batch``."""
    missing = len(component.shape) - (len(table.shape) - 2)
    table = ops.reshape(table, (1,) * missing + tuple(table.shape)) if missing else table
    index = ops.expand_dims(ops.expand_dims(component, -1), -1)
    return ops.squeeze(ops.take_along_axis(table, index, axis=-2), -2)
