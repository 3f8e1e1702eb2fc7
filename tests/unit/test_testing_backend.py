"""The suites for authors of backends: each planted fault is found by its name, and true backends are clean."""

import dataclasses
import re
from types import ModuleType

import numpy
import pytest

import ppl
from ppl import ops, registry
from ppl.backend import CONTRACT, Gap
from ppl.errors import GapError, PplError
from ppl.testing import Mismatch, assert_backend_ok, assert_close, backend_faults, backend_report, suites
from ppl.testing.suites.check import both_sides, short
from ppl.testing.suites.report import Fault, fault_of

NUMPY = registry.load("numpy")


def altered(part, name, function, **replaced):
    """Return a copy of the numpy backend in which one function is another one, or absent."""
    module = ModuleType(part)
    vars(module).update(vars(getattr(NUMPY, part)))
    setattr(module, name, function)
    if function is None:
        delattr(module, name)
    return dataclasses.replace(NUMPY, **{"name": "altered", part: module, **replaced})


def with_gradient_times(function, factor):
    """Return ``function`` with the right values and gradients that are wrong by a factor."""

    def call(x):
        value = function(x)
        return factor * value + (1.0 - factor) * NUMPY.autodiff.stop_gradient(value)

    return call


def _float32(shape, dtype=None):
    return numpy.ones(shape, dtype or "float32")


def _other_axis(x, axis=None, keepdims=False):
    return NUMPY.ops.sum(x, axis=-1 if axis == 0 else axis, keepdims=keepdims)


