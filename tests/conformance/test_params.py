"""Parameters and their store: constraints, shapes, files, backends."""

import hashlib
import importlib.util
import json
import pickle

import numpy
import pytest
from safetensors.numpy import save_file

import ppl
from ppl import constraints, handlers, ops
from ppl.errors import ConstraintError, ParamError
from ppl.params import ParamStoreDict, module_from_param_with_module_name, param_with_module_name, user_param_name


def host(value):
    return ops.to_numpy(ops.array(value))


def number(value):
    return float(host(value))


INITIAL = {
    "real": (constraints.real, [-1.5, 0.0, 3.0]),
    "positive": (constraints.positive, [0.2, 5.0]),
    "unit_interval": (constraints.unit_interval, [0.1, 0.9]),
    "greater_than": (constraints.greater_than(2.0), [2.5, 9.0]),
    "less_than": (constraints.less_than(-1.0), [-2.5, -9.0]),
    "interval": (constraints.interval(-1.0, 4.0), [-0.5, 3.0]),
    "simplex": (constraints.simplex, [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]),
    "lower_cholesky": (constraints.lower_cholesky, [[1.5, 0.0], [-0.3, 0.7]]),
    "positive_definite": (constraints.positive_definite, [[2.0, 0.5], [0.5, 1.0]]),
    "independent": (constraints.independent(constraints.positive, 1), [0.2, 5.0]),
    "real_vector": (constraints.real_vector, [0.2, -5.0]),
}


@pytest.mark.parametrize("name", INITIAL)
def test_a_parameter_comes_back_from_unconstrained_space(backend, name):
    constraint, initial = INITIAL[name]
    value = ppl.param("p", ops.array(initial), constraint=constraint)
    numpy.testing.assert_allclose(host(value), initial, rtol=1e-9, atol=1e-12)
    numpy.testing.assert_array_equal(host(ppl.param("p")), host(value))
    store = ppl.get_param_store()
    assert store.constraint("p") is constraint
    unconstrained = host(store.get_unconstrained("p"))
    moved = unconstrained + 0.3 * numpy.arange(1, unconstrained.size + 1).reshape(unconstrained.shape)
    store.set_unconstrained("p", moved)
    assert bool(numpy.all(host(constraint.check(ppl.param("p")))))
    assert not numpy.allclose(host(ppl.param("p")), initial)


def test_initial_values_are_used_once(backend):
    calls = []

    def initial():
        calls.append(1)
        return ops.array(2.0)

    assert number(ppl.param("a", initial)) == 2.0
    assert number(ppl.param("a", initial)) == 2.0
    assert calls == [1]
    assert number(ppl.param("a", 7.0)) == 2.0
    assert number(ppl.param("b", 3)) == 3.0
    assert ops.is_floating(ppl.param("b"))
    numpy.testing.assert_array_equal(host(ppl.param("c", init_tensor=[1.0, 2.0])), [1.0, 2.0])
    assert number(ppl.param("d", init_value=0.5)) == 0.5


def test_an_initial_function_of_one_argument_gets_a_key(backend):
    value = ppl.param("w", lambda key: ops.random.normal(key, (3,)))
    assert tuple(value.shape) == (3,)


def test_the_store_copies_what_it_is_given(backend):
    given = ops.array([1.0, 2.0])
    ppl.param("a", given)
    if backend != "jax":
        given[0] = 9.0
    numpy.testing.assert_array_equal(host(ppl.param("a")), [1.0, 2.0])


@pytest.mark.backends("torch")
def test_torch_leaves_require_gradients_and_know_themselves(backend):
    import torch

    value = ppl.param("a", torch.tensor(2.0), constraint=constraints.positive)
    leaf = value.unconstrained()
    assert leaf is ppl.get_param_store().get_unconstrained("a")
    assert leaf.is_leaf
    assert leaf.requires_grad
    (value**2).backward()
    assert number(leaf.grad) == pytest.approx(2 * 2.0 * 2.0)
    assert ppl.param("r", torch.tensor(1.0)).unconstrained() is ppl.get_param_store().get_unconstrained("r")
    assert ppl.get_param_store().param_name(leaf) == "a"


