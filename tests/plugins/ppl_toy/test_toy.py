"""The toy is a backend: the whole kit finds no fault, asks every function, and its draws are those of numpy."""

import ppl_toy

import ppl
from ppl import distributions as dist
from ppl.backend import CONTRACT
from ppl.testing import RecordedRandom, assert_backend_ok


def test_contract():
    print(assert_backend_ok("toy"))
    declared = {f"{part}.{name}" for part in ppl_toy.ARRAY_PARTS for name in CONTRACT[part]}
    assert declared <= set(ppl_toy.calls)


def test_draws_of_numpy():
    recorded = RecordedRandom("numpy")
    with ppl.pyro_backend(recorded):
        first = ppl.sample("x", dist.Gamma(2.0, 1.0)) + ppl.sample("y", dist.Normal(0.0, 1.0))
    with ppl.pyro_backend(recorded.on("toy")):
        assert ppl.sample("x", dist.Gamma(2.0, 1.0)) + ppl.sample("y", dist.Normal(0.0, 1.0)) == first
