"""A cache of statistics serves the weights that it was made of, and no others."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from xsam_edge.calibration.calibration_data import CalibrationData
from xsam_edge.calibration.data.samples import Phrase, Picture
from xsam_edge.calibration.statistics.collect import collect
from xsam_edge.calibration.statistics.probes import Probe, make_probe
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE
from xsam_edge.runtime.model import XSam

WEIGHTS = "mask_decoder.onnx.data"


def first_product(model: ir.Model) -> list[tuple[Probe, bool]]:
    node = next(n for n in model.graph if n.op_type == "MatMul" and n.inputs[1] and n.inputs[1].is_initializer())
    assert node.inputs[0] is not None
    return [(make_probe(node.inputs[0], -1), False)]


def altered(bundle: Path, folder: Path) -> Path:
    """The same bundle with one weight changed, sealed anew."""
    shutil.copytree(bundle, folder)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[0] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"][WEIGHTS]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    return folder


def test_other_weights_are_asked_anew(phi3_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = Image.fromarray(np.full((32, 32, 3), 99, np.uint8))
    picture = Picture("grey", lambda: grey, (Phrase("refer", "x", None),))
    data = CalibrationData("scripted", [picture], (), (), lambda: {"count": 1})
    other = altered(phi3_bundle, tmp_path / "other")
    cache = tmp_path / "cache"
    found = collect(phi3_bundle, data, first_product, cache, answer="append", threads=1)
    assert all(stats.reached for stats in found.tensors.values())

    def load(*_: object, **__: object) -> XSam:
        raise RuntimeError("asked anew")

    monkeypatch.setattr(XSam, "load", load)
    again = collect(phi3_bundle, data, first_product, cache, answer="append", threads=1)
    assert again.tensors.keys() == found.tensors.keys()
    with pytest.raises(RuntimeError, match="asked anew"):
        collect(other, data, first_product, cache, answer="append", threads=1)
