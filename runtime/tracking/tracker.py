"""Identities over frames: segments are matched with tracks by where these are expected.

In the manner of ByteTrack (Zhang et al. 2022, arXiv 2110.06864): segments that score high are matched first, with all
tracks, those that are out of sight among them; what is left of the tracks seen in the frame before is matched with
segments that score low, which are often things half hidden. Only segments that score high begin tracks.

What is left of the segments that score high is then looked for in a wider place around tracks, since where a thing
comes out of hiding is uncertain: boxes are enlarged, as in C-BIoU (Yang et al. 2023, arXiv 2211.14317).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.iou import Box
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.tracking.assignment import assign
from xsam_edge.runtime.tracking.detections import Detections, overlaps
from xsam_edge.runtime.tracking.kalman import Motion
from xsam_edge.runtime.tracking.options import TrackerOptions

State = Literal["tentative", "seen", "lost"]
Ids = tuple["int | None", ...]
_Indices = NDArray[np.intp]
_EXPECTED = "a Result, or Detections"
_LONGEST = 1e6  # seconds; of more than an hour only that it is more than that matters


@dataclass(frozen=True)
class Track:
    """What is known of one thing at a frame.

    ``id`` counts from 1 and is never used again by a tracker; a "tentative" track, which was not found often enough to
    be one, has none. Of a track that is "seen", ``segment`` is the place of its segment in the result of ``question``;
    one that is "lost" is out of sight. ``box``, (x0, y0, x1, y1) in pixels, is where the thing is taken to be, by what
    was seen in all frames; of one that is lost, where it is expected. ``label`` and ``score`` are those of the segment
    that was seen last, ``frames`` counts those in which it was seen, and ``missed`` the frames since.
    """

    id: int | None
    state: State
    question: int
    label: Hashable
    segment: int | None
    box: Box
    score: float
    frames: int
    missed: int


@dataclass(frozen=True)
class _Life:
    """A track between frames; ``seen`` is in seconds of the tracker's own clock, ``place`` one of the detections."""

    group: Hashable
    id: int | None
    question: int
    label: Hashable
    score: float
    seen: float
    place: int | None
    frames: int = 1
    missed: int = 0


