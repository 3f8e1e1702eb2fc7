"""Neural network modules of the torch backend: how the parameters of a ``torch.nn.Module`` are read and replaced."""

import copy

import torch


def is_module(module):
    return isinstance(module, torch.nn.Module)


def parameters(module):
    """Return dotted name to tensor of the parameters that are learned."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def with_parameters(module, values):
    """Return a copy of ``module`` that uses ``values``; buffers are shared with the original."""
    return _put(_copied(module, {}), values)


def use_parameters(module, values, overwrite):
    """Make ``module`` itself use ``values``; with ``overwrite`` whoever else holds its old tensors sees them too."""
    if overwrite:
        with torch.no_grad():
            for name, old in module.named_parameters():
                if name in values and old is not values[name]:
                    old.copy_(values[name])
    return _put(module, values)


def _copied(module, known):
    # Not deepcopy: tensors inside a gradient's graph cannot be copied, and a module may stand at two places.
    if module is None:
        return None
    if id(module) not in known:
        fresh = known[id(module)] = copy.copy(module)
        fresh.__dict__["_parameters"] = dict(module._parameters)
        fresh.__dict__["_buffers"] = dict(module._buffers)
        fresh.__dict__["_modules"] = {name: _copied(child, known) for name, child in module._modules.items()}
    return known[id(module)]


def _put(module, values):
    # By identity, so that a tensor shared between two places stays shared; past ``setattr``, which takes nn.Parameter only.
    replaced = {id(old): values[name] for name, old in module.named_parameters() if name in values}
    for part in module.modules():
        for name, old in part._parameters.items():
            if id(old) in replaced:
                part._parameters[name] = replaced[id(old)]
    return module
