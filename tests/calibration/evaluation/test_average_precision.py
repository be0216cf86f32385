import numpy as np
import pytest

from tests.scripted import answer, block, lazy
from xsam_edge.calibration import coco_api
from xsam_edge.calibration.data.samples import Categories, TrueSegment
from xsam_edge.calibration.evaluation.average_precision import AveragePrecision, Object
from xsam_edge.calibration.evaluation.instances import InstanceMetrics
from xsam_edge.runtime.errors import XSamError
from xsam_edge.runtime.results.segment import Segment


def test_one_category_by_hand() -> None:
    precision = AveragePrecision()
    # Best score: IoU 12/16 with the first truth; then a surplus; then the second truth exactly.
    truth = [Object(block(0, 0, 4, 4)), Object(block(4, 4, 8, 8))]
    found = [
        Object(block(0, 0, 4, 3), score=0.9),
        Object(block(0, 8, 2, 10), score=0.8),
        Object(block(4, 4, 8, 8), score=0.7),
    ]
    precision.add(truth, found)
    result = precision.result()
    # Interpolated at 101 recalls: 1 up to recall 0.5 (51 of them), then 2/3.
    at_50 = (51 + 50 * 2 / 3) / 101
    assert result["ap50"] == pytest.approx(at_50)
    assert result["ap75"] == pytest.approx(at_50)
    # Above 0.75 only the third is right: a third of all found at recall 0.5.
    assert result["ap"] == pytest.approx((6 * at_50 + 4 * 51 / 3 / 101) / 10)
    assert result["ap_small"] == result["ap"]
    assert result["ap_large"] is None


def test_categories_are_averaged_and_crowds_ignored() -> None:
    metrics = InstanceMetrics(3)
    ask = Categories(
        "instances",
        ("cat", "dog", "bird", "sky"),
        3,
        (
            TrueSegment(lazy(block(0, 0, 4, 4)), 0),
            TrueSegment(lazy(block(0, 4, 8, 10)), 0, is_crowd=True),
            TrueSegment(lazy(block(4, 0, 8, 4)), 1),
            TrueSegment(lazy(block(0, 0, 8, 10)), 3),
        ),
    )
    segments = [
        Segment.from_mask(block(0, 0, 4, 4), 0.6, "cat", 0),
        Segment.from_mask(block(0, 5, 4, 9), 0.9, "cat", 0),
    ]
    metrics.add(ask, answer(*segments))
    result = metrics.result()
    assert result["ap"] == pytest.approx(0.5), "cat 1 although a part of the crowd scored higher, dog 0, bird not there"
    assert result["n"] == 1


def test_the_first_object_of_the_first_picture_is_found() -> None:
    precision = AveragePrecision()
    precision.add([Object(block(0, 0, 4, 4))], [Object(block(0, 0, 4, 4), score=0.5)])
    assert precision.result()["ap"] == pytest.approx(1)


def test_nothing_found_is_zero_and_no_truth_is_none() -> None:
    precision = AveragePrecision()
    precision.add([], [Object(block(0, 0, 4, 4), score=0.5)])
    assert set(precision.result().values()) == {None}
    precision.add([Object(block(0, 0, 4, 4))], [])
    assert precision.result()["ap"] == 0


def test_it_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    precision = AveragePrecision()
    precision.add([Object(block(0, 0, 4, 4))], [Object(np.ones((8, 10), bool), score=0.5)])
    precision.result()
    assert capsys.readouterr().out == ""


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(coco_api, "import_module", missing)
    with pytest.raises(XSamError, match=r"pip install 'xsam-edge\[eval\]'"):
        AveragePrecision()
