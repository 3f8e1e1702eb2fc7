"""``python -m ppl``: exit status 0 for a model that is right, 1 for one that is not, 2 for a command that makes no sense."""

import os
import subprocess
import sys

import pytest

from ppl.__main__ import main

SOURCE = """
import ppl
from ppl import distributions as dist

NUMBER = 3.0

def model(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    ppl.sample("y", dist.Normal(loc, 1.0).expand([3]).to_event(1), obs=y)

def vectorized(y):
    loc = ppl.sample("loc", dist.Normal(0.0, 1.0))
    ppl.sample("y", dist.Normal(loc, 1.0).expand([3]), obs=y)

def make():
    return [0.1, 0.2, 0.3]

def pair():
    return ([0.1, 0.2, 0.3],), {}
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "models_of_a_user.py").write_text(SOURCE)
    (tmp_path / "half_written.py").write_text("import ppl\nraise RuntimeError('not yet')\n")
    (tmp_path / "needs_more.py").write_text("import no_such_library_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("models_of_a_user", "half_written", "needs_more"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "arguments", ["[[0.1, 0.2, 0.3]]", '{"y": [0.1, 0.2, 0.3]}', "models_of_a_user:make", "models_of_a_user:pair"]
)
@pytest.mark.parametrize("command", ["check", "debug"])
def test_a_right_model(models, capsys, command, arguments):
    options = ["--backends", "numpy"] if command == "check" else []
    assert main([command, "models_of_a_user:model", "--args", arguments, *options]) == 0
    assert "loc" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "debug"])
def test_a_wrong_model(models, capsys, command):
    options = ["--backends", "numpy"] if command == "check" else []
    assert main([command, "models_of_a_user:vectorized", "--args", "[[0.1, 0.2, 0.3]]", *options]) == 1
    assert "first: site 'y'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["models_of_a_user:modle"], "has no 'modle'; did you mean 'model'?"),
        (["models_of_user:model"], "there is no module 'models_of_user'"),
        (["models_of_a_user"], "is given as module:name, got 'models_of_a_user'"),
        (["half_written:model"], "cannot be imported: RuntimeError: not yet"),
        (["needs_more:model"], "needs 'no_such_library_anywhere', which is not installed"),
        (["models_of_a_user:NUMBER"], "got float; expected a callable"),
        (["models_of_a_user:model"], "missing a required argument: 'y'"),
        (["models_of_a_user:model", "--args", "[1, 2"], "--args is no JSON"),
        (["models_of_a_user:model", "--args", "[[[1.0], [1.0, 2.0]]]"], "rows differ in length"),
        (["models_of_a_user:model", "--args", "models_of_a_user:NUMBER"], "is a float; expected a function"),
        (["models_of_a_user:model", "--args", "[1.0]", "--backends", "numpi"], "did you mean 'numpy'?"),
    ],
)
def test_a_command_that_makes_no_sense(models, capsys, command, words):
    assert main(["check", *command]) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert told.out == ""
    assert told.err.count("\n") == 1


def test_a_process_ends_with_the_status(models):
    command = [
        sys.executable,
        "-m",
        "ppl",
        "check",
        "models_of_a_user:vectorized",
        "--args",
        "[[1.0, 2.0, 3.0]]",
        "--backends",
        "numpy",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=models, env=environment, timeout=120)
    assert ended.returncode == 1, ended.stderr
    assert "1 FAULT" in ended.stdout
