import numpy as np
import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.iou import mask_box


def random_masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    masks = [rng.random(rng.integers(1, 40, 2)) < rng.random() for _ in range(40)]
    masks += [np.kron(mask, np.ones((30, 20), bool)).astype(bool) for mask in masks[:5]]
    return [*masks, np.zeros((5, 7), bool), np.ones((5, 7), bool), np.ones((1, 1), bool), np.zeros((2000, 900), bool)]


@pytest.mark.parametrize("mask", random_masks(), ids=lambda mask: "x".join(map(str, mask.shape)))
def test_round_trip(mask: np.ndarray) -> None:
    encoded = rle.encode(mask)
    np.testing.assert_array_equal(rle.decode(**encoded), mask)
    np.testing.assert_array_equal(rle.decode(mask.shape, encoded["counts"].encode()), mask)
    np.testing.assert_array_equal(rle.decode(mask.shape, rle.run_lengths(mask).tolist()), mask)


def test_equals_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    for mask in random_masks():
        reference = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle.encode(mask) == {"size": list(reference["size"]), "counts": reference["counts"].decode()}


def test_known_string() -> None:
    """Column-major, zeros first: a mask that starts with a one has an empty first run."""
    mask = np.array([[1, 0, 0], [1, 1, 0]], bool)
    assert rle.run_lengths(mask).tolist() == [0, 2, 1, 1, 2]
    assert rle.encode(mask) == {"size": [2, 3], "counts": "021O1"}


@pytest.mark.parametrize("counts", ["", "02", "021", "0ü", "02\x1f1O1", "PP", "021O2", [3, 4], [7, -1], "PPPPPPPPPP0"])
def test_damaged(counts: str | list[int]) -> None:
    with pytest.raises(InputError):
        rle.decode([2, 3], counts)


def test_size_must_be_two_numbers() -> None:
    with pytest.raises(InputError, match=r"\[height, width\]"):
        rle.decode([6], "6")


def test_bounds_are_those_of_the_mask() -> None:
    random = np.random.default_rng(0)
    for height, width in ((1, 1), (1, 7), (7, 1), (5, 6), (40, 30)):
        for share in (0.0, 0.05, 0.5, 1.0):
            mask = random.random((height, width)) < share
            x0, y0, x1, y1 = mask_box(mask)
            assert rle.bounds(rle.run_lengths(mask), height) == (mask.sum(), (x0, y0, x1, y1))
    tall = np.zeros((4, 3), bool)
    tall[1:3, 1] = True
    assert rle.bounds(rle.run_lengths(tall), 4) == (2, (1, 1, 2, 3))
