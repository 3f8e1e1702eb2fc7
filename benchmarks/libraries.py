"""How each library samples a model: one function a library, all with NUTS and that library's defaults.

Each takes the run's settings and ``problem``, a function that imports what it needs and returns the model and its arguments.
Each returns ``fit(seed) -> (draws by chain, gradients)``, which prints the library's own summary as part of the work;
``gradients`` is the number of gradient evaluations, warm-up included, or a function that finds it out after the clock stopped.
"""

import multiprocessing
from functools import partial

from common import Contestant


def ppl(settings, problem, backend, own_warmup=False):
    import ppl
    from ppl import infer, ops

    with ppl.pyro_backend(backend):
        model, arguments = problem()
        mcmc = infer.MCMC(
            infer.NUTS(model),
            num_samples=settings.num_samples,
            warmup_steps=None if own_warmup else settings.warmup,
            num_chains=settings.chains,
            progress_bar=False,
        )

    def fit(seed):
        with ppl.pyro_backend(backend):
            mcmc.run(ops.random.key(seed), *arguments)
            mcmc.summary()
            draws = {name: ops.to_numpy(values) for name, values in mcmc.get_samples(group_by_chain=True).items()}
        return draws, getattr(mcmc, "num_gradients", float("nan"))

    return fit


def numpyro(settings, problem, chain_method, dense_mass=False):
    import jax
    import numpy
    from numpyro.infer import MCMC, NUTS

    model, arguments = problem()

    def sampler():
        return MCMC(
            NUTS(model, dense_mass=dense_mass),
            num_warmup=settings.warmup,
            num_samples=settings.num_samples,
            num_chains=settings.chains,
            chain_method=chain_method,
            progress_bar=False,
        )

    mcmc = sampler()

    def count(seed):
        # Steps of the warm-up are kept only together with its draws, which would slow the run that is timed.
        counting, total = sampler(), 0
        counting.warmup(jax.random.key(seed), *arguments, extra_fields=("num_steps",), collect_warmup=True)
        total += int(numpy.sum(counting.get_extra_fields()["num_steps"]))
        counting.run(jax.random.key(seed), *arguments, extra_fields=("num_steps",))
        return total + int(numpy.sum(counting.get_extra_fields()["num_steps"]))

    def fit(seed):
        mcmc.run(jax.random.key(seed), *arguments)
        mcmc.print_summary()
        draws = {name: numpy.asarray(values) for name, values in mcmc.get_samples(group_by_chain=True).items()}
        return draws, partial(count, seed)

    return fit


def pyro(settings, problem, jit_compile=False):
    from pyro import set_rng_seed
    from pyro.infer import MCMC, NUTS

    model, arguments = problem()
    # Pyro forks one process a chain; shared memory counts the calls of all. An eager gradient calls the model once.
    calls = multiprocessing.Value("q", 0)

    def counted(*arguments):
        with calls.get_lock():
            calls.value += 1
        return model(*arguments)

    def fit(seed):
        set_rng_seed(seed)
        before = calls.value
        kernel = NUTS(counted, jit_compile=jit_compile, ignore_jit_warnings=True)
        mcmc = MCMC(kernel, num_samples=settings.num_samples, warmup_steps=settings.warmup, num_chains=settings.chains,
                    disable_progbar=True)  # fmt: skip
        mcmc.run(*arguments)
        mcmc.summary()
        draws = {name: values.numpy() for name, values in mcmc.get_samples(group_by_chain=True).items()}
        # A compiled model is called only to be compiled.
        return draws, float("nan") if jit_compile else calls.value - before

    return fit


def contestants(ppl_problem, numpyro_problem, pyro_problem):
    """Return the rows of a table, by name, for one problem in the three languages."""
    rows = {}
    for name in ("jax", "torch", "numpy"):
        rows[f"ppl {name}"] = Contestant("ppl", partial(ppl, problem=ppl_problem, backend=name), arrays=name)
    for method in ("sequential", "vectorized"):
        rows[f"NumPyro {method}"] = Contestant("numpyro", partial(numpyro, problem=numpyro_problem, chain_method=method))
    rows["Pyro eager"] = Contestant("pyro", partial(pyro, problem=pyro_problem))
    return rows
