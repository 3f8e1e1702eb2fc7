"""The examples run as a reader runs them, their numbers agree with outside references, and bad input gets a sentence."""

import importlib.util
import itertools
import os
import pathlib
import re
import subprocess
import sys

import numpy
import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
ROOT = EXAMPLES.parent
SMALL = ["--num-samples", "250", "--warmup", "250", "--no-progress"]
# At least 150 effective draws give a standard error below 0.082 posterior sd; 4.9 of them are 0.4.
WITHIN_SD = 0.4
BLOCKED = """
import runpy, sys
sys.modules.update(dict.fromkeys({blocked!r}))
sys.argv = {argv!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(script, *arguments, blocked=()):
    """Run an example in a process of its own, with some libraries made to look absent."""
    argv = [str(EXAMPLES / script), *map(str, arguments)]
    command = [sys.executable, "-c", BLOCKED.format(blocked=list(blocked), argv=argv)] if blocked else [sys.executable, *argv]
    paths = [ROOT, *(ROOT / "backends" / name for name in ("numpy", "torch", "jax")), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def load(script):
    """Import an example as a module."""
    spec = importlib.util.spec_from_file_location(script.removesuffix(".py"), EXAMPLES / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def logistic():
    return load("logistic_regression.py")


# eight schools: the oracle is posteriordb's published reference posterior, mean and sd.
REFERENCE = {"mu": (4.41, 3.3), "tau": (3.60, 3.2)}


def agrees(site, mean):
    expected, sd = REFERENCE[site]
    return abs(mean - expected) < WITHIN_SD * sd


def printed_means(output):
    return {site: float(mean) for site, mean in re.findall(r"^  (\w+) +mean +(-?[\d.]+), published", output, flags=re.MULTILINE)}


def test_eight_schools_on_each_backend(backend):
    absent = {"numpy": ["torch", "jax", "matplotlib", "sklearn"], "torch": ["jax", "matplotlib"], "jax": ["torch", "matplotlib"]}
    done = run("eight_schools.py", "--backend", backend, *SMALL, blocked=absent[backend])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    means = printed_means(done.stdout)
    assert set(means) == {"mu", "tau"}
    assert all(agrees(site, mean) for site, mean in means.items()), means
    assert f"backend {backend}" in done.stdout
    assert re.search(r"\d+\.\d s from start to summary", done.stdout)


@pytest.mark.parametrize(("site", "wrong"), [("mu", 0.0), ("mu", 7.9), ("tau", 5.0), ("tau", 0.0)])
def test_the_comparison_refuses_prior_pooled_and_unpooled_means(site, wrong):
    """Control: the prior's mean of ``mu``, the pooled estimate of 7.9, the prior's median of ``tau`` and complete pooling."""
    assert agrees(site, REFERENCE[site][0])
    assert not agrees(site, wrong)


@pytest.mark.backends("numpy")
def test_eight_schools_both_parametrizations_and_plot(backend, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "schools.png"
    short = ["--num-samples", 20, "--warmup", 20, "--no-progress"]
    done = run("eight_schools.py", "--parametrization", "both", "--plot", picture, *short)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\w+), backend", done.stdout, flags=re.MULTILINE) == ["noncentered", "centered"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--backend", "numpi"], "unknown backend 'numpi'"),
        (["--num-samples", "0"], "num_samples must be an int of at least 1, got 0"),
        (["--chains", "0"], "num_chains must be an int of at least 1, got 0"),
        (["--plot", "schools.jpg"], "a name that ends in .png"),
        (["--plot", "nowhere/schools.png"], "the folder nowhere does not exist"),
    ],
)
def test_eight_schools_refuses(arguments, sentence, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    example = load("eight_schools.py")
    monkeypatch.setattr(sys, "argv", ["eight_schools.py", *arguments])
    with pytest.raises((SystemExit, example.PplError)) as stopped:
        example.main()
    assert sentence in str(stopped.value) + capsys.readouterr().err


def test_eight_schools_says_that_matplotlib_is_missing(monkeypatch, capsys):
    example = load("eight_schools.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["eight_schools.py", "--plot", "schools.png"])
    with pytest.raises(SystemExit):
        example.main()
    assert "pip install matplotlib" in capsys.readouterr().err


@pytest.mark.backends("numpy")
def test_readme_snippet(backend):
    """The README's first model recovers the coefficients that its data come from, within five of their standard errors of 0.2."""
    source = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL).group(1)
    shorter = source.replace("num_samples=1000, warmup_steps=1000", "num_samples=100, warmup_steps=100").replace("(2000", "(200")
    assert shorter.count("100,") >= 2
    names = {}
    exec(compile(shorter, "README.md", "exec"), names)
    mean = numpy.mean(names["mcmc"].get_samples()["w"], axis=0)
    assert numpy.abs(mean - [1.5, -1.0, 0.0]).max() < 1.0
    assert numpy.abs(mean - [-1.0, 1.5, 0.0]).max() > 1.0
    assert names["predictions"].shape == (500, 200)


