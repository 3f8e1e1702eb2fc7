"""``MCMC``: chains of a kernel on a model, their draws and a summary."""

from __future__ import annotations

import warnings
from typing import Any

from ppl import ops, registry
from ppl.errors import InferenceError, PplWarning
from ppl.infer.diagnostics import Summary, summarize
from ppl.infer.mcmc.chains import Draws, Sampler, host_int
from ppl.infer.mcmc.kernels import Kernel
from ppl.infer.mcmc.progress import Progress
from ppl.infer.mcmc.spelling import resolve
from ppl.infer.potential import ModelArguments
from ppl.ops import random

CHAIN_METHODS = ("vectorized", "sequential")


class MCMC:
    """Run Markov chains of a kernel and keep their draws.

    :param kernel: an :class:`~ppl.infer.NUTS` or :class:`~ppl.infer.HMC` object.
    :param num_samples: draws kept of each chain, at least 1.
    :param warmup_steps: transitions before them that adapt step size and metric; half of ``num_samples`` by default
        (``num_warmup`` is the same).
    :param num_chains: number of chains.
    :param chain_method: ``"vectorized"``: all chains advance together and share step size and metric; ``"sequential"``: one
        after another, each adapted by itself.
    :param progress_bar: whether to show one on a terminal.
    :param seed: an int (or a key) that makes the run reproducible on a backend; without it the backend's own stream is used.
    :raises InferenceError: for a number or a name out of range.

    After a run, :attr:`num_gradients` counts the leapfrog steps of all chains, warm-up included. The object keeps the backend it
    was made under.

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
        progress_bar: bool = True,
        disable_progbar: bool = False,
        seed: Any = None,
        **spellings: Any,
    ) -> None:
        warmup_steps = resolve("MCMC", {"warmup_steps": warmup_steps}, spellings)["warmup_steps"]
        if not isinstance(kernel, Kernel):
            raise InferenceError(f"MCMC needs a kernel such as infer.NUTS(model), got {type(kernel).__name__}")
        for name, value, least, usual in (
            ("num_samples", num_samples, 1, 1000),
            ("num_chains", num_chains, 1, 4),
            ("warmup_steps", warmup_steps, 0, 1000),
        ):
            if value is None and name == "warmup_steps":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InferenceError(f"{name} must be an int of at least {least}, got {value!r}; try {name}={usual}")
        if chain_method not in CHAIN_METHODS:
            raise InferenceError(f"chain_method must be one of {', '.join(map(repr, CHAIN_METHODS))}, got {chain_method!r}")
        self.kernel = kernel
        self.num_samples = num_samples
        self.warmup_steps = num_samples // 2 if warmup_steps is None else warmup_steps
        self.num_chains = num_chains
        self.chain_method = chain_method
        self.progress_bar = progress_bar and not disable_progbar
        self.seed = seed
        self.interrupted = False
        self.num_gradients = 0
        self.backend = registry.active()
        self._samplers: dict[Any, Sampler] = {}
        self._result: tuple[dict[str, Any], Draws] | None = None

    def run(self, *args: Any, **kwargs: Any) -> MCMC:
        """Sample from the posterior of ``model(*args, **kwargs)`` and return this object.

        A first argument that is a random key is taken as the seed. Data of the shapes of the run before are sampled without
        compiling anything again. Ctrl-C ends the run after the current chunk: the draws so far are kept,
        :attr:`interrupted` is set and a warning says so.

        :raises InferenceError: if the model cannot be sampled by this kernel.
        :raises InitializationError: if no start of finite log density was found; the message lists the sites.
        """
        with registry.using(self.backend):
            seed = self.seed
            if args and random.is_key(args[0]):
                seed, args = args[0], args[1:]
            arguments = ModelArguments(args, kwargs)
            entropy = seed if isinstance(seed, int) else self.backend.infer.entropy(seed)
            together = self.num_chains if self.chain_method == "vectorized" else 1
            sampler = self._sampler(arguments, together)
            runs = self.num_chains // together
            progress = Progress((self.warmup_steps + self.num_samples) * runs, self.progress_bar)
            with registry.using("numpy"):
                generator = random.key(entropy)
            try:
                parts, self.num_gradients = [], 0
                for _ in range(runs):
                    draws = sampler.run(host_int(generator), self.warmup_steps, self.num_samples, arguments.arrays, progress)
                    self.num_gradients += sampler.num_gradients
                    if draws is not None:
                        parts.append(draws)
                    if sampler.interrupted:
                        break
            finally:
                progress.close()
            self._keep(sampler, parts, arguments.arrays)
        return self

    def _sampler(self, arguments: ModelArguments, num_chains: int) -> Sampler:
        signature = (arguments.signature(), num_chains, ops.default_dtype())
        if signature not in self._samplers:
            potential = self.kernel.potential(arguments)
            self._samplers[signature] = Sampler(self.kernel, potential, num_chains, self.warmup_steps + self.num_samples)
        return self._samplers[signature]

    def _keep(self, sampler: Sampler, parts: list[Draws], data: list[Any]) -> None:
        self.interrupted = sampler.interrupted
        self._result = None
        if not parts:
            message = "the run was interrupted during warm-up: no draws were kept; try run(...) again, or fewer warmup_steps"
            warnings.warn(message, PplWarning, stacklevel=3)
            return
        with registry.using("numpy"):
            shortest = min(len(part.position) for part in parts) if len(parts) > 1 else len(parts[0].position)
            columns = [[column[:shortest] for column in columns] for columns in zip(*parts, strict=True)]
            draws = Draws(*(ops.concat(column, axis=1) if column[0].ndim > 1 else column[0] for column in columns))
            count, chains, size = draws.position.shape
            rows = ops.permute_dims(draws.position, (1, 0, 2)).reshape(chains * count, size)
        flat = self.backend.infer.map_rows(sampler.potential.constrain, rows, data)
        self._result = {name: values.reshape(chains, count, *values.shape[1:]) for name, values in flat.items()}, draws
        if self.interrupted:
            message = (
                f"the run was interrupted: {count} of {self.num_samples} draws of {chains} chain(s) were kept; "
                "try run(...) again for all"
            )
            warnings.warn(message, PplWarning, stacklevel=3)

    def _kept(self) -> tuple[dict[str, Any], Draws]:
        if self._result is None:
            raise InferenceError(
                "there are no draws: expected mcmc.run(...) to have finished at least one chunk after warm-up; call it"
            )
        return self._result

    def get_samples(self, group_by_chain: bool = False) -> dict[str, Any]:
        """Return the draws of each latent and deterministic site as arrays of the backend.

        :param group_by_chain: shape ``(num_chains, num_samples, *site)`` instead of ``(num_chains * num_samples, *site)``.
        :raises InferenceError: before the first run.
        """
        samples, _ = self._kept()
        with registry.using(self.backend):
            return {name: ops.array(x if group_by_chain else x.reshape(-1, *x.shape[2:])) for name, x in samples.items()}

    def get_extra_fields(self) -> dict[str, Any]:
        """Return host arrays of shape ``(num_chains, num_samples)`` and ``step_size`` of shape ``(num_samples,)``.

        The former are ``potential_energy``, ``accept_prob``, ``num_leapfrog_steps`` and ``divergent``.
        """
        _, draws = self._kept()
        fields = draws._asdict()
        fields.pop("position")
        return {name: values.T for name, values in fields.items()}

    def diagnostics(self) -> dict[str, Any]:
        """Return per site ``n_eff`` (bulk ESS) and ``r_hat``, and the number of divergent transitions of each chain."""
        summary = summarize(self._kept()[0])
        sites = {name: {"n_eff": row["ess_bulk"], "r_hat": row["r_hat"]} for name, row in summary.items()}
        divergent = self.get_extra_fields()["divergent"]
        return {**sites, "divergences": {f"chain {index}": int(chain.sum()) for index, chain in enumerate(divergent)}}

    def summary(self, prob: float = 0.9) -> Summary:
        """Print a table of every site and return it as a dict from site to statistic to array.

        Statistics: ``mean sd median``, the ends of the central interval of probability ``prob``, ``ess_bulk ess_tail r_hat``
        (Vehtari et al. 2021). Divergent transitions are counted below.
        """
        summary = summarize(self._kept()[0], prob)
        print(summary.table())
        fields = self.get_extra_fields()
        total, divergences = fields["divergent"].size, int(fields["divergent"].sum())
        print(f"\n{total} draws from {len(fields['divergent'])} chains; divergences: {divergences}")
        return summary
