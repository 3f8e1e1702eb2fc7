"""Recording a function of tensors as a graph, and making the graph cheap to run.

A recorded graph calls one aten operator a node. On small tensors the dispatch of the operator, not its work, takes the time, so
the number of nodes and the way they are called decide: constants are computed once, equal nodes share one result, copies that
only cut a gradient go, and operators are called through their functions in ``torch``, which dispatch in about 60 % of the time.
"""

import operator

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from ppl_torch.tracing import recording

# aten operators whose function of the same name in torch takes the same positional arguments.
DIRECT = frozenset(
    """
    abs add addmm addmv all amax amin any argmax atan baddbmm bitwise_and bitwise_not bitwise_or bmm cat clamp cos cumsum digamma
    div dot eq erf erfc exp expm1 floor gather ge gt index_select isfinite isinf isnan le lgamma log log1p logaddexp logical_and
    logical_not logical_or lt matmul maximum mean minimum mm mul mv ne neg permute pow reciprocal rsqrt rsub select sigmoid sign
    sin sqrt squeeze stack sub sum t tanh transpose unsqueeze where xlogy
    """.split()
)
METHODS = {"expand": torch.Tensor.expand, "view": torch.Tensor.view}
# aten operators that fill the shape of their argument with one number: the number, or None if it is the next argument.
FILLED = {
    torch.ops.aten.zeros_like.default: 0,
    torch.ops.aten.ones_like.default: 1,
    torch.ops.aten.full_like.default: None,
}
LEAST_ROWS = 3
COPIES = {torch.ops.aten.detach.default, torch.ops.aten.alias.default, torch.ops.aten.lift_fresh_copy.default}


