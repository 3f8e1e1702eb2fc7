"""Modules that follow the backend, as chapter 11 of the reference documents them."""

import sys
import threading
from types import ModuleType

import pytest

from ppl import generic, ops, registry
from ppl.errors import BackendError
from ppl.generic import GenericModule, pyro_backend, register_backend


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(registry, "_loaders", dict(registry._loaders))
    monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
    monkeypatch.setattr(generic, "_frontends", dict(generic._frontends))
    monkeypatch.setattr(generic, "_DEFAULT_MODULES", dict(generic._DEFAULT_MODULES))


@pytest.fixture
def modules(monkeypatch):
    """Two importable modules, ``first_impl`` and ``second_impl``, each with ``answer``."""
    for name, answer in (("first_impl", 1), ("second_impl", 2)):
        module = ModuleType(name)
        module.answer = answer
        monkeypatch.setitem(sys.modules, name, module)
    return GenericModule("things", "first_impl")


def test_attributes_follow_the_current_backend(modules):
    assert modules.answer == 1
    with pyro_backend({"things": "second_impl"}):
        assert modules.answer == 2
        assert GenericModule.current_backend["things"] == "second_impl"
        with pyro_backend(things="first_impl"):
            assert modules.answer == 1
        assert modules.answer == 2
    assert modules.answer == 1


def test_a_dict_changes_only_what_it_names(modules):
    before = dict(GenericModule.current_backend)
    with pyro_backend({"things": "second_impl"}):
        inside = dict(GenericModule.current_backend)
    assert {key for key in inside if inside[key] != before[key]} == {"things"}
    assert dict(GenericModule.current_backend) == before


def test_a_dict_and_keywords_together(modules):
    with pyro_backend({"things": "first_impl"}, things="second_impl"):
        assert modules.answer == 2


def test_a_name_and_keywords_together(modules):
    with pyro_backend("numpy", things="second_impl") as backend:
        assert backend.name == "numpy"
        assert modules.answer == 2


def test_routes_are_restored_after_an_exception(modules):
    with pytest.raises(KeyError), pyro_backend({"things": "second_impl"}):
        raise KeyError
    assert modules.answer == 1


def test_a_failing_entry_leaves_nothing_behind(modules):
    with pytest.raises(BackendError), pyro_backend({"things": "second_impl", "nothing": "x"}):
        pytest.fail("the block was entered")
    assert modules.answer == 1


def test_routes_are_local_to_the_thread(modules):
    seen = []
    with pyro_backend({"things": "second_impl"}):
        thread = threading.Thread(target=lambda: seen.append(modules.answer))
        thread.start()
        thread.join()
    assert seen == [1]


def test_an_unknown_module_name_is_refused():
    sentence = r"unknown module name 'infr'; expected one of \['distributions'"
    with pytest.raises(BackendError, match=sentence), pyro_backend({"infr": "x"}):
        pytest.fail("the block was entered")


def test_two_names_are_refused():
    with pytest.raises(BackendError, match="2 positional"), pyro_backend("numpy", "torch"):
        pytest.fail("the block was entered")


def test_a_missing_attribute_names_the_module(modules):
    with pytest.raises(AttributeError, match=r"'first_impl', the current backend of 'things', has no attribute 'question'"):
        _ = modules.question


def test_introspection(modules):
    assert "answer" in dir(modules)
    assert repr(modules) == "GenericModule('things' -> 'first_impl')"
    assert "things" in GenericModule.current_backend
    with pytest.raises(TypeError):
        GenericModule.current_backend["things"] = "second_impl"


def test_register_a_dict_of_modules(modules):
    register_backend("mine", {"things": "second_impl"})
    with pyro_backend("mine"):
        assert modules.answer == 2
    assert modules.answer == 1


def test_register_a_backend_and_a_function():
    numpy_backend = registry.load("numpy")
    register_backend("same", numpy_backend)
    register_backend("lazy", lambda: numpy_backend)
    for name in ("same", "lazy"):
        with pyro_backend(name) as backend:
            assert backend is numpy_backend


@pytest.mark.parametrize("value", [3, "numpy", None])
def test_registering_something_else_is_refused(value):
    with pytest.raises(BackendError, match="a backend is a Backend value, a function or a dict"):
        register_backend("bad", value)


def test_registering_unknown_modules_is_refused():
    with pytest.raises(BackendError, match="unknown module name 'nothing'"):
        register_backend("bad", {"nothing": "x"})
    with pytest.raises(BackendError, match="unknown backend 'bad'"), pyro_backend("bad"):
        pytest.fail("the block was entered")


def test_the_generic_modules_lead_to_the_package():
    import ppl.distributions

    assert generic.ops.exp is ops.exp
    assert generic.distributions.Normal is ppl.distributions.Normal
    assert generic.pyro.pyro_backend is pyro_backend


def test_pyro_backend_decorates_a_function():
    @pyro_backend("numpy")
    def name():
        return registry.active().name

    assert name() == "numpy"
