"""One program on two implementations: ``ppl.contrib.minipyro``, a file of 300 lines, and the full library. The losses are equal.

    python examples/minipyro.py
    python examples/minipyro.py --backend jax --steps 300

Model, guide and fit are written once against ``ppl.generic``, whose modules lead to one implementation or the other. Each step
draws from a seed of its own, so that both see the same random numbers. The posterior has a closed form, printed beside the fit.
"""

import time

STARTED = time.perf_counter()

import argparse
import importlib.util
import sys

import numpy

import ppl
from ppl.distributions import constraints
from ppl.errors import PplError
from ppl.generic import distributions as dist
from ppl.generic import handlers, infer, ops, optim, pyro, pyro_backend

IMPLEMENTATIONS = {"full": {}, "minipyro": "minipyro"}
PRIOR_SD, NOISE = 3.0, 1.0
TOLERANCE = 1e-6


def generate(rows, seed):
    """Return measurements of one quantity."""
    return numpy.random.default_rng(seed).normal(1.5, NOISE, size=rows)


def model(data, step):
    mean = pyro.sample("mean", dist.Normal(0.0, PRIOR_SD))
    with pyro.plate("rows", data.shape[0], dim=-1):
        pyro.sample("y", dist.Normal(mean, NOISE), obs=data)


def guide(data, step):
    loc = pyro.param("loc", 0.0)
    scale = pyro.param("scale", 1.0, constraint=constraints.positive)
    with handlers.seed(rng_seed=step):
        pyro.sample("mean", dist.Normal(loc, scale))


def exact_posterior(data):
    """Return mean and standard deviation of the posterior, and minus the log evidence, the least that the loss can be."""
    precision = 1.0 / PRIOR_SD**2 + len(data) / NOISE**2
    mean = data.sum() / NOISE**2 / precision
    quadratic = data @ data / NOISE**2 - precision * mean**2
    logarithms = len(data) * numpy.log(2.0 * numpy.pi * NOISE**2) + numpy.log(PRIOR_SD**2 * precision)
    return mean, precision**-0.5, 0.5 * (quadratic + logarithms)


def fit(data, steps, backend):
    """Return the losses of all steps, and the fitted mean and standard deviation, of the implementation that is current."""
    pyro.clear_param_store()
    data = ops.array(data)
    # On jax an int is a part of the compiled program, an array is data for it.
    seed_of_step = ops.array if backend == "jax" else int
    svi = infer.SVI(model, guide, optim.Adam({"lr": 0.05}), infer.Trace_ELBO())
    losses = [svi.step(data, seed_of_step(step)) for step in range(steps)]
    return numpy.array(losses), *(float(ops.to_numpy(pyro.param(name))) for name in ("loc", "scale"))


def compare(backend, data, steps):
    """Return what :func:`fit` returns, by implementation."""
    with ppl.pyro_backend(backend):
        ppl.set_default_dtype("float64")
        fits = {}
        for name, modules in IMPLEMENTATIONS.items():
            with pyro_backend(modules):
                fits[name] = fit(data, steps, backend)
    return fits


def installed():
    return [name for name in ("numpy", "torch", "jax") if importlib.util.find_spec(name)]


def read_options(arguments=None):
    parser = argparse.ArgumentParser(description="The same fit on minipyro and on the full library.")
    parser.add_argument("--backend", action="append", help="numpy, torch or jax; may be given again; default: all installed")
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    if options.rows < 1:
        parser.error(f"--rows must be at least 1, got {options.rows}")
    return options


def main(arguments=None):
    options = read_options(arguments)
    data = generate(options.rows, options.seed)
    mean, sd, least = exact_posterior(data)
    print(f"{options.rows} rows, {options.steps} steps")
    print(f"{'':20s}{'first loss':>12s}{'last loss':>12s}{'mean':>8s}{'sd':>8s}")
    print(f"{'closed form':20s}{'':12s}{least:12.6f}{mean:8.3f}{sd:8.3f}")
    equal = True
    for backend in options.backend or installed():
        fits = compare(backend, data, options.steps)
        for name, (losses, loc, scale) in fits.items():
            print(f"{backend + ', ' + name:20s}{losses[0]:12.6f}{losses[-1]:12.6f}{loc:8.3f}{scale:8.3f}")
        difference = numpy.abs(fits["full"][0] - fits["minipyro"][0]).max()
        equal = equal and difference < TOLERANCE
        print(f"{backend}: the losses differ by at most {difference:.1e}, {'equal' if difference < TOLERANCE else 'NOT equal'}")
    print(f"{time.perf_counter() - STARTED:.1f} s from start to end")
    if not equal:
        sys.exit(f"minipyro: some losses differ by {TOLERANCE} or more")


if __name__ == "__main__":
    try:
        main()
    except PplError as error:
        sys.exit(f"minipyro: {error}")
