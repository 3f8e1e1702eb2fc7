"""A hierarchical model of group means by empirical Bayes, compared with exact results.

    python examples/hierarchical.py
    python examples/hierarchical.py --backend torch --groups 20

Groups of different sizes are measured. Their means come from a population whose centre has a prior; its spread and the noise
are params of the model, which the fit chooses to make the evidence large. Given those, the posterior is normal: each group's
mean, given the centre, is normal and independent of the other groups. The guide has this form, so the lower bound can reach the
evidence, and the fit must find what maximising the exact evidence finds. Groups of few rows are drawn towards the population.
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

CENTRE, SPREAD, NOISE = 2.0, 1.0, 1.5
PRIOR_SD = 10.0


def generate(groups, seed):
    """Return the group of each row, and its measurement; groups have 2 to 20 rows."""
    rng = numpy.random.default_rng(seed)
    sizes = rng.integers(2, 21, groups)
    group = numpy.repeat(numpy.arange(groups), sizes)
    means = rng.normal(CENTRE, SPREAD, groups)
    return group, means[group] + NOISE * rng.normal(size=len(group))


def model(group, y, groups):
    spread = ppl.param("spread", 0.5, constraint=constraints.positive)
    noise = ppl.param("noise", 1.0, constraint=constraints.positive)
    centre = ppl.sample("centre", dist.Normal(0.0, PRIOR_SD))
    with ppl.plate("groups", groups):
        means = ppl.sample("means", dist.Normal(centre, spread))
    with ppl.plate("rows", len(group)):
        ppl.sample("y", dist.Normal(ops.take(means, group, axis=-1), noise), obs=y)


def guide(group, y, groups):
    loc = ppl.param("centre loc", 0.0)
    scale = ppl.param("centre scale", 0.3, constraint=constraints.positive)
    offset = ppl.param("offset", ops.zeros((groups,)))
    slope = ppl.param("slope", 0.5 * ops.ones((groups,)))
    scales = ppl.param("scales", 0.5 * ops.ones((groups,)), constraint=constraints.positive)
    centre = ppl.sample("centre", dist.Normal(loc, scale))
    with ppl.plate("groups", groups):
        ppl.sample("means", dist.Normal(offset + slope * (centre - loc), scales))


def exact_posterior(group, y, spread, noise):
    """Return mean and covariance of ``(centre, *means)``, and the log evidence, from their joint distribution with ``y``."""
    groups = group.max() + 1
    to_means = numpy.eye(groups)[group]
    prior = numpy.full((groups + 1, groups + 1), PRIOR_SD**2)
    prior[1:, 1:] += spread**2 * numpy.eye(groups)
    design = numpy.column_stack([numpy.zeros(len(y)), to_means])
    covariance = design @ prior @ design.T + noise**2 * numpy.eye(len(y))
    gain = numpy.linalg.solve(covariance, design @ prior).T
    quadratic = y @ numpy.linalg.solve(covariance, y)
    log_evidence = -0.5 * (quadratic + numpy.linalg.slogdet(covariance)[1] + len(y) * numpy.log(2.0 * numpy.pi))
    return gain @ y, prior - gain @ design @ prior, log_evidence


def fit(group, y, options):
    """Fit model and guide and return their params on the host, and the mean of the last tenth of the losses."""
    ppl.set_rng_seed(options.seed)
    ppl.clear_param_store()
    rate = optim.ClippedAdam({"lr": 0.1, "lrd": 0.02 ** (1.0 / options.steps)})
    svi = infer.SVI(model, guide, rate, loss=infer.Trace_ELBO(num_particles=10, vectorize_particles=True, max_plate_nesting=1))
    arguments = ops.array(group), ops.array(y, dtype=ops.default_dtype())
    done = svi.run(options.steps, *arguments, int(group.max()) + 1, progress_bar=options.progress)
    return {name: ops.to_numpy(value) for name, value in done.params.items()}, done.losses[-options.steps // 10 :].mean()


def summary(params):
    """Return posterior mean and standard deviation of ``(centre, *means)``."""
    deviations = numpy.sqrt(params["scales"] ** 2 + (params["slope"] * params["centre scale"]) ** 2)
    mean = numpy.concatenate([[params["centre loc"]], params["offset"]])
    return mean, numpy.concatenate([[params["centre scale"]], deviations])


def report(group, y, params, loss):
    """Print each group's average, its fitted posterior, and the exact one at the fitted spread and noise."""
    spread, noise = float(params["spread"]), float(params["noise"])
    mean, covariance, log_evidence = exact_posterior(group, y, spread, noise)
    fitted_mean, fitted_sd = summary(params)
    print(f"{'':8s}{'rows':>6s}{'average':>9s}{'exact mean':>12s}{'sd':>7s}{'fitted mean':>13s}{'sd':>7s}")
    exact = zip(mean, numpy.sqrt(numpy.diagonal(covariance)), fitted_mean, fitted_sd, strict=True)
    for index, (exact_mean, exact_sd, found_mean, found_sd) in enumerate(exact):
        rows = y if index == 0 else y[group == index - 1]
        name = "centre" if index == 0 else f"group {index}"
        print(f"{name:8s}{len(rows):6d}{rows.mean():9.3f}{exact_mean:12.3f}{exact_sd:7.3f}{found_mean:13.3f}{found_sd:7.3f}")
    print(f"\nspread {spread:.3f} (true {SPREAD}), noise {noise:.3f} (true {NOISE})")
    print(f"log evidence {log_evidence:.3f}, lower bound {-loss:.3f}")


def read_options(arguments=None):
    parser = argparse.ArgumentParser(description="A hierarchical normal model by empirical Bayes.")
    parser.add_argument("--backend", default=os.environ.get("PPL_BACKEND") or "numpy", help="numpy (default), torch or jax")
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="hide the progress bar")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    if options.groups < 3:
        parser.error(f"--groups must be at least 3 to tell their spread, got {options.groups}")
    return options


def main():
    options = read_options()
    group, y = generate(options.groups, options.seed)
    with ppl.pyro_backend(options.backend):
        params, loss = fit(group, y, options)
    print(f"{options.groups} groups, {len(y)} rows, backend {options.backend}, {options.steps} steps")
    report(group, y, params, loss)
    print(f"{time.perf_counter() - STARTED:.1f} s from start to end")


if __name__ == "__main__":
    try:
        main()
    except PplError as error:
        sys.exit(f"hierarchical: {error}")
