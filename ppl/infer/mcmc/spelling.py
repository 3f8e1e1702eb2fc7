"""Arguments that Pyro and NumPyro spell differently: one table, both spellings accepted."""

from __future__ import annotations

from typing import Any

from ppl.errors import InferenceError

CANONICAL = {
    "num_warmup": "warmup_steps",
    "dense_mass": "full_mass",
    "inverse_mass_matrix": "initial_inverse_mass",
    "init_fn": "init_strategy",
}
WITHOUT_EFFECT = {
    "jit_compile": "everything that repeats is compiled",
    "jit_options": "everything that repeats is compiled",
    "ignore_jit_warnings": "no such warnings are given",
    "forward_mode_differentiation": "gradients are reverse mode",
    "mp_context": "processes are always spawned",
}


def resolve(where: str, given: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return ``given`` with the other spellings in ``extra`` moved to their names.

    :param where: the class, for the message.
    :param given: arguments by their own names; ``None`` means not given.
    :raises InferenceError: for an unknown argument, or one given in both spellings.
    """
    resolved = dict(given)
    for name, value in extra.items():
        if name in WITHOUT_EFFECT:
            continue
        own = CANONICAL.get(name)
        if own is None or own not in given:
            known = sorted([*given, *(other for other, ours in CANONICAL.items() if ours in given)])
            raise InferenceError(f"{where} got an unknown argument {name!r}; expected one of {', '.join(known)}")
        if resolved[own] is not None:
            raise InferenceError(f"{where} got both {own!r} and {name!r}, which are two spellings of one argument; give one")
        resolved[own] = value
    return resolved
