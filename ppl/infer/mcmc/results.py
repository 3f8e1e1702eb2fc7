"""What a run of chains leaves behind."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from ppl import registry
from ppl.errors import InferenceError
from ppl.infer.abstract_infer import Marginals
from ppl.infer.posterior import Posterior


class MCMCMarginals(Marginals):
    """The marginal distributions of some sites of a run of chains, with their diagnostics.

    :param trace_posterior: an :class:`~ppl.infer.MCMC` that was run.
    :param sites: a name or a list of names, by default of every latent and deterministic site.

    >>> import numpy
    >>> from ppl import infer
    >>> from ppl.infer.mcmc import MCMCMarginals
    >>> draws = infer.Posterior({"x": numpy.sin(0.2 * numpy.arange(40)).reshape(2, 20)})
    >>> {name: round(float(value), 4) for name, value in MCMCMarginals(draws, "x").diagnostics()["x"].items()}
    {'n_eff': 4.7826, 'r_hat': 1.6705}
    """

    def __init__(
        self, trace_posterior: Posterior, sites: str | Iterable[str] | None = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(trace_posterior, sites, validate_args)
        self._posterior = trace_posterior

    def diagnostics(self) -> OrderedDict[str, Any]:
        """Return ``n_eff`` (bulk effective sample size) and ``r_hat`` (rank-normalised and split) of each site.

        :raises InferenceError: for a site of which no draws are kept, such as ``"_RETURN"``.
        """
        found = self._posterior.diagnostics(self.sites)
        return OrderedDict((name, found[name]) for name in self.sites)


class Results(Posterior):
    """The results of a driver of chains, which calls :meth:`_hold` after a run and :meth:`_drop` before the next."""

    def _drop(self) -> None:
        """Forget the draws of the run before."""
        self._samples = None

    def _kept(self) -> dict[str, Any]:
        if self._samples is None:
            raise InferenceError(
                "there are no draws: expected mcmc.run(...) to have finished at least one chunk after warm-up; call it"
            )
        return self._samples

    def marginal(self, sites: str | Sequence[str] | None = None) -> MCMCMarginals:
        with registry.using(self.backend):
            return MCMCMarginals(self, sites)

    marginal.__doc__ = Posterior.marginal.__doc__
