"""The file of a param store: safetensors with a JSON header that names format, schema, constraints and devices."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

from ppl import constraints, ops
from ppl.errors import ParamError
from ppl.params.tensor_file import checksum, read_arrays, write_arrays

FORMAT = "ppl.param_store"
SCHEMA = 1
_KEYS = {"format", "schema", "constraints", "devices", "sha256"}


def describe(name: str, constraint: Any, to_numpy: Callable[[Any], Any]) -> Any:
    """Return a JSON value from which :func:`restore` makes an equal constraint.

    :raises ParamError: if the constraint is not one of :mod:`ppl.constraints`.
    """
    name_of_constraint = getattr(constraint, "name", None)
    if name_of_constraint and getattr(constraints, name_of_constraint, None) is constraint:
        return name_of_constraint
    cls = type(constraint)
    if getattr(constraints, cls.__name__, None) is not cls:
        raise ParamError(
            f"the constraint {constraint!r} of parameter {name!r} cannot be written to a file; expected one of ppl.constraints"
        )
    arguments: dict[str, Any] = {}
    for key in inspect.signature(cls).parameters:
        arguments[key] = _described(name, getattr(constraint, key), to_numpy)
    return {"class": cls.__name__, "arguments": arguments}


def _described(name: str, value: Any, to_numpy: Callable[[Any], Any]) -> Any:
    if isinstance(value, constraints.Constraint):
        return {"constraint": describe(name, value, to_numpy)}
    if isinstance(value, tuple):
        return {"sequence": [_described(name, part, to_numpy) for part in value]}
    return value if isinstance(value, (bool, int, float)) else to_numpy(value).tolist()


def restore(name: str, description: Any) -> Any:
    """Return the constraint of a description.

    :raises ParamError: if there is no such constraint.
    """
    try:
        if isinstance(description, str):
            found = getattr(constraints, description)
            if isinstance(found, constraints.Constraint):
                return found
        else:
            cls = getattr(constraints, description["class"])
            if isinstance(cls, type) and issubclass(cls, constraints.Constraint):
                return cls(**{key: _argument(name, value) for key, value in description["arguments"].items()})
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise ParamError(f"parameter {name!r} has the unknown constraint {description!r}; expected one of ppl.constraints")


def _argument(name: str, value: Any) -> Any:
    if isinstance(value, dict) and "sequence" in value:
        return tuple(_argument(name, part) for part in value["sequence"])
    if isinstance(value, dict):
        return restore(name, value["constraint"])
    return ops.array(value) if isinstance(value, list) else value


def write(
    filename: str | PathLike[str], arrays: Mapping[str, Any], header: Mapping[str, Any], devices: Mapping[str, str]
) -> None:
    """Write a file, whole or not at all."""
    metadata = {
        "format": FORMAT,
        "schema": str(SCHEMA),
        "constraints": json.dumps(header),
        "devices": json.dumps(devices),
    }
    metadata["sha256"] = checksum(arrays, metadata)
    write_arrays(filename, arrays, metadata)


def read(filename: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Return arrays, descriptions of constraints, and devices, each by parameter name.

    :raises ParamError: if the file is missing, damaged, not a param store, or of a newer schema.
    """
    path = os.fspath(filename)
    metadata, arrays = read_arrays(
        path,
        ParamError(f"there is no param file {path!r}"),
        lambda error: ParamError(
            f"{path!r} is not a readable param file: {error}; expected a file written by ParamStoreDict.save"
        ),
    )
    if metadata.get("format") != FORMAT or not metadata.keys() >= _KEYS:
        raise ParamError(
            f"{path!r} is not a param file: its header is that of another program; expected one of ParamStoreDict.save"
        )
    try:
        schema = int(metadata["schema"])
        header, devices = json.loads(metadata["constraints"]), json.loads(metadata["devices"])
        complete = set(header) == set(devices) == set(arrays)
    except (ValueError, TypeError) as error:
        raise ParamError(f"the header of {path!r} is damaged: {error}") from error
    if schema > SCHEMA:
        raise ParamError(
            f"{path!r} has schema {schema}, newer than {SCHEMA}, the newest this version reads; try to update ppl-generic"
        )
    if not complete:
        raise ParamError(f"{path!r} is damaged: its header and its arrays name different parameters")
    if checksum(arrays, {key: metadata[key] for key in _KEYS - {"sha256"}}) != metadata["sha256"]:
        raise ParamError(f"{path!r} is damaged: its checksum is not that of its contents; try another copy of the file")
    return arrays, header, devices
