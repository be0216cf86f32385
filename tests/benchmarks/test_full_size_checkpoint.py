"""A random checkpoint is what the official code saves, and can be exported without anything else."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from xsam_edge.benchmarks import full_size_checkpoint
from xsam_edge.benchmarks.full_size_checkpoint import Form, official_tensors, write_checkpoint
from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.export.config.naming import detect_line
from xsam_edge.export.config.overrides import random_config
from xsam_edge.export.config.variants import Variant, get_variant
from xsam_edge.export.prepare import from_checkpoint
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Step, silent


@pytest.fixture
def small() -> Variant:
    """The released model's names at the demo model's sizes."""
    return replace(get_variant("phi3-aaai26"), config=get_variant("shapes").config)


def test_the_released_model_has_these_tensors():
    """Counts of the official model, which was built once from its own code."""
    tensors = official_tensors(get_variant("phi3").config)
    assert len(tensors) == 1356
    assert sum(map(prod, tensors.values())) == 4_624_248_065
    assert tensors["vision_encoder.vision_model.encoder.layers.26.mlp.fc1.weight"] == (4304, 1152)
    assert tensors["segmentor.encoder.neck.conv2.weight"] == (256, 256, 3, 3)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_checkpoint_has_the_names_of_its_line(tmp_path, small, form):
    steps: list[Step] = []
    written = write_checkpoint(small, tmp_path / "made", form, seed=3, progress=steps.append)
    checkpoint = open_checkpoint(tmp_path / "made")
    assert detect_line(checkpoint) == "aaai26"
    assert checkpoint.shapes == written.shapes
    assert {ref.dtype for ref in checkpoint.values()} == {"bfloat16"}
    assert (steps[-1].done, steps[-1].total) == (written.nbytes, written.nbytes)


def test_a_checkpoint_is_exported_without_anything_else(tmp_path):
    variant = get_variant("shapes")
    cut = replace(variant, config=random_config(variant, {"llm.num_layers": 2}))
    write_checkpoint(cut, tmp_path / "made", "bin")
    assert from_checkpoint(str(tmp_path / "made"), variant="shapes", progress=silent).config == cut.config


def read(folder: Path, form: Form) -> dict[str, torch.Tensor]:
    """By the libraries that users have."""
    if form == "bin":
        return torch.load(folder / "pytorch_model.bin", weights_only=True)
    files = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def test_both_forms_hold_the_same_weights(tmp_path, small):
    for form in ("safetensors", "bin"):
        write_checkpoint(small, tmp_path / form, form, seed=3)
    bin_tensors, tensors = read(tmp_path / "bin", "bin"), read(tmp_path / "safetensors", "safetensors")
    assert bin_tensors.keys() == tensors.keys()
    assert all(torch.equal(tensors[name], bin_tensors[name]) for name in tensors)
    matrix = tensors["llm.model.layers.0.mlp.down_proj.weight"].float()
    assert matrix.std() == pytest.approx(matrix.shape[1] ** -0.5, rel=0.02)
    write_checkpoint(replace(small, line="main"), tmp_path / "main", "safetensors", seed=3)
    main = open_checkpoint(tmp_path / "main")
    np.testing.assert_array_equal(main.read("bg_embeds.weight"), tensors["bg_embeds.weight"].float().numpy())


def test_shards_and_their_index(tmp_path, small):
    written = write_checkpoint(small, tmp_path / "made", "safetensors", limit=2 << 20)
    index = json.loads((tmp_path / "made" / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert len(files) > 1
    assert index["metadata"]["total_size"] == written.nbytes
    assert all((tmp_path / "made" / file).stat().st_size < (2 << 20) + 40_000 for file in files)
    assert open_checkpoint(tmp_path / "made").shapes == written.shapes


def test_a_folder_that_exists_is_left_alone(tmp_path, small):
    (tmp_path / "made").mkdir()
    with pytest.raises(InputError, match="made exists; choose another"):
        write_checkpoint(small, tmp_path / "made", "bin")


def test_the_command(tmp_path, capsys):
    given = [str(tmp_path / "made"), "--variant", "shapes", "--layers", "2", "--form", "bin"]
    assert full_size_checkpoint.main(given) == 0
    assert "of memory at the peak" in capsys.readouterr().out
    names = open_checkpoint(tmp_path / "made")
    assert "llm.model.layers.1.mlp.down_proj.weight" in names
    assert "llm.model.layers.2.mlp.down_proj.weight" not in names
    assert full_size_checkpoint.main(given) == 2
