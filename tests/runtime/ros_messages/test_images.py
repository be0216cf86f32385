"""Images of every encoding, padded and not, of both orders of bytes; and messages that cannot be right."""

from __future__ import annotations

import io
from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.ros_messages.images import ENCODINGS, is_compressed, to_array

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
GREY_16 = np.array([[0, 255, 256], [1000, 32768, 65535]], np.uint16)


def message(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False, **changed: Any) -> SimpleNamespace:
    """A ``sensor_msgs/Image`` of pixels [H, W, ...] as they lie in memory."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).reshape(height, -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    fields = {"height": height, "width": width, "encoding": encoding, "is_bigendian": int(big)}
    fields |= {"step": padded.shape[1], "data": padded.reshape(-1)}
    return SimpleNamespace(**{**fields, **changed})


def compressed(image: Image.Image, kind: str, form: str) -> SimpleNamespace:
    file = io.BytesIO()
    image.save(file, kind)
    return SimpleNamespace(format=form, data=np.frombuffer(file.getvalue(), np.uint8))


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("8UC3", RGB[..., ::-1]),
        ("rgba8", np.dstack((RGB, np.full((2, 3), 9, np.uint8)))),
        ("bgra8", np.dstack((RGB[..., ::-1], np.full((2, 3), 9, np.uint8)))),
        ("rgb16", RGB.astype(np.uint16) * 256 + 255),
        ("bgr16", RGB[..., ::-1].astype(np.uint16) * 256),
    ],
)
def test_colours(encoding: str, stored: np.ndarray, padding: int) -> None:
    for big in (False, True):
        pixels = to_array(message(stored, encoding, padding, big))
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, RGB)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey(encoding: str) -> None:
    np.testing.assert_array_equal(to_array(message(RGB[..., 0], encoding, 1)), RGB[..., 0])


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_16_bits_are_their_upper_8(encoding: str, big: bool) -> None:
    assert to_array(message(GREY_16, encoding, 2, big)).tolist() == [[0, 0, 1], [3, 128, 255]]


def test_a_range_of_depth_becomes_0_to_255() -> None:
    seen = to_array(message(GREY_16, "16UC1"), depth_range=(255, 1275))
    assert seen.tolist() == [[0, 0, 0], [186, 255, 255]]
    np.testing.assert_array_equal(to_array(message(RGB, "rgb8"), depth_range=(0, 1)), RGB)  # 8 bits are left alone
    with pytest.raises(InputError, match=r"\(5, 5\); the second must be above the first"):
        to_array(message(GREY_16, "16UC1"), depth_range=(5, 5))


def test_bayer_of_8_and_16_bits_agree() -> None:
    mosaic = np.array([[200, 90], [90, 10]], np.uint8)
    for pixels in (message(mosaic, "bayer_rggb8", 3), message(mosaic.astype(np.uint16) << 8, "bayer_rggb16", 2, True)):
        assert to_array(pixels)[0, 0].tolist() == [200, 90, 10]
    assert to_array(message(mosaic, "bayer_bggr8"))[0, 0].tolist() == [10, 90, 200]


@pytest.mark.parametrize(
    ("encoding", "pair"),
    [("uyvy", [90, 81, 240, 81]), ("yuv422", [90, 81, 240, 81]), ("yuyv", [81, 90, 81, 240])],
)
def test_packed_yuv(encoding: str, pair: list[int]) -> None:
    stored = np.tile(np.array(pair, np.uint8).reshape(1, 2, 2), (3, 2, 1))
    red = to_array(message(stored, encoding, 5))
    assert red.shape == (3, 4, 3)
    assert (red == [254, 0, 0]).all()
    with pytest.raises(ImageError, match=r"3 x 3 pixels of .*, which needs a width that 2"):
        to_array(message(stored[:, :3], encoding))


@pytest.mark.parametrize(("encoding", "pair"), [("nv12", [90, 240]), ("nv21", [240, 90])])
def test_planar_yuv(encoding: str, pair: list[int]) -> None:
    stored = np.vstack((np.full((2, 4), 81), [pair * 2])).astype(np.uint8)
    assert (to_array(message(stored, encoding, 2, height=2)) == [254, 0, 0]).all()


def test_whatever_holds_the_bytes() -> None:
    data = message(RGB, "rgb8").data
    for held in (
        data.tobytes(),
        bytearray(data),
        memoryview(data.tobytes()),
        array("B", data.tobytes()),
        data.tolist(),
    ):
        np.testing.assert_array_equal(to_array(message(RGB, "rgb8", data=held)), RGB)


def test_the_last_row_may_lack_its_padding() -> None:
    whole = message(RGB, "rgb8", 4)
    whole.data = whole.data[:-4]
    np.testing.assert_array_equal(to_array(whole), RGB)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"step": 8}, "has a step of 8 bytes, and a row of it takes 9"),
        ({"step": 0}, "has a step of 0 bytes"),
        ({"data": b"12345"}, "has 5 bytes of data, and 18 were expected"),
        ({"data": b""}, "has 0 bytes of data, and 18"),
        ({"data": bytes(19)}, "has 19 bytes of data, and 18"),
        ({"width": 0}, "is 0 x 2 pixels; at least 1 x 1"),
        ({"height": 1 << 31}, "at most 536870912 pixels"),
    ],
)
def test_damaged_messages_are_frames_that_are_damaged(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        to_array(message(RGB, "rgb8", **changed))


def test_one_pixel_is_no_mosaic() -> None:
    with pytest.raises(ImageError, match="1 x 1 pixels of bayer_rggb8, which needs 2 x 2"):
        to_array(message(RGB[:1, :1, 0], "bayer_rggb8"))


def test_an_unknown_encoding_is_named_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"'32FC1', which is not known; convert it to one of mono8, .*nv21") as caught:
        to_array(message(RGB, "32FC1"))
    assert not isinstance(caught.value, ImageError)  # all frames of the topic would be
    assert all(name in str(caught.value) for name in ENCODINGS)


@pytest.mark.parametrize(("kind", "form"), [("PNG", "rgb8; png compressed bgr8"), ("PNG", "png"), ("JPEG", "jpeg")])
def test_compressed(kind: str, form: str) -> None:
    sent = compressed(Image.fromarray(np.full((8, 8, 3), (200, 40, 90), np.uint8)), kind, form)
    assert is_compressed(sent)
    assert not is_compressed(message(RGB, "rgb8"))
    assert np.abs(to_array(sent).astype(int) - (200, 40, 90)).max() <= 3


def test_compressed_grey_of_8_and_16_bits() -> None:
    np.testing.assert_array_equal(to_array(compressed(Image.fromarray(RGB[..., 0]), "PNG", "mono8; png")), RGB[..., 0])
    deep = compressed(Image.fromarray(GREY_16), "PNG", "mono16; png compressed ")
    assert to_array(deep).tolist() == [[0, 0, 1], [3, 128, 255]]
    assert to_array(deep, depth_range=(255, 1275)).tolist() == [[0, 0, 0], [186, 255, 255]]


def test_compressed_pixels_stay_as_stored() -> None:
    file, turned = io.BytesIO(), Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(RGB).save(file, "PNG", exif=turned)
    np.testing.assert_array_equal(to_array(SimpleNamespace(format="png", data=file.getvalue())), RGB)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0"])
def test_compressed_and_damaged(data: bytes) -> None:
    with pytest.raises(ImageError):
        to_array(SimpleNamespace(format="jpeg", data=data))


def test_compressed_depth_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="'16UC1; compressedDepth png', which is not a picture; take") as caught:
        to_array(SimpleNamespace(format="16UC1; compressedDepth png", data=b"\0" * 20))
    assert not isinstance(caught.value, ImageError)
