"""Neural network modules of the torch backend: how the parameters of a ``torch.nn.Module`` are read and replaced."""

import torch

from ppl.errors import ParamError


def is_module(module):
    return isinstance(module, torch.nn.Module)


def parameters(module):
    """Return dotted name to tensor of the parameters that are learned."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def with_parameters(module, values):
    """Return a copy of ``module`` that uses ``values``; buffers are shared with the original."""
    return _copied(module, _replacements(module, values), {})


def use_parameters(module, values, taken):
    """Return a module that uses ``values``: ``module`` itself if it holds them once it has taken those named in ``taken``."""
    _put(module, _replacements(module, {name: values[name] for name in taken}))
    standing = parameters(module)
    held = all(standing.get(name) is value for name, value in values.items())
    return module if held else with_parameters(module, values)


def _replacements(module, values):
    # By identity, so that a tensor shared between two places stays shared.
    return {id(old): values[name] for name, old in module.named_parameters() if name in values}


def _copied(module, replaced, known):
    # Not deepcopy: tensors inside a gradient's graph cannot be copied.
    if module is None:
        return None
    # What torch.compile returns is bound to the module that it was given, which can be copied.
    module = getattr(module, "_orig_mod", module)
    if id(module) not in known:
        fresh = known[id(module)] = _shell(module)
        fresh.__dict__["_parameters"] = dict(module._parameters)
        fresh.__dict__["_buffers"] = dict(module._buffers)
        fresh.__dict__["_modules"] = {name: _copied(child, replaced, known) for name, child in module._modules.items()}
        _replace_own(fresh, replaced)
    return known[id(module)]


def _shell(module):
    if isinstance(module, torch.jit.ScriptModule):
        raise ParamError(
            f"{type(module).__name__} holds its parameters in compiled code, so that no copy can use other values; expected a "
            "plain torch.nn.Module; try the module as it was before torch.jit"
        )
    # Not copy.copy, which parametrized modules refuse.
    fresh = object.__new__(type(module))
    fresh.__dict__.update(module.__dict__)
    return fresh


def _put(module, replaced):
    if replaced:
        for part in module.modules():
            _replace_own(part, replaced)


def _replace_own(part, replaced):
    # Past ``setattr``, which takes nn.Parameter only.
    for name, old in part._parameters.items():
        if id(old) in replaced:
            part._parameters[name] = replaced[id(old)]
    # A module may hold its parameters in a list beside.
    for name, held in part.__dict__.items():
        if type(held) is list and any(id(old) in replaced for old in held):
            part.__dict__[name] = [replaced.get(id(old), old) for old in held]