def test_the_store_is_a_mapping_of_constrained_values(backend):
    store = ppl.get_param_store()
    ppl.param("layer.weight", 2.0, constraint=constraints.positive)
    ppl.param("layer.bias", -1.0)
    ppl.param("other", 0.0)
    assert list(store) == list(store.keys()) == ["layer.weight", "layer.bias", "other"]
    assert len(store) == 3
    assert "other" in store
    assert [number(value) for value in store.values()] == pytest.approx([2.0, -1.0, 0.0])
    assert {name: number(value) for name, value in store.items()} == pytest.approx(
        {"layer.weight": 2.0, "layer.bias": -1.0, "other": 0}
    )
    assert {n: number(v) for n, v in store.named_parameters()} == pytest.approx(
        {"layer.weight": numpy.log(2.0), "layer.bias": -1.0, "other": 0.0}
    )
    assert list(store.get_all_param_names()) == list(store)
    assert set(store.match("layer")) == {"layer.weight", "layer.bias"}
    assert store.param_name(store.get_unconstrained("other")) == "other"
    assert store.param_name(ops.array(1.0)) is None
    store["layer.weight"] = 5.0
    assert number(store["layer.weight"]) == pytest.approx(5.0)
    assert store.constraint("layer.weight") is constraints.positive
    store["new"] = 1.5
    assert number(ppl.param("new")) == 1.5
    store.replace_param("new", ops.array(2.5), store["new"])
    assert number(ppl.param("new")) == 2.5
    with pytest.raises(ParamError, match="old_param"):
        store.replace_param("new", 3.5, ops.array(99.0))
    del store["other"]
    assert "other" not in store
    assert number(store.get_param("fresh", 4.0)) == 4.0
    assert number(store.setdefault("fresh", lambda: 1 / 0)) == 4.0
    store.clear()
    assert len(store) == 0
    assert not store


def test_names_of_module_parameters():
    name = param_with_module_name("net", "layer.weight")
    assert module_from_param_with_module_name(name) == "net"
    assert user_param_name(name) == "layer.weight"
    assert user_param_name("plain") == "plain"


