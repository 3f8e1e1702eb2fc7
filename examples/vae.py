"""A variational autoencoder of small images, judged against what independent pixels and the true distribution score.

    python examples/vae.py
    python examples/vae.py --backend torch --steps 2000

Each image shows one bar, a row or a column, on which some pixels are flipped. The model decodes a normal code by a small network
into the probability of each pixel; the guide encodes an image by another. Networks are params and array functions, so that they
run on each backend. On images that the fit did not see, the lower bound must exceed the log density of the best independent
pixels, which know the average image only, and on average it cannot exceed that of the distribution that generated the images.
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
from ppl.errors import PplError

SIDE = 5
FLIPPED = 0.05
CODE, HIDDEN = 3, 24


def bars():
    """Return the images without noise: each row, then each column, of shape ``(2 * SIDE, SIDE * SIDE)``."""
    rows = numpy.repeat(numpy.eye(SIDE), SIDE, axis=1)
    columns = numpy.tile(numpy.eye(SIDE), (1, SIDE))
    return numpy.concatenate([rows, columns])


def generate(count, rng):
    """Return images of shape ``(count, pixels)``, zeros and ones."""
    clean = bars()[rng.integers(2 * SIDE, size=count)]
    return numpy.abs(clean - (rng.uniform(size=clean.shape) < FLIPPED))


def independent_score(images):
    """Return the mean log density of an image where pixels are independent, each of its frequency in these images."""
    frequency = images.mean(axis=0)
    return (special.xlogy(frequency, frequency) + special.xlog1py(1.0 - frequency, -frequency)).sum()


def true_score(images):
    """Return the log density of each image under the distribution that :func:`generate` draws from."""
    flips = numpy.abs(images[:, None] - bars()).sum(axis=-1)
    log_prob = flips * numpy.log(FLIPPED) + (images.shape[1] - flips) * numpy.log1p(-FLIPPED)
    return numpy.logaddexp.reduce(log_prob, axis=1) - numpy.log(2 * SIDE)


def weights(name, inputs, outputs, scale=1.0):
    """Return a matrix and a vector of params that start at random and at zero."""
    rng = numpy.random.default_rng(sum(map(ord, name)))
    start = scale * rng.normal(size=(inputs, outputs)) / inputs**0.5
    matrix = ppl.param(f"{name} weights", lambda: ops.array(start, dtype=ops.default_dtype()))
    return matrix, ppl.param(f"{name} biases", lambda: ops.zeros((outputs,)))


def layer(name, x, outputs, scale=1.0):
    """Return an affine function of the last axis."""
    matrix, biases = weights(name, x.shape[-1], outputs, scale)
    return x @ matrix + biases


def model(images):
    with ppl.plate("images", images.shape[0]):
        code = ppl.sample("code", dist.Normal(ops.zeros((CODE,)), 1.0).to_event(1))
        hidden = ops.tanh(layer("decoder hidden", code, HIDDEN))
        logits = layer("decoder pixels", hidden, images.shape[1])
        ppl.sample("image", dist.Bernoulli(logits=logits).to_event(1), obs=images)


def guide(images):
    hidden = ops.tanh(layer("encoder hidden", images - 0.5, HIDDEN))
    loc = layer("encoder loc", hidden, CODE)
    log_scale = layer("encoder scale", hidden, CODE, scale=0.1)
    with ppl.plate("images", images.shape[0]):
        ppl.sample("code", dist.Normal(loc, ops.exp(log_scale)).to_event(1))


def fit(train, test, options):
    """Fit both networks, and return the lower bound for an image of each table, averaged over draws."""
    ppl.set_rng_seed(options.seed)
    ppl.clear_param_store()
    rate = optim.ClippedAdam({"lr": 0.03, "lrd": 0.1 ** (1.0 / options.steps)})
    svi = infer.SVI(model, guide, rate, loss=infer.Trace_ELBO())
    train, test = (ops.array(images, dtype=ops.default_dtype()) for images in (train, test))
    svi.run(options.steps, train, progress_bar=options.progress)
    return [-numpy.mean([svi.evaluate_loss(images) for _ in range(20)]) / images.shape[0] for images in (train, test)]


def report(train, test, bounds):
    """Print the mean log density of an image, of those fitted and of those held out."""
    rows = {
        "independent pixels": [independent_score(images) for images in (train, test)],
        "lower bound of the autoencoder": bounds,
        "true distribution": [true_score(images).mean() for images in (train, test)],
    }
    print(f"{'log density of an image':32s}{'fitted':>9s}{'held out':>10s}")
    for name, (fitted, held_out) in rows.items():
        print(f"{name:32s}{fitted:9.3f}{held_out:10.3f}")


def read_options(arguments=None):
    parser = argparse.ArgumentParser(description="A variational autoencoder of small images of bars.")
    parser.add_argument("--backend", default=os.environ.get("PPL_BACKEND") or "numpy", help="numpy (default), torch or jax")
    parser.add_argument("--images", type=int, default=600, help="images to fit; as many are held out")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="hide the progress bar")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    if options.images < 10:
        parser.error(f"--images must be at least 10, got {options.images}")
    return options


def main():
    options = read_options()
    rng = numpy.random.default_rng(options.seed)
    train, test = generate(options.images, rng), generate(options.images, rng)
    with ppl.pyro_backend(options.backend):
        bounds = fit(train, test, options)
    print(f"{options.images} images of {SIDE} x {SIDE} pixels, backend {options.backend}, {options.steps} steps")
    report(train, test, bounds)
    print(f"{time.perf_counter() - STARTED:.1f} s from start to end")


if __name__ == "__main__":
    try:
        main()
    except PplError as error:
        sys.exit(f"vae: {error}")
