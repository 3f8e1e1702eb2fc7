"""Means and variances of gradient estimators, exactly: summed over everything that the guide can draw."""

import estimator_cases as cases
import numpy
import pytest

from ppl import ops
from ppl.infer.elbo import Trace_ELBO, TraceGraph_ELBO
from ppl.infer.elbo.downstream import common, plates_of
from ppl.infer.elbo.score_function import gather
from ppl.ops import autodiff
from ppl.testing.numeric import assert_close


class KeptApart(TraceGraph_ELBO):
    """The wrong estimator: it trusts plates even behind a site that collects their elements."""

    def weigh(self, name, site, score, guide_sites, model_sites):
        own = plates_of(site)
        parts = [({n: common(own, plates_of(s)) for n, s in sites}, sites) for sites in (model_sites, guide_sites)]
        cost = gather(model_sites, parts[0][0], 1.0) + gather(guide_sites, parts[1][0], -1.0)
        return ops.sum(autodiff.stop_gradient(cost) * score)


class OwnCost(TraceGraph_ELBO):
    """The wrong estimator: it forgets what later sites cost."""

    def weigh(self, name, site, score, guide_sites, model_sites):
        return super().weigh(name, site, score, [(name, site)], [pair for pair in model_sites if pair[0] == name])


@pytest.mark.parametrize("case", cases.CASES)
def test_unbiased_and_graph_varies_at_most_as_much_as_trace(backend, case):
    exact, spread = cases.CASES[case], {}
    for loss in (Trace_ELBO, TraceGraph_ELBO):
        mean_loss, mean, variance = exact.moments(loss())
        assert_close(mean_loss, exact.loss(exact.point))
        for name, slope in exact.gradient.items():
            assert_close(mean[name], slope, rtol=1e-8, atol=1e-9)
        spread[loss] = sum(part.sum() for part in variance.values())
    assert spread[TraceGraph_ELBO] <= spread[Trace_ELBO] * (1 + 1e-12)
    if case in ("chain", "loop"):
        assert spread[TraceGraph_ELBO] < 0.9 * spread[Trace_ELBO]


@pytest.mark.parametrize(("wrong", "case"), [(KeptApart, "collecting site"), (OwnCost, "chain")])
def test_wrong_costs_are_found(backend, wrong, case):
    exact = cases.CASES[case]
    _, mean, _ = exact.moments(wrong())
    errors = [numpy.abs(mean[name] - slope).max() for name, slope in exact.gradient.items()]
    assert max(errors) > 1e-3
