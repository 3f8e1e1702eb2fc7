"""The lesson that builds minipyro: each block of code runs on each backend, prints what the page says, and is minipyro's own."""

import ast
import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LESSON = (ROOT / "docs" / "tutorials" / "minipyro.md").read_text()
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps(page):
    """Return ``(heading, [(code, expected output), ...])`` of each section; code without a text block below prints nothing."""
    found = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE):
        blocks = [match.groups() for match in BLOCK.finditer(section)]
        pairs = []
        for (kind, body), (below, expected) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
            if kind == "python":
                pairs.append((body, expected if below == "text" else ""))
        found.append((section.split("\n", 1)[0], pairs))
    return found


def faults(page):
    """Run the page from top to bottom in one namespace and return where it prints something else than it says."""
    namespace, found = {"__name__": "lesson"}, []
    for heading, pairs in steps(page):
        for code, expected in pairs:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, f"<{heading}>", "exec"), namespace)
            if printed.getvalue() != expected:
                found.append(f"{heading}: printed {printed.getvalue()!r}, the page says {expected!r}")
    return found


def definitions(*sources):
    """Return functions and classes by name without docstrings, the latest of each name."""
    found = {}
    for source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                for part in ast.walk(node):
                    body = getattr(part, "body", None)
                    if isinstance(part, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(part) is not None:
                        part.body = body[1:] or [ast.Pass()]
                found[node.name] = ast.unparse(node)
    return found


def test_the_lesson_runs_and_prints_what_it_says(backend):
    assert faults(LESSON) == []


def test_the_lesson_has_eight_steps_that_each_show_output():
    numbered = [(heading, pairs) for heading, pairs in steps(LESSON) if heading.startswith("Step")]
    assert [heading.split(":")[0] for heading, _ in numbered] == [f"Step {number}" for number in range(1, 9)]
    assert all(any(expected for _, expected in pairs) for _, pairs in numbered)


def test_the_lesson_builds_the_file():
    built = definitions(*(code for _, pairs in steps(LESSON) for code, _ in pairs))
    shipped = definitions((ROOT / "ppl" / "contrib" / "minipyro.py").read_text())
    assert {name: built.get(name) for name in shipped} == shipped


@pytest.mark.parametrize(("right", "wrong"), [("-1.3863", "-1.3864"), ("asked for rain\n", ""), ("True False", "True True")])
def test_negative_control_a_wrong_output_is_found(right, wrong):
    page = LESSON[: LESSON.index("## Step 5")]
    assert faults(page) == []
    (fault,) = faults(page.replace(right, wrong, 1))
    assert "the page says" in fault


def test_negative_control_another_definition_is_found():
    assert definitions("def f(x):\n    'Doc.'\n    return x") == definitions("def f(x):\n    return x")
    assert definitions("def f(x):\n    return x") != definitions("def f(x):\n    return x + 1")
