"""Samplers on six models, this library's on three backends beside NumPyro's and Pyro's.

python benchmarks/mcmc.py [--model NAME ...] [--only LIBRARY ...] [--repeats N] [--write]
"""

import argparse
import pathlib
import statistics
import sys
from functools import partial
from typing import NamedTuple

import libraries
import numpy
from common import Contestant, Settings, machine, number, run, work, write
from mcmc_models import PROBLEMS

MARKER = "mcmc"
REGRESSIONS = ("regression 434", "regression 476")
SCHOOLS, LOGISTIC = "eight schools", "logistic 10000 x 20"


class Aim(NamedTuple):
    """Ours must have ``least`` times the peer's effective draws a second, of the warm or the cold run."""

    ours: str
    peer: str
    clock: str
    least: dict


AIMS = [
    Aim("ppl jax", "NumPyro vectorized", "warm", {SCHOOLS: 10, **dict.fromkeys(REGRESSIONS, 15), LOGISTIC: 1.5}),
    Aim("ppl jax", "NumPyro vectorized", "cold", {SCHOOLS: 3, **dict.fromkeys(REGRESSIONS, 8), LOGISTIC: 1.5}),
    Aim("ppl jax", "NumPyro dense", "warm", dict.fromkeys(REGRESSIONS, 3)),
    Aim("ppl jax", "NumPyro dense", "cold", dict.fromkeys(REGRESSIONS, 1.5)),
    Aim("ppl torch", "Pyro eager", "warm", {SCHOOLS: 30, **dict.fromkeys(REGRESSIONS, 10), LOGISTIC: 5}),
    Aim("ppl torch", "Pyro eager", "cold", {SCHOOLS: 5, **dict.fromkeys(REGRESSIONS, 3), LOGISTIC: 2}),
    Aim("ppl numpy", "Pyro eager", "cold", {SCHOOLS: 3, **dict.fromkeys(REGRESSIONS, 2), LOGISTIC: 1}),
]
PEERS = ("NumPyro sequential", "NumPyro vectorized", "NumPyro dense", "Pyro eager", "Pyro jit")
LIBRARIES = (*(f"ppl {backend}" for backend in ("jax", "torch", "numpy")), *PEERS)


def contestants(model):
    """Return the rows of one model's table, by name."""
    problem = PROBLEMS[model]
    rows = {}
    for backend in ("jax", "torch", "numpy"):
        load = partial(libraries.ppl, problem=problem.ppl, backend=backend, own_warmup=True)
        rows[f"ppl {backend}"] = Contestant("ppl", load, arrays=backend)
    for method in ("sequential", "vectorized"):
        load = partial(libraries.numpyro, problem=problem.numpyro, chain_method=method)
        rows[f"NumPyro {method}"] = Contestant("numpyro", load)
    if model in REGRESSIONS:
        load = partial(libraries.numpyro, problem=problem.numpyro, chain_method="vectorized", dense_mass=True)
        rows["NumPyro dense"] = Contestant("numpyro", load)
    for name, jit_compile in (("Pyro eager", False), ("Pyro jit", True)):
        rows[name] = Contestant("pyro", partial(libraries.pyro, problem=problem.pyro, jit_compile=jit_compile))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", metavar="NAME", choices=list(PROBLEMS), help=f"some of: {', '.join(PROBLEMS)}")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=LIBRARIES, help=f"some of: {', '.join(LIBRARIES)}")
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--warmup", type=int, default=1000, help="of the peers; ours takes its own default")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=1, help="how often each library runs; figures and ratios are medians")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds after which a library is given up")
    parser.add_argument("--pyro-draws", type=int, metavar="N", help="Pyro alone takes N + N draws a chain: it may need hours")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's part of benchmarks/README.md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--launched", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    settings = Settings(options.num_samples, options.warmup, options.chains)
    models = options.model or list(PROBLEMS)
    if options.worker:
        work(contestants(models[0])[options.worker], settings, options.launched, options.result)
        return
    found = {model: measure(model, settings, options) for model in models}
    text = render(settings, options, found)
    print(text)
    if options.write:
        write(MARKER, text)