# logistic regression: the oracle integrates the three-dimensional posterior on a grid.
def write_table(path, rng, rows=160):
    """Write a CSV file of two informative columns, one constant column and a target of two words."""
    height, weight = rng.normal(170.0, 10.0, rows), rng.normal(70.0, 8.0, rows)
    logits = 0.12 * (height - 170.0) - 0.1 * (weight - 70.0) + 0.4
    healthy = rng.uniform(size=rows) < 1.0 / (1.0 + numpy.exp(-logits))
    lines = [f"{a:.3f},{'yes' if y else 'no'},1.0,{b:.3f}" for a, b, y in zip(height, weight, healthy, strict=True)]
    path.write_text("\n".join(["height,healthy,unit,weight", *lines, ""]), encoding="utf-8-sig")


def grid_posterior(x, y, x_test, y_test):
    """Return mean and sd of (intercept, coefficients) and the held-out log score, by summation over a grid."""
    axes = [numpy.linspace(low, high, 61) for low, high in ((-2.0, 3.0), (-1.5, 4.0), (-4.0, 2.0))]
    points = numpy.array(list(itertools.product(*axes)))
    logits = points[:, :1] + points[:, 1:] @ x.T
    log_prior = -(points[:, 0] ** 2) / 50.0 - numpy.sum(points[:, 1:] ** 2, axis=1) / 2.0
    log_weight = numpy.sum(y * logits - numpy.logaddexp(0.0, logits), axis=1) + log_prior
    weight = numpy.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = weight @ points
    sd = numpy.sqrt(weight @ (points - mean) ** 2)
    probability = weight @ (1.0 / (1.0 + numpy.exp(-(points[:, :1] + points[:, 1:] @ x_test.T))))
    return mean, sd, numpy.mean(numpy.log(numpy.where(y_test == 1.0, probability, 1.0 - probability)))


def printed_table(output, columns):
    """Return the printed means of NUTS and of SVI, intercept first, and the two log scores."""
    rows = {}
    for name in ("(intercept)", *columns):
        line = next(line for line in output.splitlines() if line.startswith(name + " "))
        rows[name] = [float(cell) for cell in line[len(name) :].split()]
    scores = {name: float(value) for name, value in re.findall(r"^(NUTS|SVI) +[\d.]+ +(-[\d.]+)", output, flags=re.MULTILINE)}
    table = numpy.array([rows[name] for name in ("(intercept)", *columns)])
    return table[:, 0], table[:, 2], scores


def test_logistic_regression_on_a_csv_file(backend, logistic, tmp_path, rng, capsys):
    path = tmp_path / "table.csv"
    write_table(path, rng)
    x, y, x_test, y_test, columns = logistic.split(logistic.read_csv(path, "healthy"), seed=0)
    assert columns == ["height", "weight"]
    assert "'unit' is left out" in capsys.readouterr().out
    mean, sd, log_score = grid_posterior(x, y, x_test, y_test)
    done = run("logistic_regression.py", "--backend", backend, "--csv", path, "--target", "healthy", "--svi-steps", 1000, *SMALL)
    assert done.returncode == 0, done.stderr
    by_nuts, by_svi, scores = printed_table(done.stdout, columns)
    assert abs(by_nuts - mean).max() < WITHIN_SD * sd.min()
    assert abs(by_svi - mean).max() < WITHIN_SD * sd.max()
    assert abs(scores["NUTS"] - log_score) < 0.02
    assert abs(scores["SVI"] - log_score) < 0.03
    # Control: the coefficients in the wrong order, or the other class called 1, would be noticed.
    assert abs(by_nuts[[0, 2, 1]] - mean).max() > WITHIN_SD * sd.max()
    assert abs(-by_nuts - mean).max() > WITHIN_SD * sd.max()


GOOD = "a,b,y\n1,2,0\n2,1,1\n3,5,0\n4,4,1\n5,0,1\n6,1,0\n7,2,1\n8,8,0\n"


@pytest.mark.parametrize(
    ("text", "target", "sentence"),
    [
        (GOOD, "z", "has no column 'z'; its columns are 'a', 'b', 'y'"),
        (GOOD, "a", "must have two different values, found 8"),
        (GOOD.replace("3,5,0", "3,high,0"), "y", "line 4, column 'b': expected a finite number, got 'high'"),
        (GOOD.replace("3,5,0", "3,,0"), "y", "line 4, column 'b': expected a finite number, got ''"),
        (GOOD.replace("3,5,0", "nan,5,0"), "y", "line 4, column 'a': expected a finite number, got 'nan'"),
        (GOOD.replace("3,5,0", "3,5"), "y", "line 4: expected 3 cells as in the header, got 2"),
        (GOOD.replace("a,b,y", "a,a,y"), "y", "names column 'a' twice"),
        ("y\n0\n1\n", "y", "no column besides the target"),
        ("a,y\n", "y", "is empty"),
        ("", "y", "is empty"),
    ],
)
def test_bad_tables_get_a_sentence(logistic, tmp_path, text, target, sentence):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(logistic.InputError) as raised:
        logistic.read_csv(path, target)
    assert sentence in str(raised.value)


