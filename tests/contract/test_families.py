"""The promises of the families as classes: exports, docstrings, declared gaps, a row each."""

import ast
import inspect
import re
import sys

import pytest
import source_checks as checks

from ppl import distributions as dist
from ppl.distributions.gaps import OPERATIONS

sys.path.append(str(checks.ROOT / "tests" / "conformance"))
from cases import CASES

FUNCTIONS = {"has_kl", "kl_divergence", "register_kl"}
# Wrappers and bases: what they have depends on what they hold.
ABSTRACT = {"ExponentialFamily", "TransformedDistribution", "ZeroInflatedDistribution"}
FAMILIES = [*sorted(set(dist.HOMES) - FUNCTIONS - ABSTRACT), "Delta"]
# Tested in files of their own: their parameters are distributions or functions, or their draws have no density to compare.
WITHOUT_ROW = {"Delta", "Empirical", "ImproperUniform", "MaskedMixture", "MixtureSameFamily",
               "Rejector", "Unit", "RelaxedBernoulliStraightThrough", "RelaxedOneHotCategoricalStraightThrough"}  # fmt: skip
each_family = pytest.mark.parametrize("name", FAMILIES)


def family(name):
    return getattr(dist, name)


def test_the_table_of_files_is_what_a_type_checker_reads():
    tree = ast.parse((checks.ROOT / "ppl" / "distributions" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    read = {alias.name: node.module.rsplit(".", 1)[1] for node in block.body for alias in node.names}
    assert read == dist.HOMES
    assert set(dist.HOMES) < set(dist.__all__)


def test_families_are_imported_on_demand():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        dist.Nothing  # noqa: B018
    assert "Weibull" in dir(dist)


@each_family
def test_each_operation_is_defined_or_declared(name):
    cls = family(name)
    assert set(cls.gaps) <= set(OPERATIONS)
    for operation in OPERATIONS:
        own = inspect.getattr_static(cls, operation) is not inspect.getattr_static(dist.Distribution, operation)
        drawn = operation == "sample" and "rsample" not in cls.gaps and cls.has_rsample is not False
        assert (own or drawn) is not (operation in cls.gaps), f"{name}.{operation}: define it or name it in gaps, not both"
        if operation in cls.gaps:
            assert len(cls.gaps[operation].split()) > 2


@each_family
def test_the_docstring_is_a_page(name):
    cls = family(name)
    text = inspect.getdoc(cls)
    assert ".. math::" in text or name in ("Unit", "ImproperUniform", "Empirical", "Rejector", "Delta", "MaskedMixture"), name
    assert ">>>" in text
    documented = set(re.findall(r":param (\w+):", text)) | set(re.findall(r"also spelled ``(\w+)``", text))
    parameters = [p for p in inspect.signature(cls.__init__).parameters.values() if p.name not in ("self", "validate_args")]
    for parameter in parameters:
        assert parameter.name in documented or parameter.kind is parameter.VAR_KEYWORD, f"{name}: {parameter.name}"


@each_family
def test_it_stands_in_the_table_of_rows(name):
    rows = [case for case in CASES if case.name == name]
    if name in WITHOUT_ROW:
        return
    assert any(not case.batch_shape for case in rows), f"{name} has no row without a batch"
    if any(case.event_shape for case in rows):
        return
    assert any(case.batch_shape for case in rows), f"{name} has no row with a batch"


def test_negative_control_a_family_that_says_nothing_is_found():
    class Silent(dist.Distribution):
        pass

    assert inspect.getattr_static(Silent, "cdf") is inspect.getattr_static(dist.Distribution, "cdf")
    assert "cdf" not in Silent.gaps
