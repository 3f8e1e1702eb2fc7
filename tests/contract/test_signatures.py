"""Each backend implements exactly the functions that ``ppl.ops`` declares, under the same signatures."""

import importlib
import inspect
import types

import numpy
import pytest
import source_checks as checks

from ppl import ops, pyro_backend
from ppl.ops import linalg
from ppl.testing.strict import ARRAY_PARTS, StrictBackend, declared_functions

MODULES = {"random": ops.random, "autodiff": ops.autodiff, "compile": ops.compile, "control": ops.control}
DERIVED = {name: value for name, value in ops.ARRAY_FUNCTIONS.items() if hasattr(value, "generic")}
# (backend, part): public names beyond the contract, each for a reason that its docstring gives
EXTRA = {}


def declaration(part, name):
    return getattr(MODULES[part], name) if part in MODULES else getattr(linalg if part == "linalg" else ops, name)


def form(function):
    """Return the names, kinds and defaults of a function's parameters; annotations do not count."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def compare(declared, implementation):
    """Return a sentence if ``implementation`` is no real function of the same form, else an empty list."""
    name = declared.__name__
    if not isinstance(implementation, types.FunctionType):
        return [f"{name} is a {type(implementation).__name__}, expected a function of the backend's own"]
    if form(declared) != form(implementation):
        return [f"{name}{inspect.signature(implementation)}, expected {name}{inspect.signature(declared)}"]
    return []


def unexpected(module, contract):
    """Return the public functions and classes that ``module`` defines beyond ``contract``."""
    return sorted(
        name
        for name, value in vars(module).items()
        if isinstance(value, (types.FunctionType, type))
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and name not in contract
    )


def parts_of_backends():
    return [(owner, part) for owner in checks.BACKENDS for part in ARRAY_PARTS]


@pytest.fixture
def module(request, owner, part):
    chosen = request.config.getoption("--backends")
    if chosen and owner not in chosen.split(","):
        pytest.skip(f"{owner} was not chosen")
    pytest.importorskip(owner)
    return importlib.import_module(f"ppl_{owner}.{part}")


@pytest.mark.parametrize(("owner", "part"), parts_of_backends())
def test_every_declared_function_is_implemented(module, part):
    faults = []
    for name in declared_functions(part):
        if hasattr(module, name):
            faults += compare(declaration(part, name), getattr(module, name))
        else:
            faults.append(f"{name} is missing")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(("owner", "part"), parts_of_backends())
def test_nothing_public_beyond_the_contract(module, owner, part):
    extra = set(unexpected(module, {*declared_functions(part), *DERIVED}))
    assert extra == EXTRA.get((owner, part), set())


@pytest.mark.parametrize("owner", checks.BACKENDS)
def test_overrides_of_derived_functions_keep_the_signature(owner):
    pytest.importorskip(owner)
    overridden = vars(importlib.import_module(f"ppl_{owner}.ops"))
    faults = [fault for name in DERIVED if name in overridden for fault in compare(DERIVED[name], overridden[name])]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", ops.ARRAY_FUNCTIONS)
def test_every_op_has_a_docstring(name):
    assert inspect.getdoc(getattr(ops, name))


def test_no_name_is_declared_twice():
    names = [name for part in ("ops", "special", "linalg") for name in declared_functions(part)]
    assert len(names) == len(set(names))
    assert {*names, *DERIVED} - {"einsum"} == set(ops.ARRAY_FUNCTIONS)
    assert set(ops.__all__) == {*ops.ARRAY_FUNCTIONS, *MODULES, "einsum"}


def test_strict_backend_offers_the_contract_alone():
    strict = StrictBackend()
    for part in ARRAY_PARTS:
        public = {name for name in vars(getattr(strict, part)) if not name.startswith("_")}
        assert public == set(declared_functions(part))
    with pytest.raises(AttributeError):
        _ = strict.ops.array_equal


def test_strict_backend_refuses_in_place_changes():
    with pyro_backend(StrictBackend()):
        result = ops.exp(ops.zeros(3))
        with pytest.raises(ValueError, match="read-only"):
            result += 1
        gradient = ops.autodiff.grad(lambda x: ops.sum(x * x))(ops.ones(2))
        with pytest.raises(ValueError, match="read-only"):
            gradient[0] = 0.0
        mine = numpy.zeros(2)
        ops.array(mine)
        mine[0] = 1.0


def test_negative_control_a_wrong_signature_is_found():
    def sum(x, axis=None, keepdims=True):
        return x

    def prod(x, axes=None, keepdims=False):
        return x

    assert compare(ops.sum, sum)
    assert compare(ops.prod, prod)
    assert compare(ops.exp, abs)


def test_negative_control_an_extra_function_is_found():
    planted = types.ModuleType("planted")
    exec("def exp(x):\n    return x\ndef surplus(x):\n    return x\ndef _private(x):\n    return x\n", vars(planted))
    for function in ("exp", "surplus", "_private"):
        vars(planted)[function].__module__ = "planted"
    assert unexpected(planted, {"exp"}) == ["surplus"]
