"""Arrays that know the name of each of their axes, for sums and products over plates and enumerated variables.

A site's batch axes have positions: ``dim=-2`` may be one plate at one site and another variable elsewhere, since enumeration
uses a position again once nothing near needs it. A symbol stands for one plate or one variable throughout a trace, so that
two packed arrays can be multiplied and summed by ``ops.einsum`` whatever their positions were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ppl import ops
from ppl.distributions.score_parts import ScoreParts
from ppl.errors import HandlerError, ShapeError
from ppl.typing import Message

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Beyond the letters of ASCII: characters that einsum routines take for labels, none of them a surrogate.
AFTER_THE_ALPHABET = 192 - len(ALPHABET)


class Packed(NamedTuple):
    """An array and one symbol for each of its axes.

    :param array: an array of the active backend.
    :param dims: its symbols, one character an axis.

    >>> from ppl import ops
    >>> from ppl.handlers import packed
    >>> table = packed.pack(ops.array([[[1.0, 2.0]], [[3.0, 4.0]]]), {-1: "a", -3: "b"})
    >>> table.dims, tuple(table.array.shape)
    ('ba', (2, 2))
    >>> [float(total) for total in ops.einsum(f"{table.dims}->a", table.array)]
    [4.0, 6.0]
    """

    array: Any
    dims: str


def symbol(index: int) -> str:
    """Return the symbol of an index: the letters first, then other characters.

    >>> from ppl.handlers import packed
    >>> packed.symbol(0), packed.symbol(3)
    ('a', 'd')
    """
    return ALPHABET[index] if index < len(ALPHABET) else chr(AFTER_THE_ALPHABET + index)


def pack(value: Any, dim_to_symbol: Mapping[int, str]) -> Any:
    """Return ``value`` as a :class:`Packed` array whose axes are those that are longer than one.

    :param value: an array; numbers, bools and ``None`` have no axes and are returned as they are.
    :param dim_to_symbol: the symbol of each position, counted from the right.
    :raises ShapeError: if an axis that is longer than one has no symbol.

    An axis of length one is left out, also where its position has a symbol: a product broadcasts over it all the same.
    """
    if not ops.is_array(value):
        return value
    shape = tuple(value.shape)
    kept = [axis - len(shape) for axis, size in enumerate(shape) if size != 1]
    unnamed = [dim for dim in kept if dim not in dim_to_symbol]
    if unnamed:
        raise ShapeError(
            f"an array of shape {shape} cannot be packed: its dimension {unnamed[0]} belongs to no plate and to no enumerated "
            f"variable; expected length 1 there, got {shape[unnamed[0]]}; try ppl.plate(..., dim={unnamed[0]}) or .to_event(n)"
        )
    array = value if len(kept) == len(shape) else ops.reshape(value, tuple(shape[dim] for dim in kept))
    return Packed(array, "".join(dim_to_symbol[dim] for dim in kept))


def unpack(value: Any, symbol_to_dim: Mapping[str, int]) -> Any:
    """Return the array of a :class:`Packed` with each axis at the position of its symbol, and length one elsewhere.

    :param value: a packed array; anything else is returned as it is.
    :param symbol_to_dim: the position of each symbol, counted from the right.
    :raises HandlerError: if a symbol has no position or shares it with another.

    >>> from ppl import ops
    >>> from ppl.handlers import packed
    >>> tuple(packed.unpack(packed.Packed(ops.ones((2, 5)), "ab"), {"a": -1, "b": -3}).shape)
    (5, 1, 2)
    """
    if not isinstance(value, Packed):
        return value
    missing = [name for name in value.dims if name not in symbol_to_dim]
    places = {} if missing else {symbol_to_dim[name]: axis for axis, name in enumerate(value.dims)}
    if len(places) < len(value.dims):
        raise HandlerError(
            f"an array with symbols {value.dims!r} cannot be unpacked: expected one position for each symbol, got "
            f"{dict(symbol_to_dim)}; try the symbol_to_dim of the trace that was packed"
        )
    order = sorted(places)
    array = value.array if not order else ops.permute_dims(value.array, tuple(places[dim] for dim in order))
    shape = [1] * -min(order, default=0)
    for dim, size in zip(order, tuple(array.shape), strict=True):
        shape[dim] = size
    return ops.reshape(array, tuple(shape))


class Symbols(dict[str, str]):
    """Symbols of plates by name, which remember those of the enumerated variables, so that two traces can share both.

    :param plates: symbols of plates.
    :param variables: symbols of variables by the identity that the enumerating handler gave them; by default those that
        ``plates`` remembers, if it is such a dict.
    :raises HandlerError: if two of them are the same.
    """

    def __init__(self, plates: Mapping[str, str] | None = None, variables: Mapping[Any, str] | None = None) -> None:
        super().__init__(plates or {})
        if variables is None and isinstance(plates, Symbols):
            variables = plates.variables
        self.variables: dict[Any, str] = dict(variables or {})
        taken = [*self.values(), *self.variables.values()]
        if len(set(taken)) < len(taken):
            raise HandlerError(
                f"two plates or variables have one symbol: {dict(self)}, {self.variables}; expected distinct symbols; try "
                "a, c, e and so on for plates"
            )

    def of_plate(self, name: str) -> str:
        """Return the symbol of a plate; a new plate gets the next free one of even index."""
        if name not in self:
            self[name] = self._free(2 * len(self))
        return self[name]

    def of_variable(self, identity: Any) -> str:
        """Return the symbol of an enumerated variable; a new one gets the next free symbol of odd index."""
        if identity not in self.variables:
            self.variables[identity] = self._free(1 + 2 * len(self.variables))
        return self.variables[identity]

    def _free(self, index: int) -> str:
        while symbol(index) in self.values() or symbol(index) in self.variables.values():
            index += 2
        return symbol(index)


def symbolize(sites: Iterable[Message], plate_to_symbol: Mapping[str, str] | None) -> tuple[Symbols, dict[str, int]]:
    """Give each sample site ``infer["_dim_to_symbol"]`` and return all symbols and the position of each.

    :param sites: nodes of a trace, in the order of the run.
    :param plate_to_symbol: symbols that plates have already; from another trace, those of its variables come along.
    :raises HandlerError: if two of the given symbols are the same.

    The handler that enumerates writes ``infer["_enumerate_dim"]``, the position of an enumerated site's values, and
    ``infer["_dim_to_id"]``, the identity of the variable at each position of any site. Without the latter a position belongs
    to the latest site before that was enumerated there.
    """
    symbols = Symbols(plate_to_symbol)
    positions: dict[str, int] = {}
    latest: dict[int, Any] = {}
    for site in sites:
        if site["type"] != "sample":
            continue
        names = {frame.dim: symbols.of_plate(frame.name) for frame in site["cond_indep_stack"] if frame.dim is not None}
        infer = site["infer"]
        dim = infer.get("_enumerate_dim")
        if dim is not None:
            latest[dim] = site["name"]
        for place, identity in infer.get("_dim_to_id", latest).items():
            names[place] = symbols.of_variable(identity)
        positions.update((name, place) for place, name in names.items())
        # The entries of a replayed site are shared with the earlier trace, so they are replaced, not changed.
        site["infer"] = {**infer, "_dim_to_symbol": names}
        if dim is not None:
            site["infer"]["_enumerate_symbol"] = names[dim]
    return symbols, positions


def pack_site(site: Message) -> None:
    """Add ``packed`` to a sample site: what it has of ``log_prob``, ``unscaled_log_prob``, ``score_parts``, and its ``mask``.

    :raises ShapeError: if one of them has an axis without a symbol; the message names the site.
    """
    names = site["infer"]["_dim_to_symbol"]
    try:
        entries: dict[str, Any] = {
            key: pack(site[key], names) for key in ("mask", "log_prob", "unscaled_log_prob") if key in site
        }
        if "score_parts" in site:
            entries["score_parts"] = ScoreParts(*(pack(part, names) for part in site["score_parts"]))
    except ShapeError as error:
        raise ShapeError(f"site {site['name']!r} does not fit its plates: {error}") from error
    site["packed"] = entries
