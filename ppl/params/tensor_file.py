"""Files of arrays with a header, in the safetensors format: how they are written, and their checksum."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

PARTIAL = ".ppl-"


def write_arrays(filename: str | PathLike[str], arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write host arrays and a header, whole or not at all."""
    # safetensors writes the memory of an array as it lies, whatever its strides say.
    write_whole(filename, save({name: array.copy(order="C") for name, array in arrays.items()}, metadata=dict(metadata)))


def read_arrays(
    filename: str | PathLike[str], missing: Exception, unreadable: Callable[[Exception], Exception]
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return header and host arrays of a file.

    :param missing: raised if there is none.
    :param unreadable: makes what is raised if it is damaged or no such file.
    """
    try:
        with safe_open(os.fspath(filename), framework="numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise missing from None
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise unreadable(error) from error


def write_whole(filename: str | PathLike[str], content: bytes) -> None:
    """Write a file so that after a crash there is the old one or the new one, never a part."""
    path = os.fspath(filename)
    folder = os.path.dirname(os.path.abspath(path))
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=PARTIAL)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if os.name == "posix":
        # The new name is an entry of the folder, which is written apart from the file.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def checksum(arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of everything that a file says: its header, then each array with name, dtype and shape."""
    digest = hashlib.sha256("".join(f"{key}={metadata[key]}\n" for key in sorted(metadata)).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
