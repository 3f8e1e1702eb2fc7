"""The arrows of the design: who may import whom."""

import pytest
import source_checks as checks

from ppl.backend import PARTS

BACKEND_FILES = [(backend, path) for backend in checks.BACKENDS for path in checks.python_files(f"backends/{backend}")]
# the modules whose work is to load others by name
LOADERS = {"ppl.registry", "ppl.generic", "ppl.distributions"}
# what one library lacks and its backend therefore builds itself
PRIVATE_FILES = {
    "numpy": {"batching.py", "incomplete.py", "primitives.py", "program.py", "recording.py", "rules.py", "signatures.py"},
    "torch": {"continuous.py", "convert.py", "discrete.py", "divergence.py", "estimators.py", "foundation.py", "graph.py",
              "incomplete.py", "merging.py", "multivariate.py", "native.py", "positive.py", "relaxed.py", "streams.py",
              "tracing.py"},
    "jax": {"columns.py", "dtypes.py", "incomplete_beta.py", "jit.py", "merging.py", "pcg.py", "poisson.py", "stirling.py",
            "streams.py", "tracing.py"},
}  # fmt: skip


def _relative(path):
    return str(path.relative_to(checks.ROOT)) if hasattr(path, "relative_to") else path


@pytest.mark.parametrize("path", checks.python_files("ppl"), ids=_relative)
def test_module_imports_only_from_its_left(path):
    faults = checks.check_layers(path.read_text(), checks.module_name(path), path.name == "__init__.py")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", checks.python_files("ppl"), ids=_relative)
def test_only_the_loaders_import_by_computed_name(path):
    module = checks.module_name(path)
    faults = [] if module in LOADERS else checks.check_dynamic_imports(path.read_text(), module)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(("owner", "path"), BACKEND_FILES, ids=_relative)
def test_backend_imports_the_contract_and_its_library(owner, path):
    part = "distributions" if path.parent.name == "families" or path.stem == "native" else path.stem
    faults = checks.check_backend_imports(path.read_text(), owner, part)
    faults += checks.check_private_api(path.read_text(), checks.module_name(path))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", checks.python_files("backends/funsor"), ids=_relative)
def test_a_layer_imports_the_contract_and_no_array_library(path):
    # It works through ppl.ops on whatever lies beneath, as the parts with native classes and drivers do.
    assert not checks.check_backend_imports(path.read_text(), "funsor", "infer")


def test_no_circle_among_the_modules():
    sources = {checks.module_name(p): (p.read_text(), p.name == "__init__.py") for p in checks.python_files("ppl", "backends")}
    faults = checks.check_cycles(checks.import_edges(sources))
    assert not faults, "\n".join(faults)


def test_backends_have_the_same_files():
    expected = {"__init__.py", "shaping.py", *(f"{part}.py" for part in PARTS)}
    for owner in checks.BACKENDS:
        found = {path.name for path in checks.python_files(f"backends/{owner}")}
        assert found - PRIVATE_FILES.get(owner, set()) == expected, owner


def test_no_package_file_shadows_a_library():
    for folder in ("backends", *(f"backends/{backend}" for backend in checks.BACKENDS)):
        assert not list((checks.ROOT / folder).glob("*.py"))


PLANTED_IN_PPL = {
    "to the right": ("ppl.ops.linalg", "from ppl import distributions\n"),
    "array library": ("ppl.infer.svi", "import numpy as np\n"),
    "array library, late": ("ppl.infer.svi", "def f():\n    import torch\n"),
    "array library, submodule": ("ppl.constraints", "from jax import numpy\n"),
    "backend package": ("ppl.ops", "import ppl_torch\n"),
    "late import": ("ppl.infer.svi", "def f():\n    from ppl.ops import linalg\n"),
    "relative, to the right": ("ppl.ops.linalg", "from ..infer import svi\n"),
    "the package itself": ("ppl.handlers.trace", "import ppl\n"),
    "no layer": ("ppl.miscellany", "x = 1\n"),
}


@pytest.mark.parametrize(("module", "source"), PLANTED_IN_PPL.values(), ids=PLANTED_IN_PPL)
def test_negative_control_planted_import_is_found(module, source):
    assert checks.check_layers(source, module)


def test_allowed_imports_pass():
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy\n"
    source = typed + "from ppl.ops import linalg\nfrom ppl import ops\n"
    assert checks.check_layers(source, "ppl.distributions.gamma") == []
    assert checks.check_layers("from ppl.ops.dispatch import derived\n", "ppl.ops.linalg") == []
    source = "import torch\nfrom ppl.errors import PplError\nimport ppl_torch.ops\n"
    assert checks.check_backend_imports(source, "torch", "linalg") == []
    assert checks.check_backend_imports("from ppl import distributions\n", "jax", "distributions") == []


@pytest.mark.parametrize(
    ("owner", "part", "source"),
    [
        ("torch", "ops", "import jax\n"),
        ("torch", "ops", "import scipy\n"),
        ("jax", "ops", "from ppl_numpy import ops\n"),
        ("numpy", "ops", "from ppl import distributions\n"),
        ("numpy", "distributions", "from ppl.infer import SVI\n"),
        ("numpy", "infer", "def f():\n    from ppl import tree\n"),
    ],
)
def test_negative_control_planted_backend_import_is_found(owner, part, source):
    assert checks.check_backend_imports(source, owner, part)


@pytest.mark.parametrize("source", ["from jax._src import core\n", "import torch\ntorch._C.f()\n", "import torch._dynamo\n"])
def test_negative_control_private_api_is_found(source):
    assert checks.check_private_api(source, "planted")


def test_negative_control_computed_import_is_found():
    assert checks.check_dynamic_imports("import importlib\nimportlib.import_module('ppl.infer')\n", "planted")


def test_negative_control_circle_is_found():
    circle = {"ppl": ("", True), "ppl.a": ("from ppl.b import f\n", False), "ppl.b": ("from ppl import a\n", False)}
    assert checks.check_cycles(checks.import_edges(circle)) == ["ppl.a -> ppl.b -> ppl.a"]
    assert not checks.check_cycles(checks.import_edges({**circle, "ppl.b": ("", False)}))
