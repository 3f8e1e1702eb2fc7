"""Bayesian logistic regression, sampled with NUTS and fitted with SVI, side by side.

    python examples/logistic_regression.py
    python examples/logistic_regression.py --backend torch --csv patients.csv --target recovered

Without ``--csv`` the data are the breast-cancer table that scikit-learn ships. Of a CSV file every column but the target
is a feature: numbers only, one header line. A quarter of the rows is held out; both fits are judged by the accuracy and the mean
log density of their predictions there.
"""

import time

STARTED = time.perf_counter()

import argparse
import csv
import difflib
import os
import pathlib
import sys
from typing import NamedTuple

import numpy

import ppl
from ppl import distributions as dist
from ppl import infer, ops, optim
from ppl.errors import PplError


class Table(NamedTuple):
    """Features, shape (rows, columns), a label 0.0 or 1.0 for each row, and what they are called."""

    features: numpy.ndarray
    labels: numpy.ndarray
    columns: list[str]
    classes: tuple[str, str]


class InputError(Exception):
    """The data cannot be used; the message says where and why."""


def model(x, y=None):
    intercept = ppl.sample("intercept", dist.Normal(0.0, 5.0))
    coefficients = ppl.sample("coefficients", dist.Normal(ops.zeros(x.shape[-1]), 1.0).to_event(1))
    with ppl.plate("rows", x.shape[0]):
        return ppl.sample("y", dist.Bernoulli(logits=intercept + x @ coefficients), obs=y)


def breast_cancer():
    try:
        from sklearn.datasets import load_breast_cancer
    except ModuleNotFoundError:
        raise InputError(
            "the default data come with scikit-learn, which is not installed; try: pip install scikit-learn, "
            "or give --csv FILE --target COLUMN"
        ) from None
    data = load_breast_cancer()
    columns, classes = [str(name) for name in data.feature_names], [str(name) for name in data.target_names]
    return Table(data.data, data.target.astype(float), columns, (classes[0], classes[1]))


