"""``torch.optim`` behind the functional face ``init``/``update``.

A parameter that is a leaf requiring gradients (a param store's entry, a module's parameter) is updated in place, as
torch does; any other tensor is copied first and the copy is returned.
"""

from __future__ import annotations

import functools
import inspect

import torch
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from ppl.errors import InferenceError
from ppl_torch.infer import threads_that_pay

STEP = "leaves"
"""Gradients are accumulated in the ``grad`` of the parameters themselves."""

JOINT = "*"
"""The name under which a rule that sees all parameters together exports its state."""


class ClippedAdam(torch.optim.Optimizer):
    """Adam on gradients clipped to ``[-clip_norm, clip_norm]`` with a learning rate that decays by ``lrd`` a step."""

    def __init__(self, params, lr, betas, eps, weight_decay, clip_norm, lrd, maximize=False):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "clip_norm": clip_norm, "lrd": lrd}
        super().__init__(params, {**defaults, "maximize": maximize})

    @torch.no_grad()
    def step(self, closure=None):
        """Move every parameter that has a gradient."""
        for group, param, state in _with_gradient(self):
            if not state:
                state.update(step=0, exp_avg=torch.zeros_like(param), exp_avg_sq=torch.zeros_like(param))
            state["step"] += 1
            beta1, beta2 = group["betas"]
            gradient = _signed(group, param).clamp(-group["clip_norm"], group["clip_norm"])
            if group["weight_decay"]:
                gradient = gradient + group["weight_decay"] * param
            state["exp_avg"].lerp_(gradient, 1.0 - beta1)
            state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
            rate = group["lr"] * group["lrd"] ** state["step"]
            rate *= (1.0 - beta2 ** state["step"]) ** 0.5 / (1.0 - beta1 ** state["step"])
            param.addcdiv_(state["exp_avg"], state["exp_avg_sq"].sqrt().add_(group["eps"]), value=-rate)


class AdagradRMSProp(torch.optim.Optimizer):
    """The step sizes of Kucukelbir et al. 2017, equation 10."""

    def __init__(self, params, eta, delta, t, maximize=False):
        super().__init__(params, {"eta": eta, "delta": delta, "t": t, "maximize": maximize})

    @torch.no_grad()
    def step(self, closure=None):
        """Move every parameter that has a gradient."""
        for group, param, state in _with_gradient(self):
            gradient = _signed(group, param)
            if not state:
                state.update(step=0, sum=gradient * gradient)
            state["step"] += 1
            state["sum"].lerp_(gradient * gradient, group["t"])
            rate = group["eta"] * state["step"] ** (group["delta"] - 0.5)
            param.addcdiv_(gradient, state["sum"].sqrt().add_(1.0), value=-rate)


def _with_gradient(optimizer):
    for group in optimizer.param_groups:
        for param in group["params"]:
            if param.grad is not None:
                yield group, param, optimizer.state[param]


def _signed(group, param):
    return -param.grad if group["maximize"] else param.grad


class SparseAdam(torch.optim.SparseAdam):
    """torch.optim.SparseAdam, which a dense gradient reaches as its elements other than zero."""

    def step(self, closure=None):
        """Move every parameter that has a gradient."""
        for _, param, _ in _with_gradient(self):
            if not param.grad.is_sparse:
                param.grad = param.grad.to_sparse()
        return super().step(closure)


class OneIteration(torch.optim.LBFGS):
    """torch.optim.LBFGS that takes one iteration a step and asks for the gradient once, which stands in ``grad`` already."""

    def __init__(self, params, lr, history_size, tolerance_grad, tolerance_change):
        super().__init__(
            params,
            lr=lr,
            max_iter=1,
            history_size=history_size,
            tolerance_grad=tolerance_grad,
            tolerance_change=tolerance_change,
        )

    def step(self, closure=None):
        """Move all parameters along one direction."""
        return super().step(closure or (lambda: torch.zeros(())))


