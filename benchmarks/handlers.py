"""What a handler costs at a site, beyond the distribution's own work: python benchmarks/handlers.py [--write]

A model of sites whose distribution returns one stored array at once, run bare and under handlers. A site's cost is the difference
to as many bare calls of that distribution. Medians of repeats that take turns, so that a busy moment hits all contestants alike.
"""

import argparse
import contextlib
import gc
import importlib.metadata
import importlib.util
import statistics
import time

from common import machine, number, write

SITES = 100
TARGETS = {"trace": 3.5, "trace+condition+block": 5.0}


def contestants():
    """Return for each contestant its runs by name, and what to enter around them; those not installed are left out."""
    found = {}
    for backend in ("numpy", "torch", "jax"):
        if importlib.util.find_spec(f"ppl_{backend}") and importlib.util.find_spec(backend):
            found[f"ppl {backend}"] = ours(backend)
    if importlib.util.find_spec("pyro"):
        found[f"Pyro {importlib.metadata.version('pyro-ppl')}"] = pyros()
    return found


def runs(sample, handlers, fn, value):
    names = [f"x{site}" for site in range(SITES)]

    def bare():
        for _ in names:
            fn()

    def model():
        for name in names:
            sample(name, fn)

    # The dearest case for each: every name is looked up in the data and among the hidden names, and half of them are found.
    data, hidden = {name: value for name in names[::4]}, names[1::4]
    both = handlers.trace(handlers.block(handlers.condition(model, data=data), hide=hidden))
    return {"bare": bare, "no handler": model, "trace": handlers.trace(model).get_trace, "trace+condition+block": both.get_trace}


def ours(backend):
    """Return this library's runs on one backend."""
    import ppl
    from ppl import handlers, ops

    with ppl.pyro_backend(backend):
        value = ops.array(0.5)

        class Null:
            """A distribution without work of its own."""

            batch_shape = event_shape = ()
            has_enumerate_support, has_rsample = False, True

            def __call__(self, sample_shape=(), rng_key=None):
                return value

            sample = rsample = __call__

            def log_prob(self, given):
                return given

        return runs(ppl.sample, handlers, Null(), value), lambda: ppl.pyro_backend(backend)


def pyros():
    """Return Pyro's runs."""
    import pyro
    import torch
    from pyro import poutine
    from pyro.distributions import TorchDistribution

    value = torch.tensor(0.5)

    class Null(TorchDistribution):
        """A distribution without work of its own."""

        arg_constraints = {}
        has_rsample = True

        def __call__(self, *args, **kwargs):
            return value

        def log_prob(self, given):
            return given

    return runs(pyro.sample, poutine, Null(validate_args=False), value), contextlib.nullcontext


def measure(repeats):
    """Return microseconds a site beyond the distribution's, by contestant and run: median and least."""
    entrants = contestants()
    times = {label: {name: [] for name in table} for label, (table, _) in entrants.items()}
    gc.disable()
    for repeat in range(repeats + 3):
        for label, (table, around) in entrants.items():
            for name, run in table.items():
                with around():
                    before = time.perf_counter()
                    run()
                    spent = time.perf_counter() - before
                if repeat >= 3:
                    times[label][name].append(1e6 * spent / SITES)
        gc.collect()
    gc.enable()
    return {
        label: {name: [pick(found) - pick(table["bare"]) for pick in (statistics.median, min)] for name, found in table.items()}
        for label, table in times.items()
    }


def main():
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description="Cost of handlers.")
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--write", action="store_true", help="replace this benchmark's part of benchmarks/README.md")
    options = parser.parse_args()
    columns = ["no handler", *TARGETS]
    lines = [
        f"Microseconds a site beyond the distribution's own work, median (least) of {options.repeats} runs of {SITES} sites; "
        f"{machine()}.",
        "",
        "| library | " + " | ".join(columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for label, found in measure(options.repeats).items():
        lines.append(f"| {label} | " + " | ".join("{} ({})".format(*map(number, found[name])) for name in columns) + " |")
    targets = ", ".join(f"{name} at most {limit} µs" for name, limit in TARGETS.items())
    text = "\n".join([*lines, "", f"Targets: {targets}."])
    print(text)
    if options.write:
        write("handlers", text)


if __name__ == "__main__":
    main()
