"""Stochastic variational inference on a logistic regression, this library's on three backends beside NumPyro's and Pyro's.

python benchmarks/svi.py [--data NAME ...] [--only LIBRARY ...] [--repeats N] [--write]
"""

import argparse
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy
from common import machine, number, write

MARKER = "svi"
ROWS, COLUMNS, MINIBATCH = 10_000, 20, 256
DATA = {"full batch": None, f"{MINIBATCH} of {ROWS} rows": MINIBATCH}
FULL, PART = DATA
COLD_STEPS, RATE = 1000, 0.02


class Contestant(NamedTuple):
    """One row of a table.

    :param library: import name.
    :param arrays: import name of the array library.
    :param load: ``load(minibatch)`` imports the library and returns ``fit(num_steps, seed) -> losses``.
    :param lengths: steps of a short and a long run, on all rows and on a minibatch: what the second takes longer is the time of
        the steps between.
    """

    library: str
    arrays: str
    load: Callable
    lengths: tuple


class Row(NamedTuple):
    """What one contestant measured in one process; ``error`` alone is set where it could not run."""

    version: str = ""
    import_s: float = float("nan")
    cold_s: float = float("nan")
    us: float = float("nan")
    loss: float = float("nan")
    error: str = ""


class Aim(NamedTuple):
    """The peer's time of a step (or its cold run) must be at least ``least`` times ours."""

    ours: str
    peer: str
    column: str
    least: dict


AIMS = [
    Aim("ppl jax", "NumPyro", "us", {FULL: 1.3, PART: 5}),
    Aim("ppl jax", "NumPyro", "cold_s", {FULL: 2, PART: 2}),
    Aim("ppl torch", "Pyro", "us", {FULL: 1.5, PART: 1.5}),
    Aim("ppl torch, compiled", "Pyro", "us", {FULL: 5, PART: 5}),
    Aim("ppl numpy, compiled", "Pyro", "us", {FULL: 1.5, PART: 1.5}),
]


def labels():
    """Return the predictors and labels of a logistic regression, by a fixed seed."""
    rng = numpy.random.default_rng(10_000)
    x = rng.normal(size=(ROWS, COLUMNS))
    y = rng.uniform(size=ROWS) < 1.0 / (1.0 + numpy.exp(-x @ rng.normal(size=COLUMNS) / 2.0))
    return x.astype("float32"), y.astype("float32")


def regression(language, dist, zeros, minibatch):
    """Return the model, whose program is the same in the three languages."""

    def model(x, y):
        intercept = language.sample("intercept", dist.Normal(0.0, 2.5))
        coefficients = language.sample("coefficients", dist.Normal(zeros(COLUMNS), 2.5).to_event(1))
        with language.plate("rows", ROWS, subsample_size=minibatch) as index:
            if minibatch:
                x, y = x[index], y[index]
            language.sample("y", dist.Bernoulli(logits=intercept + x @ coefficients), obs=y)

    return model


def ours(minibatch, backend, loss):
    import ppl
    from ppl import distributions, infer, ops, optim

    with ppl.pyro_backend(backend):
        model = regression(ppl, distributions, ops.zeros, minibatch)
        data = [ops.array(a, dtype=ops.default_dtype()) for a in labels()]
        svi = infer.SVI(model, infer.autoguide.AutoNormal(model), optim.Adam({"lr": RATE}), getattr(infer, loss)())

    def fit(num_steps, seed):
        return svi.run(num_steps, *data, rng_key=seed, progress_bar=False).losses

    return fit


def numpyro(minibatch):
    import jax
    import jax.numpy as jnp
    import numpyro
    from numpyro import distributions, infer

    model = regression(numpyro, distributions, jnp.zeros, minibatch)
    data = [jnp.asarray(a) for a in labels()]
    svi = infer.SVI(model, infer.autoguide.AutoNormal(model), numpyro.optim.Adam(RATE), infer.Trace_ELBO())

    def fit(num_steps, seed):
        return numpy.asarray(svi.run(jax.random.key(seed), num_steps, *data, progress_bar=False).losses)

    return fit


def pyro(minibatch, loss):
    import pyro
    import torch
    from pyro import distributions, infer, optim

    model = regression(pyro, distributions, torch.zeros, minibatch)
    data = [torch.tensor(a) for a in labels()]
    guide, options = infer.autoguide.AutoNormal(model), {"ignore_jit_warnings": True} if loss.startswith("Jit") else {}
    svi = infer.SVI(model, guide, optim.Adam({"lr": RATE}), getattr(infer, loss)(**options))

    def fit(num_steps, seed):
        pyro.set_rng_seed(seed)
        return numpy.array([svi.step(*data) for _ in range(num_steps)])

    return fit