RULES = {
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adagrad_rmsprop": AdagradRMSProp,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "asgd": torch.optim.ASGD,
    "clipped_adam": ClippedAdam,
    "lbfgs": OneIteration,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
    "sgd": torch.optim.SGD,
    "sparse_adam": SparseAdam,
}
FUSED = {"adam": adam, "adamw": adamw}
"""Rules of which torch has a kernel for all elements of a group at once, several times as fast on small tensors."""
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What such a rule keeps of each tensor."""
TOGETHER = {"lbfgs"}
"""Rules that see all parameters as one vector."""


class TorchState:
    """One torch optimizer and the tensor it moves for each name; names with equal arguments share a group."""

    def __init__(self, rule):
        self.constructor = RULES[rule] if isinstance(rule, str) else rule
        self.optimizer = None
        self.tensors = {}
        self.arguments = {}
        self.groups = {}
        self.together = rule in TOGETHER if isinstance(rule, str) else False
        self.kernel = FUSED.get(rule) if isinstance(rule, str) else None
        # What torch wraps around a step, for profilers and its compiler, costs more than the step of a few small tensors.
        self.bare_step = inspect.unwrap(self.constructor.step) if isinstance(rule, str) else None

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
        self.arguments[name] = arguments
        if self.kernel is not None and _is_plain(tensor):
            arguments = {**arguments, "fused": True}
        key = _key(arguments)
        if self.optimizer is None or self.together:
            self.optimizer = self.constructor(list(self.tensors.values()), **arguments)
            self.groups = {key: self.optimizer.param_groups[0]}
        elif key in self.groups:
            self.groups[key]["params"].append(tensor)
        else:
            self.optimizer.add_param_group({"params": [tensor], **arguments})
            self.groups[key] = self.optimizer.param_groups[-1]

    def regroup(self, arguments):
        """Let the names in ``arguments`` go on with these, as a schedule asks."""
        changed = {name for name, new in arguments.items() if new is not self.arguments[name] and new != self.arguments[name]}
        if not changed:
            return
        before = {id(tensor): group for group in self.optimizer.param_groups for tensor in group["params"]}
        self.arguments.update({name: arguments[name] for name in changed})
        self.groups = {}
        for name, tensor in self.tensors.items():
            own = before[id(tensor)]
            arguments = {**self.arguments[name], **({"fused": True} if own.get("fused") else {})}
            key = _key(arguments)
            if key not in self.groups:
                self.groups[key] = {**own, **arguments, "params": []}
            self.groups[key]["params"].append(tensor)
        self.optimizer.param_groups[:] = list(self.groups.values())

    def move(self):
        """Move the tensors that have a gradient."""
        if self.optimizer is None:
            return
        if self.bare_step is None:
            self.optimizer.step()
            return
        for group in self.optimizer.param_groups:
            if group.get("fused"):
                self._make_plain(group)
        with torch.no_grad(), threads_that_pay(self.tensors):
            ready = [self._kernel_arguments(group) for group in self.optimizer.param_groups]
            if None in ready:
                self.bare_step(self.optimizer)
                return
            for tensors, options in ready:
                self.kernel(*tensors, **options)

    def _kernel_arguments(self, group):
        """Return what the kernel of a group takes, ``None`` where torch has to prepare it, which takes twice as long."""
        if not group.get("fused"):
            return None
        tensors = [tensor for tensor in group["params"] if tensor.grad is not None]
        gradients = [tensor.grad for tensor in tensors]
        kept = [self.optimizer.state.get(tensor) for tensor in tensors]
        if not all(kept) or len({(gradient.dtype, gradient.layout) for gradient in gradients}) != 1:
            return None
        averages, squares, steps = ([own[moment] for own in kept] for moment in MOMENTS)
        largest = [own["max_exp_avg_sq"] for own in kept] if group["amsgrad"] else []
        beta1, beta2 = group["betas"]
        options = {name: group[name] for name in ("lr", "weight_decay", "eps", "amsgrad", "maximize")}
        arrays = (tensors, gradients, averages, squares, largest, steps)
        return arrays, {**options, "beta1": beta1, "beta2": beta2, "fused": True, "foreach": False}

    @staticmethod
    def _make_plain(group):
        """Lay out gradients like their tensors, which torch's fused kernel takes for granted and does not check."""
        if not all(tensor.is_contiguous() for tensor in group["params"]):
            group["fused"] = False
            return
        for tensor in group["params"]:
            if tensor.grad is not None and not tensor.grad.is_sparse and not tensor.grad.is_contiguous():
                tensor.grad = tensor.grad.contiguous()


def _is_plain(tensor):
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64) and tensor.is_contiguous()


def _key(arguments):
    return repr(sorted(arguments.items()))


def _trainable(tensor):
    return tensor.is_leaf and tensor.requires_grad


def _swap(optimizer, old, new):
    for group in optimizer.param_groups:
        group["params"] = [new if tensor is old else tensor for tensor in group["params"]]
    if isinstance(optimizer, torch.optim.LBFGS):
        optimizer._params = optimizer.param_groups[0]["params"]
    if old in optimizer.state:
        optimizer.state[new] = optimizer.state.pop(old)


