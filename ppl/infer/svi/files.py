"""A fit on disk: params, optimizer, source of randomness, losses and counts in one safetensors file with a JSON header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from os import PathLike
from typing import Any

from ppl.errors import CheckpointError
from ppl.params.tensor_file import checksum, read_arrays, write_arrays

FORMAT = "ppl.svi"
SCHEMA = 1
_KEYS = {"format", "schema", "content", "sha256"}


def write(filename: str | PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a tree of dicts, lists, numbers, strings and host arrays, whole or not at all."""
    arrays: dict[str, Any] = {}
    text = json.dumps(_encoded(content, arrays))
    metadata = {"format": FORMAT, "schema": str(SCHEMA), "content": text}
    metadata["sha256"] = checksum(arrays, metadata)
    write_arrays(filename, arrays, metadata)


def _encoded(value: Any, arrays: dict[str, Any]) -> Any:
    """Return ``value`` as JSON, its arrays put into ``arrays`` under names."""
    if hasattr(value, "dtype"):
        name = str(len(arrays))
        arrays[name] = value.__array__()
        return {"array": name}
    if isinstance(value, Mapping):
        return {"dict": {key: _encoded(part, arrays) for key, part in value.items()}}
    return [_encoded(part, arrays) for part in value] if isinstance(value, (list, tuple)) else value


def _decoded(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        if "array" in value:
            return arrays[value["array"]]
        return {key: _decoded(part, arrays) for key, part in value["dict"].items()}
    return [_decoded(part, arrays) for part in value] if isinstance(value, list) else value


def read(filename: str | PathLike[str]) -> dict[str, Any]:
    """Return what :func:`write` wrote.

    :raises CheckpointError: if the file is missing, damaged, of another program, or of a newer schema.
    """
    path = os.fspath(filename)
    metadata, arrays = read_arrays(
        path,
        CheckpointError(f"there is no file {path!r}; expected one that SVI.save wrote"),
        lambda error: CheckpointError(
            f"{path!r} is truncated or damaged: {error}; expected a file that SVI.save wrote; try another copy of it"
        ),
    )
    if metadata.get("format") != FORMAT or not metadata.keys() >= _KEYS:
        raise CheckpointError(f"{path!r} holds no fit; expected a file that SVI.save wrote")
    if metadata["schema"] != str(SCHEMA):
        raise CheckpointError(
            f"{path!r} has schema {metadata['schema']}, but this version of ppl-generic reads {SCHEMA}; try the one that wrote it"
        )
    if checksum(arrays, {key: metadata[key] for key in _KEYS - {"sha256"}}) != metadata["sha256"]:
        raise CheckpointError(f"{path!r} is damaged: its checksum is not that of its contents; try another copy of it")
    content: dict[str, Any] = _decoded(json.loads(metadata["content"]), arrays)
    return content


DIFFERENCES = {
    "backend": "is of backend {then!r}, but {now!r} is active; try with ppl.pyro_backend({then!r})",
    "dtype": "was written with default dtype {then!r}, but it is {now!r} here; try ppl.set_default_dtype({then!r})",
    "optimizer": "holds the state of optimizer {then!r}, but this fit has {now!r}; try the optimizer that it was saved with",
    "params": "is of another model: its params (name, unconstrained shape, constraint) are {then}, those here are {now}; "
    "try the model, guide and arguments that it was saved with",
}


def require_same(filename: str | PathLike[str], then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise if a file's ``about`` and that of the present fit differ.

    :raises CheckpointError: naming the first difference.
    """
    for key, sentence in DIFFERENCES.items():
        if then[key] != now[key]:
            raise CheckpointError(f"{os.fspath(filename)!r} {sentence.format(then=then[key], now=now[key])}")
