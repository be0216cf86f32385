from typing import Any

import numpy as np
import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.tracking.detections import Detections
from xsam_edge.runtime.tracking.options import TrackerOptions
from xsam_edge.runtime.tracking.tracker import Tracker

SIDE = 20.0


def at(*places: tuple[float, float], scores: Any = None, labels: Any = (), **facts: Any) -> Detections:
    """Squares around places."""
    middle = np.array(places, float).reshape(-1, 2)
    boxes = np.concatenate([middle - SIDE / 2, middle + SIDE / 2], 1)
    return Detections(boxes, np.full(len(places), 0.9) if scores is None else scores, labels, **facts)


def result(*places: tuple[int, int], size: tuple[int, int] = (100, 200), label: str | None = "cup") -> Result:
    segments = []
    for x, y in places:
        mask = np.zeros(size, bool)
        mask[y - 10 : y + 10, x - 10 : x + 10] = True
        segments.append(Segment.from_mask(mask, 0.9, label))
    return Result("instances", tuple(segments), size)


def test_things_that_cross_keep_their_identities() -> None:
    tracker = Tracker()
    for step in range(30):
        left, right = (10 + 6.0 * step, 50.0), (190 - 6.0 * step, 60.0)
        order = (left, right) if step % 2 else (right, left)  # the order of segments tells nothing
        ids = tracker.update(at(*order), 0.1 * step)
        assert ids == ((2, 1) if step % 2 else (1, 2))


def test_what_was_hidden_is_found_where_it_moved_to() -> None:
    tracker = Tracker()
    for step in range(30):
        hidden = 12 <= step < 22
        places = [(10 + 6.0 * step, 50.0)] if not hidden else []
        ids = tracker.update(at(*places), 0.1 * step)
        assert ids == ((1,) if places else ())
        (track,) = tracker.tracks
        assert (track.state, track.missed) == (("lost", step - 11) if hidden else ("seen", 0))
        assert abs((track.box[0] + track.box[2]) / 2 - (10 + 6.0 * step)) < 10
        assert track.segment == (None if hidden else 0)
    assert track.frames == 20


def test_a_track_is_kept_for_some_seconds() -> None:
    for away, expected in ((0.9, (1,)), (1.2, (2,))):
        tracker = Tracker(TrackerOptions(keep=1.0, confirm=1))
        assert tracker.update(at((50, 50)), 0.0) == (1,)
        tracker.update(at(), 0.1)
        assert tracker.update(at((50, 50)), away) == expected


def test_frames_further_apart_than_that_are_matched_all_the_same() -> None:
    tracker = Tracker(TrackerOptions(keep=1.0))
    assert [tracker.update(at((50, 50)), 5.0 * step) for step in range(4)] == [(1,)] * 4


def test_low_scores_go_on_and_do_not_begin() -> None:
    tracker = Tracker()
    assert tracker.update(at((50, 50), (150, 50), scores=[0.9, 0.3])) == (1, None)
    assert tracker.update(at((50, 50), (150, 50), scores=[0.3, 0.3])) == (1, None)
    assert tracker.update(at((50, 50), scores=[0.05])) == (None,)
    # One out of sight is not brought back by a low score.
    assert tracker.update(at((50, 50), scores=[0.3])) == (None,)
    assert tracker.update(at((50, 50), scores=[0.55])) == (1,)
    assert len(tracker.tracks) == 1


def test_high_scores_are_matched_first() -> None:
    tracker = Tracker()
    tracker.update(at((50, 50)))
    assert tracker.update(at((50, 50), (54, 50), scores=[0.4, 0.8])) == (None, 1)


def test_between_high_and_begin_goes_on_but_does_not_begin() -> None:
    tracker = Tracker(TrackerOptions(confirm=1))
    assert tracker.update(at((50, 50), (150, 50), scores=[0.9, 0.55])) == (1, None)
    assert tracker.update(at((50, 50), (150, 50), scores=[0.55, 0.6])) == (1, 2)


def test_a_new_thing_is_tentative() -> None:
    tracker = Tracker(TrackerOptions(confirm=3))
    tracker.update(at())
    for expected in (None, None, 1, 1):
        assert tracker.update(at((50, 50))) == (expected,)
    assert tracker.update(at((50, 50), (150, 50))) == (1, None)
    assert [track.state for track in tracker.tracks] == ["seen", "tentative"]
    # Missed once, it is forgotten, and begins anew.
    assert tracker.update(at((50, 50))) == (1,)
    assert [track.id for track in tracker.tracks] == [1]
    assert tracker.update(at((50, 50), (150, 50))) == (1, None)


def test_tracks_keep_to_their_label() -> None:
    labels = [["cup"], ["cup"], ["bowl"], ["bowl"]]
    for by_label, expected in ((True, [1, 1, None, 2]), (False, [1, 1, 1, 1])):
        tracker = Tracker(TrackerOptions(by_label=by_label))
        assert [tracker.update(at((50, 50), labels=label))[0] for label in labels] == expected
    assert tracker.tracks[0].label == "bowl"


def test_questions_have_tracks_of_their_own() -> None:
    tracker = Tracker(TrackerOptions(by_label=False))
    one, two = result((50, 50)), result((52, 50), (150, 50), label="bowl")
    assert tracker.update_all([one, two]) == ((1,), (2, 3))
    assert tracker.update_all([two, one]) == ((1, None), (2,))
    assert [(track.question, track.segment) for track in tracker.tracks] == [(0, 0), (1, 0), (1, None), (0, 1)]
    assert tracker.update_all([one.filter(1.0), two]) == ((), (2, 3))
    with pytest.raises(InputError, match="images of"):
        tracker.update_all([one, result((50, 50), size=(80, 80))])


