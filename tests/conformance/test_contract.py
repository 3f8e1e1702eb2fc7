"""Contractions: against numpy's einsum, against the reference's equivalences and against plates written out."""

import itertools
import math

import numpy
import pytest
from scipy import special

from ppl import ops
from ppl.errors import ExponentialContraction, InferenceError, ShapeError
from ppl.handlers import packed
from ppl.ops.contract import einsum, ubersum
from ppl.ops.einsum import contract, contract_expression
from ppl.ops.elimination import forward

pytestmark = pytest.mark.strict

SIZES = {"a": 2, "b": 3, "c": 4, "d": 2, "i": 3, "j": 2}


def tables(rng, *symbols):
    return [rng.normal(size=[SIZES[symbol] for symbol in dims]) for dims in symbols]


def native(arrays):
    return [ops.array(array) for array in arrays]


def close(found, expected):
    numpy.testing.assert_allclose(ops.to_numpy(ops.array(found)), expected, rtol=1e-10, atol=1e-10)


PLAIN = ["a->", "ab->ba", "ab,bc->ac", "ab,b->", "ab,bc,cd->ad", "ab,bc,cd,ad->", "a,b->ab", "ab,ab,a->b", "ab,cd->", ",a->a",
         "aa->a", "ab,bc,ca->abc"]  # fmt: skip


@pytest.mark.parametrize("equation", PLAIN)
def test_contract_is_numpys_einsum(backend, rng, equation):
    arrays = tables(rng, *equation.split("->")[0].split(","))
    if equation == "aa->a":
        arrays = [rng.normal(size=(2, 2))]
    expected = numpy.einsum(equation, *arrays)
    close(contract(equation, *native(arrays)), expected)
    close(contract_expression(equation, *(array.shape for array in arrays), cache_path=False)(*native(arrays)), expected)
    if equation != "aa->a":
        close(einsum(equation, *native(arrays))[0], expected)


@pytest.mark.parametrize("equation", ["ab,bc->ac", "ab,bc,cd,ad->", "a,b->ab"])
@pytest.mark.parametrize(("name", "plus"), [("log", special.logsumexp), ("map", numpy.max)])
def test_contract_in_log_space(backend, rng, equation, name, plus):
    arrays = tables(rng, *equation.split("->")[0].split(","))
    terms, output = equation.split("->")
    axes = sorted(set(terms) - {","})
    table = sum(
        numpy.moveaxis(array, range(len(dims)), numpy.argsort(numpy.argsort(list(dims)))).reshape(
            [SIZES[symbol] if symbol in dims else 1 for symbol in axes]
        )
        for array, dims in zip(arrays, terms.split(","), strict=True)
    )
    summed = tuple(axis for axis, symbol in enumerate(axes) if symbol not in output)
    expected = plus(table, axis=summed) if summed else table
    for full in (name, f"pyro.ops.einsum.torch_{name}"):
        close(contract(equation, *native(arrays), backend=full), expected)
        close(einsum(equation, *native(arrays), backend=full)[0], expected)


def test_contract_of_more_symbols_than_letters(backend):
    symbols = [packed.symbol(index) for index in range(70)]
    equation = ",".join(one + other for one, other in itertools.pairwise(symbols)) + "->" + symbols[0]
    table = numpy.array([[0.6, 0.4], [0.3, 0.7]])
    close(contract(equation, *[ops.array(table)] * 69), [1.0, 1.0])
    close(einsum(equation, *[ops.array(table)] * 69)[0], [1.0, 1.0])


def test_an_expression_is_for_its_shapes(backend):
    expression = contract_expression("ab,b->a", (2, 3), (3,))
    with pytest.raises(ShapeError, match=r"made for shapes \(\(2, 3\), \(3,\)\), got \(\(2, 2\), \(2,\)\)"):
        expression(ops.ones((2, 2)), ops.ones(2))
    assert repr(expression) == "Expression('ab,b->a', ((2, 3), (3,)), sum-product)"
    with pytest.raises(ShapeError, match="does not fit operands of shapes"):
        contract("ab,b->a", ops.ones((2, 3)), ops.ones(2))
    with pytest.raises(InferenceError, match="no backend 'sums'; expected one of 'sum'"):
        contract("a->", ops.ones(2), backend="sums")


# --- the equivalences of the reference, section 10.4 ---


def test_several_outputs(backend, rng):
    x, y = tables(rng, "ab", "bc")
    found = einsum("ab,bc->a,b,c", *native([x, y]))
    for output, result in zip("abc", found, strict=True):
        close(result, numpy.einsum(f"ab,bc->{output}", x, y))


