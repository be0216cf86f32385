from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.runtime.loaded import load
from xsam_edge.runtime.backends.base import Array, Buffer
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.encoding import prepare
from xsam_edge.runtime.model import XSam


class FakeGpu(OnnxRuntimeBackend):
    """Resizes pictures, and notes the graphs that it opened and the types of what is uploaded."""

    def __init__(self) -> None:
        super().__init__("cpu", 2)
        self.resizes_pixels = True
        self.opened: list[str] = []
        self.uploaded: list[str] = []

    def open(self, path: Path, spec: GraphSpec):  # type: ignore[no-untyped-def]
        self.opened.append(path.stem)
        return super().open(path, spec)

    def upload(self, array: Array) -> Buffer:
        self.uploaded.append(array.dtype.name)
        return super().upload(array)

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        return super().upload(np.empty(shape, dtype))


def features(model: XSam, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    with model.look(picture) as scene:
        return np.array(scene.features.image_embeds)


def noise(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(70, 91), (1, 200), (300, 220)])
def test_a_gpu_makes_the_pixels_that_the_host_makes(
    phi3_bundle: Path, phi3_pixels_bundle: Path, size: tuple[int, int]
) -> None:
    backend = FakeGpu()
    model = XSam.load(phi3_pixels_bundle, backend=backend, verify="none")
    assert backend.opened == ["image_encoder", "llm", "mask_decoder", "pixels"]
    backend.uploaded.clear()
    assert prepare(noise(*size), model.pipeline, model.manifest.settings).pixels is None
    on_device = features(model, noise(*size))
    assert sorted(set(backend.uploaded)) == ["float32", "int64", "uint8"]
    np.testing.assert_array_equal(on_device, features(load(phi3_bundle), noise(*size)))
    backend.uploaded.clear()
    features(model, noise(*size))
    assert backend.uploaded == ["uint8"]


def test_a_picture_that_is_too_long_is_resized_by_the_host(phi3_bundle: Path, phi3_pixels_bundle: Path) -> None:
    backend = FakeGpu()
    model = XSam.load(phi3_pixels_bundle, backend=backend, verify="none")
    backend.uploaded.clear()
    on_device = features(model, noise(3, 4097))
    assert set(backend.uploaded) == {"float32"}
    np.testing.assert_array_equal(on_device, features(load(phi3_bundle), noise(3, 4097)))


def test_features_that_were_dropped_come_back(phi3_pixels_bundle: Path) -> None:
    model = XSam.load(phi3_pixels_bundle, backend=FakeGpu(), verify="none")
    with model.look(noise(50, 60)) as scene:
        first = np.array(scene.features.image_embeds)
        scene.drop_features()
        np.testing.assert_array_equal(scene.features.image_embeds, first)


def test_a_stream_of_frames(phi3_bundle: Path, phi3_pixels_bundle: Path) -> None:
    backend = FakeGpu()
    model = XSam.load(phi3_pixels_bundle, backend=backend, verify="none")
    frames = [noise(40, 60), noise(40, 60)[::-1]]
    answers = [item.results[0] for item in model.stream(frames, refer="a cat", latest=False)]
    expected = [item.results[0] for item in load(phi3_bundle).stream(frames, refer="a cat", latest=False)]
    assert backend.uploaded.count("uint8") == 2
    for one, other in zip(answers, expected, strict=True):
        assert one.token_ids == other.token_ids
        np.testing.assert_array_equal(one.segments[0].mask, other.segments[0].mask)


def test_a_cpu_and_a_bundle_without_the_graph_resize_on_the_host(phi3_bundle: Path, phi3_pixels_bundle: Path) -> None:
    backend = FakeGpu()
    without = XSam.load(phi3_bundle, backend=backend, verify="none")
    assert backend.opened == ["image_encoder", "llm", "mask_decoder"]
    for model in (without, load(phi3_pixels_bundle)):
        assert prepare(noise(20, 30), model.pipeline, model.manifest.settings).pixels is not None