def measure(model, settings, options):
    """Return by library the rows of all repetitions on one model; what failed once is not tried again."""
    rows = {}
    for repetition in range(options.repeats):
        for name, contestant in contestants(model).items():
            if (options.only and name not in options.only) or (name in rows and rows[name][-1].error):
                continue
            lengths = settings
            if name.startswith("Pyro") and options.pyro_draws:
                lengths = settings._replace(num_samples=options.pyro_draws, warmup=options.pyro_draws)
            print(f"{model}: {name}, {repetition + 1} of {options.repeats} ...", file=sys.stderr, flush=True)
            extra = ("--model", model)
            row = run(name, contestant, lengths, options.timeout, PROBLEMS[model].quantities, extra)
            print(f"    {row.error or format(row.cold_s, '.1f') + ' s cold'}", file=sys.stderr, flush=True)
            rows.setdefault(name, []).append(row)
    return rows


def median(rows, column):
    return statistics.median(getattr(row, column) for row in rows)


def farthest_mean(row, rows):
    """Return how far a library's means lie from the middle of all libraries', at most, in standard deviations of the posterior.

    Draws of another distribution would have an effective sample size too.
    """
    others = [repeated[-1].moments for repeated in rows.values() if not repeated[-1].error]
    farthest = 0.0
    for quantity, (mean, spread) in row.moments.items():
        middle = numpy.median([moments[quantity][0] for moments in others], axis=0)
        farthest = max(farthest, float(numpy.max(numpy.abs(mean - middle) / spread)))
    return farthest


COLUMNS = {
    "import s": "import_s",
    "cold s": "cold_s",
    "warm s": "warm_s",
    "least bulk ESS": "ess",
    "ESS/s cold": "cold_ess_per_s",
    "ESS/s warm": "ess_per_s",
    "gradients": "gradients",
    "µs a gradient": "us_per_gradient",
}


def render(settings, options, found):
    """Return the run as Markdown: what was measured on each model, ours over each peer, and the aims."""
    lengths = f"{settings.chains} chains of {settings.num_samples} draws after {settings.warmup} of warm-up (ours: its default)"
    pyro = f"; Pyro {options.pyro_draws} + {options.pyro_draws}" if options.pyro_draws else ""
    repeats = f"; medians of {options.repeats} runs" if options.repeats > 1 else ""
    lines = [f"{lengths}{pyro}{repeats}; {machine()}."]
    for model, rows in found.items():
        lines += ["", f"### {model.capitalize()}", ""]
        lines += [f"| library | {' | '.join(COLUMNS)} | farthest mean, sd |", "|---|" + "---:|" * (len(COLUMNS) + 1)]
        for name, repeated in rows.items():
            error = next((row.error for row in repeated if row.error), "")
            figures = [] if error else [median(repeated, c) for c in COLUMNS.values()] + [farthest_mean(repeated[-1], rows)]
            cells = [error, *[""] * len(COLUMNS)] if error else map(number, figures)
            lines.append(f"| {name} {repeated[-1].version} | {' | '.join(cells)} |")
    ratios = [(model, *pair) for model, rows in found.items() for pair in pairs(rows)]
    if ratios:
        lines += ["", "Ours over the peer's effective draws a second, same run:", ""]
        lines += ["| model | ours / peer | cold | warm |", "|---|---|---:|---:|"]
        lines += [f"| {model} | {mine} / {peer} | {number(cold)} | {number(warm)} |" for model, mine, peer, cold, warm in ratios]
        lines += ["", "What was aimed at:", "", "| ours / peer, clock | model | aim | reached |", "|---|---|---:|---:|"]
        lines += [
            f"| {aim.ours} / {aim.peer}, {aim.clock} | {model} | {number(least)} | {reached(found, model, aim)} |"
            for aim in AIMS
            for model, least in aim.least.items()
            if model in found
        ]
    return "\n".join(lines)


def pairs(rows):
    """Yield ``(ours, peer, cold ratio, warm ratio)``: medians over the repetitions in which both ran."""
    usable = {name: repeated for name, repeated in rows.items() if not any(row.error for row in repeated)}
    for mine in usable:
        for peer in usable:
            if mine.startswith("ppl ") and not peer.startswith("ppl "):
                both = list(zip(usable[mine], usable[peer], strict=False))
                ratio = {
                    column: statistics.median(getattr(a, column) / getattr(b, column) for a, b in both)
                    for column in ("cold_ess_per_s", "ess_per_s")
                }
                yield mine, peer, ratio["cold_ess_per_s"], ratio["ess_per_s"]


def reached(found, model, aim):
    """Return the ratio that an aim is about, with a mark if it fell short; a dash if one of the two did not run."""
    for mine, peer, cold, warm in pairs(found[model]):
        if (mine, peer) == (aim.ours, aim.peer):
            ratio = cold if aim.clock == "cold" else warm
            return number(ratio) + ("" if ratio >= aim.least[model] else " (short)")
    return "–"


if __name__ == "__main__":
    main()
