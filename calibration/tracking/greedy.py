"""What a tracker is compared with: no motion, and the pairs that overlap most first."""

from __future__ import annotations

import numpy as np

from xsam_edge.runtime.results.iou import Box
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.tracking.detections import overlaps
from xsam_edge.runtime.tracking.options import TrackerOptions


class GreedyTracker:
    """Keeps to the overlap of boxes with those seen last, greedily, in the manner of Bochinski et al. (AVSS 2017).

    It takes the scores and the times of a tracker's options: what scores ``begin`` is matched with tracks of its label
    that were seen within ``keep`` seconds, or begins one, at once.
    """

    def __init__(self, options: TrackerOptions, overlap: float) -> None:
        self._options, self._overlap = options, overlap
        self._boxes: dict[int, Box] = {}
        self._labels: dict[int, str | None] = {}
        self._seen: dict[int, float] = {}
        self._last = 0

    def update(self, result: Result, time: float) -> tuple[int | None, ...]:
        """The identity of each segment of a frame at ``time``, in seconds."""
        known = [track for track, seen in self._seen.items() if time - seen <= self._options.keep]
        boxes = np.array([self._boxes[track] for track in known], float).reshape(-1, 4)
        pairs = zip(*overlaps(boxes, result.boxes.astype(float), self._overlap), strict=True)
        ids: list[int | None] = [None] * len(result)
        taken: set[int] = set()
        for row, place, _ in sorted(pairs, key=lambda pair: -pair[2]):
            track, segment = known[row], result[int(place)]
            fits = segment.score >= self._options.begin and segment.label == self._labels[track]
            if fits and ids[place] is None and track not in taken:
                ids[place] = track
                taken.add(track)
        for place, segment in enumerate(result):
            if segment.score < self._options.begin:
                continue
            track = ids[place]
            if track is None:
                self._last += 1
                track = ids[place] = self._last
            self._boxes[track], self._labels[track], self._seen[track] = segment.box, segment.label, time
        return tuple(ids)
