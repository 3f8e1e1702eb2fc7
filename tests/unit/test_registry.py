"""How a backend is found, chosen, scoped and refused."""

import ast
import os
import random as python_random
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import numpy
import pytest

from ppl import ops, registry
from ppl.backend import CONTRACT, PARTS, Backend, Gap, Layer
from ppl.errors import BackendError, GapError
from ppl.generic import pyro_backend
from ppl.testing.strict import ARRAY_PARTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch):
    """Give each test its own copy of what is registered and chosen."""
    monkeypatch.setattr(registry, "_loaders", dict(registry._loaders))
    monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
    monkeypatch.setattr(registry, "_laid", dict(registry._laid))
    monkeypatch.setattr(registry, "_default", None)


def fake(name="fake", **replaced):
    """Return a backend with every name of the contract, each of which does nothing."""
    parts = {part: ModuleType(f"{name}.{part}") for part in PARTS}
    for part, names in CONTRACT.items():
        vars(parts[part]).update(dict.fromkeys(names, print))
    return Backend(**{"name": name, "library": "fake", **parts, **replaced})


def test_unknown_backend_offers_the_nearest_name():
    with pytest.raises(BackendError, match=r"unknown backend 'nunpy'.*'numpy'.*did you mean 'numpy'\?"):
        registry.load("nunpy")
    with pytest.raises(BackendError, match="unknown backend 'tensorflow'") as caught:
        registry.load("tensorflow")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("value", [3, None, ["numpy"], 1.5])
def test_a_backend_of_a_wrong_type(value):
    with pytest.raises(BackendError, match=type(value).__name__):
        registry.load(value)


COMMANDS = [("torch", r"pip install 'ppl-generic\[torch\]'"), ("mine", "install the package 'mine_lib'")]


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_a_missing_library_is_one_sentence_with_the_command(name, command):
    def loader():
        raise ModuleNotFoundError("No module named 'mine_lib'", name="mine_lib")

    registry.register(name, loader)
    sentence = f"backend '{name}' needs the library 'mine_lib', which is not installed; try: {command}"
    with pytest.raises(BackendError, match=sentence):
        registry.load(name)
    with pytest.raises(BackendError), pyro_backend(name):
        pytest.fail("the block was entered")


def test_a_missing_library_leaves_the_choice_as_it_was():
    def loader():
        raise ModuleNotFoundError("No module named 'x'", name="x")

    registry.register("broken", loader)
    registry.set_backend("numpy")
    with pytest.raises(BackendError):
        registry.set_backend("broken")
    assert registry.active().name == "numpy"


def test_a_loader_that_returns_something_else_is_refused():
    registry.register("odd", lambda: 3)
    with pytest.raises(BackendError, match=r"'odd' must be a ppl\.backend\.Backend value, got int"):
        registry.load("odd")


@pytest.mark.parametrize("part", PARTS)
def test_an_incomplete_backend_is_refused_and_not_registered(part):
    with pytest.raises(BackendError, match=f"incomplete: it lacks {part}"):
        registry.register("half", fake(**{part: None}))
    assert "half" not in registry.names()


def test_an_incomplete_backend_from_a_function_is_refused_when_loaded():
    registry.register("half", lambda: fake(ops=None))
    with pytest.raises(BackendError, match=r"incomplete.*ops"):
        registry.load("half")


def test_missing_functions_are_listed_and_the_backend_is_not_registered():
    value = fake()
    for address in ("ops.where", "ops.exp", "special.gammaln", "random.normal", "infer.loop", "nn.is_module"):
        part, name = address.split(".")
        delattr(getattr(value, part), name)
    sentence = (
        "backend 'half' is incomplete: it lacks ops.exp, ops.where, special.gammaln, random.normal, infer.loop, nn.is_module; "
        "expected every part"
    )
    with pytest.raises(BackendError, match=sentence):
        registry.register("half", value)
    assert "half" not in registry.names()


def test_parts_and_functions_are_missing_in_one_sentence():
    value = fake(control=None)
    del value.autodiff.vmap
    with pytest.raises(BackendError, match=r"it lacks autodiff\.vmap, control; expected"):
        registry.register("half", value)


def test_a_function_under_gaps_may_be_absent():
    value = fake(gaps={"eigh": "the library has no eigenvalues"})
    del value.linalg.eigh
    registry.register("fake", value)
    with registry.using("fake"), pytest.raises(GapError, match="eigh is not available on backend 'fake': the library has no"):
        ops.eigh(1.0)


