"""Derivatives over ``torch.autograd`` and ``torch.func`` (see the declarations in :mod:`ppl.ops.autodiff`).

A call that stands alone runs on ``torch.autograd``, which costs least (0.55 of ``torch.func`` on a small model); a call inside
another transform, a ``vmap`` or a recording runs on ``torch.func``, whose levels nest. Results that leave the outermost call are
detached.
"""

import functools
import warnings

import torch
from torch import Tensor

from ppl import tree
from ppl.errors import ShapeError
from ppl_torch.convert import floating, tensor
from ppl_torch.tracing import inside_transform, is_tracing, tracing, transform

__all__ = ["grad", "hessian", "is_tracing", "jacobian", "jvp", "stop_gradient", "value_and_grad", "vjp", "vmap"]


def _detach(x):
    return x.detach() if isinstance(x, Tensor) else x


def _released(result):
    """Return what the caller gets: detached, unless an outer transform still needs the graph."""
    return result if inside_transform() else tree.map(_detach, result)


def _scalar(value, caller):
    value = tensor(value)
    if value.ndim != 0:
        raise ShapeError(f"{caller} needs a scalar function; it returned shape {tuple(value.shape)}; try autodiff.jacobian")
    return value


def value_and_grad(fn, argnums=0, has_aux=False):
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def evaluate(*args, **kwargs):
        run = _by_func if inside_transform() else _by_autograd
        value, aux, gradients = run(fn, positions, has_aux, args, kwargs)
        gradients = gradients[0] if isinstance(argnums, int) else gradients
        return ((value, aux) if has_aux else value), gradients

    return evaluate


def _by_autograd(fn, positions, has_aux, args, kwargs):
    args = list(args)
    for position in positions:
        args[position] = tree.map(lambda leaf: floating(leaf).detach().requires_grad_(), args[position])
    wanted = [tree.leaves(args[position]) for position in positions]
    flat = [leaf for leaves in wanted for leaf in leaves]
    with torch.enable_grad(), transform():
        result = fn(*args, **kwargs)
        value, aux = result if has_aux else (result, None)
        value = _scalar(value, "value_and_grad")
    if value.requires_grad:
        found = iter(torch.autograd.grad(value, flat, allow_unused=True, materialize_grads=True))
    else:
        found = iter([torch.zeros_like(leaf) for leaf in flat])
    gradients = tuple(
        tree.unflatten(args[position], [next(found) for _ in leaves]) for position, leaves in zip(positions, wanted, strict=True)
    )
    return value.detach(), tree.map(_detach, aux), gradients


def _by_func(fn, positions, has_aux, args, kwargs):
    args = list(args)
    chosen = tuple(tree.map(floating, args[position]) for position in positions)

    def split(*differentiated):
        full = list(args)
        for position, value in zip(positions, differentiated, strict=True):
            full[position] = value
        result = fn(*full, **kwargs)
        value, aux = result if has_aux else (result, None)
        # torch.func looks inside containers only, so numbers and None of the auxiliary output travel beside its tensors.
        leaves = tree.leaves(aux)
        arrays = {str(i): leaf for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)}
        rest.update(aux=aux, leaves=leaves)
        return _scalar(value, "value_and_grad"), arrays

    rest = {}
    with transform():
        gradients, (value, arrays) = torch.func.grad_and_value(split, tuple(range(len(positions))), has_aux=True)(*chosen)
    aux = tree.unflatten(rest["aux"], [arrays.get(str(i), leaf) for i, leaf in enumerate(rest["leaves"])])
    return value, aux, gradients


def grad(fn, argnums=0):
    evaluate = value_and_grad(fn, argnums)

    def gradient(*args, **kwargs):
        return evaluate(*args, **kwargs)[1]

    return gradient


def _arrays_out(fn):
    """Return ``fn`` with numbers among its outputs made tensors, which torch.func insists on."""
    return lambda *args: tree.map(tensor, fn(*args))


@functools.cache
def _load_forward_mode():
    """Let torch load its forward-mode rules once: doing so it warns that it calls itself in a deprecated way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.neg, (torch.zeros(()),), (torch.ones(()),))


def jvp(fn, primals, tangents):
    _load_forward_mode()
    primals = tuple(tree.map(floating, primal) for primal in primals)
    tangents = tuple(
        tree.map(lambda tangent, primal: floating(tangent).to(primal.dtype).expand(primal.shape), tangent, primal)
        for tangent, primal in zip(tangents, primals, strict=True)
    )
    with transform():
        result = torch.func.jvp(_arrays_out(fn), primals, tangents)
    return _released(result)


def vjp(fn, *primals):
    with transform():
        result, pullback = torch.func.vjp(_arrays_out(fn), *(tree.map(floating, primal) for primal in primals))

    def pull(cotangent):
        cotangent = tree.map(lambda given, out: floating(given).to(out.dtype).expand(out.shape), cotangent, result)
        gradients = pullback(cotangent)
        return _released(gradients)

    return _released(result), pull


def jacobian(fn):
    def evaluate(x):
        with transform():
            result = torch.func.jacrev(_arrays_out(fn))(floating(x))
        return _released(result)

    return evaluate


def hessian(fn):
    def evaluate(x):
        with transform():
            result = torch.func.jacrev(torch.func.grad(lambda y: _scalar(fn(y), "hessian")))(floating(x))
        return _released(result)

    return evaluate


def stop_gradient(x):
    return tree.map(_detach, x)


def vmap(fn, in_axes=0, out_axes=0):
    def mapped(*args):
        axes = tuple(in_axes) if isinstance(in_axes, (list, tuple)) else (in_axes,) * len(args)
        if len(axes) != len(args):
            raise ShapeError(f"vmap: in_axes names {len(axes)} arguments, the call has {len(args)}")
        batched = [i for i, axis in enumerate(axes) if axis is not None]
        if not batched:
            raise ShapeError("vmap: in_axes maps no argument; expected an axis for at least one")
        flat = {str(i): [tensor(leaf) for leaf in tree.leaves(args[i])] for i in batched}
        template = []

        def run(columns):
            full = list(args)
            for i in batched:
                full[i] = tree.unflatten(args[i], columns[str(i)])
            result = fn(*full)
            template.append(result)
            return tuple(tensor(leaf) for leaf in tree.leaves(result))

        in_dims = ({str(i): [axes[i]] * len(flat[str(i)]) for i in batched},)
        with tracing():
            if isinstance(out_axes, int):
                leaves = torch.func.vmap(run, in_dims, out_axes, randomness="different")(flat)
            else:
                leaves = torch.func.vmap(run, in_dims, 0, randomness="different")(flat)
        result = tree.unflatten(template[0], list(leaves))
        return result if isinstance(out_axes, int) else _moved(result, out_axes)

    return mapped


def _moved(result, out_axes):
    """Move the mapped axis of each part of a tuple to its place."""
    parts = (
        tree.map(lambda leaf, axis=axis: torch.movedim(leaf, 0, axis), part) for part, axis in zip(result, out_axes, strict=True)
    )
    return type(result)(parts)