class Tracker:
    """Gives the segments of one frame after another identities. Not for several threads at once.

    >>> tracker = Tracker()
    >>> for result in results:
    ...     ids = tracker.update(result)

    ``time`` of a frame is in seconds of any clock. Between two frames that have it, it tells how far things have moved;
    else frames are ``1 / rate`` seconds apart, by their ``index``, so that frames which were dropped count. A clock
    that goes back was set: such a step counts as ``1 / rate`` seconds a frame, and time goes on from there. Where a
    frame has another size than the one before, it is taken for the same view at another resolution.
    """

    def __init__(self, options: TrackerOptions | None = None) -> None:
        """Raises InputError for other than options."""
        options = TrackerOptions() if options is None else options
        self.options: TrackerOptions = arguments.instance("tracker", options, TrackerOptions, "TrackerOptions")
        self._lives: list[_Life] = []
        self._motion = Motion.begin(np.zeros((0, 4)))
        self._last_id = 0
        self._clock = 0.0
        self._time: float | None = None
        self._index: int | None = None
        self._size: tuple[int, int] | None = None
        self._counts: tuple[int, ...] = (0,)  # of segments of each question

    @property
    def next_index(self) -> int:
        """The least ``index`` that the next frame can have."""
        return 0 if self._index is None else self._index + 1

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All tracks after the last frame, the oldest first."""
        starts = np.cumsum((0, *self._counts))
        return tuple(
            Track(
                life.id,
                "tentative" if life.id is None else "lost" if life.missed else "seen",
                life.question,
                life.label,
                None if life.place is None else life.place - int(starts[life.question]),
                (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                life.score,
                life.frames,
                life.missed,
            )
            for life, box in zip(self._lives, self._motion.boxes, strict=True)
        )

    def update(self, found: Result | Detections, time: float | None = None, index: int | None = None) -> Ids:
        """The identity of each segment of a frame, in their order; None of one that belongs to no track (yet).

        ``index`` counts frames and must grow; by default frames follow one another.

        Raises:
            InputError: an argument of another type or out of range.
        """
        if isinstance(found, Result):
            return self.update_all([found], time, index)[0]
        return self._update(arguments.instance("found", found, Detections, _EXPECTED), time, index)

    def update_all(
        self, results: Sequence[Result], time: float | None = None, index: int | None = None
    ) -> tuple[Ids, ...]:
        """The same of the answers to several questions about one frame, each with tracks of its own.

        Raises:
            InputError: as ``update``, or answers about images of different sizes.
        """
        answers = arguments.items("results", results, "a list of Results")
        for result in answers:
            arguments.instance("a result", result, Result, "a Result")
            if result.image_size != answers[0].image_size:
                raise InputError(
                    f"results are of images of {answers[0].image_size} and {result.image_size} pixels; expected those "
                    "of one frame"
                )
        ids = self._update(Detections.of(answers), time, index)
        self._counts = tuple(len(result) for result in answers)
        given = iter(ids)
        return tuple(tuple(islice(given, count)) for count in self._counts)

    def _update(self, found: Detections, time: float | None, index: int | None) -> Ids:
        first = self._index is None
        self._advance(self._elapsed(time, index))
        self._resize(found.size)
        self._counts = (len(found),)
        options = self.options
        area = (found.boxes[:, 2:] > found.boxes[:, :2]).all(1)
        high = np.flatnonzero(area & (found.scores >= options.high))
        low = np.flatnonzero(area & (found.scores >= options.low) & (found.scores < options.high))
        known = np.array([life.id is not None for life in self._lives], bool)
        in_sight = np.array([not life.missed for life in self._lives], bool)

        tracks = places = np.zeros(0, np.intp)
        for candidates, segments, least, search in (
            (known, high, options.overlap, 0.0),
            (known & in_sight, low, options.low_overlap, 0.0),
            (known, high, options.overlap, options.search),
            (~known, high, options.overlap, 0.0),
        ):
            left = np.setdiff1d(np.flatnonzero(candidates), tracks), np.setdiff1d(segments, places)
            more = self._match(left[0], found, left[1], least, search)
            tracks, places = np.concatenate([tracks, more[0]]), np.concatenate([places, more[1]])
        high = np.setdiff1d(high, places)
        self._motion = self._motion.update(tracks, found.boxes[places])
        self._go_on(dict(zip(tracks.tolist(), places.tolist(), strict=True)), found)
        self._begin(found, high[found.scores[high] >= options.begin], at_once=first)
        ids: list[int | None] = [None] * len(found)
        for life in self._lives:
            if life.place is not None:
                ids[life.place] = life.id
        return tuple(ids)

    def _elapsed(self, time: float | None, index: int | None) -> float:
        """Seconds since the frame before."""
        if time is not None:
            time = arguments.number("time", time, what="seconds")
        if index is None:
            index = self.next_index
        index = arguments.count("index", index)
        if self._index is not None and index <= self._index:
            raise InputError(f"index is {index} after {self._index}; expected one that grows from frame to frame")
        seconds = 0.0 if self._index is None else (index - self._index) / self.options.rate
        if time is not None and self._time is not None and time >= self._time:
            seconds = time - self._time
        self._time, self._index = time, index
        return min(seconds, _LONGEST)

    def _advance(self, seconds: float) -> None:
        """Let go of tracks that have been out of sight for too long, and move the others on."""
        keep = self.options.keep
        self._clock += seconds
        self._keep([not life.missed or self._clock - life.seen <= keep for life in self._lives])
        self._motion = self._motion.predict(min(seconds, max(keep, 1 / self.options.rate)))

    def _resize(self, size: tuple[int, int] | None) -> None:
        if size is not None and self._size is not None and size != self._size:
            self._motion = self._motion.scale(size[1] / self._size[1], size[0] / self._size[0])
        self._size = size or self._size

    def _match(
        self, tracks: _Indices, found: Detections, places: _Indices, least: float, search: float
    ) -> tuple[_Indices, _Indices]:
        """Which of some tracks and of some detections belong together: their indices, of one length."""
        expected, seen = _enlarged(self._motion.boxes[tracks], search), _enlarged(found.boxes[places], search)
        rows, columns, iou = overlaps(expected, seen, least)
        numbers: dict[Hashable, int] = {}  # of groups, which are compared pair by pair
        own = [numbers.setdefault(self._lives[track].group, len(numbers)) for track in tracks.tolist()]
        groups = [numbers.setdefault(self._group(found, place), len(numbers)) for place in places.tolist()]
        same = np.array(own, int)[rows] == np.array(groups, int)[columns]
        rows, columns, iou = rows[same], columns[same], iou[same]
        chosen = assign(rows, columns, iou * found.scores[places[columns]])
        return tracks[rows[chosen]], places[columns[chosen]]

    def _group(self, found: Detections, place: int) -> Hashable:
        """What a track keeps to."""
        question = found.questions[place]
        return (question, found.labels[place]) if self.options.by_label else question

    def _go_on(self, matched: dict[int, int], found: Detections) -> None:
        """Tracks after a frame in which those of ``matched`` were found; others are lost, tentative ones gone."""
        lives: list[_Life] = []
        for number, life in enumerate(self._lives):
            if (place := matched.get(number)) is None:
                lives.append(replace(life, place=None, missed=life.missed + 1))
                continue
            frames = life.frames + 1
            lives.append(
                replace(
                    life,
                    id=self._next_id() if life.id is None and frames >= self.options.confirm else life.id,
                    label=found.labels[place],
                    score=float(found.scores[place]),
                    seen=self._clock,
                    place=place,
                    frames=frames,
                    missed=0,
                )
            )
        self._lives = lives
        self._keep([life.id is not None or not life.missed for life in lives])

    def _begin(self, found: Detections, places: _Indices, at_once: bool) -> None:
        known = at_once or self.options.confirm == 1
        for place in places.tolist():
            self._lives.append(
                _Life(
                    self._group(found, place),
                    self._next_id() if known else None,
                    found.questions[place],
                    found.labels[place],
                    float(found.scores[place]),
                    self._clock,
                    place,
                )
            )
        self._motion = self._motion.add(Motion.begin(found.boxes[places]))

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _keep(self, kept: Sequence[bool]) -> None:
        which = np.flatnonzero(np.array(kept, bool))
        if len(which) < len(self._lives):
            self._lives = [self._lives[number] for number in which]
            self._motion = self._motion.take(which)


def _enlarged(boxes: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Boxes [N, 4] that reach further to all sides, by a share of their own width and height."""
    reach = share * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - reach, boxes[:, 2:] + reach], 1)
