"""Post-processing reads from a device only the masks that class scores leave in question, and finds the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.chain.mask_logits import MaskLogits
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.postprocess import (
    generalised_mask,
    grounded_masks,
    instance_masks,
    interactive_mask,
    panoptic_segments,
    referred_mask,
    semantic_map,
)

QUERIES, GRID, CLASSES = 12, 8, 3
FRAME = Frame((30, 40), (24, 32), (32, 32))
MASKS = np.random.default_rng(0).standard_normal((QUERIES, GRID, GRID)).astype(np.float32)
# The scores of queries 3, 7 and 8 exceed one half, each for another class.
SCORES = np.full((QUERIES, CLASSES + 1), 0.1, np.float32)
SCORES[:, -1] = 0.7
for label, best in enumerate((3, 7, 8)):
    SCORES[best] = 0.05
    SCORES[best, label] = 0.85
LOGITS = np.log(SCORES)
ONE_CLASS = np.stack([LOGITS[:, :-1].max(1), LOGITS[:, -1]], 1)


class Device:
    """Mask logits behind an address, and which queries were read."""

    def __init__(self) -> None:
        self.read: list[list[int]] = []
        self.logits = MaskLogits(Buffer(4096, MASKS.shape, MASKS.dtype, None), self._download)

    def _download(self, view: Buffer) -> np.ndarray:
        start = (view.address - 4096) // MASKS[0].nbytes
        queries = range(start, start + view.nbytes // MASKS[0].nbytes)
        self.read.append(list(queries))
        return MASKS[queries.start : queries.stop].reshape(view.shape).copy()


REGION = np.zeros(FRAME.image_size, bool)
REGION[5:15, 5:15] = True


def interactive(classes: np.ndarray, masks: Any) -> Any:
    return interactive_mask(classes, masks, FRAME, REGION, "mask", 0.3)


CASES: list[tuple[str, Callable[[np.ndarray, Any], Any], np.ndarray, set[int]]] = [
    ("referred", lambda c, m: referred_mask(c, m, FRAME), LOGITS[:, [0, 3]], {3}),
    ("grounded", lambda c, m: grounded_masks(c, m, FRAME), LOGITS, {3, 7, 8}),
    ("generalised", lambda c, m: generalised_mask(c, m, FRAME, 0.6), ONE_CLASS, {3, 7, 8}),
    ("instances", lambda c, m: instance_masks(c, m, FRAME, 0.5), LOGITS, {3, 7, 8}),
    ("things", lambda c, m: instance_masks(c, m, FRAME, 0.5, {0, 2}), LOGITS, {3, 8}),
    ("panoptic", lambda c, m: panoptic_segments(c, m, FRAME, (1,), 0.5, 0.1), LOGITS, {3, 7, 8}),
    ("nothing", lambda c, m: panoptic_segments(c, m, FRAME, (1,), 0.99), LOGITS, set()),
    ("interactive", interactive, ONE_CLASS, {3, 7, 8}),
    ("semantic", lambda c, m: semantic_map(c, m, FRAME), LOGITS, set(range(QUERIES))),
    ("evidence", lambda c, m: semantic_map(c, m, FRAME, "evidence"), LOGITS, set(range(QUERIES))),
]


def equal(found: Any, expected: Any) -> None:
    """Bit for bit, through dataclasses and tuples."""
    assert type(found) is type(expected)
    if isinstance(expected, tuple):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            equal(a, b)
    elif hasattr(expected, "__dataclass_fields__"):
        for name in expected.__dataclass_fields__:
            equal(getattr(found, name), getattr(expected, name))
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("name", "run", "classes", "needed"), CASES, ids=[case[0] for case in CASES])
def test_only_masks_that_matter_are_read(
    name: str, run: Callable[[np.ndarray, Any], Any], classes: np.ndarray, needed: set[int]
) -> None:
    device = Device()
    equal(run(classes, device.logits), run(classes, MASKS))
    assert {query for read in device.read for query in read} == needed
    if name in ("semantic", "evidence"):
        assert len(device.read) == 1, "all at once"


def test_an_index_reads_what_it_names() -> None:
    device = Device()
    assert device.logits.shape == MASKS.shape and len(device.logits) == QUERIES
    np.testing.assert_array_equal(device.logits[5], MASKS[5])
    np.testing.assert_array_equal(device.logits[np.array([7, 2])], MASKS[[7, 2]])
    assert device.logits[[]].shape == (0, GRID, GRID)
    assert device.read == [[5], [7], [2]]
    np.testing.assert_array_equal(np.asarray(device.logits), MASKS)
    assert np.asarray(device.logits, np.float64).dtype == np.float64
    with pytest.raises(IndexError, match="item 12 of a buffer of shape"):
        device.logits[QUERIES]
