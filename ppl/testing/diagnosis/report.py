"""What a check of a model found, and how it prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Fault(NamedTuple):
    """One thing that is wrong with a model or with a backend.

    :param site: name of the site where it shows first.
    :param check: what was compared.
    :param backends: the backends that are wrong as far as anyone can tell, or on which it shows.
    :param message: what was found, what was expected and who says so.
    """

    site: str
    check: str
    backends: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        where = f" on {', '.join(self.backends)}" if self.backends else ""
        site = f"site {self.site!r}" if self.site else "before any site"
        return f"{site}{where}, {self.check}: {self.message}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


@dataclass(frozen=True)
class CheckReport:
    """The outcome of :func:`ppl.check_model`.

    :param backends: the names of the backends that ran the model.
    :param sites: the names of the sites, in the order of the model.
    :param faults: what is wrong, in the order of the sites.
    :param rows: the cells of the printed table, its head first.
    :param notes: what could not be checked, and what may explain the faults.
    """

    backends: tuple[str, ...]
    sites: tuple[str, ...]
    faults: tuple[Fault, ...]
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    @property
    def first(self) -> Fault | None:
        """The fault at the first site that has one."""
        return self.faults[0] if self.faults else None

    def __str__(self) -> str:
        verdict = "no fault" if self.ok else "1 FAULT" if len(self.faults) == 1 else f"{len(self.faults)} FAULTS"
        head = f"{len(self.sites)} sites on {', '.join(self.backends) or 'no backend'}: {verdict}"
        lines = [head, *(table(self.rows) if len(self.rows) > 1 else [])]
        if self.first is not None:
            lines.append(f"first: {self.first}")
            lines += [f"also: {fault}" for fault in self.faults[1:]]
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True)
class DebugReport:
    """The outcome of :func:`ppl.debug`.

    :param site: the first site that is wrong, ``None`` if all are right.
    :param reason: what is wrong with it.
    :param sites: the names of the sites that were reached, in order.
    :param rows: the cells of the printed table, its head first.
    :param details: the distribution's parameters at the first wrong site, and the error of the run.
    """

    site: str | None
    reason: str
    sites: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    details: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether every site is right."""
        return not self.reason

    def __str__(self) -> str:
        lines = table(self.rows) if len(self.rows) > 1 else ["no site was reached"]
        if self.ok:
            lines.append("every site is finite, in its support and of the shape of its plates")
        else:
            lines.append(f"first: {f'site {self.site!r}: ' if self.site is not None else ''}{self.reason}")
        return "\n".join([*lines, *self.details])
