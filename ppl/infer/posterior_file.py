"""The file of a posterior: safetensors with a JSON header that names format and schema."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from os import PathLike
from typing import Any

from ppl.errors import InferenceError
from ppl.params.tensor_file import checksum, read_arrays, write_arrays

FORMAT = "ppl.posterior"
# Schema 2 added the checksum.
SCHEMA = 2
CHECKSUM = "sha256"
SECTIONS = ("samples", "fields")


def write(filename: str | PathLike[str], sections: Mapping[str, Mapping[str, Any]], header: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all.

    :param sections: host arrays by section and name.
    :param header: what JSON can hold.
    """
    arrays = {f"{section}/{name}": array for section, named in sections.items() for name, array in named.items()}
    metadata = {"format": FORMAT, "schema": str(SCHEMA), "header": json.dumps(header)}
    metadata[CHECKSUM] = checksum(arrays, metadata)
    write_arrays(filename, arrays, metadata)


def read(filename: str | PathLike[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the arrays by section and name, and the header.

    A file of schema 1 has no checksum and is read without one.

    :raises InferenceError: if the file is missing, damaged, not a posterior, or of a newer schema.
    """
    path = os.fspath(filename)
    metadata, arrays = read_arrays(
        path,
        InferenceError(f"there is no posterior file {path!r}; expected one written by Posterior.save"),
        lambda error: InferenceError(
            f"{path!r} is not a readable posterior file: {error}; expected one written by Posterior.save; try an older copy"
        ),
    )
    if metadata.get("format") != FORMAT:
        raise InferenceError(
            f"{path!r} is not a posterior file: its format is {metadata.get('format')!r}; expected one written by Posterior.save"
        )
    try:
        schema, header = int(metadata["schema"]), json.loads(metadata["header"])
    except (KeyError, ValueError) as error:
        raise InferenceError(f"the header of {path!r} is damaged: {error}; try an older copy of the file") from error
    if schema > SCHEMA:
        raise InferenceError(
            f"{path!r} has schema {schema}, newer than {SCHEMA}, the newest this version reads; try to update ppl-generic"
        )
    if schema > 1 or CHECKSUM in metadata:
        content = {key: value for key, value in metadata.items() if key != CHECKSUM}
        if checksum(arrays, content) != metadata.get(CHECKSUM):
            raise InferenceError(
                f"{path!r} is damaged: its checksum is not that of its contents; expected the file as Posterior.save wrote it; "
                "try another copy of the file"
            )
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for key, array in arrays.items():
        section, _, name = key.partition("/")
        if section not in sections:
            raise InferenceError(f"{path!r} is damaged: it holds the unknown array {key!r}; try an older copy of the file")
        sections[section][name] = array
    return sections, header