def record(fn, inputs):
    """Return ``fn(*inputs)``, a tuple of tensors, as a graph module.

    The process-wide random stream is left where it was, though recording runs ``fn``.

    :raises RuntimeError: from torch, if ``fn`` branches on a value or otherwise needs one.
    """
    devices = sorted({x.device.index for x in inputs if x.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), torch.no_grad(), recording():
        return make_fx(fn, tracing_mode="real")(*inputs)


def calls(graph_module):
    """Return the nodes that do work."""
    return [node for node in graph_module.graph.nodes if node.op == "call_function" and node.target is not operator.getitem]


def draws(graph_module):
    """Return whether the graph draws random numbers."""
    return any(_draws(node) for node in calls(graph_module))


def _draws(node):
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _mutates(node):
    """Return whether a node writes into an argument: aten names such an operator with a trailing underscore or an ``out``."""
    name = getattr(node.target, "__name__", "").split(".")[0]
    return name.endswith("_") or "out" in node.kwargs


def simplify(graph_module):
    """Make the graph cheaper in place; one that writes into its tensors is left as it is."""
    if any(_mutates(node) for node in calls(graph_module)):
        return graph_module
    _drop_copies(graph_module.graph)
    graph_module.graph.eliminate_dead_code()
    _fold_constants(graph_module)
    _drop_identities(graph_module)
    _share_equal_nodes(graph_module.graph)
    _unbind_rows(graph_module.graph)
    _call_directly(graph_module.graph)
    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


def _drop_copies(graph):
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in COPIES:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _fold_constants(graph_module):
    graph, known = graph_module.graph, {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            known[node] = _attribute(graph_module, node.target)
        elif node.op == "call_function" and node.target in FILLED:
            known[node] = _filled(node)
        elif node.op == "call_function" and not _draws(node) and all(source in known for source in node.all_input_nodes):
            with torch.no_grad():
                known[node] = node.target(
                    *torch.fx.node.map_arg(node.args, known.__getitem__), **torch.fx.node.map_arg(node.kwargs, known.__getitem__)
                )
    for number, (node, value) in enumerate(known.items()):
        needed = any(user not in known for user in node.users)
        if node.op == "call_function" and isinstance(value, torch.Tensor) and needed:
            name = f"folded_{number}"
            graph_module.register_buffer(name, value.detach().clone(), persistent=False)
            with graph.inserting_before(node):
                constant = graph.get_attr(name)
            constant.meta.update(node.meta)
            node.replace_all_uses_with(constant)
    graph.eliminate_dead_code()


def _filled(node):
    """Return the value of a node that reads only the shape of its argument."""
    like = torch.empty_strided(node.meta["val"].shape, node.meta["val"].stride(), dtype=node.meta["val"].dtype)
    fill = FILLED[node.target]
    return torch.full_like(like, node.args[1] if fill is None else fill, device=node.meta["val"].device)


def _drop_identities(graph_module):
    """Replace nodes that return their first argument: a first power, a view of the same shape, the sum of one element."""
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function" or not node.args or not isinstance(node.args[0], torch.fx.Node):
            continue
        source, value = node.args[0], node.meta.get("val")
        if not isinstance(value, torch.Tensor) or not isinstance(source.meta.get("val"), torch.Tensor):
            continue
        before, name = source.meta["val"], str(node.target)
        same = value.shape == before.shape and value.dtype == before.dtype
        if (
            (name == "aten.pow.Tensor_Scalar" and node.args[1] == 1 and same)
            or (name in ("aten.view.default", "aten.expand.default", "aten._unsafe_view.default") and same)
            or (name == "aten.sum.dim_IntList" and _undoes_unsqueeze(node, source))
        ):
            node.replace_all_uses_with(source.args[0] if name == "aten.sum.dim_IntList" else source)
            graph_module.graph.erase_node(node)
    graph_module.graph.eliminate_dead_code()


def _undoes_unsqueeze(node, source):
    """Return whether a sum runs over just the axis of size one that its argument was given."""
    if str(source.target) != "aten.unsqueeze.default" or len(node.args) > 2 or node.kwargs:
        return False
    ndim = source.meta["val"].ndim
    return [axis % ndim for axis in node.args[1]] == [source.args[1] % ndim]


def _attribute(graph_module, path):
    value = graph_module
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _share_equal_nodes(graph):
    seen = {}
    for node in list(graph.nodes):
        if node.op not in ("call_function", "get_attr") or _draws(node):
            continue
        key = (node.op, str(node.target), repr(node.args), repr(sorted(node.kwargs.items())))
        first = seen.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            graph.erase_node(node)


def _unbind_rows(graph):
    """Take three or more rows of one tensor apart with one operator: an index into a tuple costs nothing beside a dispatch."""
    rows = {}
    for node in graph.nodes:
        if node.op == "call_function" and node.target is torch.ops.aten.select.int and node.args[2] >= 0:
            rows.setdefault(node.args[:2], []).append(node)
    for (tensor_node, axis), selects in rows.items():
        if len(selects) < LEAST_ROWS:
            continue
        with graph.inserting_before(selects[0]):
            parts = graph.call_function(torch.unbind, (tensor_node, axis))
        for node in selects:
            with graph.inserting_before(node):
                part = graph.call_function(operator.getitem, (parts, node.args[2]))
            part.meta = dict(node.meta)
            node.replace_all_uses_with(part)
            graph.erase_node(node)


def _call_directly(graph):
    for node in graph.nodes:
        if node.op != "call_function" or _draws(node):
            continue
        namespace, _, name = str(node.target).partition(".")
        name = name.split(".")[0]
        if namespace != "aten":
            continue
        if name in METHODS:
            node.target = METHODS[name]
        elif name in DIRECT:
            node.target = getattr(torch, name)


def largest(graph_module):
    """Return the number of elements of the largest value of a recorded graph, its inputs included."""
    values = (node.meta.get("val") for node in graph_module.graph.nodes)
    return max((value.numel() for value in values if isinstance(value, torch.Tensor)), default=0)


def cost(graph_module, dispatch, element):
    """Estimate the seconds of one run: ``dispatch`` for each node and ``element`` for each element of its result."""
    total = 0.0
    for node in calls(graph_module):
        value = node.meta.get("val")
        total += dispatch + (element * value.numel() if isinstance(value, torch.Tensor) else 0.0)
    return total
