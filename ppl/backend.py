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
CONTRACT: dict[str, set[str]] = {
    "optim": {"STEP", "RULES", "TOGETHER", "adopt", "adopt_schedule", "init", "update", "export", "restore", "merge", "assign"},
    "infer": {"COMPILES_AHEAD", "loop", "merged", "evaluate_shapes", "quiet", "over_chains", "map_rows", "entropy",
              "sampling_key"},
    "nn": {"is_module", "parameters", "with_parameters", "use_parameters"},
}  # fmt: skip
"""Part to the names that its module holds; the declarations of :mod:`ppl.ops` add theirs."""


class Gap(str):
    """Why a backend lacks a feature, and since when.

    :param reason: the sentence that the user reads, with what to try.
    :param since: the first version that lacks it, such as ``"ppl 0.1"`` or ``"torch 2.6"``.

    >>> from ppl.backend import Gap
    >>> gap = Gap("the library dropped it; try another one", since="array_library 3.0")
    >>> gap.since
    'array_library 3.0'
    """

    since: str

    def __new__(cls, reason: str, since: str = "") -> Gap:
        gap = super().__new__(cls, reason)
        gap.since = since
        return gap


@dataclass(frozen=True, eq=False, repr=False)
class Backend:
    """One array library behind the contract of :mod:`ppl.ops`.

    :param name: the name that ``pyro_backend(name)`` takes.
    :param library: the import name of the array library.
    :param gaps: feature to reason, for what the library cannot do; it drives the runtime error, the strict xfail of
        the conformance suite and the support table. A function of the contract may be absent under its name here. A reason
        is a sentence, or a :class:`Gap` that says since when too.

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
