"""A hidden Markov model with its states summed out, fitted by a point estimate: three backends beside NumPyro and Pyro.

python benchmarks/enumeration.py [--only LIBRARY ...] [--write]

Beside the steps of a model written with ``markov``, this measures how long the same model of 500 steps takes to its first step
when it is written with ``scan``, and the elimination of a chain of 10000 steps in parallel and one step after the other.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time
from functools import partial

import numpy
from common import in_process, machine, number, write

MARKER = "enumeration"
STATES, STEPS, LONG, LONGEST, RATE = 8, 50, 500, 10_000, 0.01
PARALLEL, PYTHON, COMPILED, USED = "in parallel", "Python loop", "compiled loop", "as used"
VALUE, GRADIENT = "value", "gradient"


def series(num_steps):
    """Return a series that stays a while at each of some levels, by a fixed seed."""
    rng = numpy.random.default_rng(8)
    levels = numpy.repeat(rng.integers(0, STATES, num_steps // 5 + 1), 5)[:num_steps]
    return (levels + rng.normal(size=num_steps)).astype("float32")


def priors(language, dist, ones):
    """Draw what the series depends on: the same program in each language."""
    transition = language.sample("transition", dist.Dirichlet(ones((STATES, STATES))).to_event(1))
    means = language.sample("means", dist.Normal(0.0, 10.0).expand([STATES]).to_event(1))
    return transition, means, language.sample("scale", dist.LogNormal(0.0, 1.0))


def looped(language, dist, ones):
    """Return the model as a loop."""

    def model(data):
        transition, means, scale = priors(language, dist, ones)
        state = 0
        for step in language.markov(range(len(data))):
            weights = transition[state]
            state = language.sample(f"state_{step}", dist.Categorical(weights), infer={"enumerate": "parallel"})
            language.sample(f"value_{step}", dist.Normal(means[state], scale), obs=data[step])

    return model


def scanned(language, dist, ones, scan):
    """Return the model as a scan."""

    def model(data):
        transition, means, scale = priors(language, dist, ones)

        def step(state, value):
            state = language.sample("state", dist.Categorical(transition[state]), infer={"enumerate": "parallel"})
            language.sample("value", dist.Normal(means[state], scale), obs=value)
            return state, None

        scan(step, 0, data)

    return model


def is_state(site):
    return site["type"] == "sample" and site["name"].startswith("state")


def ours(backend, loss="TraceEnum_ELBO", num_steps=STEPS, long=False):
    import ppl
    from ppl import distributions, handlers, infer, ops, optim
    from ppl.contrib.control_flow import scan

    with ppl.pyro_backend(backend):
        model = scanned(ppl, distributions, ops.ones, scan) if long else looped(ppl, distributions, ops.ones)
        data = ops.array(series(num_steps), dtype=ops.default_dtype())
        guide = infer.autoguide.AutoDelta(handlers.block(model, hide_fn=is_state))
        svi = infer.SVI(model, guide, optim.Adam({"lr": RATE}), getattr(infer, loss)(max_plate_nesting=0))

    def fit(count):
        return svi.run(count, data, rng_key=0, progress_bar=False).losses

    return fit


def numpyro(num_steps=STEPS):
    import jax
    import jax.numpy as jnp
    import numpyro
    from numpyro import distributions, handlers, infer
    from numpyro.contrib.funsor import markov

    numpyro.markov = markov
    model, data = looped(numpyro, distributions, jnp.ones), jnp.asarray(series(num_steps))
    guide = infer.autoguide.AutoDelta(handlers.block(model, hide_fn=is_state))
    svi = infer.SVI(model, guide, numpyro.optim.Adam(RATE), infer.TraceEnum_ELBO(max_plate_nesting=0))

    # One program for any number of steps; ``svi.run`` would compile anew at each call.
    @jax.jit
    def run(state, count):
        return jax.lax.fori_loop(0, count, lambda _, carry: svi.update(carry[0], data), (state, jnp.zeros(())))

    def fit(count):
        return [run(svi.init(jax.random.key(0), data), count)[1].item()]

    return fit


def pyro(loss, num_steps=STEPS):
    import pyro
    import torch
    from pyro import distributions, infer, optim, poutine

    model, data = looped(pyro, distributions, torch.ones), torch.tensor(series(num_steps))
    guide = infer.autoguide.AutoDelta(poutine.block(model, hide_fn=is_state))
    options = {"ignore_jit_warnings": True} if loss.startswith("Jit") else {}
    svi = infer.SVI(model, guide, optim.Adam({"lr": RATE}), getattr(infer, loss)(max_plate_nesting=0, **options))
    pyro.set_rng_seed(0)

    def fit(count):
        return numpy.array([svi.step(data) for _ in range(count)])

    return fit


# By name: import names that it needs, how it is loaded, and the steps of a short and a long run.
CONTESTANTS = {
    "ppl jax": (("ppl", "jax"), partial(ours, "jax"), (500, 4500)),
    "ppl torch": (("ppl", "torch"), partial(ours, "torch"), (5, 45)),
    "ppl torch, compiled": (("ppl", "torch"), partial(ours, "torch", "JitTraceEnum_ELBO"), (50, 450)),
    "ppl numpy": (("ppl",), partial(ours, "numpy"), (5, 45)),
    "ppl numpy, compiled": (("ppl",), partial(ours, "numpy", "JitTraceEnum_ELBO"), (50, 250)),
    "NumPyro": (("numpyro", "funsor"), numpyro, (500, 4500)),
    "Pyro": (("pyro", "torch"), partial(pyro, "TraceEnum_ELBO"), (5, 45)),
    "Pyro, compiled": (("pyro", "torch"), partial(pyro, "JitTraceEnum_ELBO"), (5, 105)),
    f"ppl jax, scan of {LONG}": (("ppl", "jax"), partial(ours, "jax", num_steps=LONG, long=True), (200, 1200)),
}  # fmt: skip

# Ours, the peer, the figure, and by how much ours must be ahead.
AIMS = [
    ("ppl torch", "Pyro", "us", 2),
    ("ppl torch, compiled", "Pyro", "us", 10),
    ("ppl jax", "NumPyro", "us", 1),
    ("ppl jax", "NumPyro", "first_s", 3),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(CONTESTANTS), help=f"some of: {', '.join(CONTESTANTS)}")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds after which a library is given up")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's part of benchmarks/README.md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--chain", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        options.result.write_text(json.dumps(steps_of(options.worker)))
        return
    if options.chain:
        options.result.write_text(json.dumps(chain_on(options.chain)))
        return
    found = {name: measure("--worker", name, CONTESTANTS[name][0], options.timeout) for name in options.only or CONTESTANTS}
    chains = {}
    if not options.only:
        for backend in ("jax", "torch", "numpy"):
            chains[backend] = measure("--chain", backend, ("ppl", backend), options.timeout)
    text = render(found, chains)
    print(text)
    if options.write:
        write(MARKER, text)


def steps_of(name):
    """Measure one contestant in this process."""
    libraries, load, (short, long) = CONTESTANTS[name]
    before = time.time()
    fit = load()
    import_s = time.time() - before
    before = time.time()
    losses = [float(fit(1)[-1])]
    first_s = time.time() - before
    spent = {short: [], long: []}
    for _ in range(3):
        for count, times in spent.items():
            before = time.perf_counter()
            losses = fit(count)
            times.append(time.perf_counter() - before)
    # The least of three, since whatever else the machine does only adds.
    us = 1e6 * (min(spent[long]) - min(spent[short])) / (long - short)
    version = getattr(sys.modules[libraries[0]], "__version__", "")
    return {"version": version, "import_s": import_s, "first_s": first_s, "us": us, "loss": float(losses[-1])}


def chain_on(backend):
    """Measure the elimination of a long chain on one backend, in milliseconds of a call that is compiled where that pays.

    Each figure is of the value alone, and of the gradient in all tables, as a fit takes it.
    """
    import ppl
    from ppl import ops
    from ppl.ops import autodiff, chain, compile, control

    def step(row, table):
        return ops.logsumexp(row[:, None] + table, axis=0), None

    def python(tables):
        row = tables[0][0]
        for place in range(1, LONGEST):
            row, _ = step(row, tables[place])
        return ops.logsumexp(row, axis=-1)

    def loop(tables):
        return ops.logsumexp(control.scan(step, tables[0][0], tables[1:])[0], axis=-1)

    def parallel(tables):
        return ops.logsumexp(chain.sequential_log_sum_product(tables)[0], axis=-1)

    def used(tables):
        return ops.logsumexp(chain.log_forward(tables[0][0], tables[1:]), axis=-1)

    # The loops of the other backends are Python; on jax the gradient of one in Python, uncompiled, takes minutes.
    ways = {PARALLEL: parallel, PYTHON: python if backend == "jax" else loop, USED: used}
    if backend == "jax":
        ways[COMPILED] = loop
    with ppl.pyro_backend(backend):
        tables = ops.array(numpy.random.default_rng(0).normal(size=(LONGEST, STATES, STATES)))
        calls, values, spent = {}, {}, {}
        for name, eliminate in ways.items():
            for what, function in [(VALUE, eliminate), (GRADIENT, autodiff.grad(eliminate))]:
                if eliminate is python and what == GRADIENT:
                    continue
                call = compile.compile(function) if backend == "jax" and name != PYTHON else function
                calls[name, what] = call
                values.setdefault(what, []).append(ops.to_numpy(call(tables)))
        # In turns, so that whatever else the machine does falls on all of them.
        for turn in range(3):
            for (name, what), call in calls.items():
                if turn and name == PYTHON:
                    continue
                before = time.perf_counter()
                ops.to_numpy(call(tables))
                spent.setdefault(f"{what}, {name}", []).append(1e3 * (time.perf_counter() - before))
        for arrays in values.values():
            for array in arrays[1:]:
                numpy.testing.assert_allclose(array, arrays[0], rtol=1e-3, atol=1e-3)
    return {name: min(times) for name, times in spent.items()}


def measure(kind, name, libraries, timeout):
    """Return what one process found, or its error."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = in_process(libraries, [kind, name], pathlib.Path(folder) / "result.json", timeout)
    print(f"    {found}", file=sys.stderr, flush=True)
    return found


