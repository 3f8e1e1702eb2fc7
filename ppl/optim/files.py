"""The file of an optimizer's state: safetensors with a JSON header that names format, schema, rule and backend."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from os import PathLike
from typing import Any

from ppl.errors import InferenceError
from ppl.params.tensor_file import checksum, read_arrays, write_arrays

FORMAT = "ppl.optim"
SCHEMA = 1
_KEYS = {"format", "schema", "rule", "backend", "numbers", "sha256"}


def write(filename: str | PathLike[str], state: Mapping[str, Mapping[str, Any]], rule: str, backend: str) -> None:
    """Write ``{param: {entry: number, list of them, or numpy array}}``, whole or not at all."""
    arrays, numbers = {}, {}
    for name, own in state.items():
        numbers[name] = {entry: _as_json(value) for entry, value in own.items() if not hasattr(value, "shape")}
        arrays.update({json.dumps([name, entry]): value for entry, value in own.items() if hasattr(value, "shape")})
    metadata = {"format": FORMAT, "schema": str(SCHEMA), "rule": rule, "backend": backend, "numbers": json.dumps(numbers)}
    metadata["sha256"] = checksum(arrays, metadata)
    write_arrays(filename, arrays, metadata)


def _as_json(value: Any) -> Any:
    # JSON has no infinities, which the best loss so far may be.
    return value if not isinstance(value, float) or math.isfinite(value) else {"float": repr(value)}


def _from_json(value: Any) -> Any:
    return float(value["float"]) if isinstance(value, dict) else value


def read(filename: str | PathLike[str], rule: str, backend: str) -> dict[str, dict[str, Any]]:
    """Return the state in a file.

    :param rule: the optimizer that is to take it.
    :param backend: the backend that is to take it.
    :raises InferenceError: if the file is missing, damaged, of another program, of a newer schema, or of another optimizer or
        backend.
    """
    path = os.fspath(filename)
    metadata, arrays = read_arrays(
        path,
        InferenceError(f"there is no optimizer file {path!r}"),
        lambda error: InferenceError(
            f"{path!r} is not a readable optimizer file: {error}; expected a file that optim.save wrote"
        ),
    )
    if metadata.get("format") != FORMAT or not metadata.keys() >= _KEYS:
        raise InferenceError(f"{path!r} holds no optimizer state; expected a file that optim.save wrote")
    if metadata["schema"] != str(SCHEMA):
        raise InferenceError(f"{path!r} has schema {metadata['schema']}, expected {SCHEMA}; try to update ppl-generic")
    if checksum(arrays, {key: metadata[key] for key in _KEYS - {"sha256"}}) != metadata["sha256"]:
        raise InferenceError(f"{path!r} is damaged: its checksum is not that of its contents; try another copy of the file")
    for what, expected in (("rule", rule), ("backend", backend)):
        if metadata[what] != expected:
            noun = "optimizer" if what == "rule" else what
            raise InferenceError(
                f"{path!r} holds state of {noun} {metadata[what]!r}, expected {expected!r}; try the {noun} that saved it"
            )
    state = {
        name: {entry: _from_json(value) for entry, value in own.items()} for name, own in json.loads(metadata["numbers"]).items()
    }
    for key, array in arrays.items():
        name, entry = json.loads(key)
        state[name][entry] = array
    return state
