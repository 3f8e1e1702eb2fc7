"""Array functions: value, gradient, dtype, scalars and device against numpy."""

import numpy as np
import pytest
from kit import each

from ppl import ops
from ppl.testing.strict import declared_functions
from ppl.testing.suites import array_rules, rows
from ppl.testing.suites.arrays import ROWS, X

pytestmark = pytest.mark.filterwarnings("ignore:(divide by zero|invalid value|overflow) encountered:RuntimeWarning")


@each(array_rules.CHECKS)
def test_array_functions(backend, check):
    check()


@pytest.mark.parametrize("name", ["exp", "sum", "add", "zeros", "reshape", "take", "eye", "one_hot", "cumsum", "sort"])
def test_results_stay_on_the_device(backend, name, device):
    expected = "cpu" if backend == "numpy" else device
    row = next(row for row in ROWS if row.name == name)
    assert ops.device(rows.call(row, row.args)).split(":")[0] == expected


# the functions that other checks rest on
ASKED_BY_OTHERS = {"default_dtype": "set_default_dtype", "device": "to_device"}


def untested(declared, tested):
    return sorted(set(declared) - set(tested))


def asked_about():
    found = {check.function for check in array_rules.CHECKS}
    return found | {name for name, other in ASKED_BY_OTHERS.items() if other in found}


def test_every_declared_function_has_a_row():
    derived = [name for name, value in ops.ARRAY_FUNCTIONS.items() if hasattr(value, "generic")]
    assert untested([*declared_functions("ops"), *derived], asked_about()) == []


def test_negative_control_a_function_without_a_row_is_found():
    assert untested([*declared_functions("ops"), "new_function"], asked_about()) == ["new_function"]


@pytest.mark.backends("numpy")
def test_negative_control_a_wrong_value_and_a_wrong_gradient_are_found(backend):
    wrong = rows.Row("exp", (X,), np.expm1, (0,), np.cosh)
    with pytest.raises(AssertionError):
        rows.check_value(wrong)
    with pytest.raises(AssertionError):
        rows.check_derivatives(wrong)
    with pytest.raises(AssertionError):
        rows.check_gradient(rows.Row("exp", (X,), np.sinh, (0,)), 0)
