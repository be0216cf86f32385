"""How well trackers keep identities in moving scenes, from the same segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from xsam_edge.calibration.data.samples import BoolMask
from xsam_edge.calibration.evaluation.clear_mot import ClearMot
from xsam_edge.calibration.evaluation.hota import Hota
from xsam_edge.calibration.evaluation.identity import Identity
from xsam_edge.calibration.evaluation.tracked import Floats, TrackedTruth
from xsam_edge.calibration.shapes.motion import RATE, SeenThing
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

_Metrics = tuple[ClearMot, Identity, Hota]


class AnyTracker(Protocol):
    """What gives identities."""

    def update(self, result: Result, time: float, /) -> tuple[int | None, ...]:
        """The identity of each segment of the frame at ``time``, in seconds."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame that is to be tracked: what was found, which things are there, how far they overlap, [things, segments].

    Things and segments of different labels do not overlap. ``ignored`` [segments] are those that show, by more than
    half of their pixels, things of which too little is seen to be there: whatever becomes of them is no mistake.
    """

    result: Result
    things: tuple[int, ...]
    overlap: Floats
    ignored: BoolMask


def frame(segments: Sequence[Segment], seen: Sequence[SeenThing], size: int) -> Frame:
    """What was found beside what is there, in a frame of ``size`` pixels along an edge."""
    there = [thing for thing in seen if thing.counts]
    found = _flat([segment.mask for segment in segments], size)
    shared = _flat([thing.mask for thing in there], size) @ found.T
    areas = found.sum(1)
    union = np.array([[thing.mask.sum()] for thing in there]).reshape(-1, 1) + areas - shared
    alike = np.array([thing.label for thing in there])[:, None] == np.array([segment.label_id for segment in segments])
    overlap = np.divide(shared, union, out=np.zeros_like(shared), where=(union > 0) & alike.reshape(shared.shape))
    hidden = _flat([thing.mask for thing in seen if not thing.counts], size).sum(0)
    result = Result("instances", tuple(segments), (size, size))
    return Frame(result, tuple(thing.identity for thing in there), overlap, (found @ hidden) > areas / 2)


def measure(
    scenes: Iterable[Mapping[str, Sequence[Frame]]], trackers: Mapping[str, Callable[[], AnyTracker]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """All metrics over all scenes, by whose segments a scene is tracked from and by tracker, which is made anew for
    each.

    Scenes are taken one by one, so that not all of them need to be in memory.
    """
    metrics: dict[str, dict[str, _Metrics]] = {}
    for number, scene in enumerate(scenes):
        for source, frames in scene.items():
            for name, make in trackers.items():
                counted = metrics.setdefault(source, {}).setdefault(name, (ClearMot(), Identity(), Hota()))
                for truth in _tracked(number, frames, make()):
                    for metric in counted:
                        metric.add(truth)
    return {
        source: {name: _merged(counted) for name, counted in by_tracker.items()}
        for source, by_tracker in metrics.items()
    }


def _tracked(number: int, frames: Sequence[Frame], tracker: AnyTracker) -> Iterator[TrackedTruth]:
    for index, seen in enumerate(frames):
        ids = tracker.update(seen.result, index / RATE)
        kept = [place for place, track in enumerate(ids) if track is not None and not seen.ignored[place]]
        things = [(number, thing) for thing in seen.things]
        yield TrackedTruth(things, [(number, ids[place]) for place in kept], seen.overlap[:, kept])


def _merged(counted: _Metrics) -> dict[str, Any]:
    return {name: value for metric in counted for name, value in metric.result().items()}


def _flat(masks: Sequence[BoolMask], size: int) -> Floats:
    return np.array([mask.ravel() for mask in masks], float).reshape(-1, size * size)