CONTESTANTS = {
    "ppl jax": Contestant("ppl", "jax", partial(ours, backend="jax", loss="Trace_ELBO"), ((1000, 6000), (1000, 11000))),
    "ppl torch": Contestant("ppl", "torch", partial(ours, backend="torch", loss="Trace_ELBO"), ((50, 350),) * 2),
    "ppl torch, compiled": Contestant("ppl", "torch", partial(ours, backend="torch", loss="JitTrace_ELBO"), ((100, 1100),) * 2),
    "ppl numpy": Contestant("ppl", "numpy", partial(ours, backend="numpy", loss="Trace_ELBO"), ((50, 350),) * 2),
    "ppl numpy, compiled": Contestant("ppl", "numpy", partial(ours, backend="numpy", loss="JitTrace_ELBO"), ((100, 1100),) * 2),
    "NumPyro": Contestant("numpyro", "jax", numpyro, ((1000, 11000), (500, 4500))),
    "Pyro": Contestant("pyro", "torch", partial(pyro, loss="Trace_ELBO"), ((50, 350),) * 2),
    "Pyro, compiled": Contestant("pyro", "torch", partial(pyro, loss="JitTrace_ELBO"), ((50, 550),) * 2),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", metavar="NAME", choices=list(DATA), help=f"some of: {', '.join(DATA)}")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(CONTESTANTS), help=f"some of: {', '.join(CONTESTANTS)}")
    parser.add_argument("--repeats", type=int, default=1, help="processes of each library; figures and ratios are medians")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds after which a library is given up")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's part of benchmarks/README.md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--launched", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.data or list(DATA)
    if options.worker:
        work(CONTESTANTS[options.worker], DATA[names[0]], options.launched, options.result)
        return
    found = {name: measure(name, options) for name in names}
    text = render(options, found)
    print(text)
    if options.write:
        write(MARKER, text)


def work(contestant, minibatch, launched, result):
    """Measure one contestant in this process and leave what was found under ``result``."""
    before = time.time()
    fit = contestant.load(minibatch)
    import_s = time.time() - before
    losses = fit(COLD_STEPS, 1)
    cold_s = time.time() - launched
    short, long = contestant.lengths[minibatch is not None]
    spent = {short: [], long: []}
    for seed in range(3):
        for num_steps, times in spent.items():
            before = time.perf_counter()
            fit(num_steps, seed)
            times.append(time.perf_counter() - before)
    # The least of three, since whatever else the machine does only adds.
    us = 1e6 * (min(spent[long]) - min(spent[short])) / (long - short)
    version = getattr(sys.modules[contestant.library], "__version__", "")
    found = Row(version, import_s, cold_s, us, float(numpy.mean(losses[-100:])))
    result.write_text(json.dumps(found._asdict()))


def measure(data, options):
    """Return by library the rows of all repetitions; what failed once is not tried again."""
    rows = {}
    for repetition in range(options.repeats):
        for name in options.only or CONTESTANTS:
            if name in rows and rows[name][-1].error:
                continue
            print(f"{data}: {name}, {repetition + 1} of {options.repeats} ...", file=sys.stderr, flush=True)
            row = run(name, data, options.timeout)
            print(f"    {row.error or format(row.us, '.0f') + ' µs a step'}", file=sys.stderr, flush=True)
            rows.setdefault(name, []).append(row)
    return rows


def run(name, data, timeout):
    """Measure one contestant in a process of its own."""
    contestant = CONTESTANTS[name]
    missing = [library for library in (contestant.library, contestant.arrays) if importlib.util.find_spec(library) is None]
    if missing:
        return Row(error=f"not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        result = pathlib.Path(folder) / "result.json"
        command = [sys.executable, sys.argv[0], "--worker", name, "--data", data, "--result", str(result)]
        try:
            command += ["--launched", repr(time.time())]
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return Row(error=f"gave up after {timeout:.0f} s")
        if done.returncode:
            return Row(error=f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1][:150]}")
        return Row(**json.loads(result.read_text()))


def median(rows, column):
    return statistics.median(getattr(row, column) for row in rows)


def ratio(rows, ours, peer, column):
    """Return the peer's figure over ours, the median over repetitions; ``None`` if one of the two did not run."""
    if any(name not in rows or any(row.error for row in rows[name]) for name in (ours, peer)):
        return None
    pairs = zip(rows[peer], rows[ours], strict=True)
    return statistics.median(getattr(theirs, column) / getattr(mine, column) for theirs, mine in pairs)


def render(options, found):
    """Return the run as Markdown: what was measured, then the aims."""
    repeats = f"; medians of {options.repeats} processes" if options.repeats > 1 else ""
    lines = [f"Adam, one particle, {ROWS} x {COLUMNS}{repeats}; {machine()}."]
    for data, rows in found.items():
        lines += [
            "",
            f"### SVI, {data}",
            "",
            "| library | import s | cold s | µs a step | steps/s | loss |",
            "|---|" + "---:|" * 5,
        ]
        for name, repeated in rows.items():
            error = next((row.error for row in repeated if row.error), "")
            us = median(repeated, "us")
            figures = [median(repeated, "import_s"), median(repeated, "cold_s"), us, 1e6 / us, median(repeated, "loss")]
            cells = [error, *[""] * 4] if error else map(number, figures)
            lines.append(f"| {name} {repeated[-1].version} | {' | '.join(cells)} |")
    lines += [
        "",
        "What was aimed at, the peer's time over ours:",
        "",
        "| ours / peer | data | aim | reached |",
        "|---|---|---:|---:|",
    ]
    for aim in AIMS:
        for data, least in aim.least.items():
            reached = ratio(found.get(data, {}), aim.ours, aim.peer, aim.column)
            shown = "–" if reached is None else number(reached) + ("" if reached >= least else " (short)")
            what = "cold" if aim.column == "cold_s" else "a step"
            lines.append(f"| {aim.ours} / {aim.peer}, {what} | {data} | {number(least)} | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
