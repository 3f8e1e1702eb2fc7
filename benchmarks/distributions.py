"""Densities, construction and draws against the same arithmetic written by hand: python benchmarks/distributions.py [--write]

Each library runs in a process of its own. Ours and the expression alternate, and the figure is the median of the ratios.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time

import numpy as np
from common import machine, number, write

SIZE, REPEATS = 1_000_000, 15
LIBRARIES = ("numpy", "torch", "jax")
LOG_TWO_PI = math.log(2.0 * math.pi)


def data():
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(np.cov(rng.normal(size=(10, 50))) + np.eye(10))
    return {
        "positive": rng.gamma(2.0, size=SIZE),
        "index": rng.integers(0, 10, SIZE),
        "vector": rng.normal(size=(SIZE, 10)),
        "probs": rng.dirichlet(np.ones(10)),
        "factor": factor,
    }


def expressions(library):
    """Return by family the density of 1e6 values as a user of the library alone would write it, and that library's array."""
    if library == "numpy":
        from scipy import linalg, special

        xp, array, gammaln = np, np.asarray, special.gammaln

        def solve(factor, columns):
            return linalg.solve_triangular(factor, columns, lower=True)

    elif library == "torch":
        import torch

        xp, gammaln = torch, torch.lgamma

        def array(x):
            return torch.as_tensor(x)

        def solve(factor, columns):
            return torch.linalg.solve_triangular(factor, columns, upper=False)

    else:
        import jax
        import jax.numpy as jnp
        from jax.scipy import linalg, special

        jax.config.update("jax_enable_x64", True)
        xp, array, gammaln = jnp, jnp.asarray, special.gammaln

        def solve(factor, columns):
            return linalg.solve_triangular(factor, columns, lower=True)

    def normal(x, loc, scale):
        return -0.5 * ((x - loc) / scale) ** 2 - xp.log(scale) - 0.5 * LOG_TWO_PI

    def gamma(x, shape, rate):
        return shape * xp.log(rate) + (shape - 1.0) * xp.log(x) - rate * x - gammaln(shape)

    def student_t(x, df, loc, scale):
        z = (x - loc) / scale
        constant = gammaln(0.5 * (df + 1.0)) - gammaln(0.5 * df) - 0.5 * xp.log(df * math.pi) - xp.log(scale)
        return constant - 0.5 * (df + 1.0) * xp.log1p(z * z / df)

    def categorical(k, probs):
        return xp.log(probs)[k]

    def multivariate_normal(x, loc, factor):
        white = solve(factor, (x - loc).T)
        return -0.5 * (white * white).sum(0) - xp.log(xp.diagonal(factor)).sum() - 5.0 * LOG_TWO_PI

    return (normal, gamma, student_t, categorical, multivariate_normal), array


def ready(result):
    """Wait for an asynchronous library, so that the clock sees the work."""
    return result.block_until_ready() if hasattr(result, "block_until_ready") else result


def ratio(ours, theirs, calls=1):
    """Return the medians of our seconds, of theirs, and of the ratio, over alternating runs."""
    times = []
    for repeat in range(REPEATS + 2):
        pair = []
        for fn in (ours, theirs):
            start = time.perf_counter()
            for _ in range(calls):
                ready(fn())
            pair.append((time.perf_counter() - start) / calls)
        if repeat > 1:
            times.append(pair)
    return [statistics.median(column) for column in (*zip(*times, strict=True), [a / b for a, b in times])]


