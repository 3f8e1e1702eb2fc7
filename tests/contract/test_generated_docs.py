"""The generated pages are those that the library gives today."""

import importlib.util
import re

import pytest
import source_checks as checks

from ppl import distributions as dist
from ppl import registry

pytestmark = pytest.mark.skipif(not {"numpy", "torch", "jax"} <= set(registry.names()), reason="compares all backends")


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_distributions", checks.ROOT / "docs" / "build_distributions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_current(builder):
    stale = [
        path
        for path, text in builder.files().items()
        if not (builder.DOCS / path).exists() or (builder.DOCS / path).read_text() != text
    ]
    assert not stale, f"run python docs/build_distributions.py: {stale}"


def test_each_page_has_a_density_parameters_and_an_example(builder):
    for name in builder.FAMILIES:
        text = builder.page(name)
        assert ">>>" in text, name
        rows = re.findall(r"^\| `(\w+)` \| (.+) \| ", text, flags=re.M)
        assert rows, name
        assert all(meaning.strip() for _, meaning in rows), name


def test_the_table_says_what_the_families_say(builder):
    table = builder.support_table()
    for name in ("Gamma", "Dirichlet", "Poisson"):
        row = next(line for line in table.splitlines() if line.startswith(f"| [{name}]"))
        cells = [cell.strip() for cell in row.strip("|").split("|")][1:-1]
        for operation, cell in zip(builder.OPERATIONS, cells, strict=True):
            assert (cell == builder.MISSING) is (operation in getattr(dist, name).gaps)


def test_negative_control_a_changed_page_is_seen(builder, monkeypatch):
    monkeypatch.setattr(dist.Gamma, "gaps", {**dist.Gamma.gaps, "log_prob": "planted"})
    assert "planted" in builder.page("Gamma")
