"""Damaged checkpoints as a user meets them: exit code 2, one line that names what is wrong, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from xsam_edge.export.cli import main
from xsam_edge.export.config.naming import aaai26_name

Tensors = dict[str, np.ndarray]
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
KERNEL = "vision_encoder.vision_model.embeddings.patch_embedding.weight"  # of the graph that is written first


@pytest.fixture
def sharded(tmp_path: Path, phi3_reference: Path) -> Path:
    """The recorded model in two shards, beside its inits."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    tensors = load_file(phi3_reference / "state_dict.safetensors")
    names = sorted(tensors)
    parts = dict(zip(SHARDS, (names[:40], names[40:]), strict=True))
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "inits").symlink_to(phi3_reference / "inits")
    return folder


def refused(checkpoint: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    output = checkpoint.parent / "out"
    assert main(["--checkpoint", str(checkpoint), *options, "-o", str(output)]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]
    return error


def remove(shard: Path) -> None:
    shard.unlink()


def cut(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-100])


def lengthen(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes() + b"more")


def drop(shard: Path) -> None:
    tensors = load_file(shard)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, shard)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, f"names {SHARDS[1]}, which is missing: download it into"),
        (cut, f"{SHARDS[1]} is truncated: it has"),
        (lengthen, f"{SHARDS[1]} is damaged: 4 bytes follow the last tensor"),
        (drop, "disagree on"),
    ],
)
def test_a_damaged_shard(
    sharded: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], message: str
) -> None:
    damage(sharded / SHARDS[1])
    assert message in refused(sharded, capsys)


def rewrite(sharded: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """The same in one file, changed."""
    tensors = {name: tensor for file in SHARDS for name, tensor in load_file(sharded / file).items()}
    for path in sharded.glob("model*"):
        path.unlink()
    save_file(change(tensors), sharded / "model.safetensors")
    return sharded


@pytest.mark.parametrize("options", [[], ["--variant", "phi3"]])
def test_names_of_both_lines(sharded: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    def mix(tensors: Tensors) -> Tensors:
        return {aaai26_name(name) if "encoder.layers.0." in name else name: item for name, item in tensors.items()}

    error = refused(rewrite(sharded, mix), capsys, *options)
    assert "mixes two naming lines: it has both visual_encoder." in error


def test_a_weight_that_is_not_finite_is_named(sharded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def spoil(tensors: Tensors) -> Tensors:
        tensors[KERNEL].reshape(-1)[5] = np.nan
        return tensors

    quick = ["--min-iou", "0", "--check-samples", "0", "--calibration-samples", "1"]
    error = refused(rewrite(sharded, spoil), capsys, "--precision", "int8", *quick)
    assert f"{KERNEL} holds NaN or infinity" in error