def test_dropped_frames_count_by_their_index() -> None:
    for gap, expected in ((1, (None,)), (8, (1,))):
        tracker = Tracker(TrackerOptions(search=0.0, confirm=2))
        for step in range(8):
            tracker.update(at((20 + 8.0 * step, 50)), index=step)
        assert tracker.update(at((20 + 8.0 * 15, 50)), index=7 + gap) == expected


def test_irregular_times_are_what_counts() -> None:
    rng = np.random.default_rng(0)
    times = 1.7e9 + np.cumsum(rng.uniform(0.02, 0.5, 40))
    tracker = Tracker(TrackerOptions(search=0.0))
    for index, time in enumerate(times):
        x = 20 + 60 * (time - times[0])
        assert tracker.update(at((x, 50), (x + 50, 50)), time, index) == (1, 2)


def test_times_that_come_and_go() -> None:
    tracker = Tracker()
    for step, time in enumerate([None, 0.1, 0.2, None, 0.4, 0.5]):
        assert tracker.update(at((20 + 3.0 * step, 50)), time) == (1,)


def test_a_clock_that_is_set_back() -> None:
    tracker = Tracker(TrackerOptions(search=0.0))
    for step, time in enumerate([100.0, 100.1, 100.2, 3.0, 3.1, 3.2, -50.0, -49.9]):
        assert tracker.update(at((20 + 5.0 * step, 50)), time) == (1,)
    assert abs(tracker.tracks[0].box[0] + SIDE / 2 - 55) < 3


def test_two_frames_at_one_time() -> None:
    tracker = Tracker()
    assert [tracker.update(at((50, 50)), 1.0) for _ in range(3)] == [(1,)] * 3


def test_another_size_is_the_same_view() -> None:
    tracker = Tracker()
    for step in range(6):
        assert tracker.update(at((40 + 4.0 * step, 40), size=(100, 200)), index=step) == (1,)
    larger = Detections([[3 * 64 - 30, 90, 3 * 64 + 30, 150]], [0.9], size=(300, 600))
    assert tracker.update(larger) == (1,)
    assert tracker.tracks[0].box[2] - tracker.tracks[0].box[0] == pytest.approx(60, abs=1)


def test_empty_masks_and_points_belong_to_no_track() -> None:
    tracker = Tracker()
    empty = Segment.from_mask(np.zeros((100, 200), bool), 0.9, "cup")
    found = result((50, 50))
    assert tracker.update(Result("instances", (empty, *found), (100, 200))) == (None, 1)
    assert tracker.update(Result("instances", (), (100, 200))) == ()


def test_an_identity_is_never_used_again() -> None:
    tracker = Tracker(TrackerOptions(keep=0.0, confirm=1))
    given = [tracker.update(at((50, 50)) if step % 2 else at()) for step in range(6)]
    assert given == [(), (1,), (), (2,), (), (3,)]


def test_thousands_of_segments() -> None:
    grid = [(40.0 * x, 40.0 * y) for x in range(50) for y in range(50)]
    tracker = Tracker()
    assert tracker.update(at(*grid)) == tuple(range(1, 2501))
    assert tracker.update(at(*[(x + 3, y) for x, y in grid])) == tuple(range(1, 2501))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"time": float("nan")}, "time is nan; expected seconds"),
        ({"time": "now"}, "time is 'now'"),
        ({"index": 4}, "index is 4 after 4; expected one that grows"),
        ({"index": -1}, "index is -1"),
        ({"found": [[0, 0, 1, 1]]}, "expected a Result, or Detections"),
    ],
)
def test_bad_input_changes_nothing(given: dict[str, Any], message: str) -> None:
    tracker = Tracker()
    tracker.update(at((50, 50)), 0.4, 4)
    before = tracker.tracks
    with pytest.raises(InputError, match=message):
        tracker.update(given.get("found", at()), given.get("time"), given.get("index"))
    assert tracker.tracks == before
    assert tracker.update(at((50, 50)), 0.5, 5) == (1,)
    with pytest.raises(InputError, match="tracker is"):
        Tracker({"high": 0.5})  # type: ignore[arg-type]


def test_anything_may_come() -> None:
    rng = np.random.default_rng(3)
    tracker, used = Tracker(), set()
    for _ in range(60):
        count = int(rng.integers(0, 12))
        boxes = rng.uniform(-1e4, 1e4, (count, 4)) * 10.0 ** rng.integers(-6, 5)
        boxes[:, 2:] = np.maximum(boxes[:, :2], boxes[:, 2:])
        size = tuple(int(side) for side in rng.integers(1, 5000, 2))
        time = float(rng.choice([0.0, 1e-9, 5.0, 1e12, -1e308, 1e308])) if rng.random() < 0.5 else None
        ids = tracker.update(Detections(boxes, rng.random(count), rng.choice(["a", "b"], count), size=size), time)
        given = [track for track in ids if track is not None]
        assert len(ids) == count and len(set(given)) == len(given)
        assert all(np.isfinite(track.box).all() for track in tracker.tracks)
        used |= set(given)
    assert used == set(range(1, len(used) + 1))