def test_plated_inputs(backend, rng):
    w, x, y = tables(rng, "ab", "ai", "bi")
    (found,) = einsum("ab,ai,bi->b", *native([w, x, y]), plates="i")
    close(found, numpy.einsum("ab,a,a,a,b,b,b->b", w, *x.T, *y.T))


def test_a_sum_symbol_inside_a_plate_is_one_for_each_slice(backend, rng):
    x, y = tables(rng, "ai", "ai")
    (found,) = einsum("ai,ai->", *native([x, y]), plates="i")
    close(found, numpy.einsum("a,b,c,a,b,c->", *x.T, *y.T))


def test_an_output_with_its_plates(backend, rng):
    x, y = tables(rng, "abi", "abi")
    (found,) = einsum("abi,abi->bi", *native([x, y]), plates="i")
    slices = [x[..., i] for i in range(3)] + [y[..., i] for i in range(3)]
    # Both symbols are inside the plate, so that each slice has its own "a" and its own "b".
    expected = [numpy.einsum(f"ab,cd,ef,ab,cd,ef->{own}", *slices) for own in "bdf"]
    close(found, numpy.stack(expected, axis=-1))


def test_an_output_with_plates_and_a_symbol_outside_of_them(backend, rng):
    x, y = tables(rng, "a", "abi")
    x, y = abs(x), abs(y)
    (found,) = einsum("a,abi->bi", *native([x, y]), plates="i")
    expected = [numpy.einsum(f"a,ab,ac,ad->{own}", x, *(y[..., i] for i in range(3))) for own in "bcd"]
    close(found, numpy.stack(expected, axis=-1))
    (scaled,) = einsum("a,abi->bi", *native([x, y]), plates="i", modulo_total=True)
    ratio = ops.to_numpy(scaled) / ops.to_numpy(found)
    numpy.testing.assert_allclose(ratio, numpy.broadcast_to(ratio[:1], ratio.shape), rtol=1e-10)
    (logs,) = einsum("a,abi->bi", *native([numpy.log(x), numpy.log(y)]), plates="i", backend="log")
    close(logs, numpy.log(ops.to_numpy(found)))


def test_a_batch_is_no_plate(backend, rng):
    x, y = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 3, 2))
    close(einsum("abc,acd->abd", *native([x, y]), plates="")[0], x @ y)


# --- what the reference says in words ---


def test_nested_plates_by_writing_them_out(backend, rng):
    x, y, z = tables(rng, "a", "abi", "ijb")
    (found,) = einsum("a,abi,ijb->a", *native([x, y, z]), plates="ij")
    inner = numpy.einsum("abi,ib->ai", y, z.prod(axis=1))
    close(found, x * inner.prod(axis=1))


def test_modulo_total_leaves_out_what_has_no_part_in_the_output(backend, rng):
    x, y = tables(rng, "ab", "c")
    (found,) = einsum("ab,c->a", *native([x, y]))
    close(found, x.sum(axis=1) * y.sum())
    (found,) = einsum("ab,c->a", *native([x, y]), modulo_total=True)
    close(found, x.sum(axis=1))