def adopt(value):
    """Return ``value`` if it constructs a torch optimizer (a class or a partial of one), else ``None``.

    :raises InferenceError: for an L-BFGS, which calls the loss several times a step.
    """
    constructor = value.func if isinstance(value, functools.partial) else value
    if not inspect.isclass(constructor) or not issubclass(constructor, torch.optim.Optimizer):
        return None
    if issubclass(constructor, torch.optim.LBFGS):
        raise InferenceError(
            "torch.optim.LBFGS evaluates the loss several times a step; expected an optimizer that needs one gradient a step; "
            "try ppl.optim.LBFGS, which takes one iteration a step"
        )
    return value


def adopt_schedule(value):
    """Return the name of ``value`` if it is a class of torch.optim.lr_scheduler, else ``None``."""
    owned = inspect.isclass(value) and value.__module__ == "torch.optim.lr_scheduler"
    return value.__name__ if owned else None


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
    state.regroup({name: arguments[name] for name in params})
    idle = {name: tensor.grad for name, tensor in state.tensors.items() if name not in params}
    for name in idle:
        state.tensors[name].grad = None
    state.move()
    new_params = {}
    for name, param in params.items():
        tensor = state.tensors[name]
        tensor.grad = None
        new_params[name] = tensor if tensor is param else tensor.detach().clone()
    return new_params, state


def export(state):
    """Return the state as ``{param: {entry: number or numpy array}}``."""
    if state.together:
        return {JOINT: _packed(state.optimizer.state.get(state.optimizer.param_groups[0]["params"][0], {}))}
    exported = {}
    for name, tensor in state.tensors.items():
        own = state.optimizer.state.get(tensor, {})
        exported[name] = {key: _plain(value) for key, value in own.items() if value is not None}
    return exported


def _plain(value):
    return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else value


def _packed(own):
    """Return the state of L-BFGS with each list of vectors as one array; what a step only scribbles on is left out."""
    packed = {}
    for key, value in own.items():
        if isinstance(value, list) and key != "al":
            packed[key] = _plain(torch.stack(value)) if value else []
        elif key not in ("al", "prev_loss"):
            packed[key] = _plain(value)
    return packed


def _unpacked(own, size, device):
    """Return what :func:`_packed` made of it, or ``None`` if it does not fit a vector of ``size`` elements."""
    expected = {"func_evals", "n_iter", "d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad"}
    if not own:
        return {}
    if set(own) != expected:
        return None
    state = {
        key: torch.as_tensor(value, device=device).clone() if hasattr(value, "shape") else value for key, value in own.items()
    }
    vectors = [state["d"], state["prev_flat_grad"], *state["old_dirs"], *state["old_stps"]]
    if any(not isinstance(vector, torch.Tensor) or vector.shape != (size,) for vector in vectors):
        return None
    return {**state, **{key: list(state[key]) for key in ("old_dirs", "old_stps", "ro")}, "prev_loss": 0.0}


def restore(rule, exported, params, arguments):
    """Return the state that :func:`export` described, for ``params``.

    :raises InferenceError: if an entry's shape does not fit the parameter.
    """
    state = init(rule, params, arguments)
    if state.together:
        _restore_together(state, exported.get(JOINT, {}))
        return state
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


def _restore_together(state, own):
    tensors = state.optimizer.param_groups[0]["params"]
    size = sum(tensor.numel() for tensor in tensors)
    restored = _unpacked(own, size, tensors[0].device)
    if restored is None:
        raise InferenceError(
            f"optimizer state of params {sorted(state.tensors)} does not fit: expected vectors of {size} elements, "
            f"received entries {sorted(own)}; try the optimizer and model that saved it"
        )
    if restored:
        state.optimizer.state[tensors[0]] = restored


def merge(state, more):
    """Return ``state`` with the parameters of ``more``, a state of others."""
    for name, tensor in more.tensors.items():
        state.track(name, tensor, more.arguments[name])
        if tensor in more.optimizer.state:
            state.optimizer.state[state.tensors[name]] = more.optimizer.state[tensor]
    return state


@torch.no_grad()
def assign(params, values):
    """Return ``params`` after each has taken its value in place."""
    for name, param in params.items():
        param.copy_(values[name])
    return dict(params)


def gradients_of(loss, arrays, differentiable):
    """Return the derivatives of the tensor ``loss`` by each of ``arrays``; zeros where it does not depend on one.

    :param differentiable: whether they can be differentiated again.
    :raises InferenceError: if the loss is not a scalar that was computed from one of the arrays.
    """
    if not isinstance(loss, torch.Tensor) or loss.shape != () or not loss.requires_grad:
        shown = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise InferenceError(
            f"the loss must be a scalar tensor computed from parameters that require gradients, received {shown}; "
            "try params[name].requires_grad_() before, or a function of the parameters"
        )
    found = torch.autograd.grad(
        loss, arrays, create_graph=differentiable, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return list(found)
