"""Linear algebra against numpy and scipy, batched and broadcast, with gradients."""

import numpy as np
import pytest
from kit import each

from ppl import ops
from ppl.testing import assert_close, to_host
from ppl.testing.strict import declared_functions
from ppl.testing.suites import linear_algebra, rows
from ppl.testing.suites.linear_algebra import FULL, A
from ppl.testing.suites.rows import Row


@each(linear_algebra.CHECKS)
def test_linear_algebra(backend, check):
    check()


def test_cholesky_of_an_indefinite_matrix_does_not_pass_in_silence(backend):
    matrix = ops.array([[1.0, 2.0], [2.0, 1.0]])
    if backend == "jax":
        assert np.any(np.isnan(to_host(ops.cholesky(matrix))))
    else:
        with pytest.raises(Exception, match=r"(?i)positive"):
            ops.cholesky(matrix)


def test_einsum_is_module_and_function(backend):
    assert_close(ops.einsum("ij,jk->ik", ops.array(FULL), ops.array(FULL)), FULL @ FULL)
    assert callable(ops.einsum)
    assert ops.einsum.__name__ == "ppl.ops.einsum"


def test_every_declared_function_has_a_row():
    assert sorted({check.function for check in linear_algebra.CHECKS}) == sorted(declared_functions("linalg"))


@pytest.mark.backends("numpy")
def test_negative_control_a_wrong_oracle_is_found(backend):
    with pytest.raises(AssertionError):
        rows.check_value(Row("inv", (A,), lambda x: np.swapaxes(np.linalg.inv(x), -1, -2)))
