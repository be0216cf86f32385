import numpy as np
import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.resize import (
    BAND_BYTES,
    BAND_ROWS,
    COLUMN_BLOCK,
    Frame,
    Resizer,
    Window,
    bilinear,
    compose,
    image_resizer,
    input_resizer,
    restore_mask,
    scaled_resizer,
)

RNG = np.random.default_rng(0)
FRAMES = [
    Frame((100, 150), (85, 128), (128, 128)),
    Frame((1080, 60), (1024, 57), (1024, 1024)),
    Frame((1, 1), (128, 128), (128, 128)),
    Frame((3, 2000), (1, 128), (128, 128)),
    Frame((30, 20), (8, 5), (8, 8)),  # an input smaller than the grid
]


def naive_bilinear(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Half-pixel bilinear interpolation written as the textbook has it, float64."""
    for axis, size_out in ((1, size[0]), (2, size[1])):
        size_in = maps.shape[axis]
        source = np.clip((np.arange(size_out) + 0.5) * size_in / size_out - 0.5, 0, size_in - 1)
        low = np.floor(source).astype(int)
        high = np.minimum(low + 1, size_in - 1)
        fraction = (source - low).reshape([-1 if a == axis else 1 for a in range(3)])
        maps = maps.take(low, axis) * (1 - fraction) + maps.take(high, axis) * fraction
    return maps


def official_chain(maps: np.ndarray, frame: Frame) -> np.ndarray:
    full = naive_bilinear(maps, frame.input_size)[:, : frame.scaled_size[0], : frame.scaled_size[1]]
    return naive_bilinear(full, frame.image_size)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: str(frame.image_size))
def test_one_step_equals_the_chain(frame: Frame) -> None:
    maps = RNG.normal(0, 3, (2, 16, 16)).astype(np.float32)
    expected = official_chain(maps, frame)
    np.testing.assert_allclose(image_resizer((16, 16), frame).resize(maps), expected, atol=5e-5)
    in_two = scaled_resizer(frame).resize(input_resizer((16, 16), frame).resize(maps))
    np.testing.assert_allclose(in_two, expected, atol=5e-5)


def test_recorded_masks(phi3_reference) -> None:
    """The decoder's masks at the input's size, as the official code resized them."""
    with np.load(phi3_reference / "img_refseg.npz") as recorded:
        maps, expected = recorded["tensor/decoder.masks_lowres.3"][0], recorded["tensor/masks_queries_logits"][0]
    resizer = Resizer(bilinear(maps.shape[1], expected.shape[1]), bilinear(maps.shape[2], expected.shape[2]))
    np.testing.assert_allclose(resizer.resize(maps), expected, atol=1e-5)


def test_positions_are_rounded_as_in_torch() -> None:
    """What PyTorch makes of a ramp 0..1023 resized to 1,920; exact arithmetic ends in ...166667, 8e-5 away."""
    ramp = np.arange(1024, dtype=np.float64)
    axis = bilinear(1024, 1920)
    for index, expected in ((1857, 990.166748046875), (1917, 1022.166748046875), (1887, 1006.166748046875)):
        value = axis.weights[index].astype(np.float64) @ ramp[axis.start[index] : axis.start[index] + 2]
        assert value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: str(frame.image_size))
def test_bands_cover_the_window(frame: Frame) -> None:
    maps = RNG.normal(0, 3, (3, 16, 16)).astype(np.float32)
    resizer = image_resizer((16, 16), frame)
    whole = resizer.resize(maps)
    height, width = frame.image_size
    window = Window(height // 3, height, width // 4, width)
    for band_bytes in (1, 1 << 22):
        joined, covered = np.zeros_like(whole), np.zeros((height, width), int)
        for band, values in resizer.bands(maps, window, band_bytes):
            joined[(slice(None), *band.slices)] = values
            covered[band.slices] += 1
        inside = np.zeros((height, width), int)
        inside[window.slices] = 1
        np.testing.assert_array_equal(covered, inside)
        np.testing.assert_allclose(joined, whole * inside, atol=1e-5)


def test_bands_are_as_large_as_their_maps_allow() -> None:
    resizer = image_resizer((16, 16), Frame((4000, 6000), (683, 1024), (1024, 1024)))
    for count in (1, 40, 200, 2000):
        largest = max((band.bottom - band.top) * (band.right - band.left) for band in resizer.plan(count))
        assert 4 * count * largest <= max(BAND_BYTES, 4 * count * BAND_ROWS * COLUMN_BLOCK)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: str(frame.image_size))
def test_reach_holds_every_pixel_that_a_cell_touches(frame: Frame) -> None:
    resizer = image_resizer((16, 16), frame)
    for _ in range(20):
        cells = np.zeros((16, 16), bool)
        top, left = RNG.integers(0, 16, 2)
        cells[top : top + RNG.integers(1, 4), left : left + RNG.integers(1, 4)] = True
        touched = resizer.resize(cells[None].astype(np.float32))[0] > 0
        window = resizer.reach(cells)
        if window is None:
            assert not touched.any()
        else:
            touched[window.slices] = False
            assert not touched.any()


def test_reach_of_nothing() -> None:
    assert image_resizer((4, 4), FRAMES[0]).reach(np.zeros((4, 4), bool)) is None


def test_compose_is_the_product() -> None:
    first, second = bilinear(7, 40).head(33), bilinear(33, 90)
    combined = compose(first, second)
    assert combined.taps <= 4
    expected = dense(second) @ dense(first)
    np.testing.assert_allclose(dense(combined), expected, atol=1e-6)


def dense(axis) -> np.ndarray:
    matrix = np.zeros((axis.size_out, axis.size_in))
    matrix[:, axis.inputs(0, axis.size_out)] = axis.matrix(0, axis.size_out)
    return matrix


def test_restore_mask() -> None:
    """Nearest: output i reads input floor(i * in / out), padding cut off."""
    mask = np.zeros((8, 8), np.uint8)
    mask[1, 2] = 255
    mask[6:] = 255  # padding
    restored = restore_mask(mask, Frame((12, 16), (6, 8), (8, 8)))
    expected = np.zeros((12, 16), bool)
    expected[2:4, 4:6] = True
    np.testing.assert_array_equal(restored, expected)


def test_impossible_frames() -> None:
    with pytest.raises(InputError, match="at least 1 pixel"):
        Frame((0, 5), (4, 4), (8, 8))
    with pytest.raises(InputError, match="does not fit"):
        Frame((5, 5), (9, 4), (8, 8))