BAD = {
    "unknown": (lambda: ppl.param("misspelt"), ParamError, "no parameter 'misspelt'"),
    "closest": (lambda: ppl.param("knwon"), ParamError, "did you mean 'known'"),
    "outside": (lambda: ppl.param("p", -1.0, constraint=constraints.positive), ConstraintError, "'p' lies outside .*positive"),
    "outside on setting": (lambda: ppl.get_param_store().__setitem__("known", [-1.0, 1.0]), ConstraintError, "'known'"),
    "nan": (lambda: ppl.param("p", float("nan")), ConstraintError, "nan"),
    "another shape": (lambda: ppl.param("known", ops.ones(3)), ParamError, r"'known' returns .*\(3,\).*holds .*\(2,\)"),
    "another unconstrained shape": (
        lambda: ppl.get_param_store().set_unconstrained("known", ops.ones(3)), ParamError, r"shape \(2,\), got .*\(3,\)"
    ),
    "a substituted shape": (
        lambda: handlers.substitute(lambda: ppl.param("known", ops.ones(2)), data={"known": ops.ones(5)})(),
        ParamError,
        r"returns with shape \(5,\), but its initial value here has shape \(2,\)",
    ),
    "two initial values": (lambda: ppl.param("p", 1.0, init_value=2.0), ParamError, "2 initial values"),
    "state": (lambda: ppl.get_param_store().set_state({"params": {}}), ParamError, "'params' and 'constraints'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_parameters_get_a_sentence_and_leave_the_store(backend, case):
    ppl.param("known", ops.array([1.0, 2.0]), constraint=constraints.positive)
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        handlers.trace(call)()
    assert not ppl.runtime.am_i_wrapped()
    store = ppl.get_param_store()
    assert list(store) == ["known"]
    numpy.testing.assert_allclose(host(store["known"]), [1.0, 2.0], rtol=1e-12)


@pytest.mark.backends("jax")
def test_a_new_parameter_inside_jit_is_refused(backend):
    import jax

    with pytest.raises(ParamError, match="first time inside compiled code"):
        jax.jit(lambda: ppl.param("p", 1.0))()
    ppl.param("p", 1.0)
    assert number(jax.jit(lambda: ppl.param("p", 1.0))()) == 1.0


def test_state_is_a_copy_that_restores(backend):
    store = ppl.get_param_store()
    ppl.param("a", [1.0, 2.0], constraint=constraints.positive)
    state = store.get_state()
    store["a"] = [3.0, 4.0]
    ppl.param("b", 0.0)
    store.set_state(state)
    assert list(store) == ["a"]
    numpy.testing.assert_allclose(host(store["a"]), [1.0, 2.0], rtol=1e-12)
    assert store.constraint("a") is constraints.positive


def test_scopes_have_parameters_of_their_own(backend):
    store = ppl.get_param_store()
    ppl.param("a", 1.0)
    with store.scope() as scope:
        assert "a" not in store
        ppl.param("a", 5.0)
    assert number(ppl.param("a")) == 1.0
    with store.scope(scope):
        assert number(ppl.param("a")) == 5.0
    with pytest.raises(ZeroDivisionError), store.scope():
        raise ZeroDivisionError
    assert number(ppl.param("a")) == 1.0


def test_each_backend_has_its_own_store(backend):
    ppl.param("a", 1.0)
    store = ppl.get_param_store()
    other = "numpy" if backend != "numpy" else "torch" if importlib.util.find_spec("torch") else "jax"
    if importlib.util.find_spec(other) is None:
        pytest.skip("only one backend is installed")
    with ppl.pyro_backend(other):
        assert ppl.get_param_store() is not store
        assert "a" not in ppl.get_param_store()
        assert number(store["a"]) == 1.0
        store["a"] = 2.0
    assert ops.is_array(ppl.param("a"))
    assert number(ppl.param("a")) == 2.0


def fill(store):
    for name, (constraint, initial) in INITIAL.items():
        store.setdefault(name, ops.array(initial), constraint)


def test_a_file_holds_everything_and_no_pickle(backend, tmp_path):
    store = ppl.get_param_store()
    fill(store)
    before = {name: host(value) for name, value in store.items()}
    path = tmp_path / "params.save"
    store.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["params.save"]
    with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, UnicodeDecodeError, IndexError, KeyError, AttributeError)):
        pickle.loads(path.read_bytes())
    store.clear()
    store["left over"] = 1.0
    store.load(path)
    assert set(store) == set(INITIAL)
    for name, value in before.items():
        numpy.testing.assert_allclose(host(store[name]), value, rtol=1e-15)
        assert store.constraint(name) == INITIAL[name][0]
    assert [host(store["positive"]).dtype] == [before["positive"].dtype]


def test_a_file_loads_on_every_other_backend(backend, tmp_path):
    path = str(tmp_path / "params.save")
    store = ppl.get_param_store()
    fill(store)
    store.save(path)
    for other in ("numpy", "torch", "jax"):
        if importlib.util.find_spec(other) is None:
            continue
        with ppl.pyro_backend(other):
            loaded = ParamStoreDict()
            loaded.load(path)
            for name, (_, initial) in INITIAL.items():
                assert ops.is_array(loaded[name])
                # Another backend may be in single precision here.
                numpy.testing.assert_allclose(host(loaded[name]), initial, rtol=1e-6, atol=1e-7)


def test_map_location(backend, tmp_path):
    path = tmp_path / "params.save"
    store = ppl.get_param_store()
    store["a"] = [1.0, 2.0]
    store.save(path)
    for location in ("cpu", {"cpu": "cpu"}, lambda array, device: array if device == "cpu" else None):
        store.load(path, map_location=location)
        numpy.testing.assert_array_equal(host(store["a"]), [1.0, 2.0])


