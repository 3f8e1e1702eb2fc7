"""Neural network modules of the torch backend: nothing here is native yet, a ``torch.nn.Module`` is used as it is."""
