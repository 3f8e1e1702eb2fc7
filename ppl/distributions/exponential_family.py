"""The base class of exponential families."""

from ppl import ops
from ppl.distributions.distribution import Distribution


class ExponentialFamily(Distribution):
    r"""Base class of families whose density is an exponential of an inner product.

    .. math:: p(x; \eta) = h(x) \, e^{\langle t(x), \eta \rangle - A(\eta)}

    A family that defines the three members below has its entropy from them; others of the library derive from this class to say
    what they are, and define their own entropy.

    - ``_natural_params``: a tuple of arrays, :math:`\eta`.
    - ``_log_normalizer(*natural_params)``: :math:`A(\eta)`, of the batch shape.
    - ``_mean_carrier_measure``: :math:`E[\log h(x)]`, zero by default.

    :param batch_shape: shape of independent, not identical, copies.
    :param event_shape: shape of one draw of one copy.
    :param validate_args: whether to check parameters and values; ``None`` follows ``ppl.enable_validation``.

    >>> from ppl import distributions as dist
    >>> isinstance(dist.Gamma(2.0), dist.ExponentialFamily), isinstance(dist.StudentT(2.0), dist.ExponentialFamily)
    (True, False)
    """

    _mean_carrier_measure = 0.0

    @property
    def _natural_params(self):
        raise self._lacks("natural parameters")

    def _log_normalizer(self, *natural_params):
        raise self._lacks("log normalizer")

    def entropy(self):
        r"""Return the entropy in nats: :math:`A(\eta) - \langle \eta, \nabla A(\eta) \rangle - E[\log h(x)]`.

        Source: F. Nielsen and R. Nock, "Entropies and cross-entropies of exponential families", ICIP 2010.

        :raises GapError: if the family defines no natural parameters.
        """
        natural = tuple(self._natural_params)
        slopes = ops.autodiff.grad(lambda parameters: ops.sum(self._log_normalizer(*parameters)))(natural)
        entropy = self._log_normalizer(*natural) - self._mean_carrier_measure
        for parameter, slope in zip(natural, slopes, strict=True):
            entropy = entropy - ops.sum_rightmost(parameter * slope, len(parameter.shape) - len(self.batch_shape))
        return entropy