def header(**changes):
    metadata = {
        "format": "ppl.param_store",
        "schema": "1",
        "constraints": json.dumps({"a": "real"}),
        "devices": json.dumps({"a": "cpu"}),
    }
    metadata.update(changes)
    # The checksum of what DAMAGED saves: one parameter, two ones.
    text = "".join(f"{key}={metadata[key]}\n" for key in ("constraints", "devices", "format", "schema"))
    content = text.encode() + b"a <f8 (2,)\n" + numpy.ones(2).tobytes()
    return {**metadata, "sha256": hashlib.sha256(content).hexdigest()}


DAMAGED = {
    "missing": (lambda path: None, "no param file"),
    "empty": (lambda path: path.write_bytes(b""), "not a readable param file"),
    "foreign": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "not a readable param file"),
    "other program": (lambda path: save_file({"a": numpy.ones(2)}, path), "another program"),
    "newer": (lambda path: save_file({"a": numpy.ones(2)}, path, header(schema="2")), "schema 2, newer than 1"),
    "bad json": (lambda path: save_file({"a": numpy.ones(2)}, path, header(constraints="{")), "header .* is damaged"),
    "names differ": (lambda path: save_file({"b": numpy.ones(2)}, path, header()), "different parameters"),
    "unknown constraint": (
        lambda path: save_file({"a": numpy.ones(2)}, path, header(constraints=json.dumps({"a": "Constraint"}))),
        "unknown constraint 'Constraint'",
    ),
    "code for a constraint": (
        lambda path: save_file(
            {"a": numpy.ones(2)}, path, header(constraints=json.dumps({"a": {"class": "ConstraintError", "arguments": {}}}))
        ),
        "unknown constraint",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_bad_file_is_refused_whole(backend, case, tmp_path):
    store = ppl.get_param_store()
    store["kept"] = 3.0
    path = tmp_path / "params.save"
    write, text = DAMAGED[case]
    write(path)
    with pytest.raises(ParamError, match=text):
        store.load(path)
    assert list(store) == ["kept"]
    assert number(store["kept"]) == 3.0


@pytest.mark.parametrize("length", [4, 30, 200, -1])
def test_a_truncated_file_is_refused_whole(backend, length, tmp_path):
    store = ppl.get_param_store()
    fill(store)
    path = tmp_path / "params.save"
    store.save(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ParamError, match="not a readable param file"):
        store.load(path)
    assert set(store) == set(INITIAL)


@pytest.mark.parametrize("place", ["data", "header"])
def test_a_changed_byte_is_noticed(backend, place, tmp_path):
    store = ppl.get_param_store()
    fill(store)
    path = tmp_path / "params.save"
    store.save(path)
    content = bytearray(path.read_bytes())
    position = len(content) - 3 if place == "data" else content.index(b"cpu")
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(ParamError, match="its checksum is not that of its contents"):
        store.load(path)
    assert set(store) == set(INITIAL)


def test_transposed_values_are_saved_as_they_read(backend, tmp_path):
    values = numpy.arange(6.0).reshape(2, 3)
    store = ppl.get_param_store()
    store["a"] = ops.matrix_transpose(ops.array(values))
    store.save(tmp_path / "params.save")
    store.clear()
    store.load(tmp_path / "params.save")
    numpy.testing.assert_array_equal(host(store["a"]), values.T)


def test_a_failed_save_keeps_the_old_file(backend, tmp_path):
    class Odd(constraints.Constraint):
        def check(self, value):
            return value == value

    store = ppl.get_param_store()
    store["a"] = 1.0
    path = tmp_path / "params.save"
    store.save(path)
    old = path.read_bytes()
    ppl.transforms.transform_to.register(Odd, lambda constraint: ppl.transforms.IdentityTransform())
    store.setdefault("b", 1.0, Odd())
    with pytest.raises(ParamError, match="'b' cannot be written"):
        store.save(path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["params.save"]