def _plain_logsumexp(x, axis=None, keepdims=False):
    top = NUMPY.ops.max(x, axis=axis, keepdims=True)
    total = NUMPY.ops.log(NUMPY.ops.sum(NUMPY.ops.exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else NUMPY.ops.reshape(total, numpy.sum(numpy.ones(numpy.shape(x)), axis=axis).shape)


def _in_place(x, index, value):
    x[index] = value
    return x


def _biased_uniform(key, shape, dtype=None):
    return NUMPY.random.uniform(key, shape, dtype) ** 1.1


def _carry_lost(fn, init, xs, length=None):
    _, ys = NUMPY.control.scan(fn, init, xs, length)
    return init, ys


def _uphill(rule, gradients, state, params, arguments):
    return NUMPY.optim.update(rule, {name: -gradient for name, gradient in gradients.items()}, state, params, arguments)


def _frozen(fn, *example, horizon=None, beside=None):
    results = []

    def call(*args):
        results.append(results[0] if results else fn(*args))
        return results[-1]

    return call


# fault: (suite, part, name in the part, the wrong one, the function that shows it, what the table must say)
FAULTS = {
    "ones for zeros": ("arrays", "ops", "zeros", lambda shape, dtype=None: NUMPY.ops.ones(shape, dtype), "zeros", "value"),
    "arguments swapped": ("arrays", "ops", "where", lambda condition, x, y: NUMPY.ops.where(condition, y, x), "where", "value"),
    "another dtype": ("arrays", "ops", "ones", _float32, "ones", "dtype float32"),
    "another axis": ("arrays", "ops", "sum", _other_axis, "sum", "axis=0"),
    "gradient missing a factor": ("arrays", "ops", "exp", with_gradient_times(NUMPY.ops.exp, 0.5), "exp", "gradient in argument"),
    "argument changed": ("arrays", "ops", "index_update", _in_place, "index_update", "a changed argument"),
    "keepdims ignored": ("arrays", "ops", "max", lambda x, axis=None, keepdims=False: NUMPY.ops.max(x, axis), "max", "keepdims"),
    "ends of a log": ("special", "special", "logsumexp", _plain_logsumexp, "logsumexp", "logsumexp of nothing possible"),
    "cancellation": ("special", "special", "log_ndtr", lambda x: NUMPY.ops.log(NUMPY.special.ndtr(x)), "log_ndtr", "extremes"),
    "upper for lower": ("linalg", "linalg", "cholesky", lambda x: NUMPY.ops.matrix_transpose(NUMPY.linalg.cholesky(x)),
                        "cholesky", "value"),
    "biased uniform": ("random", "random", "uniform", _biased_uniform, "uniform", "draws do not match"),
    "shifted normal": ("random", "random", "normal", lambda key, shape, dtype=None: 0.1 + NUMPY.random.normal(key, shape, dtype),
                       "normal", "distribution: normal"),
    "seed ignored": ("random", "random", "key", lambda seed: NUMPY.random.key(0), "normal", "other draws from another seed"),
    "draws without a gradient": ("pathwise", "random", "gamma",
                                 lambda key, a, shape: NUMPY.autodiff.stop_gradient(NUMPY.random.gamma(key, a, shape)),
                                 "gamma", "unbiased gradient"),
    "argnums ignored": ("autodiff", "autodiff", "grad", lambda fn, argnums=0: NUMPY.autodiff.grad(fn), "grad",
                        "grad of each argument"),
    "carry lost": ("control", "control", "scan", _carry_lost, "scan", "without inputs"),
    "first result kept": ("compile", "compile", "compile", _frozen, "compile", "compiled is plain"),
    "another signature": ("signatures", "ops", "sum", lambda x, axes=None: x, "sum", "sum(x, axis=None, keepdims=False)"),
    "uphill": ("optim", "optim", "update", _uphill, "Adagrad", "20 steps"),
    "a constant missing": ("distributions", "special", "gammaln", lambda x: NUMPY.special.gammaln(x) + 0.1, "Gamma", "density"),
    "coins that land on their edge": ("distributions", "random", "bernoulli",
                                      lambda key, probs, shape: 0.5 + NUMPY.random.bernoulli(key, probs, shape),
                                      "Bernoulli", "draws"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_by_its_name(fault):
    suite, part, name, wrong, function, words = FAULTS[fault]
    assert backend_faults(NUMPY, [suite], [function]) == []
    found = backend_faults(altered(part, name, wrong), [suite], [function])
    assert found
    assert {(one.suite, one.function) for one in found} == {(suite, function)}
    assert any(words in " ".join(one.row) for one in found), "\n".join(map(str, found))
    assert all(one.expected and one.received and one.expected != one.received for one in found)


@pytest.mark.nightly
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_among_all_questions_of_its_suite(fault):
    suite, part, name, wrong, function, _ = FAULTS[fault]
    found = backend_faults(altered(part, name, wrong), [suite])
    assert (suite, function) in {(one.suite, one.function) for one in found}


def test_samplers_wait_for_the_functions_beneath_them():
    """A loop that never ends would keep a fault from its author."""
    report = backend_report(altered("control", "scan", _carry_lost), ["control", "infer"])
    assert {fault.suite for fault in report.faults} == {"control"}
    assert report.asked == len(suites.SUITES["control"])


def test_a_true_backend_has_no_faults():
    report = assert_backend_ok("numpy", ["signatures", "autodiff", "control", "optim", "distributions"])
    assert report.asked > 250
    assert dict(report.gaps) == dict(NUMPY.gaps)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_a_true_backend_has_no_faults_in_any_suite(name):
    pytest.importorskip(name)
    report = assert_backend_ok(name)
    assert report.asked == len(suites.checks()) > 1600


def test_every_function_of_the_contract_is_asked_about():
    asked = {check.function for check in (check for _, check in suites.checks() if check.question != "signature")}
    declared = {
        name for part in ("ops", "special", "linalg", "random", "autodiff", "control", "compile") for name in CONTRACT[part]
    }
    # set_default_dtype and to_device ask about these two.
    assert declared - asked == {"default_dtype", "device"}


def test_the_report_is_a_table():
    report = backend_report(altered("ops", "zeros", FAULTS["ones for zeros"][3]), ["arrays"], ["zeros"])
    title, header, *rows = str(report).splitlines()
    assert title == "backend 'altered' has 2 faults in 2 checks"
    assert header.split() == ["suite", "function", "question", "input", "expected", "received"]
    first = rows[0].split()
    assert first[:2] == ["arrays", "zeros"]
    assert "value" in rows[0]
    assert "(2, 3)" in rows[0]
    at = header.index("expected"), header.index("received")
    assert rows[0][at[0] : at[1]].strip().startswith("[[0., 0., 0.]")
    assert rows[0][at[1] :].strip().startswith("[[1., 1., 1.]")
    assert len(rows) == 2 + len(NUMPY.gaps)
    assert rows[2].startswith("gap: derivatives of an array (since ppl 0.1): an array does not know")
    with pytest.raises(AssertionError, match=r"^backend 'altered' has 2 faults in 2 checks\nsuite +function"):
        assert_backend_ok(altered("ops", "zeros", FAULTS["ones for zeros"][3]), ["arrays"], ["zeros"])


def test_one_fault_is_one_sentence():
    fault = backend_faults(altered("special", "ndtr", lambda x: 2.0 * NUMPY.special.ndtr(x)), ["special"], ["ndtr"])[0]
    number = r"\d\.\d+ at \[\d, \d\] of shape \(3, 4\)"
    given = r"\[-?\d\.\d+, +-?\d\.\d+, \.\.\.\] of shape \(3, 4\)"
    assert re.fullmatch(rf"ndtr of {given}: value: expected {number}, received {number}", str(fault))


def test_a_gap_must_raise_its_reason():
    gaps = {"sort": Gap("its kernel was removed", since="numpy 3")}
    absent = altered("ops", "sort", None, gaps=gaps)
    report = backend_report(absent, ["arrays"], ["sort"])
    assert report.faults == ()
    assert str(report).splitlines()[-1] == "gap: sort (since numpy 3): its kernel was removed"
    silent = altered("ops", "sort", NUMPY.ops.sort, gaps=gaps)
    found = backend_faults(silent, ["arrays"], ["sort"])
    assert {(fault.expected, fault.received) for fault in found} == {("GapError: its kernel was removed", "a result")}
    unnamed = altered("ops", "sort", None)
    with registry.using(altered("ops", "sort", _refusing, gaps=gaps)):
        ops.set_default_dtype("float64")
        fault = fault_of("arrays", next(check for _, check in suites.checks(["arrays"], ["sort"])))
    assert fault.received == "NotImplementedError: no"
    (words,) = {fault.received for fault in backend_faults(unnamed, ["arrays"], ["sort"])}
    assert words == "GapError: sort is not available on backend 'altered': its part 'ops' lacks it"


def _refusing(x, axis=-1):
    raise NotImplementedError("no")


def test_a_gap_under_a_feature_is_met_where_it_is_needed():
    """The gradient of a wide matrix's factors is a gap of numpy; a backend that takes it back must pass."""
    (check,) = [check for _, check in suites.checks(["linalg"], ["qr"]) if check.needs]
    with registry.using("numpy"):
        assert isinstance(fault_of("linalg", check), GapError)
    with registry.using(dataclasses.replace(NUMPY, gaps={})):
        assert isinstance(fault_of("linalg", check), Fault)


def test_errors_are_faults_with_their_words():
    def failing(x):
        raise RuntimeError("no kernel for this device")

    (fault,) = {(one.expected, one.received) for one in backend_faults(altered("ops", "tan", failing), ["arrays"], ["tan"])}
    assert fault == ("a result", "RuntimeError: no kernel for this device")


def test_the_caller_keeps_dtype_draws_and_params():
    with registry.using("numpy"):
        before = ops.default_dtype()
        ops.set_default_dtype("float32")
        ppl.param("mine", 2.0)
        ops.random.set_rng_seed(4)
        state = ops.random.get_state()
        try:
            assert backend_faults("numpy", ["random", "infer"], ["set_rng_seed", "param"]) == []
            assert ops.default_dtype() == "float32"
            assert list(ppl.get_param_store()) == ["mine"]
            assert ops.random.get_state() == state
        finally:
            ops.set_default_dtype(before)
            ppl.clear_param_store()


def test_an_unknown_suite_is_refused():
    with pytest.raises(PplError, match="there is no suite 'array'; expected some of signatures, arrays"):
        backend_faults("numpy", ["array"])


def test_words_for_values_are_short():
    assert short(numpy.array([1.0, 2.5])) == "[1. , 2.5]"
    assert short(numpy.zeros((30, 40))).endswith("of shape (30, 40)")
    assert len(short("x" * 200)) == 46
    assert short([numpy.zeros((2, 2)), 1]) == "[[[0., 0.], [0., 0.]], 1]"
    assert short(numpy.float64(0.5)) == "0.5"


def test_the_elements_that_lie_furthest_apart_are_shown():
    expected, received = numpy.zeros((3, 4)), numpy.zeros((3, 4))
    received[1, 2], received[2, 0] = 0.5, -0.25
    assert both_sides(expected, received) == ("0 at [1, 2] of shape (3, 4)", "0.5 at [1, 2] of shape (3, 4)")
    received[2, 3] = numpy.nan
    assert both_sides(expected, received)[1] == "nan at [2, 3] of shape (3, 4)"
    expected[2, 3] = numpy.nan
    assert both_sides(expected, received)[1] == "0.5 at [1, 2] of shape (3, 4)"
    assert both_sides(expected > 1, expected < 1)[1] == "1 at [0, 0] of shape (3, 4)"


def test_a_mismatch_knows_both_sides():
    with registry.using("numpy"):
        with pytest.raises(Mismatch) as caught:
            assert_close(numpy.array([1.0]), numpy.array([2.0]))
        assert (caught.value.expected.tolist(), caught.value.received.tolist()) == ([2.0], [1.0])
        with pytest.raises(Mismatch, match=r"shapes differ: got \(1,\), expected \(\)"):
            assert_close(numpy.array([1.0]), 2.0)
