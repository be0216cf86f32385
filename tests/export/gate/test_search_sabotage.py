"""A layer that no reduced precision can hold as it is, found by the gate."""

from __future__ import annotations

import json
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


@pytest.mark.slow  # a chain run for every block
def test_a_sabotaged_layer_is_raised_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bundle"
    options = ["--checkpoint", str(sabotaged(tmp_path)), "--precision", "int8", "--no-smoothing"]
    few = ["--calibration-samples", "6", "--gate-samples", "4"]
    code = main(
        [*options, *few, "--calibration-cache", str(tmp_path / "cache"), "--min-iou", "0.985", "-o", str(output)]
    )
    if code == 2:
        assert not output.exists()
        assert "below the bound of 0.985" in capsys.readouterr().err
    else:
        report = json.loads((output / "report.json").read_text())
        assert report["gate"]["mean_iou"] >= 0.985
        assert any("/segmentor/encoder/layers.2/mlp" in item["pattern"] for item in report["raised"])
