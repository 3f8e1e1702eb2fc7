"""Bayesian linear regression, fitted by variational inference and compared with the exact posterior.

    python examples/bayesian_regression.py
    python examples/bayesian_regression.py --backend jax --rows 500

The noise variance has an inverse gamma prior, and the coefficients a normal one in units of the noise. Then the posterior has a
closed form (O'Hagan and Forster 2004, "Bayesian inference", chapter 11), and so has the evidence. The guide is written by hand
and can reach that posterior exactly: the fit is right when its numbers meet the exact ones and its loss the evidence.
"""

import time

STARTED = time.perf_counter()

import argparse
import os
import sys

import numpy
from scipy import special

import ppl
from ppl import distributions as dist
from ppl import infer, ops, optim
from ppl.distributions import constraints
from ppl.errors import PplError

COEFFICIENTS = numpy.array([1.5, -0.8, 0.0])
INTERCEPT, NOISE = 0.5, 0.7
PRIOR_SHAPE, PRIOR_RATE, PRIOR_SD = 2.0, 1.0, 3.0
NAMES = ["intercept", *(f"slope {index}" for index in range(1, len(COEFFICIENTS) + 1))]


def generate(rows, seed):
    """Return a table whose first column is one, and the target."""
    rng = numpy.random.default_rng(seed)
    features = rng.normal(size=(rows, len(COEFFICIENTS)))
    features[:, 1] += 0.7 * features[:, 0]
    y = INTERCEPT + features @ COEFFICIENTS + NOISE * rng.normal(size=rows)
    return numpy.column_stack([numpy.ones(rows), features]), y


def model(x, y):
    variance = ppl.sample("variance", dist.InverseGamma(PRIOR_SHAPE, PRIOR_RATE))
    deviation = ops.sqrt(variance)
    spread = PRIOR_SD * deviation[..., None] * ops.ones((x.shape[1],))
    coefficients = ppl.sample("coefficients", dist.Normal(0.0, spread).to_event(1))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(ops.sum(x * coefficients, axis=-1), deviation), obs=y)


def guide(x, y):
    """The posterior's own family: independent of the data, but for the params."""
    size = x.shape[1]
    shape = ppl.param("shape", 20.0, constraint=constraints.positive)
    rate = ppl.param("rate", 20.0, constraint=constraints.positive)
    loc = ppl.param("loc", ops.zeros((size,)))
    factor = ppl.param("factor", 0.1 * ops.eye(size), constraint=constraints.lower_cholesky)
    variance = ppl.sample("variance", dist.InverseGamma(shape, rate))
    ppl.sample("coefficients", dist.MultivariateNormal(loc, scale_tril=ops.sqrt(variance)[..., None, None] * factor))


def exact_posterior(x, y):
    """Return mean and covariance factor of the coefficients, shape and rate of the variance, and the log evidence."""
    precision = x.T @ x + numpy.eye(x.shape[1]) / PRIOR_SD**2
    mean = numpy.linalg.solve(precision, x.T @ y)
    shape = PRIOR_SHAPE + len(y) / 2
    rate = PRIOR_RATE + (y @ y - mean @ precision @ mean) / 2
    log_evidence = PRIOR_SHAPE * numpy.log(PRIOR_RATE) - shape * numpy.log(rate) + special.gammaln(shape)
    log_evidence -= special.gammaln(PRIOR_SHAPE) + len(y) / 2 * numpy.log(2 * numpy.pi)
    log_evidence -= x.shape[1] * numpy.log(PRIOR_SD) + numpy.linalg.slogdet(precision)[1] / 2
    return mean, numpy.linalg.cholesky(numpy.linalg.inv(precision)), shape, rate, log_evidence


def fit(x, y, options):
    """Fit the guide and return its params on the host, and the mean of the last tenth of the losses."""
    ppl.set_rng_seed(options.seed)
    ppl.clear_param_store()
    rate = optim.ClippedAdam({"lr": 0.1, "lrd": 0.05 ** (1.0 / options.steps)})
    loss = infer.Trace_ELBO(num_particles=30, vectorize_particles=True, max_plate_nesting=1)
    svi = infer.SVI(model, guide, rate, loss=loss)
    x, y = (ops.array(values, dtype=ops.default_dtype()) for values in (x, y))
    done = svi.run(options.steps, x, y, progress_bar=options.progress)
    return {name: ops.to_numpy(value) for name, value in done.params.items()}, done.losses[-options.steps // 10 :].mean()


def report(params, loss, exact):
    """Print the posterior of each coefficient and of the noise beside the exact one."""
    mean, factor, shape, rate, log_evidence = exact
    rows = zip(
        (*NAMES, "variance"),
        (INTERCEPT, *COEFFICIENTS, NOISE**2),
        summary(mean, factor, shape, rate),
        summary(params["loc"], params["factor"], float(params["shape"]), float(params["rate"])),
        strict=True,
    )
    print(f"{'':12s}{'true':>8s}{'exact mean':>12s}{'sd':>8s}{'fitted mean':>13s}{'sd':>8s}")
    for name, true, (exact_mean, exact_sd), (fitted_mean, fitted_sd) in rows:
        print(f"{name:12s}{true:8.3f}{exact_mean:12.3f}{exact_sd:8.3f}{fitted_mean:13.3f}{fitted_sd:8.3f}")
    print(f"\nlog evidence {log_evidence:.3f}, lower bound {-loss:.3f}")


def summary(mean, factor, shape, rate):
    """Return mean and standard deviation of each coefficient and of the variance."""
    variance = rate / (shape - 1.0)
    deviations = numpy.sqrt(variance * numpy.sum(factor**2, axis=1))
    return [*zip(mean, deviations, strict=True), (variance, variance / (shape - 2.0) ** 0.5)]


def read_options(arguments=None):
    parser = argparse.ArgumentParser(description="Bayesian linear regression by variational inference.")
    parser.add_argument("--backend", default=os.environ.get("PPL_BACKEND") or "numpy", help="numpy (default), torch or jax")
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="hide the progress bar")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    if options.rows < 10:
        parser.error(f"--rows must be at least 10, got {options.rows}")
    return options


def main():
    options = read_options()
    x, y = generate(options.rows, options.seed)
    with ppl.pyro_backend(options.backend):
        params, loss = fit(x, y, options)
    print(f"{options.rows} rows, backend {options.backend}, {options.steps} steps")
    report(params, loss, exact_posterior(x, y))
    print(f"{time.perf_counter() - STARTED:.1f} s from start to end")


if __name__ == "__main__":
    try:
        main()
    except PplError as error:
        sys.exit(f"bayesian_regression: {error}")
