"""A stream whose segments keep their identities from frame to frame."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

from xsam_edge.runtime import arguments
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.stream.stream import FrameStream, Policy, Stages
from xsam_edge.runtime.tracking.tracker import Ids, Track, Tracker


@dataclass(frozen=True, eq=False)
class TrackedFrame(FrameResult):
    """What was found in one frame, and which of it was there before.

    Segments have their identity as ``track_id``. ``tracks`` are all that the tracker knows of, those that are out of
    sight or not sure yet as well. ``timings`` have "tracking" beside the stages. The rest is as in ``FrameResult``.
    """

    tracks: tuple[Track, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        tracks = tuple(arguments.items("tracks", self.tracks, "a list of Tracks"))
        for track in tracks:
            arguments.instance("a track", track, Track, "a Track")
        object.__setattr__(self, "tracks", tracks)

    @property
    def ids(self) -> tuple[Ids, ...]:
        """For each result the identity of each of its segments, None of one without."""
        return tuple(tuple(segment.track_id for segment in result) for result in self.results)


class TrackedStream(FrameStream):
    """A stream of ``TrackedFrame`` and ``Late``; else as every stream.

    A ``tracker`` that was used before goes on with its identities.
    """

    def __init__(self, frames: Iterable[Any], stages: Stages, policy: Policy, tracker: Tracker) -> None:
        super().__init__(frames, stages, policy)
        self._items = _follow(self._items, tracker)

    def __next__(self) -> TrackedFrame | Late:
        return cast("TrackedFrame | Late", super().__next__())


def _follow(
    items: Generator[FrameResult | Late, None, None], tracker: Tracker
) -> Generator[FrameResult | Late, None, None]:
    """Late frames have no segments; what moved meanwhile shows in the next frame's time or index."""
    before = tracker.next_index  # of a stream that it followed
    with closing(items):
        for item in items:
            yield _tracked(item, tracker, before + item.index) if isinstance(item, FrameResult) else item


def _tracked(seen: FrameResult, tracker: Tracker, index: int) -> TrackedFrame:
    start = time.perf_counter()
    ids = tracker.update_all(seen.results, seen.timestamp, index)
    results = tuple(result.tracked(own) for result, own in zip(seen.results, ids, strict=True))
    tracks = tracker.tracks
    ms = 1e3 * (time.perf_counter() - start)
    facts = seen.index, seen.timestamp, seen.name, seen.age_ms + ms, seen.dropped
    timings = {**seen.timings, "tracking": ms}
    return TrackedFrame(*facts, timings, results, seen.stamp_ns, seen.origin, tracks=tracks)