def densities(library):
    """Yield rows of label, our seconds, theirs and the ratio for each family, with and without the check of the support."""
    from ppl import distributions as dist
    from ppl import ops

    (normal, gamma, student_t, categorical, multivariate_normal), array = expressions(library)
    held = {name: array(value) for name, value in data().items()}
    one = [array(np.float64(x)) for x in (0.3, 1.2, 4.0)]
    zeros = array(np.zeros(10))
    table = [
        ("Normal", lambda **o: dist.Normal(one[0], one[1], **o), "positive", lambda x: normal(x, one[0], one[1])),
        ("Gamma", lambda **o: dist.Gamma(one[2], one[1], **o), "positive", lambda x: gamma(x, one[2], one[1])),
        ("StudentT", lambda **o: dist.StudentT(one[2], one[0], one[1], **o), "positive",
         lambda x: student_t(x, one[2], one[0], one[1])),
        ("Categorical", lambda **o: dist.Categorical(held["probs"], **o), "index", lambda k: categorical(k, held["probs"])),
        ("MultivariateNormal(10)", lambda **o: dist.MultivariateNormal(zeros, scale_tril=held["factor"], **o), "vector",
         lambda x: multivariate_normal(x, zeros, held["factor"])),
    ]  # fmt: skip
    for label, build, key, by_hand in table:
        value = held[key]
        bare, checked = build(validate_args=False), build()
        error = float(ops.max(ops.abs(bare.log_prob(value) - by_hand(value))))
        if not error < 1e-8:
            raise SystemExit(f"{library} {label}: the expression and the family differ by {error}")
        yield f"{label} log_prob", *ratio(lambda d=checked, x=value: d.log_prob(x), lambda f=by_hand, x=value: f(x))
        unchecked = lambda d=bare, x=value: d.log_prob(x)  # noqa: E731
        yield f"{label} log_prob, validate_args=False", *ratio(unchecked, lambda f=by_hand, x=value: f(x))
        if library == "jax":
            import jax

            # Both close over their parameters, so that the compiler knows them for constants alike.
            compiled, own = jax.jit(bare.log_prob), jax.jit(by_hand)
            pair = (lambda f=compiled, x=value: f(x)), (lambda f=own, x=value: f(x))
            yield f"{label} log_prob, both in jit", *ratio(*pair)


def draws(library):
    """Yield the row of 1e6 gamma draws against the library's own sampler."""
    from ppl import distributions as dist

    d = dist.Gamma(2.0, 3.0)
    if library == "numpy":
        rng = np.random.default_rng(0)
        yield "1e6 gamma draws", *ratio(lambda: d.sample((SIZE,)), lambda: rng.gamma(2.0, 1.0 / 3.0, size=SIZE))
    elif library == "torch":
        import torch

        own = torch.distributions.Gamma(torch.tensor(2.0, dtype=d.rate.dtype), torch.tensor(3.0, dtype=d.rate.dtype))
        yield "1e6 gamma draws", *ratio(lambda: d.sample((SIZE,)), lambda: own.sample((SIZE,)))
    else:
        import jax

        key = jax.random.key(0)
        yield "1e6 gamma draws", *ratio(lambda: d.sample(key, (SIZE,)), lambda: jax.random.gamma(key, 2.0, (SIZE,)) / 3.0)


def construction(library):
    """Yield the row of building a Normal and taking one density; the peer is torch's own or, elsewhere, plain arithmetic."""
    from ppl import distributions as dist

    if library == "torch":
        import torch

        value = torch.tensor(0.3)

        def theirs():
            return torch.distributions.Normal(0.5, 1.5).log_prob(value)

        label = "Normal(0.5, 1.5).log_prob(tensor), against torch.distributions"
    else:
        value = 0.3

        def theirs():
            return -0.5 * ((value - 0.5) / 1.5) ** 2 - math.log(1.5) - 0.5 * LOG_TWO_PI

        label = "Normal(0.5, 1.5).log_prob(0.3), against Python floats"
    yield label, *ratio(lambda: dist.Normal(0.5, 1.5).log_prob(value), theirs, calls=200 if library == "jax" else 2000)


def work(library):
    import ppl

    ppl.set_backend(library)
    ppl.set_default_dtype("float64")
    print(json.dumps([row for part in (construction, densities, draws) for row in part(library)]))


def render(found):
    lines = [f"Densities and draws, float64, medians of {REPEATS} alternating runs; {machine()}.", ""]
    for library, rows in found.items():
        lines += [f"| {library} | ours ms | by hand ms | ours / by hand |", "|---|---:|---:|---:|"]
        lines += [
            f"| {label} | {number(1e3 * ours)} | {number(1e3 * theirs)} | {number(quotient)} |"
            for label, ours, theirs, quotient in rows
        ]
        lines.append("")
    return "\n".join(lines).rstrip()


def main():
    parser = argparse.ArgumentParser(description="Densities and draws against hand-written expressions.")
    parser.add_argument("--only", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    parser.add_argument("--write", action="store_true", help="replace this benchmark's part of benchmarks/README.md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return
    found = {}
    for library in options.only:
        done = subprocess.run([sys.executable, sys.argv[0], "--worker", library], stdout=subprocess.PIPE, text=True, check=True)
        found[library] = json.loads(done.stdout)
    text = render(found)
    print(text)
    if options.write:
        write("distributions", text)


if __name__ == "__main__":
    main()
