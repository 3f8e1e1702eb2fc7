"""A function of a model's trace at each of many draws of its sites."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ppl import handlers, ops, registry, tree
from ppl.errors import InferenceError, ParamError, PplWarning
from ppl.infer.potential import ModelArguments, as_data
from ppl.ops import autodiff, compile
from ppl.primitives.validation import validation_enabled
from ppl.typing import Model, Shape

# So many draws are evaluated together at most, and so many numbers of all their sites; results wait on the host.
DRAWS_A_BLOCK = 1024
NUMBERS_A_BLOCK = 1 << 24


def on_host(values: Any) -> Any:
    """Return an array of any backend, or a number, as a numpy array; a numpy array comes back itself."""
    return values if hasattr(values, "__array_interface__") else ops.to_numpy(values)


def same_number(samples: Mapping[str, Any], batch_ndims: int) -> Shape:
    """Return the leading shape that all draws share.

    :param samples: arrays of shape ``batch + site shape`` by site.
    :param batch_ndims: number of leading dimensions that count draws.
    :raises InferenceError: if they disagree.
    """
    shapes = {name: tuple(ops.shape(value)[:batch_ndims]) for name, value in samples.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) < batch_ndims for shape in shapes.values()):
        raise InferenceError(
            f"the posterior samples disagree on the number of draws, their leading {batch_ndims} dimensions: {shapes}"
        )
    return next(iter(shapes.values()))


class DrawsOfModel:
    """A model at many draws of its sites.

    :param model: a callable with primitives.
    :param arguments: its arguments.
    :param samples: host arrays of shape ``(num_draws, *site shape)`` by site.
    :param params: constrained values of params by name; others come from the param store.
    """

    def __init__(
        self, model: Model, arguments: ModelArguments, samples: Mapping[str, Any], params: Mapping[str, Any] | None = None
    ) -> None:
        self.model, self.arguments, self.samples = model, arguments, dict(samples)
        self.params = dict(params or {})
        self._around: Callable[[Model], Model] = lambda model: model
        (self.num_draws,) = same_number(self.samples, 1)
        self._numbers = 1

    def trace_of(self, values: Mapping[str, Any], data: Any) -> Any:
        """Return the trace of the model with ``values`` at its latent sites, run on ``data``."""
        args, kwargs = self.arguments.rebuild(data)
        model = self._around(handlers.substitute(self.model, data={**self.params, **values}))
        return handlers.trace(handlers.seed(model, rng_seed=0)).get_trace(*args, **kwargs)

    def inside(self, around: Callable[[Model], Model], numbers: int = 1) -> DrawsOfModel:
        """Return the same draws of ``around(model)``, where ``model`` has the values of a draw.

        :param numbers: how many times as many numbers a run holds then.
        """
        other = copy.copy(self)
        other._around, other._numbers = around, self._numbers * numbers
        return other

    def values(self, index: int) -> dict[str, Any]:
        """Return draw ``index`` as arrays of the active backend."""
        return {name: as_data(draws[index]) for name, draws in self.samples.items()}

    def trace(self, index: int) -> Any:
        """Return the trace of one draw."""
        return self.trace_of(self.values(index), self.arguments.arrays)

    def inspect(self, look: Callable[[Any], None]) -> None:
        """Hand a trace to ``look``, which may note shapes and names; its values need not be concrete.

        What is learned of the sizes of sites decides how many draws :meth:`evaluate` takes together.
        """

        def run(data: Any) -> None:
            trace = self.trace_of(self.values(0), data)
            self._numbers = sum(math.prod(ops.shape(trace.nodes[name]["value"])) for name in _sample_sites(trace))
            look(trace)

        try:
            registry.active().infer.evaluate_shapes(run, self.arguments.arrays)
        except ParamError:
            # A param that is new to the store needs a value, which only a plain run makes.
            run(self.arguments.arrays)

    def evaluate(self, collect: Callable[[Any], Any], together: bool = True) -> Any:
        """Return ``collect(trace)`` of each draw, a tree of host arrays of shape ``(num_draws, ...)``.

        :param collect: takes a trace and returns a tree of arrays.
        :param together: whether draws are mapped over by the backend; a model that it cannot map goes draw by draw.
        """
        with validation_enabled(False), registry.active().infer.quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", PplWarning)
            results = self._mapped(collect) if together else None
            if results is None:
                results = self._stacked([collect(self.trace(index)) for index in range(self.num_draws)])
            return results

    def _mapped(self, collect: Callable[[Any], Any]) -> Any:
        """Return the results, or ``None`` if the model cannot be mapped: it may branch on values.

        Whatever else is wrong with it shows again when it is run draw by draw.
        """

        def one(values: dict[str, Any], data: Any) -> Any:
            return tree.map(ops.array, collect(self.trace_of(values, data)))

        mapped = autodiff.vmap(compile.compile(one), in_axes=(0, None))
        size = min(DRAWS_A_BLOCK, self.num_draws, max(1, NUMBERS_A_BLOCK // max(1, self._numbers)))
        blocks = []
        for start in range(0, self.num_draws, size):
            # The last block begins earlier, so that all have one shape.
            first = min(start, self.num_draws - size)
            block = {name: as_data(draws[first : first + size]) for name, draws in self.samples.items()}
            try:
                results = mapped(block, self.arguments.arrays)
            except Exception:
                return None
            results = autodiff.stop_gradient(results)
            blocks.append(tree.map(lambda leaf, skip=start - first: on_host(leaf)[skip:], results))
        with registry.using("numpy"):
            return tree.map(lambda *leaves: ops.concat(leaves) if len(leaves) > 1 else leaves[0], *blocks)

    def _stacked(self, rows: list[Any]) -> Any:
        rows = [tree.map(on_host, row) for row in rows]
        with registry.using("numpy"):
            return tree.map(lambda *leaves: ops.stack(leaves), *rows)


def _sample_sites(trace: Any) -> list[str]:
    return [*trace.stochastic_nodes, *trace.observation_nodes]


def flat_draws(samples: Mapping[str, Any], batch_shape: Shape) -> dict[str, Any]:
    """Return host arrays whose leading ``batch_shape`` is one dimension."""
    count = math.prod(batch_shape)
    flat = {}
    for name, value in samples.items():
        host = on_host(value)
        flat[name] = host.reshape(count, *host.shape[len(batch_shape) :])
    return flat
