import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

SIZE = (20, 30)


def segment(top: int, bottom: int, left: int, right: int, **options) -> Segment:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return Segment.from_mask(mask, **({"score": 0.75, "label": "cat"} | options))


@pytest.fixture
def result() -> Result:
    segments = (segment(2, 6, 3, 10), segment(0, 20, 20, 30, score=0.5, label=None, label_id=3, is_thing=False, id=2))
    image = Image.new("RGB", SIZE[::-1])
    return Result("genseg", segments, SIZE, text="It is.", prompt="cat", timings={"total": 1.5}, image=image)


@pytest.fixture
def empty() -> Result:
    return Result(
        "refseg", (), SIZE, answered=False, reason="the answer has no <SEG>", image=Image.new("L", SIZE[::-1])
    )


def test_segment_measures_its_mask() -> None:
    found = segment(2, 6, 3, 10)
    assert found.box == (3, 2, 10, 6)
    assert found.area == 28
    assert segment(0, 0, 0, 0).box == (0, 0, 0, 0)


def test_arrays(result: Result) -> None:
    assert result.masks.shape == (2, *SIZE)
    assert result.masks.dtype == bool
    np.testing.assert_array_equal(result.scores, np.float32([0.75, 0.5]))
    np.testing.assert_array_equal(result.boxes, np.float32([[3, 2, 10, 6], [20, 0, 30, 20]]))
    assert result.labels == ["cat", None]
    assert len(result) == 2


def test_empty(empty: Result) -> None:
    assert empty.masks.shape == (0, *SIZE)
    assert empty.scores.shape == (0,)
    assert empty.boxes.shape == (0, 4)
    assert empty.to_coco() == []
    assert empty.overlay().size == SIZE[::-1]
    assert json.loads(json.dumps(empty.to_json()))["reason"] == "the answer has no <SEG>"


def test_coco(result: Result) -> None:
    first, second = json.loads(json.dumps(result.to_coco(image_id=7)))
    assert first["image_id"] == 7
    assert "bbox" not in first, "pycocotools would take its area for the mask's"
    assert (first["area"], first["score"], first["category_id"], first["label"]) == (28, 0.75, 0, "cat")
    np.testing.assert_array_equal(rle.decode(**first["segmentation"]), result.segments[0].mask)
    assert second["category_id"] == 3
    assert "label" not in second
    assert "image_id" not in result.to_coco()[0]


def test_json(result: Result) -> None:
    record = json.loads(json.dumps(result.to_json()))
    assert record["image_size"] == [20, 30]
    assert record["timings_ms"] == {"total": 1.5}
    assert [item["label"] for item in record["segments"]] == ["cat", None]
    assert record["segments"][1]["is_thing"] is False
    np.testing.assert_array_equal(rle.decode(**record["segments"][0]["mask"]), result.segments[0].mask)


def test_identities(result: Result) -> None:
    tracked = result.tracked([4, None])
    assert [segment.track_id for segment in tracked] == [4, None]
    assert [item["track_id"] for item in tracked.to_json()["segments"]] == [4, None]
    assert [item["track_id"] for item in result.to_json()["segments"]] == [None, None]
    assert [item.get("track_id") for item in tracked.to_coco()] == [4, None]
    assert "track_id" not in tracked.to_coco()[1]
    assert [segment.track_id for segment in tracked.filter(labels=["cat"])] == [4]
    assert tracked != result and tracked.tracked([None, None]) == result
    with pytest.raises(InputError, match="a track's id or None for each of 2 segments"):
        result.tracked([1])


def test_json_of_numpy_numbers() -> None:
    found = Segment.from_mask(np.ones(SIZE, bool), np.float32(0.5), "x", np.int64(4), id=np.int32(2))
    result = Result("x", (found,), (np.int64(20), np.int64(30)), timings={"total": np.float32(2)})
    assert json.loads(json.dumps(result.to_json()))["segments"][0]["label_id"] == 4


def test_equality(result: Result) -> None:
    assert result == replace(result, image=None, timings={})
    assert result != replace(result, text="other")
    assert result != replace(result, segments=result.segments[:1])
    shifted = (segment(3, 7, 3, 10), result.segments[1])
    assert result != replace(result, segments=shifted)
    mapped = replace(result, id_map=np.zeros(SIZE, np.int32))
    assert result != mapped
    assert mapped == replace(result, id_map=np.zeros(SIZE, np.int32))
    assert mapped != replace(result, id_map=np.ones(SIZE, np.int32))


def test_repr_is_short(result: Result) -> None:
    assert len(repr(replace(result, id_map=np.zeros(SIZE, np.int32)))) < 600


def test_overlay_wants_an_image(result: Result) -> None:
    with pytest.raises(InputError, match="keeps no image"):
        replace(result, image=None).overlay()
    other = Image.new("RGB", (5, 5))
    with pytest.raises(InputError, match="expected the image's height and width"):
        result.overlay(other)


