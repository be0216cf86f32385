"""What is kept of a picture's answers: a record for the journal, and what data sets are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.label.categories import Category
from xsam_edge.runtime.label.painting import paint
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment


def to_record(name: str, results: Sequence[Result], phrases: Sequence[str], parts: int = 1) -> dict[str, Any]:
    """The record of a picture, as values of JSON.

    Args:
        name: of the picture.
        results: one, or one for each phrase.
        phrases: what was asked for, where it were phrases.
        parts: that the names were asked in; answers that are merged of several are approximate.
    """
    size = [int(side) for side in results[0].image_size]
    segments = []
    for number, result in enumerate(results):
        for segment in result.segments:
            label = phrases[number] if phrases else segment.label
            if label is not None and segment.area:
                counts = rle.encode(segment.mask)["counts"]
                segments.append({"label": label, "score": segment.score, "thing": segment.is_thing, "mask": counts})
    record: dict[str, Any] = {"picture": name, "size": size, "segments": segments}
    return record | ({"parts": parts} if parts > 1 else {})


@dataclass(frozen=True)
class Labelled:
    """One segment of a picture: run lengths as COCO has them, ``size`` (height, width)."""

    category: Category
    score: float
    counts: str
    size: tuple[int, int]

    def mask(self) -> NDArray[np.bool_]:
        """Bool [H, W]."""
        return rle.decode(self.size, self.counts)

    @cached_property
    def bounds(self) -> tuple[int, tuple[int, int, int, int]]:
        """The area in pixels, and x0, y0, x1, y1, x1 and y1 exclusive."""
        return rle.bounds(rle.decompress(self.counts), self.size[0])

    def segment(self) -> Segment:
        """As overlays draw it."""
        return Segment.from_mask(self.mask(), self.score, self.category.name, self.category.id, self.category.is_thing)


@dataclass(frozen=True)
class Picture:
    """A picture with its segments, in the order of the model's answer; ``id`` counts all pictures from 1."""

    id: int
    name: str
    path: Path
    size: tuple[int, int]
    segments: tuple[Labelled, ...]
    parts: int = 1

    def least_score(self) -> float | None:
        """The lowest score of a segment, None where there is none."""
        return min((segment.score for segment in self.segments), default=None)

    def map(self) -> tuple[NDArray[np.int32], list[Labelled]]:
        """Each pixel's segment, int32 [H, W], n the n-th of the list; of several the best one has it."""
        best = sorted(self.segments, key=lambda segment: -segment.score)
        owner, kept = paint((segment.mask() for segment in best), self.size)
        return owner, [best[place] for place in kept]


def picture_of(record: Mapping[str, Any], id: int, path: Path, becomes: Mapping[str, Category]) -> Picture:
    """The picture of a record, with its names mapped.

    Stuff that becomes one is one segment, with the best score of its pieces.
    """
    height, width = record["size"]
    size = (int(height), int(width))
    segments: list[Labelled] = []
    stuff: dict[str, int] = {}
    for given in record["segments"]:
        item = Labelled(becomes[given["label"]], float(given["score"]), given["mask"], size)
        place = None if item.category.is_thing else stuff.setdefault(item.category.name, len(segments))
        if place is None or place == len(segments):
            segments.append(item)
            continue
        other = segments[place]
        counts = rle.encode(other.mask() | item.mask())["counts"]
        segments[place] = Labelled(item.category, max(other.score, item.score), counts, size)
    return Picture(id, record["picture"], path, size, tuple(segments), int(record.get("parts", 1)))