def test_every_declared_function_is_in_the_contract():
    """The declarations are found in the source, by their decorator."""
    sources = [path.read_text() for path in (ROOT / "ppl" / "ops").glob("*.py")]
    declared = {(part, name) for text in sources for part, name in re.findall(r'@dispatched\("(\w+)"\)\ndef (\w+)', text)}
    assert len(declared) > 150
    assert {(part, name) for part in ARRAY_PARTS for name in CONTRACT[part]} == declared


@pytest.mark.parametrize("part", ["optim", "infer", "nn"])
def test_the_contract_of_native_parts_is_what_all_backends_share(part):
    shared = set.intersection(*(names_defined_in(name, part) for name in ("numpy", "torch", "jax")))
    assert shared - CONTRACT[part] <= {"JOINT"}
    assert CONTRACT[part] <= shared


def names_defined_in(backend, part):
    tree = ast.parse((ROOT / "backends" / backend / f"ppl_{backend}" / f"{part}.py").read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}
    constants = {t.id for node in tree.body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)}
    constants |= {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    return functions | {name for name in constants if name.isupper() and not name.startswith("_")}


def test_registered_backends_are_found_and_loaded_once():
    calls = []

    def loader():
        calls.append(1)
        return value

    value = fake()
    registry.register("fake", loader)
    assert "fake" in registry.names()
    assert registry.load("fake") is registry.load("fake") is value
    assert len(calls) == 1
    other = fake("other")
    registry.register("fake", other)
    assert registry.load("fake") is other


def over(beneath):
    return fake("over", ops=beneath.ops, beneath=beneath.address)


def test_a_layer_lies_over_the_backend_that_is_active_where_it_is_chosen():
    one, two = fake("one"), fake("two")
    registry.register("over", Layer("over", over))
    with registry.using(one):
        first = registry.load("over")
        assert (first.name, first.beneath, first.ops) == ("over", "one", one.ops)
        assert registry.load("over") is first
        with registry.using("over"):
            assert registry.load("over") is registry.active() is first
            with registry.using(two):
                assert registry.load("over").ops is two.ops
    with pyro_backend(two), pyro_backend("over") as backend:
        assert repr(backend) == "Backend('over:two')"


def test_a_layer_as_the_default_lies_over_the_default_before_it(monkeypatch):
    registry.register("over", Layer("over", over))
    monkeypatch.setenv("PPL_BACKEND", "over")
    assert registry.active().address == "over:numpy"
    registry.set_backend(fake("one"))
    registry.set_backend("over")
    assert registry.active().address == "over:one"


def test_an_address_finds_a_layer_again_from_anywhere():
    registry.register("one", fake("one"))
    registry.register("over", lambda: Layer("over", over))
    with registry.using("over:one") as backend:
        assert backend is registry.load(backend.address)
    assert registry.load("over:one") is backend
    with pytest.raises(BackendError, match="backend 'one' has arrays of its own and lies over no other; try 'one' or 'over'"):
        registry.load("one:over")
    with pytest.raises(BackendError, match="unknown backend 'nunpy'"):
        registry.load("over:nunpy")


def test_a_layer_that_lacks_a_part_is_refused():
    registry.register("over", Layer("over", lambda beneath: fake("over", random=None)))
    with pytest.raises(BackendError, match="backend 'over' is incomplete: it lacks random"):
        registry.load("over")


def test_the_alias_pyro_is_torch():
    registry.register("torch", fake("torch"))
    assert registry.load("pyro") is registry.load("torch")
    with pyro_backend("pyro") as backend:
        assert backend.name == "torch"


def test_blocks_nest_and_reverse():
    one, two = fake("one"), fake("two")
    outside = registry.active()
    with registry.using(one):
        with registry.using(two) as inner:
            assert inner is registry.active() is two
        assert registry.active() is one
        with registry.using(one):
            assert registry.active() is one
        assert registry.active() is one
    assert registry.active() is outside


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, GeneratorExit])
def test_blocks_reverse_after_an_exception(error):
    outside = registry.active()
    with pytest.raises(error), registry.using(fake("one")), pyro_backend(fake("two")):
        raise error
    assert registry.active() is outside


def test_a_block_wins_over_set_backend():
    one = fake("one")
    registry.set_backend(one)
    assert registry.active() is one
    with pyro_backend("numpy"):
        assert registry.active().name == "numpy"
        registry.set_backend(fake("two"))
        assert registry.active().name == "numpy"
    assert registry.active().name == "two"


