"""A layer that no reduced precision can hold as it is, found before the search."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from xsam_edge.export.cli import main


def sabotaged(tmp_path: Path) -> Path:
    """The demo checkpoint with one layer's weights a thousand times as large."""
    from safetensors.numpy import load_file, save_file

    from xsam_edge.export.config.hub import resolve as find

    folder = tmp_path / "sabotaged"
    shutil.copytree(find("shapes"), folder)
    tensors = {name: np.array(value) for name, value in load_file(folder / "model.safetensors").items()}
    name = "segmentor.encoder.layers.2.mlp.lin1.weight"
    tensors[name] = (tensors[name].astype(np.float32) * 1000).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.slow  # an export up to the search
def test_a_sabotaged_layer_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it gives is beyond FP16 where graphs meet, which no block that is raised would mend."""
    output = tmp_path / "bundle"
    options = ["--checkpoint", str(sabotaged(tmp_path)), "--precision", "int8", "--no-smoothing"]
    few = ["--calibration-samples", "6", "--gate-samples", "4"]
    assert main([*options, *few, "--calibration-cache", str(tmp_path / "cache"), "-o", str(output)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "image_embeds, an output of image_encoder, reaches" in error and "65,504" in error
    assert not output.exists()
