"""The documentation site builds without a warning, its links lead somewhere, and every public name has an entry."""

import html.parser
import importlib.util
import os
import re
import subprocess
import sys
import urllib.parse

import pytest
import source_checks as checks

from ppl import registry

DOCS = checks.ROOT / "docs"
pytestmark = pytest.mark.skipif(not {"numpy", "torch", "jax"} <= set(registry.names()), reason="describes all backends")
# What a browser loads by itself, by tag.
LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(html.parser.HTMLParser):
    """The anchors of a page, where its links lead, and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loads = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if found.get(LOADED.get(tag)):
            self.loads.append(found[LOADED[tag]])


def broken(pages, files):
    """Return the links between pages that lead nowhere, and what a page would load from elsewhere."""
    faults = []
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                faults += [f"{path} loads {link}"] if link in page.loads and parts.scheme != "data" else []
                continue
            target = (
                os.path.normpath(os.path.join(os.path.dirname(path), urllib.parse.unquote(parts.path))) if parts.path else path
            )
            anchor = urllib.parse.unquote(parts.fragment)
            if target not in files:
                faults.append(f"{path} links to {link}: no such file")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                faults.append(f"{path} links to {link}: no such anchor")
    return faults


def without_entry(names, pages):
    """Return the dotted names that are no anchor of a page of the reference."""
    anchors = set().union(*(page.anchors for path, page in pages.items() if path.startswith("api/")))
    return sorted(name for name in names if name not in anchors and f"module-{name}" not in anchors)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site; the build fails at a warning."""
    folder = tmp_path_factory.mktemp("site")
    paths = [checks.ROOT, *(checks.ROOT / "backends" / name for name in ("numpy", "torch", "jax", "funsor"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1", "PPL_BACKEND": "numpy"}
    command = [sys.executable, str(DOCS / "build_site.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def files(site):
    return {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pages(site, files):
    return {path: Page((site / path).read_text()) for path in files if path.endswith(".html")}


@pytest.fixture(scope="module")
def reference():
    """The module that writes the pages of the reference."""
    spec = importlib.util.spec_from_file_location("build_api", DOCS / "build_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_of_the_sources_is_built(files):
    expected = {str(path.relative_to(DOCS).with_suffix(".html")) for path in DOCS.rglob("*.md")}
    assert expected | {"contributing.html", "changelog.html", "benchmarks.html", "api/index.html", "search.html"} <= files


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(pages, files):
    assert broken(pages, files) == []
    assert sum(len(page.links) for page in pages.values()) > 2000


def test_every_public_name_has_an_entry(pages, reference):
    names = {f"{path}.{name}" for path, name in reference.public_names()}
    asked = {f"{name}.{member}" for name, members in reference.documented().items() for member in members}
    assert {"ppl.sample", "ppl.infer.NUTS", "ppl.distributions.Gamma", "ppl.ops.exp"} <= names
    assert without_entry(names, pages) == []
    assert without_entry({reference.described_as(name) for name in asked}, pages) == []


def test_formulas_need_no_script(site):
    text = (site / "distributions" / "Gamma.html").read_text()
    assert "<math" in text
    assert not [load for load in Page(text).loads if "math" in load.lower()]


def test_benchmarks_show_the_stored_figures(site):
    figures = re.findall(r"^\| ppl jax [\d.]+ \|.*", (checks.ROOT / "benchmarks" / "README.md").read_text(), flags=re.M)
    effective = next(row for row in figures if row.count("|") == 11).split("|")[7].strip()
    for shade in ("light", "dark"):
        drawn = (site / "_images" / f"sampling-{shade}.svg").read_text()
        assert f"{float(effective):,.0f}" in drawn


def rows(page):
    """Return the cells of each row of the tables of names on a page of ``docs``."""
    lines = (DOCS / page).read_text().split("## Name by name")[1].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return [(theirs.split("`")[1], here, note) for theirs, here, note in cells]


def exists(reference, dotted):
    try:
        path, _, name = dotted.rpartition(".")
        return hasattr(reference.module_at(path), name) or bool(importlib.util.find_spec(dotted))
    except (ImportError, AttributeError):
        return False


@pytest.mark.parametrize(("page", "least"), [("from_pyro.md", 70), ("from_numpyro.md", 60)])
def test_names_side_by_side_exist_here(page, least, reference):
    table = rows(page)
    assert len(table) >= least
    named = [name for _, here, note in table for name in re.findall(r"`(ppl\.[\w.]+)", f"{here} {note}")]
    assert [name for name in named if not exists(reference, name)] == []
    assert [theirs for theirs, here, note in table if here == "–" and not note] == []
    assert [theirs for theirs, here, _ in table if here != "–" and not re.fullmatch(r"`ppl\.[\w.]+`", here)] == []


@pytest.mark.parametrize(("page", "library"), [("from_pyro.md", "pyro"), ("from_numpyro.md", "numpyro")])
def test_what_is_said_to_be_missing_is_missing(page, library, reference):
    same = {theirs.replace(library, "ppl", 1) for theirs, here, _ in rows(page) if here == "–" and theirs.startswith(library)}
    assert [name for name in same if exists(reference, name)] == []


def test_negative_controls(reference):
    sound = {"a.html": Page('<a href="api/b.html#x">x</a><img src="i.png">'), "api/b.html": Page('<p id="x"></p>')}
    assert broken(sound, {*sound, "i.png"}) == []
    assert broken(sound, set(sound)) == ["a.html links to i.png: no such file"]
    assert broken({**sound, "api/b.html": Page("")}, {*sound, "i.png"}) == ["a.html links to api/b.html#x: no such anchor"]
    assert broken({"a.html": Page('<script src="https://example.org/x.js"></script>')}, set()) == [
        "a.html loads https://example.org/x.js"
    ]
    assert broken({"a.html": Page('<a href="https://example.org">x</a>')}, {"a.html"}) == []
    assert without_entry({"x", "y"}, sound) == ["y"]
    assert not exists(reference, "ppl.infer.NoSuchSampler")
    assert not exists(reference, "ppl.nowhere.Thing")


def test_negative_control_a_wrong_page_stops_the_build(tmp_path):
    """The options of the build make a warning an error, also for a reference to a name of nothing."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "conf.py").write_text((DOCS / "conf.py").read_text().replace('html_static_path = ["_static"]', ""))
    (source / "index.rst").write_text("Title\n=====\n\n:class:`ppl.infer.NoSuchSampler`\n")
    options = ["-q", "-n", "-W", "--keep-going", str(source), str(tmp_path / "html")]
    environment = {**os.environ, "PYTHONPATH": str(checks.ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert done.returncode != 0
    assert "reference target not found" in done.stderr
