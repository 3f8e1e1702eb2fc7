"""``torch.optim`` behind the functional face ``init``/``update``.

A parameter that is a leaf requiring gradients (a param store's entry, a module's parameter) is updated in place, as
torch does; any other tensor is copied first and the copy is returned.
"""

from __future__ import annotations

import functools

import torch

from ppl.errors import InferenceError

STEP = "leaves"
"""Gradients are accumulated in the ``grad`` of the parameters themselves."""

RULES = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


class TorchState:
    """One torch optimizer and the tensor it moves for each name; names with equal arguments share a group."""

    def __init__(self, rule):
        self.constructor = RULES[rule] if isinstance(rule, str) else rule
        self.optimizer = None
        self.tensors = {}
        self.groups = {}

    def track(self, name, tensor, arguments):
        """Make ``tensor`` the one that stands for ``name``; what was known about the name is kept."""
        own = self.tensors.get(name)
        if own is None:
            self._add(name, tensor, arguments)
        elif own is not tensor and _trainable(tensor):
            _swap(self.optimizer, own, tensor)
            self.tensors[name] = tensor

    def _add(self, name, tensor, arguments):
        tensor = tensor if _trainable(tensor) else tensor.detach().clone()
        self.tensors[name] = tensor
        key = repr(sorted(arguments.items()))
        if self.optimizer is None:
            self.optimizer = self.constructor([tensor], **arguments)
            self.groups[key] = self.optimizer.param_groups[0]
        elif key in self.groups:
            self.groups[key]["params"].append(tensor)
        else:
            self.optimizer.add_param_group({"params": [tensor], **arguments})
            self.groups[key] = self.optimizer.param_groups[-1]


def _trainable(tensor):
    return tensor.is_leaf and tensor.requires_grad


def _swap(optimizer, old, new):
    for group in optimizer.param_groups:
        group["params"] = [new if tensor is old else tensor for tensor in group["params"]]
    if old in optimizer.state:
        optimizer.state[new] = optimizer.state.pop(old)


def adopt(value):
    """Return ``value`` if it constructs a torch optimizer (a class or a partial of one), else ``None``."""
    constructor = value.func if isinstance(value, functools.partial) else value
    return value if isinstance(constructor, type) and issubclass(constructor, torch.optim.Optimizer) else None


def init(rule, params, arguments):
    """Return a :class:`TorchState` over ``params``."""
    state = TorchState(rule)
    for name, param in params.items():
        state.track(name, param, arguments[name])
    return state


def update(rule, gradients, state, params, arguments):
    """Return new params and the same state; a name absent from ``state`` begins fresh, one without gradient stays."""
    for name, param in params.items():
        state.track(name, param, arguments[name])
        tensor = state.tensors[name]
        tensor.grad = gradients[name].detach() if gradients.get(name) is not None else None
        if tensor is not param:
            with torch.no_grad():
                tensor.copy_(param)
    idle = {name: tensor.grad for name, tensor in state.tensors.items() if name not in params}
    for name in idle:
        state.tensors[name].grad = None
    if state.optimizer is not None:
        state.optimizer.step()
    new_params = {}
    for name, param in params.items():
        tensor = state.tensors[name]
        tensor.grad = None
        new_params[name] = tensor if tensor is param else tensor.detach().clone()
    return new_params, state


def export(state):
    """Return the state as ``{param: {entry: number or numpy array}}``."""
    exported = {}
    for name, tensor in state.tensors.items():
        own = state.optimizer.state.get(tensor, {})
        exported[name] = {key: _plain(value) for key, value in own.items() if value is not None}
    return exported


def _plain(value):
    return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else value


def restore(rule, exported, params, arguments):
    """Return the state that :func:`export` described, for ``params``.

    :raises InferenceError: if an entry's shape does not fit the parameter.
    """
    state = init(rule, params, arguments)
    for name, own in exported.items():
        tensor = state.tensors.get(name)
        if tensor is None or not own:
            continue
        restored = {key: torch.as_tensor(value).clone() if hasattr(value, "shape") else value for key, value in own.items()}
        wrong = [
            key for key, value in restored.items() if key != "step" and getattr(value, "ndim", 0) and value.shape != tensor.shape
        ]
        if wrong or any(not isinstance(key, str) or key.isdigit() for key in restored):
            raise InferenceError(
                f"optimizer state of param {name!r} does not fit: expected entries of shape {tuple(tensor.shape)}, "
                f"received {sorted(map(str, restored))}; try the optimizer and model that saved it"
            )
        state.optimizer.state[tensor] = {
            key: value.to(tensor.device) if isinstance(value, torch.Tensor) and key != "step" else value
            for key, value in restored.items()
        }
    return state
