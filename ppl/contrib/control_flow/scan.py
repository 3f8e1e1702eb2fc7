"""A loop over time whose sites are recorded as one site each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ppl import ops, tree
from ppl.contrib.control_flow.enumerated import EnumeratedLoop
from ppl.contrib.control_flow.sites import Recorder, leading
from ppl.errors import RandomKeyError, ShapeError, SiteError
from ppl.ops import random
from ppl.runtime import STACK
from ppl.typing import Tree

Step = Callable[[Any, Any], tuple[Any, Any]]


def scan(
    f: Step, init: Tree, xs: Tree = None, length: int | None = None, reverse: bool = False, history: int = 1
) -> tuple[Tree, Tree]:
    """Return ``(carry, ys)`` of the loop ``carry, y = f(carry, x)`` over the leading axis of ``xs``, whose body may hold sites.

    :param f: one step: from the carry and a slice of ``xs`` to the next carry, of the same structure, and an output.
    :param init: the carry before the first step: an array, or a tree of them.
    :param xs: a tree of arrays of shape ``(T, ...)``; ``None`` for a loop of ``length`` steps whose ``x`` is ``None``.
    :param length: number of steps, needed without ``xs``.
    :param reverse: whether the last slice comes first; outputs and values of sites stay in the order of ``xs``.
    :param history: how many earlier steps an enumerated site, or what depends on it, may depend on.
    :returns: the last carry, and the outputs stacked along a leading axis of size ``T``.
    :raises SiteError: if ``xs`` and ``length`` are both missing, the steps differ in their sites, or one scan is inside another.
    :raises ShapeError: if lengths differ, or the structure or a shape of the carry changes.
    :raises DuplicateSite: if two sites have one name.

    A site of the step is one site of the model. Its value has time as leading axis, ``(T,) + batch_shape + event_shape``, and so
    have values that ``condition``, ``substitute`` or ``replay`` give it; data are sliced by the step itself: ``obs=x``. Plates
    may stand around the loop or inside the step. Handlers that change distributions, such as ``reparam``, go around ``f``.

    Discrete sites marked ``infer={"enumerate": "parallel"}`` whose values go into the carry are summed out over all steps in
    ``O(log T)`` depth; the values themselves, or what is computed from them without event dimensions, may be carried. Only the
    last value is seen after the loop, and outputs that depend on the others cannot be used. With a ``history`` of ``h`` the carry
    may hold the values of ``h`` steps, which are taken together: of K values each they cost ``K**(2 * h)`` numbers.

    On jax the loop is ``lax.scan``: its first step and the others are compiled once each, whatever ``T``.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers, ops
    >>> from ppl.contrib.control_flow import scan
    >>> def walk(data):
    ...     def step(x, y):
    ...         x = ppl.sample("x", dist.Normal(x, 1.0))
    ...         ppl.sample("y", dist.Normal(x, 0.5), obs=y)
    ...         return x, None
    ...     return scan(step, ops.array(0.0), data)
    >>> trace = handlers.trace(handlers.seed(walk, 0)).get_trace(ops.zeros((5,)))
    >>> {name: tuple(trace.nodes[name]["value"].shape) for name in ("x", "y")}
    {'x': (5,), 'y': (5,)}
    """
    _check_history(history)
    xs, length = _columns(xs, length)
    around = STACK.get()
    if any(isinstance(handler, Recorder) for handler in around):
        raise SiteError("scan stands inside the step of another scan; expected one loop; try a Python loop for the inner one")
    recorder = Recorder(around, length, reverse)
    if reverse:
        xs = tree.map(lambda column: ops.flip(column, 0), xs)
    loop = _Loop(f, recorder)
    carry, output = loop.first(init, tree.map(lambda column: column[0], xs))
    columns = {"x": xs, "step": ops.arange(0, length), **recorder.columns()}
    rest = None if length == 1 else tree.map(lambda column: column[1:], columns)
    if recorder.enumerated():
        chain = EnumeratedLoop(recorder, loop.further, init, carry, history)
        last = chain.run(output, rest)
        chain.check(getattr(f, "__code__", None), columns)
        return last, chain.finish(columns["masks"])
    rows: dict[str, Any] = {name: {"value": site.value, "arrays": site.arrays} for name, site in recorder.sites.items()}
    if rest is not None:
        carry, (outputs, more) = ops.control.scan(loop.further, carry, rest)
        output, rows = leading(output, outputs), leading(rows, more)
    else:
        output, rows = tree.map(_alone, output), tree.map(_alone, rows)
    recorder.finish(rows)
    return carry, tree.map(lambda column: ops.flip(column, 0), output) if reverse else output


class _Loop:
    """The steps of a loop, run under its recorder.

    :param f: the step.
    :param recorder: what stops its sites.
    """

    def __init__(self, f: Step, recorder: Recorder) -> None:
        self.f, self.recorder = f, recorder
        self.structure: Any = None
        try:
            self.key = random.next_key("scan")
        except RandomKeyError:
            # Then sites have values or keys of their own; what has none says so.
            self.key = None

    def _ambient(self, step: Any) -> AbstractContextManager[Any]:
        """Give draws that no handler around the loop sees a source of randomness of this step."""
        return nullcontext() if self.key is None else random.scope(random.fold_in(self.key, step))

    def _run(self, carry: Tree, x: Tree, step: Any) -> tuple[Tree, Tree]:
        with self._ambient(step), self.recorder:
            answer = self.f(carry, x)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise SiteError(
                f"the step of scan returned {type(answer).__name__}; expected a pair, the next carry and an output; try to "
                "return (carry, None)"
            )
        carry, output = answer
        return tree.map(_as_array, carry), tree.map(_as_array, output)

    def first(self, init: Tree, x: Tree) -> tuple[Tree, Tree]:
        """Return the carry and the output of the first step."""
        carry, output = self._run(init, x, 0)
        if tree.structure(carry) != tree.structure(init):
            raise ShapeError(_changed(init, carry))
        return carry, output

    def further(self, carry: Tree, column: dict[str, Any], scores: bool = False) -> tuple[Tree, Any]:
        """Return the next carry, and output and rows of the sites of a later step."""
        self.recorder.begin(column["step"], {"values": column["values"], "masks": column["masks"]}, scores)
        after, output = self._run(carry, column["x"], column["step"])
        self.recorder.check_complete()
        if tree.structure(after) != tree.structure(carry):
            raise ShapeError(_changed(carry, after))
        if not scores:
            _keep_shapes(carry, after)
        return after, (output, self.recorder.outputs)


def _keep_shapes(before: Tree, after: Tree) -> None:
    """Raise if a leaf of the carry changes its shape or dtype from one step to the next.

    :raises ShapeError: naming both.
    """
    for old, new in zip(tree.leaves(before), tree.leaves(after), strict=True):
        if ops.shape(old) != ops.shape(new) or ops.dtype_name(old) != ops.dtype_name(new):
            raise ShapeError(
                f"the carry of scan has an array of shape {tuple(ops.shape(old))} and dtype {ops.dtype_name(old)} before a step "
                f"and {tuple(ops.shape(new))}, {ops.dtype_name(new)} after it; expected the same from the second step on; try to "
                "broadcast the array, or convert it, in the step"
            )


def _as_array(leaf: Any) -> Any:
    return leaf if ops.is_array(leaf) else ops.array(leaf)


def _alone(leaf: Any) -> Any:
    return ops.expand_dims(leaf, 0)


def _check_history(history: Any) -> None:
    if not isinstance(history, int) or isinstance(history, bool) or history < 0:
        raise SiteError(f"scan got history={history!r}; expected an int of zero or more; try history=1")


def _columns(xs: Tree, length: Any) -> tuple[Tree, int]:
    """Return ``xs`` as arrays, and the number of steps."""
    if length is not None and (not hasattr(length, "__index__") or isinstance(length, bool)):
        raise SiteError(f"scan got length={length!r}; expected an int; try length=len(data)")
    xs = tree.map(_as_array, xs)
    leaves = tree.leaves(xs)
    if not leaves and length is None:
        raise SiteError("scan got neither xs nor length; expected arrays to loop over, or a number of steps; try length=10")
    if any(ops.ndim(leaf) == 0 for leaf in leaves):
        raise ShapeError("scan got xs with a scalar; expected arrays whose leading axis is time; try ops.array for a list")
    found = sorted({ops.shape(leaf)[0] for leaf in leaves} | (set() if length is None else {length.__index__()}))
    if len(found) != 1:
        raise ShapeError(
            f"scan got lengths that differ: {', '.join(map(str, found))}; expected one for all leaves of xs and for length; try "
            "to leave length out"
        )
    if found[0] < 1:
        raise ShapeError(f"scan got a loop of {found[0]} steps; expected one at least")
    return xs, int(found[0])


def _changed(before: Tree, after: Tree) -> str:
    return (
        f"the carry of scan changes its structure in a step, from {_shown(before)} to {_shown(after)}; expected the same "
        "containers; try to return as carry what init has"
    )


def _shown(carry: Tree) -> str:
    if isinstance(carry, dict):
        return "{" + ", ".join(f"{key!r}: {_shown(value)}" for key, value in carry.items()) + "}"
    if isinstance(carry, (list, tuple)):
        return f"{type(carry).__name__}({', '.join(map(_shown, carry))})"
    return "None" if carry is None else "*"
