"""The base classes for distributions that a user writes over torch: ``TorchDistribution`` and ``TorchDistributionMixin``.

They live in the torch backend, which is loaded when one of the names is first asked for.
"""

from ppl import registry

NAMES = ("TorchDistribution", "TorchDistributionMixin")


def __getattr__(name):
    """Return a class of the torch backend.

    :raises BackendError: if torch is not installed.
    """
    if name in NAMES:
        return getattr(registry.load("torch").distributions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
