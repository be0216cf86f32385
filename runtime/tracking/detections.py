"""What a tracker is given of a frame: boxes, scores, and which of them may be the same thing."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.result import Result

_FURTHEST = 1e9  # pixels; squares of squares of what is larger are no numbers
_BLOCK = 1 << 20  # pairs of boxes that are compared at once


@dataclass(frozen=True, eq=False)
class Detections:
    """N things that were found in a frame, by whatever.

    ``boxes`` float [N, 4] are x0, y0, x1, y1 in pixels, ``scores`` [N] lie in 0..1. ``labels`` [N] say what they are,
    in any values that can be compared, and ``questions`` [N], whole numbers, to which question; by default all are
    alike. ``size`` is the frame's height and width in pixels, where it is known. A box without an area is never
    followed. Raises InputError for values that are not finite, out of range or not of one length.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: Sequence[Hashable] = ()
    questions: Sequence[int] = ()
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        boxes, scores = _floats("boxes", self.boxes), _floats("scores", self.scores)
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise arguments.wrong("boxes", self.boxes, "an array [N, 4] of x0, y0, x1, y1 in pixels")
        count = len(boxes)
        if scores.shape != (count,):
            raise arguments.wrong("scores", self.scores, f"a score for each of {count} boxes")
        for name, array in (("boxes", boxes), ("scores", scores)):
            if not np.isfinite(array).all():
                raise InputError(f"{name} hold what is no finite number ({_first_bad(array)}); leave it out")
        if count and not (scores.min() >= 0 and scores.max() <= 1):
            raise InputError(f"scores are from {scores.min():g} to {scores.max():g}; expected 0 to 1")
        if count and np.abs(boxes).max() > _FURTHEST:
            raise InputError(f"a box reaches {np.abs(boxes).max():g}; expected pixels, up to {_FURTHEST:g}")
        if (boxes[:, :2] > boxes[:, 2:]).any():
            raise InputError("a box ends before it begins; expected x0 <= x1 and y0 <= y1")
        labels = tuple(self.labels) or (None,) * count
        questions = tuple(arguments.count("a question's number", number) for number in self.questions) or (0,) * count
        for name, values in (("labels", labels), ("questions", questions)):
            if len(values) != count:
                raise InputError(f"{name} are {len(values)}; expected one for each of {count} boxes")
        for label in labels:
            if not isinstance(label, Hashable):
                raise arguments.wrong("a label", label, "text or a number")
        size = self.size
        if size is not None:
            height, width = (
                arguments.count("size", side, 1)
                for side in arguments.items_of("size", size, 2, "height and width in pixels")
            )
            size = (height, width)
        for name, value in {
            "boxes": boxes,
            "scores": scores,
            "labels": labels,
            "questions": questions,
            "size": size,
        }.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of(cls, results: Sequence[Result]) -> Detections:
        """The segments of the answers to several questions about one image, one behind the other.

        A segment's label is its text or, where it has none, its ``label_id``: captions number their phrases anew in
        each frame.
        """
        segments = [segment for result in results for segment in result]
        return cls(
            np.array([segment.box for segment in segments], float).reshape(-1, 4),
            np.array([segment.score for segment in segments], float),
            [segment.label_id if segment.label is None else segment.label for segment in segments],
            [number for number, result in enumerate(results) for _ in result],
            results[0].image_size if results else None,
        )


def overlaps(
    one: NDArray[np.float64], other: NDArray[np.float64], least: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Pairs of boxes [N, 4] and [M, 4] whose IoU is ``least`` and above 0: the places in both, and the IoU."""
    found = [_block(part, start, other, least) for start, part in _blocks(one, len(other))]
    if not found:
        return np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0)
    rows, columns, ious = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, columns, ious


def _blocks(boxes: NDArray[np.float64], others: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    step = max(1, _BLOCK // max(1, others))
    for start in range(0, len(boxes), step):
        yield start, boxes[start : start + step]


def _block(
    one: NDArray[np.float64], start: int, other: NDArray[np.float64], least: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (high - low).clip(0).prod(2)
    union = _areas(one)[:, None] + _areas(other)[None] - shared
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    rows, columns = np.nonzero((iou >= least) & (iou > 0))
    return rows + start, columns, iou[rows, columns]


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return areas


def _floats(name: str, values: object) -> NDArray[np.float64]:
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError):
        raise arguments.wrong(name, values, "an array of numbers") from None


def _first_bad(array: NDArray[np.float64]) -> str:
    place = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
    return f"{array[place]:g} at {list(place)}"
