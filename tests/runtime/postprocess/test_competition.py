from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.postprocess.common import resizer_for, sigmoid
from xsam_edge.runtime.postprocess.competition import compete, first_argmax

SIZES = [(150, 260), (61, 37), (1, 1), (33, 400)]


def blobs(queries: int, grid: int, seed: int = 0) -> np.ndarray:
    """Soft discs of all sizes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:grid, :grid] / grid
    maps = []
    for _ in range(queries):
        (top, left), radius = rng.uniform(0, 1, 2), 10 ** rng.uniform(-1.3, -0.2)
        disc = 8 * (1 - np.hypot(y - top, x - left) / radius)
        maps.append(np.clip(disc, -12, 8) + rng.normal(0, 0.4, disc.shape))
    return np.float32(maps)


def plainly(mask_logits: np.ndarray, scores: np.ndarray, frame: Frame, threshold: float) -> tuple[np.ndarray, ...]:
    """Every query resized and compared at every pixel."""
    owner, won, claimed = np.empty(frame.image_size, np.int32), 0, 0
    for band, values in resizer_for(mask_logits, frame).bands(mask_logits):
        weighted = sigmoid(values) * scores[:, None, None]
        winners = weighted.argmax(0)
        owner[band.slices] = winners
        won = won + np.bincount(winners.ravel(), minlength=len(scores))
        claimed = claimed + np.count_nonzero(weighted >= np.float32(threshold), axis=(1, 2))
    return owner, won, claimed


def check(mask_logits: np.ndarray, scores: np.ndarray, frame: Frame, threshold: float) -> None:
    expected = plainly(mask_logits, scores, frame, threshold)
    found = compete(mask_logits, scores, frame, threshold)
    for name, a, b in zip(("owner", "won", "claimed"), found, expected, strict=True):
        np.testing.assert_array_equal(a, b, name)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_equals_the_plain_way(size: tuple[int, int], threshold: float) -> None:
    frame = Frame(size, (50, 64), (64, 64))
    scores = np.random.default_rng(1).uniform(0.3, 1, 30).astype(np.float32)
    check(blobs(30, 16), scores, frame, threshold)
    check(np.random.default_rng(2).normal(0, 3, (30, 16, 16)).astype(np.float32), scores, frame, threshold)


def test_the_first_of_equals_wins() -> None:
    """Sigmoids of large logits are all 1, so that equal scores tie."""
    mask_logits = np.full((4, 8, 8), 40, np.float32)
    mask_logits[0] = -40
    frame = Frame((200, 300), (32, 32), (32, 32))
    check(mask_logits, np.float32([1, 0.5, 0.9, 0.9]), frame, 0.5)
    owner, _, _ = compete(mask_logits, np.float32([1, 0.5, 0.9, 0.9]), frame, 0.5)
    assert (owner == 2).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_have_owners(value: float) -> None:
    """Whose pixels are nobody's guess, but far from them all is as before."""
    mask_logits, scores = blobs(6, 16), np.linspace(0.4, 0.9, 6, dtype=np.float32)
    frame = Frame((600, 800), (64, 64), (64, 64))
    expected, _, _ = compete(mask_logits, scores, frame, 0.5)
    mask_logits[3, :3, :3] = value
    with np.errstate(invalid="ignore"):
        owner, won, _ = compete(mask_logits, scores, frame, 0.5)
    np.testing.assert_array_equal(owner[300:, 400:], expected[300:, 400:])
    assert won.sum() == owner.size


def test_memory_is_that_of_the_map_and_some_tiles() -> None:
    mask_logits, frame = blobs(40, 32), Frame((900, 1200), (96, 128), (128, 128))
    scores = np.full(40, 0.9, np.float32)
    tracemalloc.start()
    owner, _, _ = compete(mask_logits, scores, frame, 0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < owner.nbytes + 40 * 64 * 128 * 4 * 5


def test_first_argmax() -> None:
    values = np.random.default_rng(0).integers(0, 4, (9, 6, 5)).astype(np.float32)
    np.testing.assert_array_equal(first_argmax(values), values.argmax(0))
