"""What the benchmarks share: one library a process, the same clock, the same effective sample size, one table of one run.

A benchmark hands :func:`main` its *contestants*: functions that load a library and return ``fit``, which samples once and returns
the draws by name, shape (chains, draws, ...), with the number of gradient evaluations. Each contestant runs in a process of its
own, first cold (from the start of the process to the printed summary), then once more with another seed.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy

PAGE = pathlib.Path(__file__).with_name("README.md")


class Settings(NamedTuple):
    """Lengths of a run."""

    num_samples: int
    warmup: int
    chains: int


class Contestant(NamedTuple):
    """One row of the table.

    :param library: import name; the row says "not installed" where it is missing.
    :param load: ``load(settings)`` imports the library and returns ``fit(seed) -> (draws, gradient evaluations)``; the second may
        be a function that is called when the clock has stopped.
    :param arrays: import name of the array library it runs on, where it is not a dependency of ``library``.
    """

    library: str
    load: Callable
    arrays: str = "numpy"


class Row(NamedTuple):
    """What one contestant measured; ``error`` alone is set where it could not run.

    ``moments``: means and standard deviations of each quantity over the warm run's draws.
    """

    name: str
    version: str = ""
    import_s: float = float("nan")
    cold_s: float = float("nan")
    warm_s: float = float("nan")
    ess: float = float("nan")
    gradients: float = float("nan")
    error: str = ""
    cold_ess: float = float("nan")
    moments: Mapping[str, tuple] = {}

    @property
    def ess_per_s(self):
        return self.ess / self.warm_s

    @property
    def cold_ess_per_s(self):
        return self.cold_ess / self.cold_s

    @property
    def us_per_gradient(self):
        return 1e6 * self.warm_s / self.gradients


def main(title: str, marker: str, contestants: Mapping[str, Contestant], derive: Callable | None = None) -> None:
    """Run the benchmark from the command line.

    :param title: the table's heading.
    :param marker: name of the part of the page that ``--write`` replaces.
    :param derive: gives the draws whose effective sample size counts, from the draws of a contestant; default: all of them.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--warmup", type=int, default=1000)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(contestants), help=f"some of: {', '.join(contestants)}")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds after which a contestant is given up")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's part of benchmarks/README.md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--launched", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    settings = Settings(options.num_samples, options.warmup, options.chains)
    if options.worker:
        work(contestants[options.worker], settings, options.launched, options.result)
        return
    rows = []
    for name in options.only or contestants:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append(run(name, contestants[name], settings, options.timeout, derive))
        print(f"    {rows[-1].error or format(rows[-1].cold_s, '.1f') + ' s cold'}", file=sys.stderr, flush=True)
    text = render(title, settings, rows)
    print(text)
    if options.write:
        write(marker, text)


def work(contestant: Contestant, settings: Settings, launched: float, result: pathlib.Path) -> None:
    """Measure one contestant in this process and leave what was found under ``result``."""
    before = time.time()
    fit = contestant.load(settings)
    import_s = time.time() - before
    cold_draws, _ = fit(1)
    cold_s = time.time() - launched
    before = time.time()
    draws, gradients = fit(2)
    warm_s = time.time() - before
    numpy.savez(result.with_suffix(".npz"), **draws)
    numpy.savez(result.with_suffix(".cold.npz"), **cold_draws)
    if callable(gradients):
        gradients = gradients()
    version = getattr(sys.modules[contestant.library], "__version__", "")
    found = {"version": version, "import_s": import_s, "cold_s": cold_s, "warm_s": warm_s, "gradients": gradients}
    result.with_suffix(".json").write_text(json.dumps(found))


