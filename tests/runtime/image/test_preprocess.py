import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from tests.recorded import load_reference, meta
from xsam_edge.runtime.bundle.settings import MaskInput, VisionInput
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image import preprocess
from xsam_edge.runtime.image.load import load_image
from xsam_edge.runtime.image.preprocess import encoder_pixels, mask_pixels, mask_prompt, scaled_size, vision_pixels

VISION = VisionInput(56, 48, (0.5, 0.4, 0.3), (0.5, 0.25, 0.3), 2, 1 / 255, pad_to_square=True)
MASK = MaskInput(128, 128, 128, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 2, 1 / 255)


def recorded_inputs(folder, pad_to_square):
    """The inputs of a reference's processors, from its preprocessor_config.json files."""
    vision = json.loads(next(folder.glob("inits/siglip*/preprocessor_config.json")).read_text())
    mask = json.loads(next(folder.glob("inits/sam*/preprocessor_config.json")).read_text())

    def common(config):
        return {
            "mean": tuple(config["image_mean"]),
            "std": tuple(config["image_std"]),
            "resample": config["resample"],
            "rescale_factor": config["rescale_factor"],
        }

    return (
        VisionInput(**vision["size"], pad_to_square=pad_to_square, **common(vision)),
        MaskInput(**mask["size"], **mask["pad_size"], **common(mask)),
    )


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("folder", "line"),
    [("golden-phi3", ""), ("golden-phi3", "aaai_"), ("golden-qwen3", "")],
    ids=["phi3", "aaai", "qwen3"],
)
def test_pixels_equal_the_recorded_ones(request, folder, line):
    root = request.getfixturevalue(folder.replace("golden-", "") + "_reference")
    vision, mask = recorded_inputs(root, pad_to_square=line == "aaai_")
    expected = load_reference(folder, f"{line}image_features")
    image = load_image(root / "image.png")
    pixels = vision_pixels(image, vision)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, expected["pixel_values"], rtol=0, atol=1e-6)
    if "extra_pixel_values" in expected:
        pixels, _ = mask_pixels(image, mask)
        assert pixels.dtype == np.float32
        np.testing.assert_allclose(pixels, expected["extra_pixel_values"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("task", ["img_vgdseg", "aaai_img_intseg"])
def test_mask_prompt_and_scaled_size_equal_the_recorded_ones(phi3_reference, task):
    _, mask = recorded_inputs(phi3_reference, pad_to_square=False)
    arrays = load_reference("golden-phi3", task)
    facts = meta(arrays, "tensor")
    assert scaled_size(tuple(facts["image_size"]), mask) == tuple(facts["scaled_size"])
    for index, expected in enumerate(arrays["tensor/vprompt_masks.0"]):
        region = np.asarray(Image.open(phi3_reference / f"vpmask{index}.png").convert("L")) > 128
        np.testing.assert_array_equal(mask_prompt(region, mask), expected)


@pytest.mark.parametrize("size", [(37, 91), (91, 37), (60, 60), (300, 2), (2, 300), (1, 1), (48, 31)])
@pytest.mark.parametrize("resample", [0, 2, 3])
@pytest.mark.parametrize("band", [1, 1000, 2**24])
def test_square_padding_equals_resizing_the_whole_square(monkeypatch, size, resample, band):
    monkeypatch.setattr(preprocess, "_BAND_BYTES", band)
    image, side = noise(*size), max(size)
    square = Image.new("RGB", (side, side), (127, 102, 76))
    square.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    plain = dataclasses.replace(VISION, resample=resample, pad_to_square=False)
    padded = dataclasses.replace(plain, pad_to_square=True)
    np.testing.assert_array_equal(vision_pixels(image, padded), vision_pixels(square, plain))


@pytest.mark.parametrize("size", [(48, 400), (400, 48), (100, 56), (128, 200)])
def test_columns_come_first_whatever_pillow_prefers(size):
    image = noise(*size)
    plain = dataclasses.replace(VISION, pad_to_square=False, resample=3)
    narrow = image.resize((48, size[1]), 3)
    assert narrow.size == (48, size[1])
    expected = np.asarray(narrow.resize((48, 56), 3)).transpose(2, 0, 1) / 255
    values = vision_pixels(image, plain)[0]
    np.testing.assert_allclose(
        values * np.reshape(plain.std, (3, 1, 1)), expected - np.reshape(plain.mean, (3, 1, 1)), atol=1e-6
    )


@pytest.mark.parametrize("at_least", [1, 1 << 30])
def test_pixels_are_the_same_side_by_side(monkeypatch, at_least):
    monkeypatch.setattr(preprocess, "_SIDE_BY_SIDE", at_least)
    image = noise(300, 200)
    pixels = encoder_pixels(image, VISION, MASK)
    np.testing.assert_array_equal(pixels.vision, vision_pixels(image, VISION))
    np.testing.assert_array_equal(pixels.mask, mask_pixels(image, MASK)[0])


def test_an_error_beside_is_raised(monkeypatch):
    monkeypatch.setattr(preprocess, "_SIDE_BY_SIDE", 1)
    monkeypatch.setattr(preprocess, "vision_pixels", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        encoder_pixels(noise(30, 20), VISION, MASK)


def test_padding_is_zero_and_normalisation_is_per_channel():
    pixels, (height, width) = mask_pixels(Image.new("RGB", (64, 16), (255, 0, 51)), MASK)
    assert (height, width) == (32, 128)
    assert not pixels[0, :, height:].any()
    expected = (np.array([1.0, 0.0, 0.2]) - MASK.mean) / MASK.std
    np.testing.assert_allclose(pixels[0, :, :height].mean((1, 2)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1, 1), (128, 128)), ((20000, 1), (128, 1)), ((1, 20000), (1, 128)), ((100, 150), (85, 128))],
)
def test_scaled_size_never_reaches_zero(size, expected):
    assert scaled_size(size, MASK) == expected
    pixels, scaled = mask_pixels(noise(size[1], size[0]), MASK)
    assert scaled == expected
    assert np.isfinite(pixels).all()
    assert vision_pixels(noise(size[1], size[0]), dataclasses.replace(VISION, pad_to_square=False)).shape == (
        1,
        3,
        56,
        48,
    )


def test_a_region_smaller_than_the_sampling_step_survives():
    region = np.zeros((2000, 1000), bool)
    region[1, 2] = region[-1, -1] = True
    mask = mask_prompt(region, MASK)
    assert mask[0, 0] == 1
    assert mask[127, 63] == 1
    assert mask.sum() == 2


def test_other_modes_are_refused():
    for call in (lambda image: vision_pixels(image, VISION), lambda image: mask_pixels(image, MASK)):
        with pytest.raises(InputError, match="mode L"):
            call(Image.new("L", (4, 4)))
