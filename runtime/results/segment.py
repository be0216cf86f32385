"""One mask of an answer, and what the model says about it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.results.iou import Box, mask_box


@dataclass(frozen=True, eq=False)
class Segment:
    """One mask, bool [H, W] at the image's size, and what the model says about it.

    ``box`` is (x0, y0, x1, y1) in pixels, x1 and y1 exclusive, zeros for an empty mask; ``area`` is in pixels;
    ``score`` lies in 0..1. ``label`` is None where nothing names the segment; ``label_id`` indexes the categories,
    phrases or regions of the call. ``id`` is its value in ``Result.id_map``, 0 without one.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    score: float
    label: str | None
    label_id: int
    box: Box
    area: int
    is_thing: bool = True
    id: int = 0

    @classmethod
    def from_mask(
        cls,
        mask: NDArray[np.bool_],
        score: float,
        label: str | None = None,
        label_id: int = 0,
        is_thing: bool = True,
        id: int = 0,
    ) -> Segment:
        """A segment whose box and area are those of the mask."""
        return cls(
            mask=mask,
            score=float(score),
            label=label,
            label_id=int(label_id),
            box=mask_box(mask),
            area=int(np.count_nonzero(mask)),
            is_thing=is_thing,
            id=int(id),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Segment):
            return NotImplemented
        return self._values() == other._values() and np.array_equal(self.mask, other.mask)

    def _values(self) -> tuple[object, ...]:
        return self.score, self.label, self.label_id, self.box, self.area, self.is_thing, self.id
