"""Mixtures of normals of one diagonal covariance."""

from ppl import constraints, ops
from ppl.distributions.velocity import NormalMixture, check_components, pairwise_field


class MixtureOfDiagNormalsSharedCovariance(NormalMixture):
    r"""Mixture of :math:`K` normals over vectors of length :math:`D`, of means :math:`\mu_k` and the same scales :math:`\sigma`.

    .. math:: p(x) = \sum_{k=1}^K \pi_k \prod_{i=1}^D N(x_i; \mu_{ki}, \sigma_i^2), \quad \pi \propto e^{\ell}

    :param locs: :math:`\mu`, the means, of shape ``(..., K, D)``; any real numbers.
    :param coord_scale: :math:`\sigma`, the standard deviations of all components, of shape ``(..., D)``; positive.
    :param component_logits: :math:`\ell`, logarithms of weights up to a constant, of shape ``(..., K)``.
    :raises ConstraintError: if ``coord_scale`` has a non-positive element.
    :raises ShapeError: if the parameters differ in :math:`K` or :math:`D`.

    Draws have pathwise derivatives to all three (Jankowiak and Karaletsos 2018, arXiv:1806.01856). That to the weights grows
    with the distance between the components; a mixture of far modes is better served by ``MixtureSameFamily``.

    >>> from ppl import distributions as dist, ops
    >>> locs = ops.array([[0.0, 0.0], [1.0, -1.0]])
    >>> d = dist.MixtureOfDiagNormalsSharedCovariance(locs, ops.array([1.0, 2.0]), ops.array([0.0, 1.0]))
    >>> round(float(d.log_prob(ops.array([0.5, 0.5]))), 4)
    -2.8637
    """

    arg_constraints = {
        "locs": constraints.independent(constraints.real, 2),
        "coord_scale": constraints.independent(constraints.positive, 1),
        "component_logits": constraints.real_vector,
    }

    def __init__(self, locs, coord_scale, component_logits, *, validate_args=None):
        (self.locs, self.coord_scale, self.component_logits), batch_shape = self.promote_events(
            (locs, 2), (coord_scale, 1), (component_logits, 1)
        )
        check_components(
            "MixtureOfDiagNormalsSharedCovariance",
            components={"locs": self.locs.shape[-2], "component_logits": self.component_logits.shape[-1]},
            coordinates={"locs": self.locs.shape[-1], "coord_scale": self.coord_scale.shape[-1]},
        )
        super().__init__(batch_shape, tuple(self.locs.shape[-1:]), validate_args=validate_args)

    def _components(self):
        return self.locs, ops.broadcast_to(ops.expand_dims(self.coord_scale, -2), tuple(self.locs.shape))

    def _weight_field(self, value, log_density, locs, scales, probs):
        return pairwise_field(value, log_density, locs, scales[..., 0, :], probs)
