from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from xsam_edge.runtime.backends.base import Array, Buffer
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from xsam_edge.runtime.bundle.manifest import Manifest, read_manifest
from xsam_edge.runtime.chain.pixel_maker import PixelMaker
from xsam_edge.runtime.image.preprocess import encoder_pixels


class Uploads(OnnxRuntimeBackend):
    """Notes the shapes of what is uploaded."""

    def __init__(self) -> None:
        super().__init__("cpu", 1)
        self.shapes: list[tuple[int, ...]] = []

    def upload(self, array: Array) -> Buffer:
        self.shapes.append(array.shape)
        return super().upload(array)

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        return super().upload(np.empty(shape, dtype))


@pytest.fixture(scope="module")
def manifest(phi3_pixels_bundle: Path) -> Manifest:
    return read_manifest(phi3_pixels_bundle)


@pytest.fixture
def backend() -> Uploads:
    return Uploads()


@pytest.fixture
def maker(phi3_pixels_bundle: Path, manifest: Manifest, backend: Uploads) -> PixelMaker:
    spec = manifest.graphs["pixels"]
    return PixelMaker(backend.open(phi3_pixels_bundle / spec.file, spec), backend, manifest.settings)


def noise(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (50, 33), (300, 200), (2, 500)])
def test_pixels_are_those_of_the_host(
    maker: PixelMaker, backend: Uploads, manifest: Manifest, size: tuple[int, int]
) -> None:
    picture = noise(*size)
    made = {name: backend.download(buffer) for name, buffer in maker.run(picture).items()}
    settings = manifest.settings
    expected = encoder_pixels(Image.fromarray(picture[0]), settings.vision_input, settings.mask_input)
    np.testing.assert_array_equal(made["pixel_values"], expected.vision)
    np.testing.assert_array_equal(made["mask_pixel_values"], expected.mask)


def test_of_a_size_that_stays_only_the_picture_goes_up(maker: PixelMaker, backend: Uploads) -> None:
    maker.run(noise(20, 30))
    assert len(backend.shapes) == 9
    backend.shapes.clear()
    first = maker.run(noise(20, 30))
    assert backend.shapes == [(1, 20, 30, 3)]
    assert maker.run(noise(30, 20)) == first  # in the same memory
    for width in range(1, 9):
        maker.run(noise(1, width))
    backend.shapes.clear()
    maker.run(noise(20, 30))
    assert len(backend.shapes) == 9  # forgotten


def test_what_is_not_taken(maker: PixelMaker, manifest: Manifest, backend: Uploads) -> None:
    assert maker.takes((1, 1)) and maker.takes((4096, 4096)) and maker.takes((1, 4096))
    assert not maker.takes((4097, 10)) and not maker.takes((10, 20_000))
    lanczos = dataclasses.replace(manifest.settings.mask_input, resample=1)
    other = PixelMaker(maker._graph, backend, dataclasses.replace(manifest.settings, mask_input=lanczos))
    assert not other.takes((10, 10))
