"""The graph that a bundle need not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, Manifest, read_manifest
from xsam_edge.runtime.bundle.typed_json import from_json
from xsam_edge.runtime.bundle.verification import check_files
from xsam_edge.runtime.errors import BundleError


def test_a_bundle_with_it_is_read_as_it_was_written(phi3_pixels_bundle: Path, phi3_bundle: Path) -> None:
    manifest = read_manifest(phi3_pixels_bundle)
    assert manifest.graphs.keys() - read_manifest(phi3_bundle).graphs.keys() == {"pixels"}
    assert manifest.graphs["pixels"].axes == {"height", "width", "vision_taps", "mask_taps"}
    assert manifest.graphs["pixels"].input("picture").dtype == "uint8"
    assert from_json(Manifest, json.loads(manifest.to_json()), "x", BundleError, advice="x") == manifest
    assert "pixels.onnx" in check_files(phi3_pixels_bundle, manifest).paths


@pytest.mark.parametrize(
    ("kind", "name", "field", "value"),
    [
        ("inputs", "picture", "dtype", "float32"),
        ("inputs", "picture", "shape", [1, "height", "width", 4]),
        ("inputs", "pixel_values.height.weights", "shape", [56, "mask_taps"]),
        ("outputs", "mask_pixel_values", "shape", [1, 3, 64, 64]),
    ],
)
def test_another_signature_is_refused(
    phi3_pixels_bundle: Path, tmp_path: Path, kind: str, name: str, field: str, value: Any
) -> None:
    content = json.loads((phi3_pixels_bundle / MANIFEST_FILE).read_text())
    (tensor,) = (tensor for tensor in content["graphs"]["pixels"][kind] if tensor["name"] == name)
    tensor[field] = value
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(content))
    with pytest.raises(BundleError, match=rf"graphs\.pixels\.{kind}: {name} is"):
        read_manifest(tmp_path)
