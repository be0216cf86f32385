"""One mask of an answer, and what the model says about it."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime import arguments
from xsam_edge.runtime.results.iou import Box, mask_box


@dataclass(frozen=True, eq=False)
class Segment:
    """One mask, bool [H, W] at the image's size, and what the model says about it.

    ``box`` is (x0, y0, x1, y1) in pixels, x1 and y1 exclusive, zeros for an empty mask; ``area`` is in pixels;
    ``score`` lies in 0..1. ``label`` is None where nothing names the segment; ``label_id`` indexes the categories,
    phrases or regions of the call. ``id`` is its value in ``Result.id_map``, 0 without one. ``track_id`` is its
    identity over the frames of a stream, from 1 on, and has nothing to do with ``id``; None where nothing is tracked,
    and of a segment that belongs to no track.

    The mask of a segment that was made by ``from_map`` is cut out of the map each time that it is asked for.

    Raises InputError for a value of another type or out of range.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    score: float
    label: str | None
    label_id: int
    box: Box
    area: int
    is_thing: bool = True
    id: int = 0
    track_id: int | None = None

    def __post_init__(self) -> None:
        arguments.array("mask", self.mask, np.bool_, ("height", "width"))
        x0, y0, x1, y1 = arguments.reals("box", self.box, 4, "x0, y0, x1, y1 in pixels")
        for name, value in {
            "score": arguments.share("score", self.score),
            "label": None if self.label is None else arguments.text("label", self.label),
            "label_id": arguments.count("label_id", self.label_id),
            "box": (x0, y0, x1, y1),
            "area": arguments.count("area", self.area),
            "is_thing": arguments.flag("is_thing", self.is_thing),
            "id": arguments.count("id", self.id),
            "track_id": None if self.track_id is None else arguments.count("track_id", self.track_id, 1),
        }.items():
            object.__setattr__(self, name, value)  # as Python has it: a scalar of NumPy is none of JSON's

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
        arguments.array("mask", mask, np.bool_, ("height", "width"))
        return cls(mask, score, label, label_id, mask_box(mask), int(np.count_nonzero(mask)), is_thing, id)

    @classmethod
    def from_map(
        cls,
        id_map: NDArray[np.int32],
        value: int,
        box: Box,
        area: int,
        score: float,
        label: str | None = None,
        label_id: int = 0,
        is_thing: bool = True,
        id: int = 0,
    ) -> Segment:
        """A segment of the pixels of a map [H, W] that have ``value``, whose box and area are those given.

        It keeps the map and no mask: those of a large picture's segments are many times as large.
        """
        arguments.array("id_map", id_map, np.int32, ("height", "width"))
        value = arguments.count("value", value, -1)
        segment = cls(np.zeros((0, 0), bool), score, label, label_id, box, area, is_thing, id)
        object.__delattr__(segment, "mask")
        object.__setattr__(segment, "_cut", (id_map, value))
        return segment

    def tracked(self, track_id: int | None) -> Segment:
        """The same segment with an identity, or without; its mask is not copied, nor cut out of its map."""
        same = copy(self)
        track_id = None if track_id is None else arguments.count("track_id", track_id, 1)
        object.__setattr__(same, "track_id", track_id)
        return same

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the mask."""
        height, width = vars(self)["_cut"][0].shape if "_cut" in vars(self) else self.mask.shape
        return int(height), int(width)

    if not TYPE_CHECKING:  # where every name would count as an attribute

        def __getattr__(self, name: str) -> Any:
            """What is no attribute: the mask of a segment that was made from a map."""
            if name != "mask" or "_cut" not in vars(self):
                raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
            id_map, value = vars(self)["_cut"]
            return id_map == value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Segment):
            return NotImplemented
        return self._values() == other._values() and np.array_equal(self.mask, other.mask)

    def _values(self) -> tuple[object, ...]:
        return self.score, self.label, self.label_id, self.box, self.area, self.is_thing, self.id, self.track_id
