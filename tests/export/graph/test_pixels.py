from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime
import pytest
from PIL import Image

from tests.samples import SETTINGS
from xsam_edge.export.graph.pixels import has_pixels, low_bits, pixels_graph
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.settings import MaskInput, Settings, VisionInput
from xsam_edge.runtime.image.preprocess import encoder_pixels
from xsam_edge.runtime.image.taps import mask_taps, vision_taps

# The rules of the main line and of AAAI26, whose pictures are padded to a square; sizes are smaller.
VISION = VisionInput(56, 48, (0.5, 0.4, 0.3), (0.5, 0.25, 0.3), 3, 1 / 255, False)
MASK = MaskInput(128, 128, 160, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 2, 1 / 255)
MAIN = dataclasses.replace(SETTINGS, vision_input=VISION, mask_input=MASK)
AAAI26 = dataclasses.replace(MAIN, vision_input=dataclasses.replace(VISION, pad_to_square=True, resample=2))
# One whose sums have as many bits as there can be.
WIDEST = dataclasses.replace(
    MAIN,
    vision_input=dataclasses.replace(VISION, height=16, width=16),
    mask_input=dataclasses.replace(MASK, longest_edge=24, height=24, width=24, resample=3),
)


def run(settings: Settings, picture: npt.NDArray[np.uint8], session: Any) -> list[npt.NDArray[np.float32]]:
    feed: dict[str, Any] = {contract.PICTURE: picture[None]}
    size = picture.shape[0], picture.shape[1]
    for name, pair, rule in (
        (contract.PIXEL_VALUES, vision_taps(size, settings.vision_input), settings.vision_input),
        (contract.MASK_PIXEL_VALUES, mask_taps(size, settings.mask_input), settings.mask_input),
    ):
        count = max(axis.count for axis in pair)
        for axis, taps, places in zip(("height", "width"), pair, (rule.height, rule.width), strict=True):
            framed = taps.framed(places, count)
            feed |= {contract.indices(name, axis): framed.indices, contract.weights(name, axis): framed.weights}
    values: list[npt.NDArray[np.float32]] = session.run([contract.PIXEL_VALUES, contract.MASK_PIXEL_VALUES], feed)
    return values


@pytest.fixture(scope="module")
def sessions() -> Mapping[str, Any]:
    models = {"main": pixels_graph(MAIN), "aaai26": pixels_graph(AAAI26), "widest": pixels_graph(WIDEST)}
    return {
        name: onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
        for name, model in models.items()
    }


@pytest.mark.parametrize("kind", ["noise", "extremes"])
@pytest.mark.parametrize(
    "size", [(1, 1), (37, 91), (91, 37), (60, 60), (300, 2), (1, 300), (300, 1), (56, 48), (128, 128), (480, 639)]
)
@pytest.mark.parametrize(("name", "settings"), [("main", MAIN), ("aaai26", AAAI26), ("widest", WIDEST)])
def test_values_are_those_of_the_host(
    sessions: Mapping[str, Any], name: str, settings: Settings, size: tuple[int, int], kind: str
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    if kind == "extremes":
        picture = np.where(picture > 127, 255, 0).astype(np.uint8)
    expected = encoder_pixels(Image.fromarray(picture), settings.vision_input, settings.mask_input)
    values, mask_values = run(settings, picture, sessions[name])
    np.testing.assert_array_equal(values, expected.vision)
    np.testing.assert_array_equal(mask_values, expected.mask)


def test_sums_of_lower_bits_are_exact() -> None:
    assert low_bits(44) == 11
    for taps in range(1, 1025):
        bits = low_bits(taps)
        # The lower part is at most half a step; the upper parts add up to less than 1.6 and half a step for each tap.
        assert taps * 255 * 2 ** (bits - 1) <= 2**24
        assert 255 * (1.6 * 2 ** (22 - bits) + taps / 2) <= 2**24


def test_settings_with_other_filters_have_no_graph() -> None:
    assert has_pixels(MAIN)
    assert not has_pixels(dataclasses.replace(MAIN, mask_input=dataclasses.replace(MASK, resample=1)))
