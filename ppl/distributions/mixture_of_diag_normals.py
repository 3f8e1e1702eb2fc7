"""Mixtures of normals, each with its own diagonal covariance."""

from ppl import constraints, ops
from ppl.distributions.normal import HALF_LOG_TWO_PI
from ppl.distributions.velocity import NormalMixture, cdf_difference, check_components, pairwise_field


class MixtureOfDiagNormals(NormalMixture):
    r"""Mixture of :math:`K` normals over vectors of length :math:`D`, of means :math:`\mu_k` and scales :math:`\sigma_k`.

    .. math:: p(x) = \sum_{k=1}^K \pi_k \prod_{i=1}^D N(x_i; \mu_{ki}, \sigma_{ki}^2), \quad \pi \propto e^{\ell}

    :param locs: :math:`\mu`, the means, of shape ``(..., K, D)``; any real numbers.
    :param coord_scale: :math:`\sigma`, the standard deviations, of shape ``(..., K, D)``; positive.
    :param component_logits: :math:`\ell`, logarithms of weights up to a constant, of shape ``(..., K)``.
    :raises ConstraintError: if ``coord_scale`` has a non-positive element.
    :raises ShapeError: if the parameters differ in :math:`K` or :math:`D`.

    Draws have pathwise derivatives to all three (Jankowiak and Karaletsos 2018, arXiv:1806.01856). That to the weights grows
    with the distance between the components; a mixture of far modes is better served by ``MixtureSameFamily``.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.MixtureOfDiagNormals(ops.array([[0.0, 0.0], [1.0, -1.0]]), ops.ones((2, 2)), ops.array([0.0, 1.0]))
    >>> round(float(d.log_prob(ops.array([0.5, 0.5]))), 4)
    -2.708
    """

    arg_constraints = {
        "locs": constraints.independent(constraints.real, 2),
        "coord_scale": constraints.independent(constraints.positive, 2),
        "component_logits": constraints.real_vector,
    }

    def __init__(self, locs, coord_scale, component_logits, *, validate_args=None):
        (self.locs, self.coord_scale, self.component_logits), batch_shape = self.promote_events(
            (locs, 2), (coord_scale, 2), (component_logits, 1)
        )
        parameters = {"locs": self.locs.shape, "coord_scale": self.coord_scale.shape}
        check_components(
            "MixtureOfDiagNormals",
            components={name: shape[-2] for name, shape in parameters.items()}
            | {"component_logits": self.component_logits.shape[-1]},
            coordinates={name: shape[-1] for name, shape in parameters.items()},
        )
        super().__init__(batch_shape, tuple(self.locs.shape[-1:]), validate_args=validate_args)

    def _components(self):
        return self.locs, self.coord_scale

    def _weight_field(self, value, log_density, locs, scales, probs):
        """Shrink each component to the narrowest scales of all, then move the mass between normals of those.

        The narrowest, because the density on the way must not have wider tails than the mixture: the velocity is their ratio.
        """
        narrowest = ops.min(scales, axis=-2)
        moved = pairwise_field(value, log_density, locs, narrowest, probs)
        return moved + _stretching_field(value, log_density, locs, scales, narrowest)


def _stretching_field(value, log_density, locs, scales, narrowest):
    r"""Return the velocities that widen normals of scales ``narrowest`` to their own, coordinate after coordinate.

    While coordinate :math:`i` is stretched, those before it are still narrow and those behind it are wide already, and the
    flow is that of one dimension: :math:`p w_{ki} = [\Phi(\epsilon_i / s) - \Phi(\epsilon_i)] \prod_{m < i} q^s_m
    \prod_{m > i} q_m`, with :math:`s` for narrow.
    """
    narrowest = ops.expand_dims(narrowest, -2)
    centred = ops.expand_dims(value, -2) - locs
    wide, narrow = centred / scales, centred / narrowest
    log_wide = -0.5 * ops.square(wide) - ops.log(scales) - HALF_LOG_TWO_PI
    log_narrow = -0.5 * ops.square(narrow) - ops.log(narrowest) - HALF_LOG_TWO_PI
    before = ops.cumsum(log_narrow, axis=-1) - log_narrow
    behind = ops.sum(log_wide, axis=-1, keepdims=True) - ops.cumsum(log_wide, axis=-1)
    return ops.exp(before + behind - ops.expand_dims(log_density, -1)) * cdf_difference(wide, narrow)
