"""Compilation of pure functions (see the declaration in :mod:`ppl.ops.compile`).

A function is recorded with ``make_fx`` for each signature of its arguments, and the graph is run in place of the function. Where
the calls to come repay it, the graph goes on through ``torch.compile``. Whether they do is reckoned from the graph's nodes and
sizes, never from a clock: compiled code rounds differently, so a decision by the clock would make equal runs differ.
"""

import contextvars
import functools
import importlib
import threading
import warnings

import torch
from torch import Tensor

from ppl import tree
from ppl.errors import BackendError, PplWarning
from ppl_torch import graph, random
from ppl_torch.autodiff import value_and_grad
from ppl_torch.convert import tensor
from ppl_torch.tracing import inside_transform, transform

# Seconds on one CPU core: one call of a small operator, one element of its result; and what torch.compile takes.
DISPATCH, ELEMENT = 3e-6, 1e-9
COMPILE_LEAST, COMPILE_NODE = 4.0, 0.03
# The same for a further program, once the compiler is loaded and its files are on the disk.
FURTHER_NODE = 0.011
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.complex128: 1e-8}

# Up to so many elements two threads gain a third of the time at most and lose on sums; waiting for each other they may lose all.
LARGEST_FOR_ONE_THREAD = 65536

# Leaves that are no data: they belong to the signature and pass through as they are.
STATIC = (str, bytes, torch.Generator)

_lock = threading.RLock()


def compile(fn, *example, horizon=None, beside=None):
    programs = {}

    def program(args, inputs, signature):
        with _lock:
            if signature not in programs:
                programs[signature] = _Program(fn, args, inputs, horizon, further=_goes_to_compiler(beside))
            return programs[signature]

    @functools.wraps(fn, updated=())
    def run(*args):
        if inside_transform():
            return fn(*args)
        inputs, signature = _inputs(args)
        found = programs.get(signature)
        return (found or program(args, inputs, signature))(args, inputs)

    run.programs = programs
    if example and not inside_transform():
        program(example, *_inputs(example))
    return run


def _goes_to_compiler(run):
    """Return whether a compiled function has gone, or will go, through torch.compile."""
    return run is not None and any(program.stage == "compiled" or program.patience == 0 for program in run.programs.values())


def differentiable(fn):
    plain, programs = compile(fn), {}

    @functools.wraps(fn, updated=())
    def run(*args):
        if not torch.is_grad_enabled() or inside_transform():
            return plain(*args)
        leaves = tree.leaves(args)
        if any(isinstance(leaf, Tensor) and not _has_storage(leaf) for leaf in leaves):
            return fn(*args)
        wanted = tuple(place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad)
        if not wanted:
            return plain(*args)
        inputs, signature = _inputs(args)
        found = programs.get((wanted, signature))
        if found is None:
            with _lock:
                found = programs.get((wanted, signature)) or _Gradient(fn, args, inputs, wanted)
                programs[wanted, signature] = found
        return found(args, inputs, [leaves[place] for place in wanted])

    return run


def _has_storage(leaf):
    """Return whether a tensor is one of numbers: those of a user's own torch.func transforms stand for others."""
    try:
        leaf.untyped_storage()
    except NotImplementedError:
        return False
    return True


def _inputs(args):
    """Return the leaves of ``args`` as tensors that need no gradient, and the key of their structure, shapes and dtypes."""
    if all(type(arg) is Tensor for arg in args):
        inputs, layout = list(args), len(args)
    else:
        leaves = tree.leaves(args)
        inputs = [tensor(leaf) for leaf in leaves if not isinstance(leaf, STATIC)]
        layout = tree.structure(args), tuple((place, leaf) for place, leaf in enumerate(leaves) if isinstance(leaf, STATIC))
    if any(x.requires_grad for x in inputs):
        inputs = [x.detach() for x in inputs]
    # Devices are not mixed in practice, so the first one stands for all.
    place = inputs[0].device if inputs else None
    return inputs, (layout, place, *[x.shape for x in inputs], *[x.dtype for x in inputs])


