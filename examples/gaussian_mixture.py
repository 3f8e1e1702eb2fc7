"""A Gaussian mixture whose assignments are summed out, fitted by variational inference.

    python examples/gaussian_mixture.py
    python examples/gaussian_mixture.py --backend jax --rows 2000

Three components of one width generate the rows. The model sums the density over the component of each row, so that only weights,
means and width remain, and the guide gives each of them its own factor. The table compares the fit with the truth and with the
standard errors that one would have if the component of each row were known, which no method can beat by much.
"""

import time

STARTED = time.perf_counter()

import argparse
import os
import sys

import numpy

import ppl
from ppl import distributions as dist
from ppl import infer, ops, optim
from ppl.distributions import constraints
from ppl.errors import PplError

WEIGHTS = numpy.array([0.5, 0.3, 0.2])
MEANS = numpy.array([-3.0, 0.5, 4.0])
WIDTH = 0.8


def generate(rows, seed):
    """Return the measurements and the component that each comes from."""
    rng = numpy.random.default_rng(seed)
    component = rng.choice(len(WEIGHTS), size=rows, p=WEIGHTS)
    return MEANS[component] + WIDTH * rng.normal(size=rows), component


def model(x, start):
    weights = ppl.sample("weights", dist.Dirichlet(ops.ones(start.shape)))
    means = ppl.sample("means", dist.Normal(ops.zeros(start.shape), 10.0).to_event(1))
    width = ppl.sample("width", dist.LogNormal(0.0, 1.0))
    with ppl.plate("rows", x.shape[0]):
        components = dist.Normal(means, width[..., None])
        ppl.sample("x", dist.MixtureSameFamily(dist.Categorical(weights), components), obs=x)


def guide(x, start):
    counts = ppl.param("counts", x.shape[0] / 3.0 * ops.ones(start.shape), constraint=constraints.positive)
    locs = ppl.param("locs", start)
    scales = ppl.param("scales", 0.1 * ops.ones(start.shape), constraint=constraints.positive)
    log_width = ppl.param("log width", 0.0)
    spread = ppl.param("log width sd", 0.1, constraint=constraints.positive)
    ppl.sample("weights", dist.Dirichlet(counts))
    ppl.sample("means", dist.Normal(locs, scales).to_event(1))
    ppl.sample("width", dist.LogNormal(log_width, spread))


def fit(x, options):
    """Fit the guide, started at quantiles of the data, and return its params on the host and the losses."""
    ppl.set_rng_seed(options.seed)
    ppl.clear_param_store()
    rate = optim.ClippedAdam({"lr": 0.1, "lrd": 0.02 ** (1.0 / options.steps)})
    svi = infer.SVI(model, guide, rate, loss=infer.Trace_ELBO())
    start = ops.array(numpy.quantile(x, [0.2, 0.5, 0.9]), dtype=ops.default_dtype())
    done = svi.run(options.steps, ops.array(x, dtype=ops.default_dtype()), start, progress_bar=options.progress)
    return {name: ops.to_numpy(value) for name, value in done.params.items()}, done.losses


def summary(params):
    """Return posterior mean and standard deviation of each weight, mean, and the width."""
    total = params["counts"].sum()
    weights = params["counts"] / total
    variance = params["log width sd"] ** 2
    width = numpy.exp(params["log width"] + variance / 2)
    return {
        "weight": (weights, numpy.sqrt(weights * (1.0 - weights) / (total + 1.0))),
        "mean": (params["locs"], params["scales"]),
        "width": (width[None], width[None] * numpy.sqrt(numpy.expm1(variance))),
    }


def standard_errors(rows):
    """Return the standard error of each weight, mean and the width of complete data."""
    return {
        "weight": numpy.sqrt(WEIGHTS * (1.0 - WEIGHTS) / rows),
        "mean": WIDTH / numpy.sqrt(WEIGHTS * rows),
        "width": numpy.array([WIDTH / numpy.sqrt(2.0 * rows)]),
    }


def report(params, rows):
    """Print the fit beside the truth."""
    errors, truth = standard_errors(rows), {"weight": WEIGHTS, "mean": MEANS, "width": numpy.array([WIDTH])}
    print(f"{'':10s}{'true':>8s}{'fitted':>9s}{'sd':>8s}{'standard error':>16s}")
    for kind, (means, deviations) in summary(params).items():
        for index, row in enumerate(zip(truth[kind], means, deviations, errors[kind], strict=True), start=1):
            name = kind if len(means) == 1 else f"{kind} {index}"
            print(f"{name:10s}{row[0]:8.3f}{row[1]:9.3f}{row[2]:8.3f}{row[3]:16.3f}")


def read_options(arguments=None):
    parser = argparse.ArgumentParser(description="A Gaussian mixture by variational inference.")
    parser.add_argument("--backend", default=os.environ.get("PPL_BACKEND") or "numpy", help="numpy (default), torch or jax")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="hide the progress bar")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    if options.rows < 50:
        parser.error(f"--rows must be at least 50 to tell three components apart, got {options.rows}")
    return options


def main():
    options = read_options()
    x, _ = generate(options.rows, options.seed)
    with ppl.pyro_backend(options.backend):
        params, losses = fit(x, options)
    print(f"{options.rows} rows, backend {options.backend}, {options.steps} steps, last loss {losses[-50:].mean():.2f}")
    report(params, options.rows)
    print(f"{time.perf_counter() - STARTED:.1f} s from start to end")


if __name__ == "__main__":
    try:
        main()
    except PplError as error:
        sys.exit(f"gaussian_mixture: {error}")