def run(
    name: str, contestant: Contestant, settings: Settings, timeout: float, derive: Callable | None, extra: tuple[str, ...] = ()
) -> Row:
    """Measure one contestant in a process of its own.

    :param extra: more of the command line that the process starts with, such as which model it is about.
    """
    missing = [library for library in (contestant.library, contestant.arrays) if importlib.util.find_spec(library) is None]
    if missing:
        return Row(name, error=f"not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        result = pathlib.Path(folder) / "result"
        lengths = ["--num-samples", settings.num_samples, "--warmup", settings.warmup, "--chains", settings.chains]
        command = [sys.executable, sys.argv[0], "--worker", name, "--result", result, *lengths, *extra]
        command += ["--launched", repr(time.time())]
        try:
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return Row(name, error=f"gave up after {timeout:.0f} s")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return Row(name, error=f"failed: {last[:150]}")
        found = json.loads(result.with_suffix(".json").read_text())
        cold, warm = (read_draws(result.with_suffix(suffix), derive) for suffix in (".cold.npz", ".npz"))
    moments = {quantity: (values.mean(axis=(0, 1)), values.std(axis=(0, 1))) for quantity, values in warm.items()}
    return Row(name, ess=least_ess(warm), cold_ess=least_ess(cold), moments=moments, **found)


def in_process(libraries: tuple[str, ...], arguments: list[str], result: pathlib.Path, timeout: float) -> dict:
    """Run this script again in a process of its own, with ``arguments`` and ``--result``; return what it wrote, or ``error``."""
    missing = [library for library in libraries if importlib.util.find_spec(library) is None]
    if missing:
        return {"error": f"not installed: {', '.join(missing)}"}
    command = [sys.executable, sys.argv[0], *arguments, "--result", str(result)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"gave up after {timeout:.0f} s"}
    if done.returncode:
        return {"error": f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1][:150]}"}
    return json.loads(result.read_text())


def read_draws(path: pathlib.Path, derive: Callable | None) -> dict:
    """Return the quantities of interest from a file of draws."""
    with numpy.load(path) as file:
        draws = dict(file)
    return dict(derive(draws)) if derive else draws


def least_ess(draws: Mapping[str, numpy.ndarray]) -> float:
    """Return the least bulk effective sample size over all quantities, as arviz computes it."""
    import arviz

    sizes = arviz.ess(arviz.from_dict(posterior=dict(draws)), method="bulk")
    return min(float(values.min()) for values in sizes.data_vars.values())


def render(title: str, settings: Settings, rows: list[Row]) -> str:
    """Return the run as Markdown: what was measured, then ours over each peer."""
    lines = [
        f"{title}, {settings.chains} chains of {settings.warmup} + {settings.num_samples}; {machine()}.",
        "",
        "| library | import s | cold s | warm s | least bulk ESS | ESS/s | gradients | µs a gradient |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        if row.error:
            lines.append(f"| {row.name} | {row.error} | | | | | | |")
        else:
            cells = [row.import_s, row.cold_s, row.warm_s, row.ess, row.ess_per_s, row.gradients, row.us_per_gradient]
            lines.append(f"| {row.name} {row.version} | " + " | ".join(map(number, cells)) + " |")
    ours = [row for row in rows if row.name.startswith("ppl ") and not row.error]
    peers = [row for row in rows if not row.name.startswith("ppl ") and not row.error]
    if ours and peers:
        lines += ["", "Ours over the peer's, same run (below 1 is less time; ESS/s above 1 is more draws):", ""]
        lines += ["| ours / peer | cold s | warm s | µs a gradient | ESS/s |", "|---|---:|---:|---:|---:|"]
        for mine in ours:
            for peer in peers:
                ratios = [
                    mine.cold_s / peer.cold_s,
                    mine.warm_s / peer.warm_s,
                    mine.us_per_gradient / peer.us_per_gradient,
                    mine.ess_per_s / peer.ess_per_s,
                ]
                lines.append(f"| {mine.name} / {peer.name} | " + " | ".join(map(number, ratios)) + " |")
    return "\n".join(lines)


def number(value: float) -> str:
    """Three significant digits, without an exponent; a dash for what was not measured."""
    if value != value:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> str:
    """Return what the figures depend on: cores, processor, Python and the day."""
    model = platform.processor() or platform.machine()
    information = pathlib.Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"


def write(marker: str, text: str) -> None:
    """Replace the part of the page between the marker's two comments."""
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    page = PAGE.read_text()
    if begin not in page or end not in page:
        raise SystemExit(f"{PAGE.name} lacks the comments {begin} and {end}")
    head, rest = page.split(begin, 1)
    PAGE.write_text(head + begin + "\n" + text + "\n" + end + rest.split(end, 1)[1])
