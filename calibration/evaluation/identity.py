"""IDF1: for how much of the time things have the one identity that suits them best.

Ristani, Solera, Zou, Cucchiara and Tomasi, "Performance Measures and a Data Set for Multi-Target, Multi-Camera
Tracking", ECCV 2016 workshops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import numpy as np

from xsam_edge.calibration.evaluation.tracked import MATCH, TrackedTruth, best_pairs


class Identity:
    """Each true thing gets one track at most, and each track one thing, over all frames.

    The pairs are those that agree in the most frames, where they overlap by 0.5. These are the true positives (IDTP);
    all other appearances of tracks are false (IDFP), all others of things are missed (IDFN).
    """

    def __init__(self) -> None:
        self._together: Counter[tuple[Hashable, Hashable]] = Counter()
        self._things = self._tracks = 0

    def add(self, frame: TrackedTruth) -> None:
        """Count one frame."""
        for row, column in np.argwhere(frame.overlap >= MATCH):
            self._together[frame.truth[row], frame.given[column]] += 1
        self._things += len(frame.truth)
        self._tracks += len(frame.given)

    def result(self) -> dict[str, float | int | None]:
        """``idf1``, ``id_precision`` and ``id_recall``, and ``idtp``; None where there is nothing to divide by.

        IDF1 is 2 IDTP / (2 IDTP + IDFP + IDFN): twice IDTP of the appearances of things and of tracks.
        """
        things = {thing: row for row, thing in enumerate(dict.fromkeys(thing for thing, _ in self._together))}
        tracks = {track: column for column, track in enumerate(dict.fromkeys(track for _, track in self._together))}
        gains = np.zeros((len(things), len(tracks)))
        for (thing, track), frames in self._together.items():
            gains[things[thing], tracks[track]] = frames
        right = int(gains[best_pairs(gains)].sum())
        both = self._things + self._tracks
        return {
            "idf1": 2 * right / both if both else None,
            "id_precision": right / self._tracks if self._tracks else None,
            "id_recall": right / self._things if self._things else None,
            "idtp": right,
        }
