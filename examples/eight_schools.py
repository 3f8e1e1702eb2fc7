"""Eight schools: how much does coaching raise test scores, and how different are the schools? (Rubin 1981)

    python examples/eight_schools.py
    python examples/eight_schools.py --backend jax --parametrization both --plot schools.png

Each school's effect ``theta`` is measured with a known standard error ``sigma`` and comes from a population of mean ``mu`` and
spread ``tau``. The centred model samples ``theta`` itself; when ``tau`` is small its posterior narrows to a funnel that is hard
to sample. The non-centred model samples the standardised effects instead: the same posterior, an easier geometry. The result is
compared with the reference posterior means that posteriordb publishes.
"""

import time

STARTED = time.perf_counter()

import argparse
import importlib.util
import os
import pathlib
import sys

import numpy

import ppl
from ppl import distributions as dist
from ppl import infer, ops
from ppl.errors import PplError

SCHOOLS = "ABCDEFGH"
EFFECT = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]
STANDARD_ERROR = [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]
# posteriordb, posterior eight_schools-eight_schools_noncentered: name -> (mean, sd).
REFERENCE = {"mu": (4.41, 3.3), "tau": (3.60, 3.2)}


def centered(sigma, y=None):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.HalfCauchy(5.0))
    with ppl.plate("schools", len(sigma)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        return ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def noncentered(sigma, y=None):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.HalfCauchy(5.0))
    with ppl.plate("schools", len(sigma)):
        standardised = ppl.sample("theta_standardised", dist.Normal(0.0, 1.0))
        theta = ppl.deterministic("theta", mu + tau * standardised)
        return ppl.sample("y", dist.Normal(theta, sigma), obs=y)


MODELS = {"noncentered": noncentered, "centered": centered}


def fit(name, options):
    """Sample one parametrization, print its table and return its draws."""
    lengths = f"{options.chains} chains of {options.warmup} warm-up steps and {options.num_samples} draws"
    print(f"\n{name}, backend {options.backend}: {lengths}")
    mcmc = infer.MCMC(
        infer.NUTS(MODELS[name], target_accept_prob=0.9),
        num_samples=options.num_samples,
        warmup_steps=options.warmup,
        num_chains=options.chains,
        seed=options.seed,
        progress_bar=options.progress,
    )
    mcmc.run(ops.array(STANDARD_ERROR), ops.array(EFFECT))
    mcmc.summary()
    samples = {site: ops.to_numpy(draws) for site, draws in mcmc.get_samples().items()}
    print("against the reference posterior (posteriordb):")
    for site, (mean, sd) in REFERENCE.items():
        found = float(numpy.mean(samples[site]))
        print(f"  {site:4s} mean {found:5.2f}, published {mean:.2f}: {(found - mean) / sd:+.2f} posterior sd apart")
    return samples


def plot(fits, path):
    """Draw each school's measurement beside its posterior interval, and save it as ``path``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = numpy.arange(len(SCHOOLS))[::-1]
    colours = {"noncentered": "#1f5f8b", "centered": "#c2571a"}
    figure, axes = pyplot.subplots(figsize=(8.0, 5.4), layout="constrained")
    axes.errorbar(EFFECT, rows + 0.26, xerr=STANDARD_ERROR, fmt="D", markersize=5, markerfacecolor="white", color="0.55",
                  elinewidth=1.2, label="measured effect ± standard error")  # fmt: skip
    for offset, (name, samples) in zip((0.0, -0.26), fits.items(), strict=False):
        low, quarter, middle, three_quarters, high = numpy.quantile(samples["theta"], [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
        axes.hlines(rows + offset, low, high, color=colours[name], linewidth=1.5)
        axes.hlines(rows + offset, quarter, three_quarters, color=colours[name], linewidth=5)
        axes.plot(middle, rows + offset, "o", markersize=7, color=colours[name], markeredgecolor="white",
                  label=f"posterior median, 50% and 90% interval ({name})")  # fmt: skip
    centre = float(numpy.mean(next(iter(fits.values()))["mu"]))
    axes.axvline(centre, color="0.3", linestyle="--", linewidth=1, zorder=0, label=f"population mean, {centre:.1f} points")
    axes.set_yticks(rows, [f"school {letter}" for letter in SCHOOLS])
    axes.set_xlabel("effect of coaching on the test score (points)")
    axes.set_title("Eight schools: noisy measurements are drawn towards the population mean", fontsize=11)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", fontsize=9, frameon=False, ncols=2)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    print(f"\nplot written to {path}")


def read_options():
    parser = argparse.ArgumentParser(description="Posterior of the eight schools.")
    parser.add_argument("--backend", default=os.environ.get("PPL_BACKEND") or "numpy", help="numpy (default), torch or jax")
    parser.add_argument("--parametrization", choices=[*MODELS, "both"], default="noncentered")
    parser.add_argument("--num-samples", type=int, default=1000, help="kept draws a chain")
    parser.add_argument("--warmup", type=int, default=1000, help="warm-up steps a chain")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE.png", help="draw the schools' intervals (needs matplotlib)")
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="hide the progress bar")
    options = parser.parse_args()
    if options.plot:
        # Found out before sampling, not after.
        if importlib.util.find_spec("matplotlib") is None:
            parser.error("--plot needs matplotlib, which is not installed; try: pip install matplotlib")
        if options.plot.suffix != ".png":
            parser.error(f"--plot writes a PNG file; expected a name that ends in .png, got {options.plot}")
        if not options.plot.absolute().parent.is_dir():
            parser.error(f"--plot cannot write {options.plot}: the folder {options.plot.parent} does not exist")
    return options


def main():
    options = read_options()
    names = list(MODELS) if options.parametrization == "both" else [options.parametrization]
    with ppl.pyro_backend(options.backend):
        fits = {name: fit(name, options) for name in names}
    print(f"\n{time.perf_counter() - STARTED:.1f} s from start to summary")
    if options.plot:
        plot(fits, options.plot)


if __name__ == "__main__":
    try:
        main()
    except PplError as error:
        sys.exit(f"eight_schools: {error}")
