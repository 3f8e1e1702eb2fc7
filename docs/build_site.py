"""Build the documentation site: ``python docs/build_site.py build/site`` writes ``build/site/html/index.html``.

The pages come from ``docs/``, from the texts at the root of the project, from the docstrings and from the stored figures of the
benchmarks. They are put together in ``build/site/source``, where a link to a file of the project leads to its page.
"""

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

from build_api import pages
from build_benchmarks import benchmark_page, draw
from sphinx.cmd.build import build_main

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
# Texts of the project that are pages of the site under another name.
TEXTS = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
BENCHMARKS = "benchmarks/README.md"
LINK = re.compile(r"\]\(([^()#\s:]+)(#[^()\s]*)?\)")


def page_of(path):
    """Return the page of the site that shows a file of the project."""
    if path in TEXTS or path == BENCHMARKS:
        return TEXTS.get(path, "benchmarks.md")
    return path.removeprefix("docs/") if path.startswith("docs/") else f"source/{path}.md"


def linked(text, path, shown):
    """Return a text of the project with its links to files turned into links to pages; ``shown`` collects those files."""
    page = page_of(path)

    def replace(match):
        target = os.path.normpath(os.path.join(os.path.dirname(path), match[1]))
        if not (ROOT / target).is_file():
            return match[0]
        shown.add(target)
        return f"]({os.path.relpath(page_of(target), os.path.dirname(page) or '.')}{match[2] or ''})"

    return LINK.sub(replace, text)


def code_page(path):
    """Return the page of a file that is no text of the documentation."""
    kind = "python" if path.endswith(".py") else "text"
    return f"---\norphan: true\n---\n\n# {path}\n\n````{kind}\n{(ROOT / path).read_text()}````\n"


def family_page(name, text):
    """Return the page of a family, which the support table and the reference lead to."""
    links = f"{{py:class}}`Reference <ppl.distributions.{name}>`, [all families](../support.md)."
    return f"---\norphan: true\n---\n\n{text}\n{links}\n"


def assemble(source):
    """Write the text of every page below the folder ``source``."""
    shown = set()
    texts = {f"docs/{path.relative_to(DOCS)}": path.read_text() for path in DOCS.rglob("*.md")}
    texts |= {path: (ROOT / path).read_text() for path in TEXTS if path != "README.md"}
    texts[BENCHMARKS] = benchmark_page((ROOT / BENCHMARKS).read_text())
    found = {page_of(path): linked(text, path, shown) for path, text in texts.items()}
    found |= {page: family_page(Path(page).stem, text) for page, text in found.items() if page.startswith("distributions/")}
    found |= {page_of(path): code_page(path) for path in shown if page_of(path).startswith("source/")}
    found |= {f"api/{name}.rst": text for name, text in pages().items()}
    for page, text in found.items():
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        (source / page).write_text(text)
    shutil.copy(DOCS / "conf.py", source)
    shutil.copytree(DOCS / "_static", source / "_static")
    draw((ROOT / BENCHMARKS).read_text(), source / "pictures")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "site", help="where the site is written")
    folder = parser.parse_args(arguments).folder
    for part in ("source", "html", "doctrees"):
        shutil.rmtree(folder / part, ignore_errors=True)
    assemble(folder / "source")
    options = ["-q", "-n", "-W", "--keep-going", "-d", str(folder / "doctrees")]
    return build_main([*options, str(folder / "source"), str(folder / "html")])


if __name__ == "__main__":
    sys.exit(main())
