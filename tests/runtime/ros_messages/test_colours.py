"""Demosaicing and YUV against OpenCV, where it is installed, and against values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from xsam_edge.runtime.ros_messages.colours import BAYER, from_bayer, from_yuv


@pytest.mark.parametrize("pattern", BAYER)
@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (4, 3)])
def test_a_constant_colour_comes_back(pattern: str, shape: tuple[int, int]) -> None:
    colour = np.array([10, 90, 200], np.uint8)
    mosaic = np.array([[colour[BAYER[pattern][2 * (y % 2) + x % 2]] for x in range(shape[1])] for y in range(shape[0])])
    assert (from_bayer(mosaic, pattern) == colour).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("pattern", BAYER)
def test_within_it_is_what_opencv_gives(pattern: str, dtype: type) -> None:
    cv2 = pytest.importorskip("cv2")
    mosaic = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (33, 46), dtype, endpoint=True)
    # OpenCV's names are of the block that begins one pixel further right and below.
    code = {"rggb": cv2.COLOR_BayerBG2RGB, "bggr": cv2.COLOR_BayerRG2RGB}
    code |= {"gbrg": cv2.COLOR_BayerGR2RGB, "grbg": cv2.COLOR_BayerGB2RGB}
    theirs = cv2.cvtColor(mosaic, code[pattern])
    np.testing.assert_array_equal(from_bayer(mosaic, pattern)[1:-1, 1:-1], theirs[1:-1, 1:-1])


def test_edges_take_the_near_side() -> None:
    mosaic = np.array([[0, 10, 20], [30, 40, 50], [60, 70, 80]], np.uint8)
    image = from_bayer(mosaic, "rggb")
    assert image[0, 0].tolist() == [0, 20, 40]  # green: 10, 10, 30, 30; blue: four times 40
    assert image[1, 1].tolist() == [40, 40, 40]  # red: 0, 20, 60, 80; green: 10, 30, 50, 70
    assert image[0, 1].tolist() == [10, 10, 40]


def test_sums_of_16_bits_do_not_wrap() -> None:
    assert (from_bayer(np.full((4, 4), 65535, np.uint16), "rggb") == 65535).all()


@pytest.mark.parametrize(("name", "where"), [("UYVY", (1, 0, 2)), ("YUY2", (0, 1, 3))])
def test_packed_yuv_is_what_opencv_gives(name: str, where: tuple[int, int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    data = np.random.default_rng(1).integers(0, 256, (20, 2 * 34), np.uint8)
    ours = from_yuv(data[:, where[0] :: 2], data[:, where[1] :: 4], data[:, where[2] :: 4])
    theirs = cv2.cvtColor(data.reshape(20, 34, 2), getattr(cv2, f"COLOR_YUV2RGB_{name}"))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_planar_yuv_is_what_opencv_gives() -> None:
    cv2 = pytest.importorskip("cv2")
    data = np.random.default_rng(2).integers(0, 256, (30, 36), np.uint8)
    ours = from_yuv(data[:20], data[20:, 0::2], data[20:, 1::2])
    theirs = cv2.cvtColor(data, cv2.COLOR_YUV2RGB_NV12)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_black_grey_white_and_red_of_the_studio_range() -> None:
    luma = np.array([[16, 126, 235, 81]], np.uint8)
    u, v = np.array([[128, 90]], np.uint8), np.array([[128, 240]], np.uint8)
    grey = from_yuv(luma[:, :2], u[:, :1], v[:, :1])
    assert grey.tolist() == [[[0, 0, 0], [128, 128, 128]]]
    assert from_yuv(luma[:, 2:], np.array([[128]], np.uint8), np.array([[128]], np.uint8))[0, 0].tolist() == [255] * 3
    assert from_yuv(luma[:, 2:], u[:, 1:], v[:, 1:])[0, 1].tolist() == [254, 0, 0]
