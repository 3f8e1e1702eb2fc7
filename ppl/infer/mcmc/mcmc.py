"""``MCMC``: chains of a kernel on a model, their draws and a summary."""

from __future__ import annotations

import os
import time
import warnings
from concurrent.futures import BrokenExecutor, Executor
from os import PathLike
from typing import Any

from ppl import ops, registry
from ppl.errors import InferenceError, PplError, PplWarning
from ppl.infer.mcmc import parallel
from ppl.infer.mcmc.chains import Sampler, host_int
from ppl.infer.mcmc.checkpoint import Checkpoint, RunFolder, fingerprint, require_same
from ppl.infer.mcmc.driver import Record, Stop, drive
from ppl.infer.mcmc.kernels import Kernel
from ppl.infer.mcmc.progress import Progress
from ppl.infer.mcmc.results import MCMCMarginals as MCMCMarginals
from ppl.infer.mcmc.results import Results
from ppl.infer.mcmc.spelling import resolve
from ppl.infer.potential import ModelArguments
from ppl.ops import random

CHAIN_METHODS = ("vectorized", "sequential", "parallel")


class MCMC(Results):
    """Run Markov chains of a kernel and keep their draws.

    :param kernel: an :class:`~ppl.infer.NUTS` or :class:`~ppl.infer.HMC` object.
    :param num_samples: transitions of each chain after warm-up, at least 1; their draws are kept.
    :param warmup_steps: transitions before them that adapt step size and metric; half of ``num_samples`` by default
        (``num_warmup`` is the same).
    :param num_chains: number of chains.
    :param chain_method: ``"vectorized"``: all chains advance together and share step size and metric; ``"sequential"``: one
        after another, each adapted by itself; ``"parallel"``: the same as tasks of ``executor``.
    :param executor: any ``concurrent.futures.Executor``: of threads or processes, ``client.get_executor()`` of dask, for ray
        the one below. Without it processes are started, at most one a core; these find the model only if it is defined at the top
        of a module.
    :param thinning: only every ``thinning``-th draw is kept, ``num_samples // thinning`` of each chain.
    :param max_seconds: ends the run after the chunk in which so many seconds have passed; what was drawn is kept.
    :param checkpoint: path of a folder where state and draws are written while the run goes on, for :meth:`resume`.
    :param checkpoint_seconds: the least time between two writings; by default each chunk, about a quarter of a second, is written
        at its end. What came later is lost when the process is killed.
    :param progress_bar: whether to show one on a terminal.
    :param seed: an int (or a key) that makes the run reproducible on a backend; without it the backend's own stream is used.
    :raises InferenceError: for a number or a name out of range.

    After a run, :attr:`num_gradients` counts the leapfrog steps of all chains, warm-up included. The object keeps the backend it
    was made under.

    ray has tasks but no executor of them. This one serves; its chains end as a worker that dies does, named and alone::

        class RayExecutor(concurrent.futures.Executor):
            def submit(self, function, *args):
                return ray.remote(max_retries=0)(function).remote(*args).future()

    >>> import ppl
    >>> from ppl import distributions as dist, infer, ops
    >>> def model(y):
    ...     ppl.sample("y", dist.Normal(ppl.sample("x", dist.Normal(0.0, 1.0)), 1.0), obs=y)
    >>> mcmc = infer.MCMC(infer.NUTS(model), num_samples=5, warmup_steps=5, progress_bar=False, seed=0)
    >>> tuple(mcmc.run(ops.array(0.5)).get_samples()["x"].shape)
    (5,)
    """

    def __init__(
        self,
        kernel: Kernel,
        num_samples: int,
        warmup_steps: int | None = None,
        num_chains: int = 1,
        *,
        chain_method: str = "vectorized",
        executor: Executor | None = None,
        thinning: int = 1,
        max_seconds: float | None = None,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_seconds: float = 0.0,
        progress_bar: bool = True,
        disable_progbar: bool = False,
        seed: Any = None,
        **spellings: Any,
    ) -> None:
        warmup_steps = resolve("MCMC", {"warmup_steps": warmup_steps}, spellings)["warmup_steps"]
        if not isinstance(kernel, Kernel):
            raise InferenceError(f"MCMC needs a kernel such as infer.NUTS(model), got {type(kernel).__name__}")
        _require_counts(
            ("num_samples", num_samples, 1, 1000),
            ("num_chains", num_chains, 1, 4),
            ("warmup_steps", 0 if warmup_steps is None else warmup_steps, 0, 1000),
            ("thinning", thinning, 1, 2),
        )
        if thinning > num_samples:
            raise InferenceError(
                f"thinning={thinning} keeps none of num_samples={num_samples} draws; expected at most {num_samples}"
            )
        if chain_method not in CHAIN_METHODS:
            raise InferenceError(f"chain_method must be one of {', '.join(map(repr, CHAIN_METHODS))}, got {chain_method!r}")
        if executor is not None and chain_method != "parallel":
            raise InferenceError(f"executor= serves chain_method='parallel', got {chain_method!r}; try chain_method='parallel'")
        if executor is not None and not isinstance(executor, Executor):
            raise InferenceError(
                f"executor must be a concurrent.futures.Executor, got {type(executor).__module__}.{type(executor).__qualname__}; "
                "try ThreadPoolExecutor(), client.get_executor() of dask, or for ray the class in the documentation of MCMC"
            )
        if max_seconds is not None and not max_seconds > 0.0:
            raise InferenceError(f"max_seconds must be positive, got {max_seconds!r}")
        self.kernel = kernel
        self.num_samples = num_samples
        self.warmup_steps = num_samples // 2 if warmup_steps is None else warmup_steps
        self.num_chains = num_chains
        self.chain_method = chain_method
        self.executor = executor
        self.thinning = thinning
        self.max_seconds = max_seconds
        self.checkpoint = None if checkpoint is None else os.fspath(checkpoint)
        self.checkpoint_seconds = checkpoint_seconds
        self.progress_bar = progress_bar and not disable_progbar
        self.seed = seed
        self.interrupted = False
        self.num_gradients = 0
        self.backend = registry.active()
        self._samplers: dict[Any, Sampler] = {}
        self._names: dict[Sampler, str] = {}
        self._began = False

    def run(self, *args: Any, **kwargs: Any) -> MCMC:
        """Sample from the posterior of ``model(*args, **kwargs)`` and return this object.

        A first argument that is a random key is taken as the seed. Data of the shapes of the run before are sampled without
        compiling anything again. Ctrl-C ends the run after the current chunk: the draws so far are kept,
        :attr:`interrupted` is set and a warning says so.

        :raises InferenceError: if the model cannot be sampled by this kernel.
        :raises InitializationError: if no start of finite log density was found; the message lists the sites.
        :raises CheckpointError: if ``checkpoint`` holds a run already.
        """
        with registry.using(self.backend):
            seed = self.seed
            if args and random.is_key(args[0]):
                seed, args = args[0], args[1:]
            entropy = seed if isinstance(seed, int) else self.backend.infer.entropy(seed)
            self._run(entropy, args, kwargs, resuming=False)
        return self

    @classmethod
    def resume(
        cls,
        path: str | PathLike[str],
        kernel: Kernel,
        *args: Any,
        executor: Executor | None = None,
        max_seconds: float | None = None,
        progress_bar: bool = True,
        **kwargs: Any,
    ) -> MCMC:
        """Go on with a run that ``MCMC(..., checkpoint=path)`` began, to the same draws as if it had never been stopped.

        Code is not stored, so the kernel and the model's arguments are given again and must be those of the run. A run that
        had come to its end gives its draws at once.

        :param path: the folder.
        :param kernel: a kernel of the same settings on the same model.
        :param args: the model's arguments, and ``kwargs`` those given by name.
        :raises CheckpointError: if the folder is missing, damaged, or of another model, kernel, backend, version or other data.

        >>> import tempfile
        >>> from ppl import infer, ops
        >>> kernel = infer.NUTS(log_density_fn=lambda x: -0.5 * ops.sum(x * x), dimension=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = infer.MCMC(kernel, 5, 5, progress_bar=False, checkpoint=folder + "/run", seed=0).run()
        ...     again = infer.MCMC.resume(folder + "/run", kernel, progress_bar=False)
        >>> bool(ops.all(first.get_samples()["position"] == again.get_samples()["position"]))
        True
        """
        settings, _ = RunFolder(path).about()
        entropy = settings.pop("entropy")
        mcmc = cls(kernel, **settings, checkpoint=path, executor=executor, max_seconds=max_seconds, progress_bar=progress_bar)
        if args and random.is_key(args[0]):
            args = args[1:]
        mcmc._run(entropy, args, kwargs, resuming=True)
        return mcmc

    def _run(self, entropy: int, args: tuple[Any, ...], kwargs: dict[str, Any], resuming: bool) -> None:
        stop = Stop(None if self.max_seconds is None else time.time() + self.max_seconds)
        arguments = ModelArguments(args, kwargs)
        together = self.num_chains if self.chain_method == "vectorized" else 1
        sampler = self._sampler(arguments, together)
        if self.chain_method != "parallel":
            sampler.prepare(arguments.arrays)
        folder = self._folder(sampler, arguments, entropy, resuming)
        with registry.using("numpy"):
            generator = random.key(entropy)
        seeds = [host_int(generator) for _ in range(self.num_chains // together)]
        self._drop()
        self.num_gradients = 0
        record = Record(self.num_chains, self.num_samples // self.thinning)
        progress = Progress((self.warmup_steps + self.num_samples) * len(seeds), self.progress_bar)
        failures: list[parallel.Failure] = []
        try:
            if self.chain_method == "parallel":
                failures = self._run_parallel(sampler, arguments, seeds, record, progress, stop, folder)
            else:
                for index, seed in enumerate(seeds):
                    chains = slice(index * together, (index + 1) * together)
                    files = Checkpoint(folder.group(index), self.checkpoint_seconds) if folder else None
                    session = drive(
                        sampler, seed, arguments.arrays, record, chains,
                        progress=progress, stop=stop, thinning=self.thinning, checkpoint=files,
                    )  # fmt: skip
                    self.num_gradients += session.num_gradients
                    if stop():
                        break
        except KeyboardInterrupt:
            # Between the chunks of chains it is not raised; here a chain was about to begin.
            if not any(record.counts):
                raise
            stop.reason = "was interrupted"
        finally:
            progress.close()
        self._keep(record, stop.reason, failures, sampler, arguments)

    def _run_parallel(
        self,
        sampler: Sampler,
        arguments: ModelArguments,
        seeds: list[int],
        record: Record,
        progress: Progress,
        stop: Stop,
        folder: RunFolder | None,
    ) -> list[parallel.Failure]:
        args, kwargs = arguments.container

        def done(task: parallel.Task, outcome: parallel.Outcome) -> None:
            chain = slice(task.index, task.index + 1)
            record.put(record.samples, chain, 0, outcome.samples)
            record.put(record.fields, chain, 0, outcome.fields)
            record.counts[task.index] = outcome.num_draws
            self.num_gradients += outcome.num_gradients
            stop.reason = stop.reason or outcome.reason
            progress.skip(self.warmup_steps + self.num_samples)

        with parallel.flag_path() as flag:
            tasks = [
                parallel.Task(
                    run=self._names.setdefault(sampler, parallel.run_name()),
                    index=index,
                    kernel=self.kernel,
                    args=args,
                    kwargs=kwargs,
                    seed=seed,
                    num_warmup=self.warmup_steps,
                    num_samples=self.num_samples,
                    thinning=self.thinning,
                    deadline=stop.deadline,
                    flag=flag,
                    checkpoint=folder.group(index) if folder else None,
                    checkpoint_seconds=self.checkpoint_seconds,
                )
                for index, seed in enumerate(seeds)
            ]
            return parallel.run_chains(tasks, self.executor, stop, done)

    def _sampler(self, arguments: ModelArguments, num_chains: int) -> Sampler:
        signature = (arguments.signature(), num_chains, ops.default_dtype())
        if signature not in self._samplers:
            potential = self.kernel.potential(arguments)
            self._samplers[signature] = Sampler(self.kernel, potential, num_chains, self.warmup_steps, self.num_samples)
        return self._samplers[signature]

    def _folder(self, sampler: Sampler, arguments: ModelArguments, entropy: int, resuming: bool) -> RunFolder | None:
        """Return the folder of the checkpoint: that of the run to go on with, or a new one."""
        if self.checkpoint is None:
            return None
        folder, now = RunFolder(self.checkpoint), fingerprint(self.kernel, sampler.potential, arguments)
        if resuming:
            require_same(self.checkpoint, folder.about()[1], now)
        else:
            names = ("num_samples", "warmup_steps", "num_chains", "chain_method", "thinning", "checkpoint_seconds")
            settings = {name: getattr(self, name) for name in names}
            folder.begin({**settings, "entropy": entropy}, now, overwrite=self._began)
        self._began = True
        return folder

    def _keep(
        self, record: Record, reason: str, failures: list[parallel.Failure], sampler: Sampler, arguments: ModelArguments
    ) -> None:
        """Hand the draws to what asks for them, and say what is missing."""
        self.interrupted = bool(reason)
        samples, fields, chains = record.taken()
        # Compiled code hands back its sites sorted by name.
        order = [*sampler.potential.names, *sampler.potential.deterministic]
        samples = {name: samples[name] for name in order if name in samples} | samples
        again = "run(...) again" if self.checkpoint is None else f"MCMC.resume({self.checkpoint!r}, kernel, ...)"
        if failures:
            self._report(failures, bool(chains), again)
        if not chains:
            message = f"the run {reason} during warm-up: no draws were kept; try {again}, or fewer warmup_steps"
            warnings.warn(message, PplWarning, stacklevel=4)
            return
        self._hold(samples, fields, getattr(sampler.potential, "model", None), arguments)
        if reason:
            message = (
                f"the run {reason}: {fields['divergent'].shape[1]} of {record.num_draws} draws of {len(chains)} chain(s) were "
                f"kept; try {again} for all"
            )
            warnings.warn(message, PplWarning, stacklevel=4)

    def _report(self, failures: list[parallel.Failure], others: bool, again: str) -> None:
        """Warn of the chains that failed, or raise if there is no other."""
        index, first = failures[0]
        names = ", ".join(str(failure.chain) for failure in failures)
        found = f"chain {index} gave {type(first).__name__}: {first}"
        if others:
            message = f"chain(s) {names} failed, and the draws of the other chains are kept; {found}; try {again}"
            warnings.warn(message, PplWarning, stacklevel=5)
        elif isinstance(first, PplError):
            first.add_note(f"this ended chain {index} in its worker; chain(s) that failed: {names}")
            raise first
        else:
            what = "chain_method='sequential', to find the cause"
            if isinstance(first, BrokenExecutor) or "pickle" in str(first) or "local object" in str(first):
                what = f"to define the model at the top of a module that other processes can import, or {what}"
            raise InferenceError(f"chain(s) {names} failed, which leaves no draws; {found}; try {what}") from first


def _require_counts(*rows: tuple[str, Any, int, int]) -> None:
    for name, value, least, usual in rows:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InferenceError(f"{name} must be an int of at least {least}, got {value!r}; try {name}={usual}")
