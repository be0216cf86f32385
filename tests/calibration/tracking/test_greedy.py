import numpy as np

from xsam_edge.calibration.tracking.greedy import GreedyTracker
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.tracking.options import TrackerOptions

SIZE = (40, 200)


def result(*columns: int, label: str = "cup", score: float = 0.9) -> Result:
    segments = []
    for column in columns:
        mask = np.zeros(SIZE, bool)
        mask[10:30, column : column + 20] = True
        segments.append(Segment.from_mask(mask, score, label))
    return Result("instances", tuple(segments), SIZE)


def tracker() -> GreedyTracker:
    return GreedyTracker(TrackerOptions(keep=1.0), 0.2)


def test_the_largest_overlap_comes_first() -> None:
    greedy = tracker()
    assert greedy.update(result(10, 100), 0.0) == (1, 2)
    assert greedy.update(result(104, 18, 12), 0.1) == (2, 3, 1)


def test_labels_scores_and_times() -> None:
    greedy = tracker()
    greedy.update(result(10), 0.0)
    assert greedy.update(result(10, label="bowl"), 0.1) == (2,)
    assert greedy.update(result(10, score=0.5), 0.2) == (None,)
    assert greedy.update(result(10), 1.0) == (1,)
    assert greedy.update(result(10), 2.5) == (3,)
    assert greedy.update(result(), 2.6) == ()