def test_a_good_table_is_read(logistic, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(GOOD)
    table = logistic.read_csv(path, "y")
    assert table.columns == ["a", "b"]
    assert table.classes == ("0", "1")
    numpy.testing.assert_array_equal(table.labels, [0, 1, 0, 1, 1, 0, 1, 0])
    numpy.testing.assert_array_equal(table.features[:, 0], numpy.arange(1.0, 9.0))


def test_numbers_as_classes_keep_their_order(logistic, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,y\n1,10\n2,9\n")
    assert logistic.read_csv(path, "y").classes == ("9", "10")


def test_other_bad_input(logistic, tmp_path):
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(logistic.InputError, match="not a CSV file in UTF-8"):
        logistic.read_csv(binary, "y")
    with pytest.raises(logistic.InputError, match="No such file"):
        logistic.read_csv(tmp_path / "absent.csv", "y")
    one_class = logistic.Table(numpy.arange(4.0)[:, None], numpy.array([1.0, 1.0, 1.0, 1.0]), ["a"], ("no", "yes"))
    with pytest.raises(logistic.InputError, match="too few"):
        logistic.split(one_class, seed=0)
    constant = logistic.Table(numpy.ones((40, 1)), numpy.arange(40.0) % 2, ["a"], ("no", "yes"))
    with pytest.raises(logistic.InputError, match="no feature varies"):
        logistic.split(constant, seed=0)


def test_missing_scikit_learn_gets_a_sentence(logistic, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(logistic.InputError, match="pip install scikit-learn"):
        logistic.breast_cancer()


def test_bad_input_ends_the_process_with_one_line(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(GOOD)
    done = run("logistic_regression.py", "--csv", path, "--target", "z")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "has no column 'z'" in done.stderr


# The models fitted by SVI: whether their fits are right stands in tests/conformance/test_fits.py; here they run as a reader runs
# them. The numbers matched belong to the data that each example generates.
TABLES = {
    "bayesian_regression": r"^slope 2 +-0\.800 +-0\.890 +0\.064 +(-?\d\.\d{3})",
    "gaussian_mixture": r"^mean 1 +-3\.000 +(-?\d\.\d{3})",
    "hierarchical": r"^group 1 +18 +1\.139 +(-?\d\.\d{3})",
    "vae": r"^true distribution +-7\.353 +(-?\d\.\d{3})",
}


def prints_its_table(name, backend):
    absent = {"numpy": ["torch", "jax"], "torch": ["jax"], "jax": ["torch"]}
    done = run(f"{name}.py", "--backend", backend, "--steps", 20, "--no-progress", blocked=absent[backend])
    assert done.returncode == 0, done.stderr
    assert f"backend {backend}" in done.stdout
    assert re.search(r"\d+\.\d s from start to end", done.stdout)
    return re.search(TABLES[name], done.stdout, flags=re.MULTILINE) is not None


@pytest.mark.backends("numpy")
def test_a_fitted_example(backend):
    assert prints_its_table("hierarchical", backend)


@pytest.mark.nightly
@pytest.mark.parametrize("name", TABLES)
def test_fitted_examples_on_each_backend(backend, name):
    assert prints_its_table(name, backend)


@pytest.mark.parametrize(
    ("name", "argument", "sentence"),
    [
        ("bayesian_regression", ["--rows", "3"], "--rows must be at least 10, got 3"),
        ("hierarchical", ["--groups", "2"], "--groups must be at least 3 to tell their spread, got 2"),
        ("gaussian_mixture", ["--rows", "10"], "--rows must be at least 50 to tell three components apart, got 10"),
        ("vae", ["--images", "1"], "--images must be at least 10, got 1"),
        ("vae", ["--steps", "0"], "--steps must be at least 1, got 0"),
        ("hierarchical", ["--backend", "numpi"], "unknown backend 'numpi'"),
    ],
)
def test_a_fitted_example_refuses(name, argument, sentence, monkeypatch, capsys):
    example = load(f"{name}.py")
    monkeypatch.setattr(sys, "argv", [name, *argument])
    with pytest.raises((SystemExit, example.PplError)) as stopped:
        example.main()
    assert sentence in str(stopped.value) + capsys.readouterr().err


def test_the_readmes_discrete_model_is_exact(capsys):
    """The README's second model prints the posterior that one division gives, and agrees with brute force."""
    source = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[1]
    exec(compile(source, "README.md", "exec"), {})
    posterior, *report = capsys.readouterr().out.splitlines()
    assert float(posterior) == round(0.19 / 0.43, 4)
    assert any("log evidence" in line for line in report)
