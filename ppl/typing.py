"""Types shared by the whole library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

Shape: TypeAlias = tuple[int, ...]
Tree: TypeAlias = Any
Message: TypeAlias = dict[str, Any]
Model: TypeAlias = Callable[..., Any]
Values: TypeAlias = Mapping[str, Any]


@runtime_checkable
class Array(Protocol):
    """What the three libraries' arrays have in common: ``torch.Tensor``, ``jax.Array``, ``numpy.ndarray``."""

    @property
    def shape(self) -> Shape: ...

    @property
    def dtype(self) -> Any: ...

    @property
    def ndim(self) -> int: ...

    def __add__(self, other: Any) -> Any: ...

    def __mul__(self, other: Any) -> Any: ...

    def __getitem__(self, index: Any) -> Any: ...