def test_zeros_do_no_harm(backend):
    x = numpy.array([[0.0, 2.0, 3.0], [0.0, 0.0, 5.0]])
    (found,) = einsum("ai->ai", ops.array(x), plates="i")
    close(found, [[0.0 * 10.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    x[0, 0] = 1.0
    expected = [[x[a, i] * math.prod(x[:, j].sum() for j in range(3) if j != i) for i in range(3)] for a in range(2)]
    close(einsum("ai->ai", ops.array(x), plates="i")[0], expected)
    with numpy.errstate(divide="ignore"):
        logs, expected = numpy.log(x), numpy.log(expected)
    close(einsum("ai->ai", ops.array(logs), plates="i", backend="log")[0], expected)


def test_results_are_differentiable(backend, rng):
    x, y = tables(rng, "ab", "bci")

    def loss(x):
        left, right = einsum("ab,bci->a,ci", x, ops.array(y), plates="i")
        return ops.sum(left) + ops.sum(right * right)

    gradient = ops.to_numpy(ops.autodiff.grad(loss)(ops.array(x)))
    step = 1e-6
    for place in numpy.ndindex(x.shape):
        shift = numpy.zeros_like(x)
        shift[place] = step
        upper, lower = (float(ops.to_numpy(loss(ops.array(x + sign * shift)))) for sign in (1, -1))
        assert gradient[place] == pytest.approx((upper - lower) / (2 * step), rel=1e-5, abs=1e-6)


def test_marginals_are_normalized(backend, rng):
    x, y = tables(rng, "ab", "bci")
    for name in ("marginal", "pyro.ops.einsum.torch_marginal"):
        own, plated = einsum("ab,bci->b,ci", *native([x, y]), plates="i", backend=name)
        joint = x.reshape(2, 3, 1, 1, 1) + sum(
            y[..., i].reshape(1, 3, *(4 if i == axis else 1 for axis in range(3))) for i in range(3)
        )
        weights = numpy.exp(joint - special.logsumexp(joint))
        close(ops.exp(own), weights.sum(axis=(0, 2, 3, 4)))
        others = [tuple(axis for axis in range(5) if axis != 2 + i) for i in range(3)]
        close(ops.exp(plated), numpy.stack([weights.sum(axis=rest) for rest in others], axis=-1))


@pytest.mark.backends("numpy", "torch")
def test_samples_are_one_joint_draw(backend, rng):
    x, count = abs(tables(rng, "ab")[0]), 4000
    logs = ops.broadcast_to(ops.array(numpy.log(x)), (count, 2, 3))
    for name in ("sample", "pyro.ops.einsum.torch_sample"):
        rows, columns = einsum("nab->na,nb", logs, plates="n", backend=name)
        found = numpy.bincount(ops.to_numpy(rows) * 3 + ops.to_numpy(columns), minlength=6) / count
        expected = (x / x.sum()).ravel()
        errors = numpy.sqrt(expected * (1 - expected) / count)
        assert (abs(found - expected) < 4.9 * errors).all()
        assert (abs(found - numpy.roll(expected, 1)) > 4.9 * errors).any(), "negative control"


def test_a_cache_is_shared_between_calls(backend, rng, monkeypatch):
    arrays, cache, loads = native(tables(rng, "ab", "bc")), {}, []
    load = forward._load
    monkeypatch.setattr(forward, "_load", lambda *args: loads.append(args) or load(*args))
    first = einsum("ab,bc->a,c", *arrays, cache=cache)
    done = len(loads)
    again = einsum("ab,bc->a,c", *arrays, cache=cache)
    assert done
    assert len(loads) == done
    for one, other in zip(first, again, strict=True):
        close(one, ops.to_numpy(other))
    close(einsum("ab,bc->a,c", *native(tables(rng, "ab", "bc")), cache=cache)[0].shape, (2,))


def test_the_old_name_warns(backend, rng):
    x = tables(rng, "ab")[0]
    with pytest.warns(DeprecationWarning, match=r"ppl\.ops\.contract\.einsum"):
        (found,) = ubersum("ab->b", ops.array(x), plates="")
    close(found, x.sum(axis=0))


@pytest.mark.parametrize(
    ("equation", "shapes", "plates", "sentence"),
    [
        ("ab,b->", [(2, 3), (2,)], "", "'b' is 3 long in one factor and 2 in another"),
        ("ai->a", [(2, 3)], "i", "another variable in each slice of plate 'i'.*try 'ai'"),
        ("ab->c", [(2, 3)], "", "the output 'c' has a symbol twice or one of no input"),
        ("ab->aa", [(2, 3)], "", "the output 'aa' has a symbol twice"),
        ("ab", [(2, 3)], "", "expected one input for each operand, an arrow"),
        ("a,b->", [(2,)], "", "has 2 inputs for 1 operands"),
        ("...a->", [(2,)], "", "all of plain symbols"),
        ("aa->", [(2, 2)], "", "all different"),
    ],
)
def test_equations_that_do_not_fit_are_refused(backend, equation, shapes, plates, sentence):
    with pytest.raises(ValueError, match=sentence) as raised:
        einsum(equation, *map(ops.ones, shapes), plates=plates)
    assert isinstance(raised.value, ShapeError)


def test_unknown_backends_are_refused(backend):
    with pytest.raises(InferenceError, match=r"no backend 'maximum'; expected one of 'sum', .*'sample'"):
        einsum("a->", ops.ones(2), backend="maximum")
    with pytest.raises(ShapeError, match=r"one sum symbol with its plates, got 'ab'"):
        einsum("ab->ab", ops.ones((2, 2)), backend="sample")


def test_exponential_cost_is_refused(backend):
    arrays = [ops.ones((2, 3)), ops.ones((2, 4)), ops.ones((2, 2, 3, 4))]
    with pytest.raises(NotImplementedError, match="exponential") as raised:
        einsum("ai,bj,abij->", *arrays, plates="ij")
    assert isinstance(raised.value, ExponentialContraction)
