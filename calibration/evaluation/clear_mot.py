"""CLEAR MOT: what a tracker misses, invents and mixes up, frame by frame.

Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics", EURASIP JIVP 2008.
"""

from __future__ import annotations

from collections.abc import Hashable

from xsam_edge.calibration.evaluation.tracked import MATCH, TrackedTruth, best_pairs

_KEPT = 1000.0  # more than all overlaps of a frame: a pair of the frame before stays one while it overlaps enough


class ClearMot:
    """Misses, false positives and switches, over any number of frames.

    A true thing and a track match where they overlap by 0.5. Pairs of the frame before are kept while they do; the
    others are chosen so that overlaps add up to the most. A switch is a match of a thing with another track than that
    of its match before, however long ago that was.
    """

    def __init__(self) -> None:
        self._things = self._misses = self._false = self._switches = 0
        self._overlap = 0.0
        self._last: dict[Hashable, Hashable] = {}
        self._before: dict[Hashable, Hashable] = {}

    def add(self, frame: TrackedTruth) -> None:
        """Count one frame; those of a video follow one another."""
        gains = frame.overlap * (frame.overlap >= MATCH)
        for row, thing in enumerate(frame.truth):
            for column, track in enumerate(frame.given):
                if gains[row, column] and self._before.get(thing) == track:
                    gains[row, column] += _KEPT
        rows, columns = best_pairs(gains)
        self._before = {}
        for row, column in zip(rows, columns, strict=True):
            thing, track = frame.truth[row], frame.given[column]
            self._switches += self._last.get(thing, track) != track
            self._last[thing] = self._before[thing] = track
            self._overlap += float(frame.overlap[row, column])
        self._things += len(frame.truth)
        self._misses += len(frame.truth) - len(rows)
        self._false += len(frame.given) - len(rows)

    def result(self) -> dict[str, float | int | None]:
        """``mota``, ``motp`` (mean overlap of the matches), ``misses``, ``false_positives``, ``switches``, ``things``.

        MOTA is 1 - (misses + false positives + switches) / things, which may be below 0; None where nothing was there.
        MOTP is None without a match.
        """
        matches = self._things - self._misses
        wrong = self._misses + self._false + self._switches
        return {
            "mota": 1 - wrong / self._things if self._things else None,
            "motp": self._overlap / matches if matches else None,
            "misses": self._misses,
            "false_positives": self._false,
            "switches": self._switches,
            "things": self._things,
        }
