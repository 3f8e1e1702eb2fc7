"""Compiled functions that read parameters, against the arithmetic written out."""

import numpy
import pytest

import ppl
from ppl import ops


def test_equals_the_plain_function_and_sees_new_parameter_values(backend):
    ppl.clear_param_store()
    runs = []

    @ppl.ops.jit.trace
    def scaled(x, power=1):
        runs.append(power)
        return ppl.param("scale", 3.0) * x**power

    for _ in range(4):
        assert float(ops.to_numpy(scaled(ops.array(2.0)))) == pytest.approx(6.0)
    assert float(ops.to_numpy(scaled(ops.array(2.0), power=2))) == pytest.approx(12.0)
    ppl.get_param_store()["scale"] = ops.array(5.0)
    assert float(ops.to_numpy(scaled(ops.array(2.0)))) == pytest.approx(10.0)
    if backend != "torch":
        assert runs == [1, 1, 2]  # one plain run and one compilation for the first set of keywords, one plain run for the other


def test_gradient_of_a_parameter_and_an_argument_on_torch(backend):
    if backend != "torch":
        pytest.skip("attribute gradients are torch's")
    ppl.clear_param_store()
    traced = ppl.ops.jit.trace(lambda x: (ppl.param("scale", 3.0) * x**2).sum())
    x = ops.array(numpy.array([1.0, 2.0])).requires_grad_(True)
    traced(x)
    traced(x).backward()
    numpy.testing.assert_allclose(ops.to_numpy(x.grad), [6.0, 12.0], rtol=1e-6)
    assert float(ppl.get_param_store().get_unconstrained("scale").grad) == pytest.approx(5.0)
