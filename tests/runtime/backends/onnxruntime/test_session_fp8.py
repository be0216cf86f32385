"""FP8 graphs run wherever the runtime does: ONNX Runtime's CPU provider rounds to E4M3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from xsam_edge.runtime import XSam
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import BackendError


def test_an_fp8_bundle_answers_much_as_an_fp16_one(phi3_fp8_bundle: Path, phi3_fp16_bundle: Path) -> None:
    assert read_manifest(phi3_fp8_bundle).graphs["llm"].codes == ("fp8",)
    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 30):
        with pytest.raises(BackendError, match="rounds wrongly"):
            XSam.load(phi3_fp8_bundle, threads=1)
        return
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    found = []
    for bundle in (phi3_fp16_bundle, phi3_fp8_bundle):
        scene = XSam.load(bundle, threads=1).look(image)
        found.append(scene.categories(["cat", "dog"], ["sky"], answer="append", semantic=True))
        assert scene.refer("the cat", answer="append").masks.shape == (1, 60, 80)
    half, eight = found
    assert (half.id_map == eight.id_map).mean() > 0.7
