"""Intermediates that spare work, and transforms that remember their last result."""

import copy
import pickle

import numpy as np
import pytest

from ppl import distributions as dist
from ppl import ops, transforms
from ppl.testing import assert_close, to_host

pytestmark = pytest.mark.strict

t = transforms


def test_intermediates_spare_the_parts(backend):
    calls = []

    class Counted(t.Transform):
        def __call__(self, x):
            calls.append("call")
            return 2.0 * x

        def log_abs_det_jacobian(self, x, y, intermediates=None):
            return ops.zeros_like(x) + float(np.log(2.0))

    chain = t.ComposeTransform([Counted(), t.StackTransform([t.ExpTransform(), Counted()], dim=-1), Counted()])
    x = ops.array([0.5, 1.0])
    y, intermediates = chain.call_with_intermediates(x)
    assert len(calls) == 3
    given = chain.log_abs_det_jacobian(x, y, intermediates)
    assert len(calls) == 3
    assert_close(given, [2 * np.log(2.0) + 1.0, 3 * np.log(2.0)])
    assert_close(chain.log_abs_det_jacobian(x, y), to_host(given))
    empty = t.ComposeTransform([])
    y, intermediates = empty.call_with_intermediates(x)
    assert to_host(empty.log_abs_det_jacobian(x, y, intermediates)).tolist() == [0.0, 0.0]


def test_a_cache_gives_back_what_rounding_lost(backend):
    far = ops.array([40.0, -60.0])
    plain, cached = t.TanhTransform(), t.TanhTransform().with_cache()
    assert not np.isfinite(to_host(plain.inv(plain(far)))).any()
    y = cached(far)
    assert to_host(cached.inv(y)).tolist() == [40.0, -60.0]
    assert_close(cached.log_abs_det_jacobian(far, y), to_host(plain.log_abs_det_jacobian(far, y)))
    # an equal array is not the same array, and an older result is forgotten
    assert not np.isfinite(to_host(cached.inv(y + 0.0))).any()
    cached(ops.array([1.0, 2.0]))
    assert not np.isfinite(to_host(cached.inv(y))).any()
    assert cached == t.TanhTransform().with_cache()
    assert cached.with_cache(0) == plain
    assert cached.with_cache() is cached
    assert repr(cached) == "TanhTransform().with_cache()"


def test_a_cache_makes_the_density_of_a_draw_finite(backend):
    base = dist.Normal(ops.array([40.0, -40.0]), 1.0)
    d = dist.TransformedDistribution(base, t.TanhTransform().with_cache())
    assert np.isfinite(to_host(d.log_prob(d.rsample((3,))))).all()


@pytest.mark.backends("numpy", "torch")
def test_a_cache_sees_that_an_array_was_written_to(backend):
    cached = t.AffineTransform(0.0, 2.0).with_cache()
    x = ops.array([1.0, 2.0])
    y = cached(x)
    x[0] = 7.0
    found = cached.inv(y)
    assert to_host(found).tolist() == [1.0, 2.0]
    found[0] = 9.0
    assert to_host(cached.inv(y)).tolist() == [1.0, 2.0]
    y[0] = 8.0
    assert to_host(cached.inv(y)).tolist() == [4.0, 2.0]


def test_a_cache_is_safe_in_compiled_code(backend):
    cached = t.TanhTransform().with_cache()

    def there_and_back(x):
        return cached.inv(cached(x))

    compiled = ops.compile.compile(there_and_back)
    for point in ([40.0, 0.5], [50.0, -0.5]):
        assert to_host(compiled(ops.array(point))).tolist() == point
    outside = cached(ops.array([0.25, 0.5]))
    assert_close(cached.inv(outside), [0.25, 0.5])
    gradient = ops.autodiff.grad(lambda x: ops.sum(there_and_back(x) ** 2))(ops.array([1.0, 3.0]))
    assert_close(gradient, [2.0, 6.0])


def test_a_cache_is_not_copied():
    cached = t.ExpTransform().with_cache()
    cached(np.array([1.0]))
    for twin in (copy.deepcopy(cached), pickle.loads(pickle.dumps(cached))):
        assert twin == cached
        assert twin.inv(np.array([1.0])).tolist() == [0.0]
