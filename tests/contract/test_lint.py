"""The rules of pyproject.toml hold: the same ruff and mypy as in .pre-commit-config.yaml, and they do bite."""

import pathlib
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
STRICT = {"backend", "registry", "generic", "runtime", "tree", "errors", "primitives", "handlers", "infer.mcmc"}


def run(*command, **options):
    options = {"cwd": ROOT, **options}
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False, **options)


def test_ruff_finds_nothing():
    done = run("ruff", "check", "--output-format", "concise", ".")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ('"""Module."""\n\nassert True\n', "S101"),
        ('"""Module."""\n\nimport os\n', "F401"),
        ('"""Module."""\n\n\ndef public():\n    return 1\n', "D103"),
        ('"""Module."""\n\n\ndef f(x=[]):\n    """Claim."""\n', "B006"),
    ],
)
def test_ruff_refuses(source, rule):
    done = run("ruff", "check", "--output-format", "concise", "--stdin-filename", "ppl/example.py", "-", input=source)
    assert done.returncode == 1
    assert rule in done.stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("mypy")


def test_mypy_finds_nothing(cache):
    done = run("mypy", "--cache-dir", str(cache))
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_is_strict_where_the_style_says_so(cache):
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    strict = next(section for section in overrides if section.get("disallow_untyped_defs"))
    assert {f"ppl.{name}" for name in STRICT} <= {module.removesuffix(".*") for module in strict["module"]}


@pytest.mark.parametrize(("module", "clean"), [("ppl.handlers.example", False), ("ppl.contrib.example", True)])
def test_mypy_refuses_an_untyped_function_in_a_strict_module(tmp_path, cache, module, clean):
    file = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True)
    for folder in (file.parent, file.parent.parent):
        folder.joinpath("__init__.py").touch()
    file.write_text('"""Module."""\n\n\ndef untyped(x):\n    """Claim."""\n    return x\n')
    done = run("mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache), str(file), cwd=tmp_path)
    assert (done.returncode == 0) is clean, done.stdout + done.stderr
    assert ("no-untyped-def" in done.stdout) is not clean
