"""The graph ``pixels`` as an engine, on stand-ins of CUDA and TensorRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.runtime.backends.tensorrt.fake_tensorrt import engine_bundle, fake_backend
from tests.runtime.loaded import load
from xsam_edge.runtime.model import XSam


@pytest.fixture(scope="module")
def engines(phi3_pixels_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engine_bundle(phi3_pixels_bundle, tmp_path_factory.mktemp("engines") / "bundle")


def test_engines_resize_pictures_that_go_up_as_they_are(engines: Path, phi3_bundle: Path) -> None:
    backend = fake_backend(engines)
    model = XSam.load(engines, backend=backend)
    backend.fake_trt.runs.clear()
    for size in ((40, 70), (40, 70), (1, 9), (90, 64)):
        picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        with model.look(picture) as scene, load(phi3_bundle).look(picture) as expected:
            np.testing.assert_array_equal(scene.features.image_embeds, expected.features.image_embeds)
    assert [name for name, _ in backend.fake_trt.runs] == ["pixels", "image_encoder"] * 4
