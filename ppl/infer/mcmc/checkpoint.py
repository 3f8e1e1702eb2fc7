"""A run of chains on disk: written as it goes, read by the run that goes on with it.

A checkpoint is a folder. ``run.json`` says what was asked for and of what; each group of chains that advance together has a
folder with ``state.safetensors``, replaced as a whole, and files of rows that only grow: the draws, and what the window under
way has visited. The state names how many rows count, so that what a killed process wrote beyond them is dropped. Nothing is
pickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from ppl import ops, registry, tree
from ppl.errors import CheckpointError
from ppl.params.tensor_file import PARTIAL, write_arrays, write_whole

FORMAT = "ppl.mcmc"
SCHEMA = 1
RUN, STATE, DRAWS = "run.json", "state.safetensors", "draws.rows"
BLOCK_BYTES = 1 << 22


class Rows:
    """A file of rows of equal length: row ``i`` holds entry ``i`` of some host arrays, side by side.

    :param path: where it is; a file already there is overwritten unless :meth:`reopen` is called first.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.count = 0
        self.check = 0
        self.layout: list[list[Any]] = []
        self._file: Any = None

    def append(self, columns: Sequence[Any]) -> None:
        """Add ``n`` rows from arrays of ``n`` entries each."""
        count = len(columns[0])
        if self._file is None:
            self.layout = [[column.dtype.str, list(column.shape[1:])] for column in columns]
            self._file = open(self.path, "wb")
        if count:
            parts = [column.copy().reshape(count, -1).view("uint8") for column in columns]
            with registry.using("numpy"):
                content = memoryview(ops.concat(parts, axis=1)).cast("B")
            self._file.write(content)
            self.check = zlib.crc32(content, self.check)
            self.count += count

    def describe(self) -> dict[str, Any]:
        """Bring all rows to the disk and return what :meth:`reopen` needs."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
        return {"file": os.path.basename(self.path), "rows": self.count, "check": self.check, "layout": self.layout}

    def reopen(self, described: dict[str, Any]) -> None:
        """Go on after the rows that ``described`` counts.

        :raises CheckpointError: if there are not as many.
        """
        self.count, self.check, self.layout = described["rows"], described["check"], described["layout"]
        length = self.count * self._width()
        if not self.layout:
            return
        found = os.path.getsize(self.path) if os.path.exists(self.path) else 0
        if found < length:
            raise CheckpointError(
                f"the checkpoint file {self.path!r} is truncated: expected {length} bytes for {self.count} rows, found {found}; "
                "it cannot be continued; try a copy made before, or to run anew with another checkpoint="
            )
        self._file = open(self.path, "r+b")
        self._file.truncate(length)
        self._file.seek(length)

    def blocks(self) -> Iterator[list[Any]]:
        """Yield the arrays of the rows so far, some rows at a time.

        :raises CheckpointError: if they are not what was written.
        """
        width, check = self._width(), 0
        most = max(1, BLOCK_BYTES // max(width, 1))
        if not self.count:
            return
        with open(self.path, "rb") as file:
            for start in range(0, self.count, most):
                count = min(most, self.count - start)
                with registry.using("numpy"):
                    rows = ops.zeros((count, width), dtype="uint8")
                content = memoryview(rows).cast("B")
                file.readinto(content)
                check = zlib.crc32(content, check)
                yield self._columns(rows)
        if check != self.check:
            raise CheckpointError(
                f"the checkpoint file {self.path!r} is damaged: its check sum is {check:08x}, expected {self.check:08x}; "
                "it cannot be continued; try a copy made before, or to run anew with another checkpoint="
            )

    def _columns(self, rows: Any) -> list[Any]:
        columns, start = [], 0
        for (dtype, shape), width in zip(self.layout, self._widths(), strict=True):
            part = rows[:, start : start + width].copy().view(dtype)
            columns.append(part.reshape(len(rows), *shape))
            start += width
        return columns

    def _widths(self) -> list[int]:
        # The digits that end "<f8" count bytes.
        return [int(re.sub(r"\D", "", dtype)) * math.prod(shape) for dtype, shape in self.layout]

    def _width(self) -> int:
        return sum(self._widths())

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Saved(NamedTuple):
    """What a checkpoint holds of a group of chains: its state, what its window visited, and a way to read its draws."""

    state: dict[str, Any]
    visited: list[tuple[Any, Any]]
    draws: Callable[[], Iterator[list[Any]]]


class Checkpoint:
    """The files of one group of chains.

    :param folder: where they are; made if absent.
    :param seconds: how long after a commit the next one may come at the earliest.
    """

    def __init__(self, folder: str, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self._draws = Rows(os.path.join(folder, DRAWS))
        self._window: Rows | None = None
        self._pieces = 0
        self._num_windows = 0
        self._committed = time.monotonic()

    def load(self) -> Saved | None:
        """Return what was committed last, ``None`` if nothing was.

        :raises CheckpointError: if a file is damaged.
        """
        os.makedirs(self.folder, exist_ok=True)
        for name in os.listdir(self.folder):
            if name.startswith(PARTIAL):
                os.unlink(os.path.join(self.folder, name))
        path = os.path.join(self.folder, STATE)
        if not os.path.exists(path):
            return None
        content = _read_state(path)
        self._draws.reopen(content["draws"])
        visited: list[tuple[Any, Any]] = []
        self._num_windows = content["num_windows"]
        if content["window"]:
            self._window = Rows(os.path.join(self.folder, content["window"]["file"]))
            self._window.reopen(content["window"])
            visited = [(positions, gradients) for positions, gradients in self._window.blocks()]
            self._pieces = len(visited)
        return Saved(content["state"], visited, self._draws.blocks)

    def note(self, kept: Any, visited: list[tuple[Any, Any]]) -> None:
        """Append what a chunk brought: draws that are kept, and pieces that the window under way has visited."""
        if kept is not None:
            self._draws.append(kept)
        if not visited and self._window:
            self._window.close()
            self._window, self._pieces = None, 0
        for piece in visited[self._pieces :]:
            if self._window is None:
                self._num_windows += 1
                self._window = Rows(os.path.join(self.folder, f"window-{self._num_windows}.rows"))
            self._window.append(piece)
            self._pieces += 1

    def commit_if_due(self, describe: Callable[[], dict[str, Any]]) -> None:
        """Commit the state that ``describe()`` gives if the last commit is long enough ago."""
        if time.monotonic() - self._committed >= self.seconds:
            self.commit(describe())

    def commit(self, state: dict[str, Any]) -> None:
        """Make ``state`` and all rows so far what a later run goes on from."""
        window = self._window.describe() if self._window else None
        content = {"state": state, "draws": self._draws.describe(), "window": window, "num_windows": self._num_windows}
        arrays: dict[str, Any] = {}
        text = json.dumps(_encoded(content, arrays))
        metadata = {"format": FORMAT, "schema": str(SCHEMA), "content": text, "check": _check(text, arrays)}
        write_arrays(os.path.join(self.folder, STATE), arrays, metadata)
        for name in os.listdir(self.folder):
            if name.startswith("window-") and (window is None or name != window["file"]):
                os.unlink(os.path.join(self.folder, name))
        self._committed = time.monotonic()

    def close(self) -> None:
        """Let go of the files."""
        self._draws.close()
        if self._window:
            self._window.close()


def _encoded(value: Any, arrays: dict[str, Any]) -> Any:
    """Return ``value`` as JSON, its arrays put into ``arrays`` under names."""
    if hasattr(value, "dtype"):
        name = str(len(arrays))
        arrays[name] = value
        return {"array": name}
    if isinstance(value, dict):
        return {"dict": {key: _encoded(part, arrays) for key, part in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_encoded(part, arrays) for part in value]
    return value


def _decoded(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        if "array" in value:
            return arrays[value["array"]]
        return {key: _decoded(part, arrays) for key, part in value["dict"].items()}
    return [_decoded(part, arrays) for part in value] if isinstance(value, list) else value


def _check(text: str, arrays: dict[str, Any]) -> str:
    """Return the check sum of a state."""
    check = zlib.crc32(text.encode())
    for name in sorted(arrays):
        check = zlib.crc32(arrays[name].tobytes(), check)
    return f"{check:08x}"


def _read_state(path: str) -> dict[str, Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        _require_readable(path, metadata)
        if metadata["check"] != _check(metadata["content"], arrays):
            raise ValueError("its check sum is not that of its content")
        return _decoded(json.loads(metadata["content"]), arrays)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"the checkpoint file {path!r} is truncated or damaged: {error}; it cannot be continued; try a copy made before, or "
            "to run anew with another checkpoint="
        ) from error


def _require_readable(path: str, header: dict[str, Any]) -> None:
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path!r} is not the checkpoint of a run: expected the format {FORMAT!r}, got {header.get('format')!r}"
        )
    if int(header["schema"]) != SCHEMA:
        raise CheckpointError(
            f"{path!r} has schema {header['schema']}, but this version of ppl-generic reads {SCHEMA}; try the one that wrote it"
        )


class RunFolder:
    """The folder of a whole run.

    :param path: where it is.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = os.fspath(path)

    def begin(self, settings: dict[str, Any], fingerprint: dict[str, Any], overwrite: bool) -> None:
        """Make the folder and say what the run is.

        :param overwrite: whether another run that is there gives way.
        :raises CheckpointError: if there is one and it does not, or if there is something else.
        """
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise CheckpointError(f"checkpoint={self.path!r} is a file; expected a folder, or a path where one can be made")
        os.makedirs(self.path, exist_ok=True)
        content = os.listdir(self.path)
        if RUN in content and not overwrite:
            raise CheckpointError(
                f"checkpoint={self.path!r} holds the draws of a run already; expected an empty folder or none; try "
                f"MCMC.resume({self.path!r}, kernel, *args) to go on with them, another path, or to remove the folder"
            )
        if content and RUN not in content and not all(name.startswith(PARTIAL) for name in content):
            raise CheckpointError(
                f"checkpoint={self.path!r} holds other files; expected an empty folder or none; try another path"
            )
        for index in range(settings["num_chains"]):
            state = os.path.join(self.group(index), STATE)
            if os.path.exists(state):
                os.unlink(state)
        about = {"format": FORMAT, "schema": SCHEMA, "settings": settings, "fingerprint": fingerprint}
        write_whole(os.path.join(self.path, RUN), json.dumps(about, indent=1).encode())

    def group(self, index: int) -> str:
        """Return the folder of a group of chains."""
        return os.path.join(self.path, f"chains-{index}")

    def about(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return settings and fingerprint of the run.

        :raises CheckpointError: if there is none, or one that cannot be read.
        """
        path = os.path.join(self.path, RUN)
        try:
            with open(path, encoding="utf-8") as file:
                about = json.load(file)
            _require_readable(path, about)
            return about["settings"], about["fingerprint"]
        except FileNotFoundError:
            raise CheckpointError(
                f"there is no checkpoint at {self.path!r}: expected a folder that MCMC(..., checkpoint=PATH) made; try run(...)"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"the checkpoint file {path!r} is truncated or damaged: {error}; it cannot be continued; try a copy made before, "
                "or to run anew with another checkpoint="
            ) from error


DIFFERENCES = {
    "version": "was written by ppl-generic {then}, but this is {now}; try the version that wrote it",
    "backend": "is of backend {then!r}, but {now!r} is active; try with ppl.pyro_backend({then!r})",
    "library": "was written with {then}, but {now} is installed, which may round otherwise; try the version that wrote it",
    "dtype": "is of default dtype {then!r}, but it is {now!r} here; try ppl.set_default_dtype({then!r})",
    "sites": "is of another model: its sites (name, shape, size) are {then}, this model's are {now}; try the model it began with",
    "deterministic": "is of another model: its deterministic sites are {then}, this one's are {now}; try the model it began with",
    "kernel": "is of a kernel with other settings: {then}; this one has {now}; try the kernel that it began with",
    "data": "is of other data: their digest is {then}, that of the data given is {now}; try the arguments that it began with",
}


# What a kernel samples is told by its sites and, when a run goes on, by its log density.
TARGETS = ("model", "log_density_fn", "potential_fn")


def fingerprint(kernel: Any, potential: Any, arguments: Any) -> dict[str, Any]:
    """Return what must be equal for a run to go on: versions, backend, model, kernel and data, as JSON."""
    backend = registry.active()
    sites = getattr(potential, "sites", None)
    places = (
        [[site.name, list(site.shape), site.size] for site in sites]
        if sites
        else [["position", [potential.size], potential.size]]
    )
    settings = {name: _text(value) for name, value in sorted(vars(kernel).items()) if name not in TARGETS and name[0] != "_"}
    return {
        "version": _version("ppl"),
        "backend": backend.name,
        "library": f"{backend.library} {_version(backend.library)}",
        "dtype": ops.default_dtype(),
        "sites": places,
        "deterministic": list(getattr(potential, "deterministic", ())),
        "kernel": {"class": type(kernel).__name__, **settings},
        "data": _digest(arguments),
    }


def require_same(path: str, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise if a run of fingerprint ``then`` cannot be continued as one of fingerprint ``now``.

    :raises CheckpointError: naming the first thing that differs.
    """
    for name, sentence in DIFFERENCES.items():
        before, after = then.get(name), now.get(name)
        if before != after:
            if isinstance(before, dict) and isinstance(after, dict):
                names = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
                before, after = ({key: values.get(key) for key in names} for values in (before, after))
            raise CheckpointError(f"the checkpoint {path!r} {sentence.format(then=before, now=after)}")


def _version(package: str) -> str:
    return str(getattr(sys.modules.get(package), "__version__", "of unknown version"))


def _text(value: Any) -> str:
    """Return a description that is the same in every process."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if hasattr(value, "dtype") or ops.is_array(value):
        return hashlib.sha256(ops.to_numpy(value).tobytes()).hexdigest()[:16]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(part)}" for key, part in sorted(value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    if callable(value):
        return f"{getattr(value, '__name__', type(value).__name__)}{_text(getattr(value, 'keywords', {}))}"
    return f"{type(value).__name__}{_text(vars(value)) if hasattr(value, '__dict__') else ''}"


def _digest(arguments: Any) -> str:
    digest = hashlib.sha256()
    static = [repr(leaf) for index, leaf in enumerate(arguments.leaves) if index not in arguments.traced]
    # Objects that have no representation of their own are shown with their address, which differs from process to process.
    text = re.sub(r"0x[0-9a-f]+", "", f"{tree.structure(arguments.container)} {static}")
    digest.update(text.encode())
    for array in arguments.arrays:
        host = ops.to_numpy(array)
        digest.update(f"{host.dtype.str} {host.shape}".encode())
        digest.update(memoryview(host.reshape(-1)).cast("B") if host.size else b"")
    return digest.hexdigest()[:16]
