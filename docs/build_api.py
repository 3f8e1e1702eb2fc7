"""Write the pages of the API reference: one a module, with an entry for each public name.

Public is what a module lists in ``__all__``, what ``tests/contract/documented_names.txt`` names, and the modules of ``MORE``.
A name that several modules offer is described once, at its home; elsewhere its entry says where that is.
"""

import functools
import importlib
import inspect
import pkgutil
import re
import types
from pathlib import Path

import ppl
from ppl import distributions as dist

DOCS = Path(__file__).resolve().parent
LIST = DOCS.parent / "tests" / "contract" / "documented_names.txt"
# Modules without ``__all__`` that authors of models, backends and tests import from.
MORE = ("ppl.backend", "ppl.errors", "ppl.registry", "ppl.runtime", "ppl.tree", "ppl.ops.autodiff", "ppl.ops.compile",
        "ppl.ops.control", "ppl.ops.random", "ppl.infer.diagnostics", "ppl.testing.plugin")  # fmt: skip
GROUPS = {
    "The language": ("ppl", "ppl.handlers", "ppl.poutine", "ppl.primitives", "ppl.params", "ppl.generic"),
    "Distributions": ("ppl.distributions", "ppl.constraints", "ppl.transforms"),
    "Array functions": ("ppl.ops",),
    "Inference": ("ppl.infer", "ppl.optim"),
    "On top of the library": ("ppl.contrib",),
    "For authors": ("ppl.testing", "ppl.backend", "ppl.registry", "ppl.runtime", "ppl.tree", "ppl.errors"),
}
FAMILIES = {f"ppl.distributions.{path.stem}" for path in (DOCS / "distributions").glob("*.md")}
# A module that describes fewer names than this has no page of its own.
ENOUGH = 5
INTRODUCTION = """Every public name, by the module that offers it. For users who know what they look for; others begin with the
:doc:`tour </tour>`."""


@functools.cache
def documented():
    """Return the members that the list of documented names asks for, by dotted name."""
    lines = (line.partition(":") for line in LIST.read_text().splitlines() if line and not line.startswith("#"))
    return {name: tuple(members.split()) for name, _, members in lines}


def module_at(path):
    """Return the module at a path, which may lead through attributes: ``ppl.distributions.constraints``."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        parent, _, name = path.rpartition(".")
        return getattr(module_at(parent), name)


@functools.cache
def modules():
    """Return each public module by its path, the shortest paths first."""
    paths = {"ppl", *MORE, *(name.rpartition(".")[0] for name in documented())}
    for info in pkgutil.walk_packages(ppl.__path__, "ppl."):
        if not info.name.rpartition(".")[2].startswith("_") and hasattr(importlib.import_module(info.name), "__all__"):
            paths |= {info.name, ".".join(info.name.split(".")[:2])}
    return {path: module_at(path) for path in sorted(paths, key=lambda path: (path.count("."), path))}


def own_names(module):
    """Return what a module without ``__all__`` defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__
    ]


@functools.cache
def public_names():
    """Return ``(module path, name)`` of each public name."""
    found = {}
    for path, module in modules().items():
        names = getattr(module, "__all__", None) or own_names(module)
        found |= dict.fromkeys((path, name) for name in names)
    found |= dict.fromkeys((path, name) for path, _, name in (dotted.rpartition(".") for dotted in documented()))
    return tuple(sorted(found))


@functools.cache
def homes(names):
    """Return the dotted name under which each object is described, by the object's identity."""
    found = {}
    for path, name in names:
        value = getattr(module_at(path), name)
        origin = getattr(value, "__module__", None) or ""
        # Under another name than its own Sphinx shows a class as an alias, without members.
        renamed = getattr(value, "__name__", name) != name
        rank = (path != "ppl.handlers", renamed, path.count("."), not origin.startswith(path), path)
        found.setdefault(id(value), []).append((rank, f"{path}.{name}"))
    return {identity: min(candidates)[1] for identity, candidates in found.items()}


@functools.cache
def asked_members():
    """Return the members that the list of documented names asks for, by the identity of the class."""
    found = {}
    for dotted, names in documented().items():
        path, _, name = dotted.rpartition(".")
        found.setdefault(id(getattr(module_at(path), name)), set()).update(names)
    return found


def described_as(member):
    """Return where the member of a documented class is described: below the home of the class."""
    cls, _, name = member.rpartition(".")
    path, _, short = cls.rpartition(".")
    return f"{homes(public_names())[id(getattr(module_at(path), short))]}.{name}"


def summary(value):
    """Return the first paragraph of a docstring, its references as literals."""
    text = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    return re.sub(r":\w+:`~?([^`]*)`", r"``\1``", text)


