"""Checkpoints: every format gives the stored tensors, whole or in rows, wherever the file lies."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from xsam_edge.export.checkpoint.checkpoint import open_checkpoint, sha256
from xsam_edge.runtime.errors import CheckpointError


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 5, generator=generator)
    return {
        "plain": base,
        "transposed": base.t(),
        "slice": base[1:4, 2:5],
        "column": base[:, 3],
        "expanded": base[:1].expand(4, 5),
        "half": torch.randn(3, 4, generator=generator).half(),
        "brain": torch.randn(7, 3, 2, generator=generator).bfloat16(),
        "double": torch.randn(2, generator=generator).double(),
        "scalar": torch.tensor(1.5),
        "brain_scalar": torch.tensor(2.5, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(4, generator=generator)),
    }


def expected(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).detach().numpy()


def save_zip(content: object, path: Path) -> None:
    torch.save(content, path)


def save_legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_safetensors(content: dict[str, torch.Tensor], path: Path) -> None:
    save_torch({name: tensor.detach().clone().contiguous() for name, tensor in content.items()}, path)


FORMATS = {"zip.bin": save_zip, "legacy.bin": save_legacy, "file.safetensors": save_safetensors}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_stored_values(tmp_path, tensors, name):
    FORMATS[name](tensors, tmp_path / name)
    checkpoint = open_checkpoint(tmp_path / name)
    assert set(checkpoint) == set(tensors)
    for key, tensor in tensors.items():
        assert checkpoint[key].shape == tuple(tensor.shape)
        assert checkpoint[key].dtype == str(tensor.dtype).removeprefix("torch.")
        value = checkpoint.read(key)
        assert value.dtype == expected(tensor).dtype
        np.testing.assert_array_equal(value, expected(tensor), err_msg=key)
        assert value.flags.writeable


@pytest.mark.parametrize("name", FORMATS)
def test_rows_are_those_of_the_tensor(tmp_path, tensors, name):
    FORMATS[name](tensors, tmp_path / name)
    checkpoint = open_checkpoint(tmp_path / name)
    for key, tensor in tensors.items():
        for start in range(tensor.shape[0] if tensor.ndim else 0):
            for stop in range(start, tensor.shape[0] + 1):
                rows = checkpoint.read_rows(key, start, stop)
                np.testing.assert_array_equal(rows, expected(tensor)[start:stop], err_msg=key)
    for start, stop in ((-1, 2), (3, 2), (0, 7)):
        with pytest.raises(IndexError, match="plain"):
            checkpoint.read_rows("plain", start, stop)
    with pytest.raises(IndexError, match="scalar"):
        checkpoint.read_rows("scalar", 0, 1)


def test_memory_is_that_of_the_rows(tmp_path):
    table = {"table": torch.zeros(1 << 15, 64)}  # 8 MiB
    save_zip(table, tmp_path / "a.bin")
    save_safetensors(table, tmp_path / "b.safetensors")
    open_checkpoint(tmp_path / "a.bin")  # imports
    for name in ("a.bin", "b.safetensors"):
        tracemalloc.start()
        checkpoint = open_checkpoint(tmp_path / name)
        checkpoint.read_rows("table", 30000, 30016)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20


@pytest.mark.parametrize("save", [save_zip, save_legacy])
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "module"])
def test_nested_and_wrapped_names(tmp_path, save, key):
    save({key: {"module.a": torch.ones(2), "module.module.b": torch.zeros(1)}, "epoch": 3}, tmp_path / "x.pth")
    assert set(open_checkpoint(tmp_path / "x.pth")) == {"a", "b"}


def test_renamed_keeps_values_and_refuses_collisions(tmp_path):
    save_zip({"a": torch.ones(2), "b": torch.zeros(1)}, tmp_path / "x.bin")
    checkpoint = open_checkpoint(tmp_path / "x.bin")
    renamed = checkpoint.renamed(str.upper)
    assert renamed.shapes == {"A": (2,), "B": (1,)}
    assert renamed["A"].name == "A"
    np.testing.assert_array_equal(renamed.read("A"), [1, 1])
    with pytest.raises(CheckpointError, match="has a and b, which are both same"):
        checkpoint.renamed(lambda name: "same")


def test_integers_are_listed_but_not_read(tmp_path):
    save_zip({"ids": torch.arange(3), "a": torch.ones(1)}, tmp_path / "x.bin")
    checkpoint = open_checkpoint(tmp_path / "x.bin")
    assert checkpoint["ids"].dtype == "int64"
    with pytest.raises(CheckpointError, match=r"ids .* is int64"):
        checkpoint.read("ids")


# Folders and shards


def test_reference_folder(phi3_reference):
    checkpoint = open_checkpoint(phi3_reference)
    assert checkpoint.files == (phi3_reference / "state_dict.safetensors",)
    assert checkpoint.inits == phi3_reference / "inits"
    assert open_checkpoint(checkpoint.files[0]).inits == phi3_reference / "inits"
    stored = load_file(checkpoint.files[0])
    assert checkpoint.shapes == {name: array.shape for name, array in stored.items()}
    assert all(np.array_equal(checkpoint.read(name), array) for name, array in stored.items())


def make_inits(folder: Path) -> Path:
    (folder / "inits" / "Phi-3-mini-4k-instruct").mkdir(parents=True)
    (folder / "inits" / "Phi-3-mini-4k-instruct" / "config.json").write_text("{}")
    return folder / "inits"


@pytest.mark.parametrize("place", ["", "run", "s3_mixed_finetune/run"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "odd_name.pth"])
def test_a_folder_has_one_checkpoint(tmp_path, place, name):
    root = tmp_path / "root"
    (root / place).mkdir(parents=True)
    save_zip({"a": torch.ones(1)}, root / place / name)
    inits = make_inits(root)
    # The weights that a part was initialised from are no X-SAM checkpoint.
    save_zip({"lm_head": torch.ones(1)}, inits / "Phi-3-mini-4k-instruct" / "pytorch_model.bin")
    checkpoint = open_checkpoint(root)
    assert checkpoint.files == (root / place / name,)
    assert checkpoint.inits == inits


def test_inits_beside_and_around(tmp_path):
    (tmp_path / "a" / "run").mkdir(parents=True)
    save_zip({"a": torch.ones(1)}, tmp_path / "a" / "run" / "pytorch_model.bin")
    assert open_checkpoint(tmp_path / "a" / "run").inits is None
    beside = make_inits(tmp_path / "a")
    assert open_checkpoint(tmp_path / "a" / "run").inits == beside
    # The official layout keeps the checkpoint inside inits/.
    around = make_inits(tmp_path / "b")
    (around / "X-SAM" / "s3" / "run").mkdir(parents=True)
    save_zip({"a": torch.ones(1)}, around / "X-SAM" / "s3" / "run" / "pytorch_model.bin")
    assert open_checkpoint(around / "X-SAM").inits == around


def test_several_candidates_are_listed(tmp_path):
    for stage in ("s1", "s2"):
        (tmp_path / stage / "run").mkdir(parents=True)
        save_zip({"a": torch.ones(1)}, tmp_path / stage / "run" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"2 checkpoints \(s1/run/pytorch_model.bin, s2/run/pytorch_model.bin\)"):
        open_checkpoint(tmp_path)


def write_index(path: Path, weight_map: object) -> Path:
    path.write_text(json.dumps({"weight_map": weight_map}))
    return path


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_shards(tmp_path, suffix):
    save = save_zip if suffix == "bin" else save_safetensors
    stem = "pytorch_model" if suffix == "bin" else "model"
    names = [f"{stem}-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    save({"a": torch.ones(2)}, tmp_path / names[0])
    save({"b": torch.zeros(3)}, tmp_path / names[1])
    index = write_index(tmp_path / f"{stem}.{suffix}.index.json", {"a": names[0], "b": names[1]})
    for path in (tmp_path, index):
        checkpoint = open_checkpoint(path)
        assert checkpoint.shapes == {"a": (2,), "b": (3,)}
        assert checkpoint.files == tuple(tmp_path / name for name in names)
        np.testing.assert_array_equal(checkpoint.read("b"), np.zeros(3))
    write_index(index, {"a": names[0], "b": names[0]})
    with pytest.raises(CheckpointError, match="disagree on b"):
        open_checkpoint(index)
    (tmp_path / names[1]).unlink()
    write_index(index, {"a": names[0], "b": names[1]})
    with pytest.raises(CheckpointError, match=f"names {names[1]}, which is missing"):
        open_checkpoint(index)


@pytest.mark.parametrize("shard", ["../x.bin", "/etc/x.bin", "sub/x.bin", "..\\x.bin", "C:\\x.bin", "..", "", "x.txt"])
def test_an_index_names_its_neighbours_only(tmp_path, shard):
    (tmp_path / "folder").mkdir()
    save_zip({"a": torch.ones(2)}, tmp_path / "x.bin")
    index = write_index(tmp_path / "folder" / "pytorch_model.bin.index.json", {"a": shard})
    with pytest.raises(CheckpointError, match="own folder only"):
        open_checkpoint(index)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": []}']
)
def test_damaged_index(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="not the index"):
        open_checkpoint(tmp_path)


def test_sha256(tmp_path):
    content = np.random.default_rng(0).bytes(5 << 20)
    (tmp_path / "x").write_bytes(content)
    seen: list[tuple[int, int]] = []
    told = sha256(tmp_path / "x", lambda step: seen.append((step.done, step.total)))
    assert told == hashlib.sha256(content).hexdigest()
    assert seen == [(4 << 20, 5 << 20), (5 << 20, 5 << 20)]
    with pytest.raises(CheckpointError, match="cannot read"):
        sha256(tmp_path / "absent")


def test_numpy_written_safetensors(tmp_path):
    arrays = {"b": np.arange(6, dtype=np.float16).reshape(2, 3), "a": np.float32([1.5])}
    save_file(arrays, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(str(tmp_path / "x.safetensors"))
    assert all(np.array_equal(checkpoint.read(name), array) for name, array in arrays.items())
