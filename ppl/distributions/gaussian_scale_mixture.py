"""Mixtures of normals of mean zero that differ in width."""

import math

from ppl import constraints, ops
from ppl.distributions.velocity import NormalMixture, check_components


class GaussianScaleMixture(NormalMixture):
    r"""Mixture of :math:`K` normals of mean zero over vectors of length :math:`D`, of scales :math:`\lambda_k \sigma_i`.

    .. math:: p(x) = \sum_{k=1}^K \pi_k \prod_{i=1}^D N(x_i; 0, (\lambda_k \sigma_i)^2), \quad \pi \propto e^{\ell}

    :param coord_scale: :math:`\sigma`, scales of the coordinates, of shape ``(..., D)``; positive.
    :param component_logits: :math:`\ell`, logarithms of weights up to a constant, of shape ``(..., K)``.
    :param component_scale: :math:`\lambda`, factors by which the components are wider, of shape ``(..., K)``; positive.
    :raises ConstraintError: if a scale has a non-positive element.
    :raises ShapeError: if the two parameters of the components differ in length.

    Draws have pathwise derivatives to all three (Jankowiak and Karaletsos 2018, arXiv:1806.01856), in even and odd dimensions.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.GaussianScaleMixture(ops.array([1.0, 2.0]), ops.array([0.0, 1.0]), ops.array([1.0, 3.0]))
    >>> round(float(d.log_prob(ops.array([0.5, 0.5]))), 4)
    -3.7026
    """

    arg_constraints = {
        "coord_scale": constraints.independent(constraints.positive, 1),
        "component_logits": constraints.real_vector,
        "component_scale": constraints.independent(constraints.positive, 1),
    }

    def __init__(self, coord_scale, component_logits, component_scale, *, validate_args=None):
        (self.coord_scale, self.component_logits, self.component_scale), batch_shape = self.promote_events(
            (coord_scale, 1), (component_logits, 1), (component_scale, 1)
        )
        check_components(
            "GaussianScaleMixture",
            components={"component_logits": self.component_logits.shape[-1], "component_scale": self.component_scale.shape[-1]},
        )
        super().__init__(batch_shape, tuple(self.coord_scale.shape[-1:]), validate_args=validate_args)

    def _components(self):
        scales = ops.expand_dims(self.component_scale, -1) * ops.expand_dims(self.coord_scale, -2)
        return ops.zeros_like(scales), scales

    def _weight_field(self, value, log_density, locs, scales, probs):
        r"""Move the mass along rays from the origin.

        With every coordinate divided by its scale all components are round, and what component :math:`k` holds beyond the
        radius :math:`r` of the draw flows through the sphere of area :math:`A r^{D-1}` that it lies on:
        :math:`w_k = x P_k(R > r) / (A r^D p(x))`, where :math:`P_k(R > r) = \Gamma(D / 2, \rho_k) / \Gamma(D / 2)` and
        :math:`\rho_k = r^2 / 2 \lambda_k^2`.
        """
        dim = value.shape[-1]
        # Half the squared radius in scales of each component; not zero, whose logarithm is infinite.
        reduced = 0.5 * ops.sum(ops.square(ops.expand_dims(value, -2) / scales), axis=-1)
        reduced = ops.maximum(reduced, ops.full_like(reduced, ops.finfo(value.dtype).tiny))
        log_area = math.log(2.0) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)
        # A density over x, times the product of the scales, is one over x in scales; any component's scales will do.
        log_volume = ops.sum(ops.log(scales[..., :1, :]), axis=-1) + 0.5 * dim * ops.log(2.0 * reduced[..., :1])
        flow = _mass_beyond(reduced, dim) * ops.exp(-log_area - log_volume - log_density)
        return ops.expand_dims(flow, -1) * ops.expand_dims(value, -2)


def _mass_beyond(reduced, dim):
    r"""Return :math:`\Gamma(D / 2, \rho) / \Gamma(D / 2)` by its finite sum, where the general function would iterate.

    From one shape to the next it grows by :math:`\rho^a e^{-\rho} / \Gamma(a + 1)`, from 0 at shape 0 in even dimensions and
    from :math:`\mathrm{erfc} \sqrt\rho` at shape 1/2 in odd ones.
    """
    first = 0.5 * (dim % 2)
    shapes = ops.astype(ops.arange(dim // 2), reduced.dtype) + first
    log_terms = shapes * ops.expand_dims(ops.log(reduced), -1) - ops.expand_dims(reduced, -1) - ops.gammaln(shapes + 1.0)
    mass = ops.sum(ops.exp(log_terms), axis=-1)
    return mass + ops.erfc(ops.sqrt(reduced)) if dim % 2 else mass
