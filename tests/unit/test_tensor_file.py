"""Files of arrays: what is read back is what the arrays said, and the old file outlives a failed writing."""

import hashlib

import numpy
import pytest
from safetensors.numpy import load_file

from ppl.optim import files as optimizer_file
from ppl.params import tensor_file

TABLE = numpy.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize("array", [TABLE.T, TABLE[:, ::2], TABLE[::-1], numpy.asfortranarray(TABLE)])
def test_strided_arrays_are_written_as_they_read(array, tmp_path):
    tensor_file.write_arrays(tmp_path / "file", {"a": array}, {"kind": "test"})
    numpy.testing.assert_array_equal(load_file(tmp_path / "file")["a"], array)


def test_a_failed_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    tensor_file.write_whole(tmp_path / "file", b"old")

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(tensor_file.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        tensor_file.write_whole(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_checksum_is_the_sha256_of_header_names_types_shapes_and_bytes():
    expected = hashlib.sha256(b"b=1\nkind=test\na <f8 (3, 2)\n" + TABLE.T.copy().tobytes()).hexdigest()
    assert tensor_file.checksum({"a": TABLE.T}, {"kind": "test", "b": "1"}) == expected
    assert tensor_file.checksum({"a": TABLE}, {"kind": "test", "b": "1"}) != expected


def test_strided_optimizer_state_is_read_back(tmp_path):
    optimizer_file.write(tmp_path / "file", {"w": {"average": TABLE.T, "step": 3}}, "Adam", "numpy")
    state = optimizer_file.read(tmp_path / "file", "Adam", "numpy")
    numpy.testing.assert_array_equal(state["w"]["average"], TABLE.T)
    assert state["w"]["step"] == 3
