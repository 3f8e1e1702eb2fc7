"""What a backend is: one frozen value that names the modules implementing the contract over one array library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

PARTS = (
    "ops",
    "special",
    "linalg",
    "random",
    "autodiff",
    "compile",
    "control",
    "distributions",
    "optim",
    "infer",
    "nn",
)


@dataclass(frozen=True, eq=False, repr=False)
class Backend:
    """One array library behind the contract of :mod:`ppl.ops`.

    :param name: the name that ``pyro_backend(name)`` takes.
    :param library: the import name of the array library.
    :param gaps: feature to reason, for what the library cannot do; it drives the runtime error, the strict xfail of
        the conformance suite and the support table.

    The other fields are modules, one a part of the contract, each with the functions that the module of the same
    name in :mod:`ppl.ops` declares (``distributions``, ``optim``, ``infer`` and ``nn`` hold native classes and drivers).
    Optional are

    :param elimination: a module whose ``eliminate`` sums out discrete variables in place of :mod:`ppl.ops.elimination`.
    :param beneath: the :attr:`address` of the backend that a :class:`Layer` was laid over, or ``""``.
    """

    name: str
    library: str
    ops: ModuleType
    special: ModuleType
    linalg: ModuleType
    random: ModuleType
    autodiff: ModuleType
    compile: ModuleType
    control: ModuleType
    distributions: ModuleType
    optim: ModuleType
    infer: ModuleType
    nn: ModuleType
    gaps: Mapping[str, str] = field(default_factory=dict)
    elimination: ModuleType | None = None
    beneath: str = ""

    @property
    def address(self) -> str:
        """What finds this backend in another process: its name and, for one over another backend, that one's too."""
        return f"{self.name}:{self.beneath}" if self.beneath else self.name

    def __repr__(self) -> str:
        return f"Backend({self.address!r})"


@dataclass(frozen=True)
class Layer:
    """A backend over another one: it keeps the arrays of the backend that is active where it is entered.

    :param name: the name that ``pyro_backend(name)`` takes; ``name:other`` lays it over the backend ``other``.
    :param over: called with the backend beneath, it returns the backend to use, of name ``name`` and with ``beneath`` set.
    """

    name: str
    over: Callable[[Backend], Backend]