class _Program:
    """One function at one signature: ``stage`` is "function", "graph" or "compiled"."""

    def __init__(self, fn, args, inputs, horizon, further=False):
        self.fn, self.calls, self.stage, self.patience = fn, 0, "graph", float("inf")
        self.name = getattr(fn, "__name__", type(fn).__name__)
        if any(isinstance(leaf, torch.Generator) for leaf in tree.leaves(args)):
            # A graph cannot hold a generator's state. Such a function asked for its own randomness and runs as it is.
            self.stage = "function"
            return
        try:
            self._record(args, inputs)
        except Exception as error:  # whatever stops the recorder, the function itself still runs, or raises its own error
            self.stage = "function"
            fn(*args)
            _warn(f"compile: {self.name!r} runs uncompiled, because torch could not record it: {_reason(error)}")
            return
        work = len(graph.calls(self.graph))
        self.seconds = graph.cost(self.graph, DISPATCH, ELEMENT)
        self.price = FURTHER_NODE * work if further else max(COMPILE_LEAST, COMPILE_NODE * work)
        # With a horizon the choice is made at once; without one, when as much has been spent as compiling would have cost.
        self.patience = self.price / self.seconds if work else float("inf")
        if horizon is not None:
            self.patience = 0 if self.seconds * horizon >= self.price else float("inf")

    def _record(self, args, inputs):
        template, whole = [], tree.leaves(args)

        def flat(*leaves):
            arrays = iter(leaves)
            filled = [leaf if isinstance(leaf, STATIC) else next(arrays) for leaf in whole]
            result = self.fn(*tree.unflatten(args, filled))
            template.append(result)
            return tuple(tensor(leaf) for leaf in tree.leaves(result))

        # Two arguments may be one tensor in the example and not later, so that each is recorded from storage of its own.
        recorded = graph.record(flat, [x.clone() for x in inputs])
        self.result = tree.map(lambda leaf: "*", template[0])
        self.plain = type(template[0]) is tuple and all(isinstance(leaf, Tensor) for leaf in template[0])
        self.random = graph.draws(recorded)
        with torch.no_grad():
            expected = None if self.random else recorded(*inputs)
            self.graph = graph.simplify(recorded)
            if expected is not None and not _agree(self.graph(*inputs), expected):
                raise RuntimeError("the simplified graph does not agree with the recorded one")
        self.run = self.graph

    def __call__(self, args, inputs):
        if self.stage == "function":
            return self.fn(*args)
        if self.stage == "graph":
            if self.calls >= self.patience:
                self._compile(inputs)
            self.calls += 1
        with torch.no_grad():
            outputs = self.run(*inputs)
        return tuple(outputs) if self.plain else tree.unflatten(self.result, list(outputs))

    def _compile(self, inputs):
        """Go on to compiled code if torch has a compiler here and its results agree with the graph's on these inputs."""
        self.patience = float("inf")
        try:
            with _lock, warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                compiled = _through_compiler(self.graph, inputs)
                with torch.random.fork_rng(devices=sorted({x.device.index for x in inputs if x.device.type == "cuda"})):
                    found = compiled(*inputs)
                    agree = self.random or _agree(found, self.graph(*inputs))
        except Exception as error:  # no C++ compiler, an operator it lacks, ...: the graph serves on
            _warn(f"compile: {self.name!r} stays a recorded graph, because torch.compile failed: {_reason(error)}")
            return
        if not agree:
            _warn(f"compile: {self.name!r} stays a recorded graph, because the results of torch.compile differ from it")
            return
        self.run, self.stage = compiled, "compiled"


