import numpy as np
import pytest

from xsam_edge.calibration.shapes.composition import SHAPES
from xsam_edge.calibration.shapes.motion import SeenThing
from xsam_edge.calibration.tracking.compare import Frame, frame, measure
from xsam_edge.calibration.tracking.detections import true_segments
from xsam_edge.calibration.tracking.greedy import GreedyTracker
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.tracking.options import TrackerOptions
from xsam_edge.runtime.tracking.tracker import Tracker

SIZE = 60


def block(column: int, width: int = 10) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[20:40, column : column + width] = True
    return mask


def segment(column: int, width: int = 10, label: int = 0) -> Segment:
    return Segment.from_mask(block(column, width), 0.9, SHAPES[label], label)


def test_overlaps_of_masks_of_one_label() -> None:
    things = [SeenThing(4, 0, block(0), 1.0), SeenThing(7, 1, block(30), 0.5), SeenThing(9, 0, block(50), 0.2)]
    found = frame([segment(0, 5), segment(30), segment(30, label=1), segment(48), segment(44)], things, SIZE)
    assert found.things == (4, 7)
    np.testing.assert_allclose(found.overlap, [[0.5, 0, 0, 0, 0], [0, 0, 1, 0, 0]])
    # The last two lie by 8 and by 4 of 10 columns on a thing of which too little is seen.
    assert found.ignored.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("empty", ["segments", "things", "both"])
def test_nothing(empty: str) -> None:
    things = [] if empty != "segments" else [SeenThing(4, 0, block(0), 1.0)]
    segments = [] if empty != "things" else [segment(0)]
    found = frame(segments, things, SIZE)
    assert found.overlap.shape == (len(things), len(segments))
    assert found.ignored.tolist() == [False] * len(segments)


def scene(columns: list[int]) -> list[Frame]:
    """A thing that goes and that a perfect model sees."""
    seen = [[SeenThing(1, 0, block(column), 1.0)] for column in columns]
    return [frame(true_segments(things), things, SIZE) for things in seen]


def test_trackers_are_measured_over_all_scenes() -> None:
    # The last steps leave no overlap that would be enough: only motion tells that it is the same thing.
    steps, jumps = [5, 6, 7, 8, 9], [0, 4, 8, 14, 22, 32, 44]
    trackers = {"tracker": Tracker, "greedy": lambda: GreedyTracker(TrackerOptions(), 0.2)}
    found = measure(iter([{"true": scene(steps)}, {"true": scene(jumps)}]), trackers)
    assert found["true"]["tracker"]["things"] == 12
    assert (found["true"]["tracker"]["idf1"], found["true"]["tracker"]["mota"]) == (1.0, 1.0)
    greedy = found["true"]["greedy"]
    assert greedy["switches"] == 3
    assert greedy["idtp"] == 5 + 4
    assert {"idf1", "mota", "hota", "misses", "false_positives"} <= greedy.keys()


def test_what_is_ignored_is_no_mistake() -> None:
    things = [SeenThing(1, 0, block(0), 0.1)]
    found = measure([{"found": [frame([segment(0)], things, SIZE)]}], {"tracker": Tracker})
    assert found["found"]["tracker"]["false_positives"] == 0
    there = [SeenThing(1, 0, block(30), 1.0)]
    found = measure([{"found": [frame([segment(0)], there, SIZE)]}], {"tracker": Tracker})
    assert (found["found"]["tracker"]["false_positives"], found["found"]["tracker"]["misses"]) == (1, 1)