def test_threads_under_different_backends_never_see_each_other():
    barrier = threading.Barrier(4)
    faults = []

    def work(name):
        value = fake(name)
        for _ in range(200):
            with registry.using(value):
                barrier.wait(timeout=20)
                if registry.active() is not value:
                    faults.append((name, registry.active().name))
                with registry.using("numpy"):
                    if registry.active().name != "numpy":
                        faults.append((name, "inner"))
                barrier.wait(timeout=20)
            if registry.active().name != "numpy":
                faults.append((name, "after"))

    registry.set_backend("numpy")
    threads = [threading.Thread(target=work, args=(f"backend-{k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert not faults


def test_a_new_thread_starts_outside_the_blocks_of_its_parent():
    seen = []
    registry.set_backend("numpy")
    with registry.using(fake("one")):
        thread = threading.Thread(target=lambda: seen.append(registry.active().name))
        thread.start()
        thread.join()
    assert seen == ["numpy"]


def test_entering_seeds_nothing():
    """The global generators of Python and numpy, and the backend's own stream, go on as if nothing had happened."""
    python_random.seed(1)
    numpy.random.seed(1)
    with registry.using("numpy"):
        ops.random.set_rng_seed(1)
        expected = python_random.random(), numpy.random.rand(), float(ops.random.normal(None, ()))
        python_random.seed(1)
        numpy.random.seed(1)
        ops.random.set_rng_seed(1)
    with pyro_backend("numpy"):
        pass
    with pyro_backend("numpy"):
        assert (python_random.random(), numpy.random.rand(), float(ops.random.normal(None, ()))) == expected


def run(code, **environment):
    paths = [str(ROOT), *(str(ROOT / "backends" / name) for name in ("numpy", "torch", "jax"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)


def test_the_environment_chooses_the_default():
    pytest.importorskip("torch")
    result = run("from ppl import registry, ops; ops.zeros(2); print(registry.active().name)", PPL_BACKEND="torch")
    assert result.stdout.strip() == "torch", result.stderr
    assert run("from ppl import registry; print(registry.active().name)", PPL_BACKEND="").stdout.strip() == "numpy"


def test_a_wrong_environment_is_one_sentence():
    result = run("import ppl; print('imported'); from ppl import ops; ops.zeros(2)", PPL_BACKEND="nunpy")
    assert result.stdout.strip() == "imported"
    assert result.stderr.strip().splitlines()[-1].startswith("ppl.errors.BackendError: unknown backend 'nunpy'")


def test_a_gap_is_an_error_with_its_reason():
    value = fake(gaps={"exp": "the library has no exponential"})
    del value.ops.exp, value.ops.log
    with registry.using(value):
        with pytest.raises(GapError, match=r"exp is not available on backend 'fake': the library has no exponential"):
            ops.exp(1.0)
        with pytest.raises(NotImplementedError, match="log is not available on backend 'fake': its part 'ops' lacks it"):
            ops.log(1.0)
        assert registry.gap("log") is None
        assert isinstance(registry.gap("exp"), GapError)


def test_a_gap_says_since_when_and_of_which_library():
    gaps = {"sort": Gap("its kernel was removed; try the torch backend", since="numpy 1.0")}
    value = fake(library="numpy", gaps=gaps)
    del value.ops.sort
    with registry.using(value), pytest.raises(GapError) as caught:
        ops.sort([1.0])
    version = re.escape(numpy.__version__)
    expected = rf"sort is not available on backend 'fake' \(numpy {version}, since numpy 1.0\): its kernel was removed; try the"
    assert re.match(expected, str(caught.value))
    with registry.using(fake(gaps=gaps)):
        assert "backend 'fake' (since numpy 1.0): its kernel" in str(registry.gap("sort"))


def test_every_gap_of_a_bundled_backend_says_since_when():
    for name in ("numpy", "torch", "jax"):
        for feature, reason in registry.load(name).gaps.items():
            assert isinstance(reason, Gap), feature
            assert re.fullmatch(r"\w+ \d[\w.]*", reason.since), feature


def test_an_error_inside_an_implementation_is_not_taken_for_a_gap():
    value = fake()

    def exp(x):
        return x.no_such_attribute

    value.ops.exp = exp
    with registry.using(value), pytest.raises(AttributeError, match="no_such_attribute"):
        ops.exp(1.0)


def test_backends_are_readable():
    assert repr(fake()) == "Backend('fake')"
    with pytest.raises(AttributeError):
        fake().name = "other"


def test_a_bundled_backend_whose_package_is_not_importable_says_so(monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(registry, "_advertised", list)
    with pytest.raises(BackendError, match="'jax' comes with this project, but its package 'ppl_jax' cannot be imported; try"):
        registry.load("jax")