def read_csv(path, target):
    """Read a table of numbers with one header line.

    :raises InputError: if the file cannot be read as one, the target is absent or does not have two values.
    """
    header, rows = read_rows(path)
    duplicates = sorted({name for name in header if header.count(name) > 1})
    if duplicates:
        raise InputError(f"{path}: the header names column {duplicates[0]!r} twice; column names must differ")
    if target not in header:
        close = difflib.get_close_matches(target, header, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{path} has no column {target!r}; its columns are {', '.join(map(repr, header))}{guess}")
    if len(header) < 2:
        raise InputError(f"{path} has no column besides the target {target!r}; at least one feature is needed")
    where = header.index(target)
    values = [row[where].strip() for _, row in rows]
    classes = sorted(set(values), key=lambda value: (as_number(value) is None, as_number(value) or 0.0, value))
    if len(classes) != 2:
        shown = ", ".join(map(repr, classes[:5])) + (", ..." if len(classes) > 5 else "")
        raise InputError(f"{path}: the target {target!r} must have two different values, found {len(classes)}: {shown}")
    features = numpy.empty((len(rows), len(header) - 1))
    for i, (line, row) in enumerate(rows):
        for j, (name, cell) in enumerate((name, cell) for name, cell in zip(header, row, strict=True) if name != target):
            number = as_number(cell)
            if number is None:
                raise InputError(f"{path}, line {line}, column {name!r}: expected a finite number, got {cell!r}")
            features[i, j] = number
    labels = numpy.array([float(value == classes[1]) for value in values])
    return Table(features, labels, [name for name in header if name != target], (classes[0], classes[1]))


def read_rows(path):
    """Return the header and ``(line number, cells)`` of each row that is not empty."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV file in UTF-8: {error}") from None
    if not rows:
        raise InputError(f"{path} is empty: expected one header line and at least one row")
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: expected {len(header)} cells as in the header, got {len(row)}")
    return header, rows


def as_number(cell):
    """Return ``cell`` as a finite float, or ``None``."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if numpy.isfinite(number) else None


def split(table, seed, held_out=0.25):
    """Return ``(x_train, y_train, x_test, y_test, columns)``, standardised by the training rows; constant columns fall away."""
    order = numpy.random.default_rng(seed).permutation(len(table.labels))
    num_test = round(held_out * len(order))
    test, train = order[:num_test], order[num_test:]
    if num_test == 0 or len(set(table.labels[train])) < 2:
        both = " and ".join(map(repr, table.classes))
        raise InputError(f"{len(order)} rows are too few: both {both} are needed among the training rows, and one row held out")
    mean, sd = table.features[train].mean(axis=0), table.features[train].std(axis=0)
    varies = sd > 1e-12 * (1.0 + abs(mean))
    for name in numpy.array(table.columns)[~varies]:
        print(f"column {str(name)!r} is left out: it has one value only in the training rows")
    if not varies.any():
        raise InputError("no feature varies among the training rows")
    x = (table.features[:, varies] - mean[varies]) / sd[varies]
    columns = [name for name, kept in zip(table.columns, varies, strict=True) if kept]
    return x[train], table.labels[train], x[test], table.labels[test], columns


def sample_posterior(x, y, options):
    """Draw from the posterior with NUTS."""
    mcmc = infer.MCMC(
        infer.NUTS(model),
        num_samples=options.num_samples,
        warmup_steps=options.warmup,
        num_chains=options.chains,
        seed=options.seed,
        progress_bar=options.progress,
    )
    mcmc.run(x, y)
    return {name: ops.to_numpy(draws) for name, draws in mcmc.get_samples().items()}


def fit_posterior(x, y, options):
    """Draw from the normal approximation with independent coordinates that SVI fits."""
    ppl.set_rng_seed(options.seed)
    guide = infer.AutoDiagonalNormal(model)
    svi = infer.SVI(model, guide, optim.Adam({"lr": 0.01}), loss=infer.Trace_ELBO())
    svi.run(options.svi_steps, x, y, progress_bar=options.progress)
    return {name: ops.to_numpy(draws) for name, draws in guide.sample_posterior(sample_shape=(2000,)).items()}


def held_out_scores(samples, x, y):
    """Return the accuracy and the mean log density of the posterior predictive probabilities."""
    logits = samples["intercept"][:, None] + samples["coefficients"] @ x.T
    probability = numpy.mean(0.5 * (1.0 + numpy.tanh(0.5 * logits)), axis=0)
    likelihood = numpy.where(y == 1.0, probability, 1.0 - probability)
    return float(numpy.mean((probability > 0.5) == (y == 1.0))), float(numpy.mean(numpy.log(likelihood)))


def report(columns, fits):
    """Print the coefficients of both fits, the largest first."""
    names = list(fits)
    summaries = {}
    for name, samples in fits.items():
        draws = numpy.column_stack([samples["intercept"], samples["coefficients"]])
        summaries[name] = draws.mean(axis=0), draws.std(axis=0)
    labels = ["(intercept)", *columns]
    width = max(map(len, labels))
    print(f"\n{'standardised':{width}s}" + "".join(f"{name + ' mean':>12s}{'sd':>8s}" for name in names))
    order = [0, *(1 + numpy.argsort(-abs(summaries[names[0]][0][1:])))]
    for i in order:
        cells = "".join(f"{mean[i]:12.3f}{sd[i]:8.3f}" for mean, sd in summaries.values())
        print(f"{labels[i]:{width}s}{cells}")


def read_options():
    parser = argparse.ArgumentParser(description="Bayesian logistic regression by NUTS and by SVI.")
    parser.add_argument("--backend", default=os.environ.get("PPL_BACKEND") or "numpy", help="numpy (default), torch or jax")
    parser.add_argument("--csv", type=pathlib.Path, metavar="FILE", help="a table of numbers with one header line")
    parser.add_argument("--target", metavar="COLUMN", help="the column of the CSV file to predict; it has two values")
    parser.add_argument("--num-samples", type=int, default=500, help="kept draws a chain")
    parser.add_argument("--warmup", type=int, default=500, help="warm-up steps a chain")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--svi-steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="hide the progress bar")
    options = parser.parse_args()
    if (options.csv is None) != (options.target is None):
        parser.error("--csv and --target belong together: give both or neither")
    return options


def main():
    options = read_options()
    table = read_csv(options.csv, options.target) if options.csv else breast_cancer()
    x_train, y_train, x_test, y_test, columns = split(table, options.seed)
    print(f"{len(y_train)} training rows, {len(y_test)} held out, {len(columns)} features; predicted: {table.classes[1]!r}")
    fits, seconds = {}, {}
    with ppl.pyro_backend(options.backend):
        x, y = (ops.array(values, dtype=ops.default_dtype()) for values in (x_train, y_train))
        for name, method in (("NUTS", sample_posterior), ("SVI", fit_posterior)):
            before = time.perf_counter()
            fits[name] = method(x, y, options)
            seconds[name] = time.perf_counter() - before
    report(columns, fits)
    print(f"\n{'held out':10s}{'accuracy':>10s}{'log score':>11s}{'seconds':>9s}")
    for name, samples in fits.items():
        accuracy, log_score = held_out_scores(samples, x_test, y_test)
        print(f"{name:10s}{accuracy:10.3f}{log_score:11.4f}{seconds[name]:9.1f}")
    print(f"\n{time.perf_counter() - STARTED:.1f} s from start to end")


if __name__ == "__main__":
    try:
        main()
    except (PplError, InputError) as error:
        sys.exit(f"logistic_regression: {error}")
