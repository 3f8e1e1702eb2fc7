"""The code of the documentation runs on each backend that it names and prints what the pages say."""

from pathlib import Path

import pytest
from page_code import blocks, faults, same

ROOT = Path(__file__).parents[2]
TEXTS = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
PAGES = sorted(str(path.relative_to(ROOT)) for path in TEXTS if blocks(path.read_text()))
# What samples or compiles for long runs at night, on jax all but two pages.
QUICK = {
    "numpy": set(PAGES) - {"README.md", "docs/index.md", "docs/inference.md"},
    "torch": {"docs/backends.md", "docs/from_pyro.md", "docs/install.md", "docs/shapes.md", "docs/writing_a_backend.md"},
    "jax": {"docs/install.md", "docs/shapes.md"},
}


def pages_of(backend):
    return [pytest.param(page, marks=[] if page in QUICK[backend] else pytest.mark.nightly) for page in PAGES]


def run(page, backend):
    assert faults((ROOT / page).read_text(), backend) == []


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("page", pages_of("numpy"))
def test_page_on_numpy(backend, page):
    run(page, backend)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("page", pages_of("torch"))
def test_page_on_torch(backend, page):
    run(page, backend)


@pytest.mark.backends("jax")
@pytest.mark.parametrize("page", pages_of("jax"))
def test_page_on_jax(backend, page):
    run(page, backend)


def test_there_are_pages():
    assert len(PAGES) >= 10
    assert all(blocks((ROOT / page).read_text()) for page in PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_where_to_go_next(page):
    """Pages of the documentation end with links, as their readers expect."""
    tail = (ROOT / page).read_text().split("```{toctree}")[0].strip().splitlines()[-8:]
    assert "](" in "\n".join(tail)


def test_negative_controls():
    page = "```python\nx = 1.0\n```\n\n```python\nprint(x + 1.01)\n```\n\n<!-- within 0.1 -->\n\n```text\n2.0\n```\n"
    assert faults(page, "numpy") == []
    assert faults(page.replace("within 0.1", "within 0.001"), "numpy") == ["line 6: printed '2.01\\n', the page says '2.0\\n'"]
    assert len(faults(page.replace("<!-- within 0.1 -->\n\n", ""), "numpy")) == 1
    with pytest.raises(ZeroDivisionError):
        faults("```python\n1 / 0\n```\n", "numpy")
    assert faults("<!-- backends: torch -->\n\n```python\n1 / 0\n```\n", "numpy") == []
    assert faults("```bash\nrm nothing\n```\n\n```text\n2.0\n```\n", "numpy") == []
    assert not same("{'a': 1.0}", "{'b': 1.0}", 0.1)
    assert not same("1.0 2.0", "1.0", 0.1)


def test_a_block_chooses_the_backend_under_test():
    choice = 'with ppl.pyro_backend("numpy"):  # or "torch", "jax"; nothing else changes'
    page = f"```python\nimport ppl\n{choice}\n    print(ppl.registry.active().name)\n```\n\n```text\ntorch\n```\n"
    assert faults(page, "torch") == []
    assert "'numpy" in faults(page.replace("# or", "# and"), "torch")[0]