def signature(cls):
    """Return the arguments of a family, whose metaclass would otherwise be asked."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return f"({', '.join(str(parameter.replace(annotation=parameter.empty)) for parameter in parameters)})"


def members(cls, asked, family):
    """Return what the entry of a class lists: what it defines itself and what the list of documented names asks for.

    The members of a family are those of every distribution, so only the second are listed.
    """
    kinds = (property, classmethod, staticmethod)
    own = [
        name for name, value in vars(cls).items() if not name.startswith("_") and (callable(value) or isinstance(value, kinds))
    ]
    return sorted({*([] if family else own), *(name for name in asked if hasattr(cls, name))})


def class_entry(dotted, cls, asked):
    """Return the lines of a class; a family's refer to its page."""
    family = dotted in FAMILIES
    kind = "autoexception" if issubclass(cls, BaseException) else "autoclass"
    lines = [f".. {kind}:: {dotted}{signature(cls) if isinstance(cls, type(dist.Distribution)) else ''}"]
    shown = members(cls, asked, family)
    if shown:
        lines += [f"   :members: {', '.join(shown)}", "   :undoc-members:"]
    if family:
        lines += ["", f"   :doc:`Parameters, constraints and operations </distributions/{cls.__name__}>`"]
    return lines


def data(dotted, sentence):
    """Return the lines of a name that has no docstring of its own."""
    path, _, name = dotted.rpartition(".")
    return [f".. py:data:: {name}", f"   :module: {path}", "", f"   {sentence}"]


def entry(dotted, value, home, asked):
    """Return the lines of one public name."""
    if home != dotted:
        return data(dotted, f"The same as :py:obj:`{home}`.")
    if inspect.isclass(value):
        return class_entry(dotted, value, asked)
    if inspect.isroutine(value):
        return [f".. autofunction:: {dotted}"]
    if isinstance(value, types.ModuleType) or type(value).__module__.startswith("ppl"):
        return data(dotted, summary(value))
    if isinstance(value, dict):
        keys = ", ".join(f"``{key}``" for key in value if isinstance(key, str))
        return data(dotted, f"A dict{'; its keys are ' if keys else ''}{keys}.")
    return data(dotted, f"``{value!r}``")


def section(path, names, described, underline):
    """Return the part of a page that one module fills."""
    module = module_at(path)
    lines = [path, underline * len(path), ""]
    if path == module.__name__:
        lines += [f".. py:module:: {path}", "", inspect.getdoc(module) or "", ""]
    else:
        lines += [*data(path, f"The same as :py:mod:`{module.__name__}`."), ""]
    for name in names:
        dotted, value = f"{path}.{name}", getattr(module, name)
        if not isinstance(value, types.ModuleType) or dotted not in modules():
            lines += [*entry(dotted, value, described[id(value)], asked_members().get(id(value), ())), ""]
    return lines


def homes_of_modules(paths, own):
    """Return the modules of each page: a deep module that describes few names stands on the page of the one above it."""
    found = {}
    for path in paths:
        page = path
        while page.count(".") > 1 and own.get(page, 0) < ENOUGH:
            page = page.rpartition(".")[0]
        found.setdefault(page, []).append(path)
    return found


def index(pages):
    """Return the page that lists the others."""
    lines = ["API reference", "=============", "", INTRODUCTION, ""]
    grouped = {root for roots in GROUPS.values() for root in roots}
    others = tuple(page for page in pages if page != "ppl" and page.count(".") == 1 and page not in grouped)
    for group, roots in {**GROUPS, **({"More": others} if others else {})}.items():
        inside = [page for root in roots for page in pages if page == root or (root != "ppl" and page.startswith(f"{root}."))]
        lines += [group, "-" * len(group), ""]
        lines += [line for page in inside for line in (f":doc:`{page}`", f"   {summary(module_at(page))}", "")]
    return "\n".join(lines)


@functools.cache
def pages():
    """Return the text of each page by its name."""
    names, paths = public_names(), modules()
    described = homes(names)
    offered = {path: [name for other, name in names if other == path] for path in paths}
    own = {path: sum(described[id(getattr(paths[path], name))] == f"{path}.{name}" for name in offered[path]) for path in paths}
    found = {}
    for page, contents in homes_of_modules(paths, own).items():
        contents = sorted({page, *contents}, key=lambda path: (path.count("."), path))
        texts = [section(path, offered.get(path, []), described, "=" if path == page else "-") for path in contents]
        # Outside the tree of pages, whose entries for each name would be copied into every page of the site.
        found[page] = "\n".join([":orphan:", "", *(line for text in texts for line in text), "All modules: :doc:`index`.", ""])
    return {**found, "index": index(found)}
