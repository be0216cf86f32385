"""What ``xsam-eval`` leaves out, and says so: annotations, tasks, pictures."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.annotated import (
    CAT,
    DOG,
    SIZE,
    WITHOUT_OUTLINE,
    write_captions,
    write_instances,
    write_panoptic,
    write_reasons,
)
from tests.scripted import Model, answer
from xsam_edge.calibration import coco_api
from xsam_edge.calibration.cli import evaluate
from xsam_edge.calibration.shapes.dataset import ShapesData
from xsam_edge.runtime.results.segment import Segment


def test_annotations_without_an_outline_are_told(
    scripted: Callable[..., list[Model]], phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_instances(tmp_path)
    data = json.loads(path.read_text())
    empty = [{"image_id": 1, "category_id": 17, **kind} for kind in WITHOUT_OUTLINE]
    path.write_text(json.dumps({**data, "annotations": [*data["annotations"], *empty]}))
    both = answer(Segment.from_mask(CAT, 0.9, "cat", 0), Segment.from_mask(DOG, 0.3, "dog", 1), size=SIZE)
    scripted(lambda *_: both)
    assert evaluate.main([str(phi3_bundle), "--data", str(tmp_path), "--task", "instances", "--json"]) == 0
    out, error = capsys.readouterr()
    assert error.startswith(f"note: {path}: 9 annotations have no outline") and error.count("\n") == 1
    found = json.loads(out)
    assert found["data"]["sources"][0]["without_outline"] == 9
    assert found["instances"]["ap"] == pytest.approx(1), "as without them"


def test_tasks_that_the_first_pictures_do_not_ask_are_named(
    scripted: Callable[..., list[Model]], phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_reasons(tmp_path)
    write_captions(tmp_path)
    scripted(lambda *_: answer(size=SIZE))
    assert evaluate.main([str(phi3_bundle), "--data", str(tmp_path), "--limit", "1", "--json"]) == 0
    out, error = capsys.readouterr()
    (unasked,) = json.loads(out)["unasked"]
    assert error.splitlines()[-1] == f"note: the first 1 pictures ask nothing of {unasked}"


def test_without_pycocotools_only_average_precision_is_left_out(
    scripted: Callable[..., list[Model]],
    phi3_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(coco_api, "import_module", missing)
    data = ShapesData("40-40", size=64)
    monkeypatch.setattr(evaluate, "open_data", lambda *_, **__: data)
    scripted(lambda method, _: answer(size=(64, 64), best_score=0.0, id_map=np.zeros((64, 64), np.int32)))
    capsys.readouterr()
    assert evaluate.main([str(phi3_bundle), "--data", "shapes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["left_out"] == ["instances", "regions"] and found["unasked"] == []
    assert not {"instances", "regions"} & found.keys() and {"refer", "panoptic", "captions"} <= found.keys()
    assert evaluate.main([str(phi3_bundle), "--data", "shapes", "--task", "instances"]) == 2
    assert "pip install 'xsam-edge[eval]'" in capsys.readouterr().err


def test_a_missing_package_is_one_line(
    phi3_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    write_panoptic(tmp_path)
    monkeypatch.setattr(coco_api, "import_module", missing)
    capsys.readouterr()
    assert evaluate.main([str(phi3_bundle), "--data", str(tmp_path), "--task", "regions"]) == 2
    assert "pip install 'xsam-edge[eval]'" in capsys.readouterr().err


def test_unreadable_images_are_named(
    scripted: Callable[..., list[Model]], phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_instances(tmp_path, images=20)
    os.truncate(tmp_path / "val2017" / "000000000007.jpg", 100)
    scripted(lambda *_: answer(size=SIZE))
    assert evaluate.main([str(phi3_bundle), "--data", str(tmp_path), "--task", "instances"]) == 0
    assert "1 image could not be read: val2017/000000000007.jpg" in capsys.readouterr().out