def test_masks_must_fit() -> None:
    with pytest.raises(InputError, match="expected the image's size"):
        Result("refseg", (segment(0, 2, 0, 2),), (5, 5))


def test_supervision_missing(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(XSamError, match=r"xsam-edge\[supervision\]"):
        result.to_supervision()


def test_supervision_arguments(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    class Detections(SimpleNamespace):
        @classmethod
        def empty(cls) -> str:
            return "empty"

    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=Detections))
    found = result.to_supervision()
    assert found.xyxy.shape == (2, 4)
    assert found.mask.dtype == bool
    assert found.class_id.tolist() == [0, 3]
    assert found.data["class_name"].tolist() == ["cat", ""]
    assert found.tracker_id is None
    assert result.tracked([7, None]).to_supervision().tracker_id.tolist() == [7, -1]
    assert replace(result, segments=()).to_supervision() == "empty"


def test_a_result_is_a_sequence_of_segments(result: Result, empty: Result) -> None:
    assert list(result) == list(result.segments)
    assert result[0] is result.segments[0] and result[-1] is result.segments[1]
    assert result[1:] == result.segments[1:]
    assert list(empty) == []
    with pytest.raises(IndexError):
        result[2]


def test_filter(result: Result) -> None:
    assert result.filter() == result
    assert result.filter(0.6).labels == ["cat"]
    assert result.filter(0.5).labels == ["cat", None]
    assert result.filter(labels=[None]).scores.tolist() == [0.5]
    assert result.filter(min_area=29).labels == [None]
    nothing = result.filter(0.8)
    assert not nothing.found and nothing.reason == "no segment passed the filter" and nothing.image is result.image


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"labels": "cat"}, "labels"),
        ({"labels": ["cat", np.zeros((2, 2))]}, "a label"),
        ({"min_area": -1}, "min_area"),
    ],
)
def test_filter_names_what_is_wrong(result: Result, options: dict[str, object], name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is"):
        result.filter(**options)


@pytest.mark.parametrize(("ids", "void"), [((1, 2), 0), ((0, 0), -1)])
def test_what_is_filtered_out_is_not_in_the_map(ids: tuple[int, int], void: int) -> None:
    segments = (segment(2, 6, 3, 10, id=ids[0]), segment(8, 20, 20, 30, score=0.5, id=ids[1]))
    id_map = np.full(SIZE, 7, np.int32)
    found = Result("genseg", segments, SIZE, id_map=id_map).filter(0.6)
    assert (found.id_map[segments[1].mask] == void).all()
    assert (found.id_map[~segments[1].mask] == 7).all()
    assert (id_map == 7).all(), "the result that was filtered stays as it was"


def test_coco_polygons(result: Result) -> None:
    first = json.loads(json.dumps(result.to_coco(polygons=True)))[0]
    (polygon,) = first["segmentation"]
    assert first["bbox"] == [3, 2, 7, 4]
    assert sorted(zip(polygon[::2], polygon[1::2], strict=True)) == [(3, 2), (3, 6), (10, 2), (10, 6)]


def test_yolo(result: Result, empty: Result) -> None:
    lines = result.to_yolo().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "3"]
    corners = np.array(lines[0].split()[1:], float).reshape(-1, 2) * SIZE[::-1]
    assert sorted(map(tuple, corners.round(3).tolist())) == [(3, 2), (3, 6), (10, 2), (10, 6)]
    assert empty.to_yolo() == ""
    assert replace(result, segments=(segment(0, 0, 0, 0),)).to_yolo() == ""


def test_save(result: Result, tmp_path: Path) -> None:
    files = result.save(tmp_path / "out")
    assert json.loads(Path(files["result"]).read_text())["files"] == files
    assert [Path(name).name for name in files["masks"]] == ["01_cat.png", "02.png"]
    assert Image.open(files["overlay"]).size == SIZE[::-1]
    with pytest.raises(InputError, match="holds a result already"):
        result.save(str(tmp_path / "out"))
    result.save(tmp_path / "out", overwrite=True)
    with pytest.raises(InputError, match=r"^folder is"):
        result.save(None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task", 3),
        ("segments", "none"),
        ("segments", [np.ones(SIZE, bool)]),
        ("image_size", 20),
        ("image_size", (20, 30, 3)),
        ("image_size", (20.5, 30)),
        ("text", None),
        ("id_map", np.zeros(SIZE)),
        ("id_map", np.zeros((3, 3), np.int32)),
        ("timings", 3),
        ("answered", "yes"),
        ("image", np.zeros((*SIZE, 3), np.uint8)),
        ("best_score", 2),
        ("llm_forwards", -1),
        ("token_ids", 3),
        ("caption", 1),
    ],
)
def test_wrong_fields_are_named(result: Result, field: str, value: object) -> None:
    name = "a segment" if field == "segments" and isinstance(value, list) else field
    with pytest.raises(InputError, match=f"^{name} is"):
        replace(result, **{field: value})
