"""What was found in a frame, as messages tell it: numbered, with boxes by their centre, in one mask of ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

UNNAMED = "segment"  # the label of what nothing names
_MOST = (1 << 16) - 1


@dataclass(frozen=True)
class Found:
    """A segment of a frame and its number; boxes are in pixels from the image's upper left corner."""

    id: int
    segment: Segment = field(repr=False)

    @property
    def label(self) -> str:
        """What it is called."""
        return self.segment.label or UNNAMED

    @property
    def score(self) -> float:
        """0 to 1."""
        return self.segment.score

    @property
    def centre(self) -> tuple[float, float]:
        """X and y of the box's centre; a box of one pixel at the corner has (0.5, 0.5)."""
        x0, y0, x1, y1 = self.segment.box
        return (x0 + x1) / 2, (y0 + y1) / 2

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the box."""
        x0, y0, x1, y1 = self.segment.box
        return x1 - x0, y1 - y0


def found_in(results: Iterable[Result], *, tracked: bool = False) -> tuple[Found, ...]:
    """The segments of a frame's results that have a pixel, in their order: first those of the first result.

    Their ids count from 1 in that order, and so may change from frame to frame. Of a ``tracked`` frame they are the
    identities, and what has none yet is left out; identities above 65,535, which no image holds, begin at 1 again.

    Raises:
        InputError: more segments than 65,535.
    """
    seen = [segment for result in results for segment in result if segment.area]
    if tracked:
        known = ((segment.track_id, segment) for segment in seen)
        return tuple(Found((track - 1) % _MOST + 1, segment) for track, segment in known if track is not None)
    if len(seen) > _MOST:
        raise InputError(f"the frame has {len(seen)} segments, and an image of ids holds {_MOST}; raise --threshold")
    return tuple(Found(number, segment) for number, segment in enumerate(seen, 1))


def mask_image(found: Sequence[Found], size: tuple[int, int]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """An image [H, W] whose pixels are the ids of what lies there, 0 where nothing does; ``size`` is (height, width).

    Where segments overlap, the one that scores higher is seen, of equal ones the first. It is uint8, the encoding
    ``mono8``, while no id is above 255, else uint16, ``16UC1``.
    """
    ids: NDArray[np.uint8] | NDArray[np.uint16]
    ids = np.zeros(size, np.uint8 if max((thing.id for thing in found), default=0) <= 255 else np.uint16)
    for thing in sorted(reversed(found), key=lambda thing: thing.score):  # stable: of equals the first comes last
        x0, y0, x1, y1 = (int(side) for side in thing.segment.box)
        ids[y0:y1, x0:x1][thing.segment.mask[y0:y1, x0:x1]] = thing.id
    return ids
