import gc
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.runtime.stream.staged import TIMINGS, same, threads_of_streams
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.stream.stream import Policy, Stages
from xsam_edge.runtime.stream.tracked import TrackedFrame, TrackedStream
from xsam_edge.runtime.tracking.options import TrackerOptions
from xsam_edge.runtime.tracking.tracker import Tracker

SIZE = (40, 400)
EVERY = Policy(latest=False)


def result(*columns: int) -> Result:
    """A square at each of some columns."""
    segments = []
    for column in columns:
        mask = np.zeros(SIZE, bool)
        mask[10:30, column : column + 20] = True
        segments.append(Segment.from_mask(mask, 0.9, "cup"))
    return Result("instances", tuple(segments), SIZE)


def tracked(
    frames: Any,
    policy: Policy = EVERY,
    answer: Any = same,
    options: TrackerOptions | None = None,
    tracker: Tracker | None = None,
) -> Any:
    """A stream whose frames are tuples of columns."""

    def answered(columns: list[int]) -> Any:
        return (result(*answer(columns)),), TIMINGS

    return TrackedStream(frames, Stages(same, same, answered), policy, tracker or Tracker(options))


def test_identities_go_over_frames() -> None:
    stream = tracked([[10, 100], [104, 12], [14], [110, 18]])
    items = list(stream)
    assert [item.ids for item in items] == [((1, 2),), ((2, 1),), ((1,),), ((2, 1),)]
    assert [segment.track_id for segment in items[1].result] == [2, 1]
    assert [(track.id, track.state, track.segment) for track in items[2].tracks] == [(1, "seen", 0), (2, "lost", None)]
    assert stream.counts.answered == 4
    assert not threads_of_streams()


def test_times_of_frames_are_used() -> None:
    # Ten columns a second; with the index alone the gap would be one frame.
    times = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 25.0]
    frames = [(time, [int(10 + 10 * time)]) for time in times]
    options = TrackerOptions(search=0.0, keep=30.0)
    assert [item.ids for item in tracked(frames, options=options)] == [((1,),)] * 7


def test_late_frames_pass_through() -> None:
    def slow(columns: list[int]) -> list[int]:
        time.sleep(0.8 if columns == [20] else 0)
        return columns

    first, second, third = tracked([[10], [20], [30]], Policy(latest=False, deadline=600), slow)
    assert isinstance(second, Late) and second.late
    assert (first.ids, third.ids) == (((1,),), ((1,),))


def test_facts_are_those_of_the_frame() -> None:
    (item,) = tracked([(2.5, [10])])
    assert isinstance(item, FrameResult) and not item.late
    assert (item.index, item.timestamp, item.dropped) == (0, 2.5, 0)
    assert item.timings["tracking"] >= 0
    assert item.age_ms == pytest.approx(sum(item.timings.values()), abs=1e-6)


def test_a_stream_that_is_closed_ends_its_threads() -> None:
    def endless() -> Iterator[list[int]]:
        while True:
            yield [10]

    with tracked(endless()) as stream:
        assert next(stream).ids == ((1,),)
        assert threads_of_streams()
    assert not threads_of_streams()
    assert list(stream) == []
    abandoned = tracked(endless())
    next(abandoned)
    gone = weakref.ref(abandoned)
    del abandoned
    gc.collect()
    assert gone() is None
    assert not threads_of_streams()


def test_errors_end_it() -> None:
    def broken() -> Iterator[list[int]]:
        yield [10]
        raise InputError("the camera is gone")

    stream = tracked(broken())
    assert next(stream).ids == ((1,),)
    with pytest.raises(InputError, match="the camera is gone"):
        next(stream)
    assert not threads_of_streams()


def test_a_tracker_goes_on_in_another_stream() -> None:
    tracker = Tracker()
    for frames in ([[10], [10]], [[10, 60], [10, 60], [10, 60]]):
        items = list(tracked(frames, tracker=tracker))
    assert items[-1].ids == ((1, 2),)
    assert tracker.next_index == 5


def test_wrong_tracks_are_named() -> None:
    with pytest.raises(InputError, match="a track is 3"):
        TrackedFrame(0, None, None, 0.0, 0, {}, (result(),), tracks=[3])  # type: ignore[arg-type]
    assert TrackedFrame(0, None, None, 0.0, 0, {}, (result(),)).tracks == ()