class _Gradient:
    """One function at one signature with its gradient in the leaves at the places ``wanted`` of its arguments.

    A scalar result and its gradient come from one program (``pair``), so that both see the same draws. Other results come from
    one program and their gradients, given cotangents, from another (``value`` and ``pullback``).
    """

    def __init__(self, fn, args, inputs, wanted):
        self.fn, self.wanted = fn, wanted
        self.pair = self.value = self.pullback = None
        self.compiled = False
        arrays = [leaf for leaf in tree.leaves(args) if isinstance(leaf, Tensor)]
        with random.scope(0):  # what this run draws must not be missing from the streams
            result = fn(*tree.map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, args))
        outputs = [tensor(leaf) for leaf in tree.leaves(result)]
        # A recording would lose the gradients of what the function captures.
        captures = any(x.requires_grad for x in outputs)
        if captures or any(x.is_complex() for x in (*outputs, *arrays)) or not any(x.is_floating_point() for x in outputs):
            return
        self.result = tree.map(lambda leaf: "*", result)
        self.floating = [place for place, x in enumerate(outputs) if x.is_floating_point()]
        if len(outputs) == 1 and outputs[0].ndim == 0:
            self.pair = self._program(self._value_and_gradient, args, inputs)
            self.compiled = self.pair.stage != "function"
        else:
            self.value = self._program(fn, args, inputs)
            if self.value.stage != "function" and not self.value.random:
                cotangents = [torch.ones_like(outputs[place]) for place in self.floating]
                self.pullback = self._program(self._pull, (cotangents, *args), [*cotangents, *inputs])
                self.compiled = self.pullback.stage != "function"

    def _program(self, fn, args, inputs):
        named = functools.partial(fn)
        named.__name__ = getattr(self.fn, "__name__", type(self.fn).__name__)
        return _Program(named, args, inputs, None)

    def _outputs(self, args, chosen):
        leaves = tree.leaves(args)
        for place, leaf in zip(self.wanted, chosen, strict=True):
            leaves[place] = leaf
        return tree.leaves(self.fn(*tree.unflatten(args, leaves)))

    def _chosen(self, args):
        leaves = tree.leaves(args)
        return [leaves[place] for place in self.wanted]

    def _value_and_gradient(self, *args):
        value, gradients = value_and_grad(lambda chosen: self._outputs(args, chosen)[0])(self._chosen(args))
        return (value, *gradients)

    def _pull(self, cotangents, *args):
        def floating(*chosen):
            outputs = self._outputs(args, chosen)
            return [tensor(outputs[place]) for place in self.floating]

        with transform():
            return torch.func.vjp(floating, *self._chosen(args))[1](cotangents)

    def __call__(self, args, inputs, chosen):
        if not self.compiled:
            return self.fn(*args)
        outputs = _Recorded.apply(self, args, inputs, *chosen)
        if self.result == "*":
            return outputs[0]
        return tree.unflatten(self.result, list(outputs))

    def differentiate(self, args, cotangents):
        """Return the gradients by the function itself, such that they have gradients in turn."""
        if self.pair is not None and self.pair.random:
            raise BackendError(
                f"{self.pair.name!r} draws random numbers and has no second derivatives as a compiled function, whose draws are "
                "gone; expected backward without create_graph; try the function itself, or ops.autodiff.hessian"
            )
        with torch.enable_grad():
            # Views, because one of the leaves may depend on another: what flows through that is not this function's.
            chosen = [leaf.view_as(leaf) for leaf in self._chosen(args)]
            outputs = self._outputs(args, chosen)
            pairs = [(tensor(outputs[place]), given) for place, given in zip(self.floating, cotangents, strict=True)]
            outputs, cotangents = zip(*(pair for pair in pairs if pair[0].requires_grad), strict=True)
            return torch.autograd.grad(outputs, chosen, cotangents, create_graph=True, allow_unused=True, materialize_grads=True)


class _Recorded(torch.autograd.Function):
    """Joins the programs of a :class:`_Gradient` as one operation of torch's."""

    @staticmethod
    def forward(ctx, programs, args, inputs, *chosen):
        # A backward pass on a GPU runs on a thread of its own, which knows no active backend.
        ctx.programs, ctx.args, ctx.context = programs, args, contextvars.copy_context()
        if programs.pair is not None:
            value, *gradients = programs.pair(args, inputs)
            ctx.save_for_backward(*gradients)
            return (value.detach(),)
        outputs = [leaf.detach() for leaf in tree.leaves(programs.value(args, inputs))]
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(*(x for x in outputs if not x.is_floating_point()))
        return tuple(outputs)

    @staticmethod
    def backward(ctx, *cotangents):
        programs = ctx.programs
        cotangents = [cotangents[place] for place in programs.floating]
        if torch.is_grad_enabled():
            gradients = ctx.context.run(programs.differentiate, ctx.args, cotangents)
        elif programs.pair is not None:
            gradients = [cotangents[0] * gradient for gradient in ctx.saved_tensors]
        else:
            inputs = [*cotangents, *ctx.saved_tensors]
            gradients = ctx.context.run(programs.pullback, (cotangents, *ctx.args), inputs)
        return None, None, None, *gradients


def _through_compiler(recorded, inputs):
    """Return compiled code of a graph for inputs of these shapes.

    The compiler behind torch.compile is called directly where it can be, because shapes and dtypes are looked at here already:
    that takes 0.4 of the time of a call through torch.compile (benchmarks/torch_compile.py). Its loops would be split among
    threads from some hundred elements on, which saves nothing there and waits where other programs use the machine.
    """
    options = {"size_asserts": False}
    if graph.largest(recorded) <= LARGEST_FOR_ONE_THREAD:
        options["cpp.threads"] = 1
    try:
        # Loaded here, because it takes a second; by name, because torch promises nothing about it: torch.compile is the fallback.
        return importlib.import_module("torch._inductor").compile(recorded, inputs, options=options)
    except Exception:
        pass
    return torch.compile(recorded, dynamic=False)


def _agree(found, expected):
    return all(
        a.dtype == b.dtype and a.shape == b.shape and _close(a, b, TOLERANCE.get(a.dtype, 0.0))
        for a, b in zip(found, expected, strict=True)
    )


def _close(a, b, tolerance):
    # Where large numbers cancel, rounding is of their size.
    finite = b[torch.isfinite(b)].abs() if b.is_floating_point() else b.new_zeros(0)
    scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _reason(error):
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _warn(message):
    warnings.warn(message, PplWarning, stacklevel=4)
