import numpy as np
import pytest

from xsam_edge.calibration.verify.compare import (
    BOUNDS,
    Measure,
    ValueKind,
    bounds_of,
    judge,
    label_maps,
    masks,
    numbers,
    worst,
)

FP32, FP16 = BOUNDS["fp32"], BOUNDS["fp16"]


def test_numbers() -> None:
    measure = numbers(np.array([1, 2.5]), np.array([[[1, 2.0]]]))
    assert (measure.values, measure.max_abs, measure.relative) == (2, 0.5, 0.25)
    assert numbers(np.zeros((1, 0)), np.zeros(0)).max_abs == 0


@pytest.mark.parametrize(
    ("ours", "recorded"),
    [
        (np.zeros(3), np.zeros(4)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.array([np.nan]), np.zeros(1)),
        (np.array([np.inf]), np.array([np.inf])),
    ],
)
def test_what_cannot_be_compared_differs(ours: np.ndarray, recorded: np.ndarray) -> None:
    measure = numbers(ours, recorded)
    assert measure.max_abs == np.inf
    assert measure.note
    assert not judge(measure, "floats", FP32)[1]
    assert not judge(measure, "floats", FP16)[1], "a bundle without a bound on numbers must still give numbers"


def test_integers_do_not_wrap() -> None:
    assert numbers(np.array([0], np.uint8), np.array([255], np.uint8)).max_abs == 255


def test_masks() -> None:
    a = np.zeros((10, 10), bool)
    b = a.copy()
    a[:5], b[:6] = True, True
    measure = masks(a, b)
    assert measure.iou == pytest.approx(50 / 60)
    assert measure.differing == 10


def test_label_maps_take_the_worst_label() -> None:
    a = np.zeros((10, 10), int)
    b = a.copy()
    a[0, :2], b[0, :4] = 7, 7
    measure = label_maps(a, b)
    assert measure.iou == 0.5
    assert measure.agreement == 0.98
    assert label_maps(a, np.where(a, 8, 0)).iou == 0, "a label that one side lacks"


@pytest.mark.parametrize(
    ("measure", "kind", "fp32", "fp16"),
    [
        (Measure(1, 9e-5), "floats", True, True),
        (Measure(1, 2e-4), "floats", False, True),
        (Measure(1, 9e-4), "pixels", True, True),
        (Measure(1, 2e-3), "pixels", False, False),
        (Measure(1, 1.0), "ids", False, False),
        (Measure(1, 0.0), "text", True, True),
        (Measure(1, iou=0.99995, differing=9), "masks", True, True),
        (Measure(1, iou=0.995, differing=9), "masks", False, True),
        (Measure(1, iou=0.995, differing=1), "masks", True, True),
        (Measure(1, iou=0.5, differing=4), "masks", True, False),
        (Measure(1, iou=0.5, differing=5), "masks", False, False),
        (Measure(1, iou=0.5, differing=10, pixels=100_000), "masks", True, False),
        (Measure(1, iou=0.5, differing=11, pixels=100_000), "masks", False, False),
        (Measure(1, 2e-3, 9e-6), "floats", True, True),
        (Measure(1, 2e-3, 2e-5), "floats", False, True),
        (Measure(1, iou=0.5, agreement=0.995, differing=9), "maps", False, True),
        (Measure(1, iou=1.0, agreement=1.0), "maps", True, True),
    ],
)
def test_bounds(measure: Measure, kind: ValueKind, fp32: bool, fp16: bool) -> None:
    assert judge(measure, kind, FP32)[1] is fp32
    assert judge(measure, kind, FP16)[1] is fp16


def test_an_unknown_precision_is_a_low_one() -> None:
    assert bounds_of("int8") is FP16


def test_worst() -> None:
    parts = [Measure(3, 1.0, 0.1, iou=0.9), Measure(4, 2.0, 0.05, iou=0.8, differing=2, note="here")]
    assert worst(parts) == Measure(7, 2.0, 0.1, iou=0.8, differing=2, note="here")
    assert worst([]).max_abs == 0
