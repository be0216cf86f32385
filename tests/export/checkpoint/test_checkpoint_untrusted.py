"""Untrusted files: code is refused and not run, damage is one line, nothing is read past its end."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.runtime.errors import CheckpointError


def save_zip(content: object, path: Path) -> None:
    torch.save(content, path)


def save_legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_safetensors(content: dict[str, torch.Tensor], path: Path) -> None:
    save_file(content, path)


FORMATS = {"zip.bin": save_zip, "legacy.bin": save_legacy, "file.safetensors": save_safetensors}


class Payload:
    """Creates a file when it is unpickled by a careless reader."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("save", [save_zip, save_legacy, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_pickle_is_refused_not_run(tmp_path, save):
    trace = tmp_path / "was_run"
    save({"a": torch.ones(1), "evil": Payload(trace)}, tmp_path / "x.bin")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "x.bin")
    assert not trace.exists()
    assert "\n" not in str(caught.value)
    with pytest.raises(FileExistsError):  # the payload does work
        pickle.loads(pickle.dumps([Payload(tmp_path)]))


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_the_refused_object_is_named(tmp_path, save):
    save({"a": Payload(tmp_path / "was_run")}, tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match=r"holds the object \w+\.mkdir"):
        open_checkpoint(tmp_path / "x.bin")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("keep", [1, 7, 9, 100, 0.5, -1])
def test_truncated(tmp_path, name, keep):
    FORMATS[name]({"a": torch.ones(40, 3), "b": torch.zeros(2).bfloat16()}, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_shortened_after_opening(tmp_path):
    save_safetensors({"a": torch.ones(100, 10)}, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(tmp_path / "x.safetensors")
    with open(tmp_path / "x.safetensors", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(CheckpointError, match="ends inside a"):
        checkpoint.read("a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a checkpoint|not a safetensors"),
        (bytes(range(1, 200)), "not a checkpoint|not a safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
    ],
)
@pytest.mark.parametrize("name", ["x.bin", "x.safetensors"])
def test_not_a_checkpoint(tmp_path, content, message, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path / name)


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        open_checkpoint(tmp_path / "absent.bin")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        open_checkpoint(tmp_path)
    save_zip({}, tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [[torch.ones(1)], torch.ones(1), {1: torch.ones(1)}])
def test_not_a_state_dict(tmp_path, content):
    save_zip(content, tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="expected a state_dict"):
        open_checkpoint(tmp_path / "x.bin")


@pytest.mark.parametrize(
    ("save", "dtype"),
    [
        (save_zip, torch.float8_e4m3fn),
        (save_zip, torch.complex64),
        (save_legacy, torch.complex64),
        (save_zip, torch.int8),
        (save_legacy, torch.int8),
    ],
)
def test_unsupported_type(tmp_path, save, dtype):
    save({"odd": torch.ones(2).to(dtype)}, tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match=r"odd .* type"):
        open_checkpoint(tmp_path / "x.bin")


def test_sparse_tensors_are_unsupported(tmp_path):
    save_zip({"odd": torch.eye(2).to_sparse()}, tmp_path / "x.bin")
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path / "x.bin")


def test_compressed_zip(tmp_path):
    save_zip({"a": torch.ones(1000)}, tmp_path / "x.bin")
    with (
        zipfile.ZipFile(tmp_path / "x.bin") as old,
        zipfile.ZipFile(tmp_path / "y.bin", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CheckpointError, match="compressed"):
        open_checkpoint(tmp_path / "y.bin")


def header_file(path: Path, header: object, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        b"not json at all",
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "a": {}}',
        b"[]",
        {"a": ENTRY | {"dtype": "F8_E4M3"}},
        {"a": ENTRY | {"shape": [3]}},
        {"a": ENTRY | {"shape": [-2]}},
        {"a": ENTRY | {"shape": [2.0]}},
        {"a": ENTRY | {"shape": 2}},
        {"a": ENTRY | {"data_offsets": [4, 12]}},
        {"a": ENTRY | {"data_offsets": [8]}},
        {"a": ENTRY, "b": ENTRY},
        {"a": ENTRY, "b": ENTRY | {"data_offsets": [8, 16]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        {"a": None},
    ],
)
def test_damaged_safetensors_header(tmp_path, header):
    good = header_file(tmp_path / "good.safetensors", {"__metadata__": {"format": "pt"}, "a": ENTRY}, bytes(8))
    assert open_checkpoint(good).shapes == {"a": (2,)}
    with pytest.raises(CheckpointError):
        open_checkpoint(header_file(tmp_path / "bad.safetensors", header, bytes(8)))
