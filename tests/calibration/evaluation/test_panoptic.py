import numpy as np
import pytest

from tests.scripted import answer, block, id_map, lazy
from xsam_edge.calibration.data.samples import Categories, TrueSegment
from xsam_edge.calibration.evaluation.panoptic import PanopticMetrics
from xsam_edge.runtime.results.segment import Segment

NAMES = ("cat", "dog", "sky")


def truth(*segments: tuple[np.ndarray, int] | tuple[np.ndarray, int, bool]) -> Categories:
    return Categories("panoptic", NAMES, 2, tuple(TrueSegment(lazy(mask), *rest) for mask, *rest in segments))


def found(mask: np.ndarray, label: int) -> Segment:
    return Segment.from_mask(mask, 0.9, NAMES[label], label, label < 2)


def judged(ask: Categories, *segments: Segment) -> dict:
    metrics = PanopticMetrics(NAMES, 2)
    metrics.add(ask, id_map(*segments))
    return metrics.result()


def test_a_match_by_hand() -> None:
    # The cat's IoU is 12/16; the sky fills the rest of both, 64/68.
    ask = truth((block(0, 0, 4, 4), 0), (~block(0, 0, 4, 4), 2))
    result = judged(ask, found(~block(0, 0, 4, 3), 2), found(block(0, 0, 4, 3), 0))
    assert result["per_category"] == {
        "cat": {"pq": pytest.approx(12 / 16), "sq": pytest.approx(12 / 16), "rq": 1},
        "sky": {"pq": pytest.approx(64 / 68), "sq": pytest.approx(64 / 68), "rq": 1},
    }
    assert result["pq"] == pytest.approx((12 / 16 + 64 / 68) / 2)
    assert result["pq_things"] == pytest.approx(12 / 16)
    assert result["pq_stuff"] == pytest.approx(64 / 68)
    assert result["n"] == result["answered"] == 1


def test_a_segment_without_a_pixel_is_left_out_and_counted() -> None:
    ask = truth((block(0, 0, 4, 4), 0), (np.zeros_like(block(0, 0, 4, 4)), 1), (~block(0, 0, 4, 4), 2))
    result = judged(ask, found(block(0, 0, 4, 4), 0), found(~block(0, 0, 4, 4), 2))
    assert (result["pq"], result["without_pixels"]) == (1, 1)
    assert "dog" not in result["per_category"]


def test_an_iou_of_one_half_is_no_match() -> None:
    ask = truth((block(0, 0, 4, 4), 0), (~block(0, 0, 4, 4), 2))
    result = judged(ask, found(block(0, 0, 4, 2), 0), found(~block(0, 0, 4, 4), 2))
    assert result["per_category"]["cat"] == {"pq": 0, "sq": 0, "rq": 0}
    assert result["per_category"]["sky"]["rq"] == 1


def test_another_category_is_a_miss_and_a_surplus() -> None:
    result = judged(truth((block(0, 0, 8, 10), 0)), found(block(0, 0, 8, 10), 1))
    assert {name: value["pq"] for name, value in result["per_category"].items()} == {"cat": 0, "dog": 0}
    assert result["pq_stuff"] is None, "no stuff in truth or answer"


def test_void_leaves_the_union_and_excuses_a_surplus() -> None:
    ask = truth((block(0, 0, 4, 4), 0))
    result = judged(ask, found(block(0, 0, 4, 10), 0), found(block(5, 0, 8, 10), 1))
    assert result["per_category"] == {"cat": {"pq": 1, "sq": 1, "rq": 1}}


def test_a_surplus_that_is_half_void_counts() -> None:
    ask = truth((block(0, 0, 4, 4), 0))
    half = found(block(2, 0, 6, 4), 1)
    assert judged(ask, half)["per_category"]["dog"]["rq"] == 0


def test_crowds_are_no_match_and_excuse_their_own_category_only() -> None:
    ask = truth((block(0, 0, 4, 10), 0, True), (block(4, 0, 8, 10), 2))
    kept = found(block(4, 0, 8, 10), 2)
    assert judged(ask, kept, found(block(0, 0, 4, 10), 0))["per_category"].keys() == {"sky"}
    assert judged(ask, kept, found(block(0, 0, 4, 10), 1))["per_category"].keys() == {"sky", "dog"}


def test_no_answer_misses_everything() -> None:
    metrics = PanopticMetrics(NAMES, 2)
    metrics.add(truth((block(0, 0, 4, 4), 0)), answer(answered=False))
    assert metrics.result()["pq"] == metrics.result()["answered"] == 0


def test_random_scenes_as_panopticapi_counts_them() -> None:
    """The numbers of ``pq_compute_single_core`` of panopticapi on these 60 scenes."""
    rng = np.random.default_rng(1)
    names = tuple(f"c{index}" for index in range(6))
    metrics = PanopticMetrics(names, 4)
    for _ in range(60):
        size = int(rng.integers(20, 60)), int(rng.integers(20, 60))
        count = int(rng.integers(1, 9))
        true = np.zeros(size, np.int64)
        for number in range(1, count + 1):
            true[random_box(rng, size, 5, 30)] = number
        labels, crowds = rng.integers(0, 6, count), rng.random(count) < 0.25
        predicted = np.roll(true, int(rng.integers(0, 4)), 0)
        for _ in range(3):
            predicted[random_box(rng, size, 8, 9)] = rng.integers(0, count + 4)
        guesses = rng.integers(0, 6, count + 4)
        guesses[:count] = np.where(rng.random(count) < 0.8, labels, guesses[:count])
        ask = Categories(
            "panoptic",
            names,
            4,
            tuple(
                TrueSegment(lazy(true == number), int(labels[number - 1]), bool(crowds[number - 1]))
                for number in range(1, count + 1)
                if (true == number).any()
            ),
        )
        segments = [
            Segment.from_mask(predicted == number, 0.9, None, int(guesses[number - 1]))
            for number in np.unique(predicted)
            if number
        ]
        metrics.add(ask, id_map(*segments, size=size))
    result = metrics.result()
    assert {name: result[name] for name in RECORDED} == pytest.approx(RECORDED, abs=1e-12)


def random_box(rng: np.random.Generator, size: tuple[int, int], low: int, high: int) -> tuple[slice, slice]:
    top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
    return slice(top, top + rng.integers(low, high)), slice(left, left + rng.integers(low, high))


RECORDED = {
    "pq": 0.4452364454171746,
    "sq": 0.8054605440732642,
    "rq": 0.5534627255228187,
    "pq_things": 0.4139535611927305,
    "sq_things": 0.8121657536858906,
    "rq_things": 0.509780357890957,
    "pq_stuff": 0.5078022138660626,
    "sq_stuff": 0.7920501248480115,
    "rq_stuff": 0.6408274607865424,
}