def render(found, chains):
    """Return the run as Markdown."""
    lines = [
        f"{STATES} states, {STEPS} steps in a `markov` loop, point estimates, Adam; {machine()}.",
        "",
        "| library | import s | to the first step s | µs a step | steps/s | loss |",
        "|---|" + "---:|" * 5,
    ]
    for name, row in found.items():
        if "error" in row:
            lines.append(f"| {name} | {row['error']} | | | | |")
            continue
        cells = [row["import_s"], row["first_s"], row["us"], 1e6 / row["us"], row["loss"]]
        lines.append(f"| {name} {row['version']} | {' | '.join(map(number, cells))} |")
    lines += ["", "What was aimed at, the peer's time over ours:", "", "| ours / peer | aim | reached |", "|---|---:|---:|"]
    for mine, peer, figure, least in AIMS:
        pair = [found.get(name, {"error": ""}) for name in (mine, peer)]
        reached = None if any("error" in row for row in pair) else pair[1][figure] / pair[0][figure]
        shown = "–" if reached is None else number(reached) + ("" if reached >= least else " (short)")
        lines.append(f"| {mine} / {peer}, {'a step' if figure == 'us' else 'to the first step'} | {least} | {shown} |")
    if chains:
        lines += ["", f"A chain of {LONGEST} steps of {STATES} states summed out, milliseconds:", ""]
        lines += ["| backend | what | as used | in parallel | Python loop | compiled loop | loop / as used |"]
        lines += ["|---|---|" + "---:|" * 5]
        for backend, row in chains.items():
            if "error" in row:
                lines.append(f"| ppl {backend} | {row['error']} | | | | | |")
                continue
            for what in (VALUE, GRADIENT):
                cells = [row.get(f"{what}, {way}") for way in (USED, PARALLEL, PYTHON, COMPILED)]
                cells.append((cells[3] or cells[2]) / cells[0])
                shown = ["–" if cell is None else number(cell) for cell in cells]
                lines.append(f"| ppl {backend} | {what} | {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
