import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.annotated import CAT, DOG, SIZE, write_captions, write_instances, write_panoptic, write_reasons, write_refs
from tests.scripted import Model, answer
from xsam_edge.calibration import coco_api
from xsam_edge.calibration.cli import evaluate
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

HALF = CAT.copy()
HALF[:, 4:] = False


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert evaluate.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def scripted(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Model]]:
    """Lets the bundles that the command loads answer as given, one after the other."""

    def script(*replies: Callable[[str, tuple[Any, ...]], Result]) -> list[Model]:
        models = []
        for reply in replies:
            model: Any = Model(reply)
            model.manifest = read_manifest(phi3_bundle)
            model.pipeline = SimpleNamespace(backend=SimpleNamespace(name="scripted"))
            models.append(model)
        left = iter(models)
        monkeypatch.setattr(evaluate, "load_bundle", lambda *_, **__: next(left))
        return models

    return script


def cat(mask: np.ndarray, score: float = 0.9, **fields: Any) -> Result:
    return answer(Segment.from_mask(mask, score, "cat", 0), size=SIZE, **fields)


def test_a_random_bundle_on_every_format(phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its answers mean nothing: what counts is that everything is asked and every value is in range."""
    write_instances(tmp_path)
    write_panoptic(tmp_path)
    write_reasons(tmp_path)
    write_captions(tmp_path)
    found = output(capsys, str(phi3_bundle), "--data", str(tmp_path), "--answer", "append", "--threads", "1")
    assert found["reason"]["n"] == 3
    assert found["reason"]["kinds"].keys() == {"sentence", "phrase"}
    assert found["panoptic"]["n"] == found["semantic"]["n"] == found["instances"]["n"] == 2
    assert found["regions"]["n_interactive"] == 2
    assert found["regions"]["n_similar"] == 1
    assert found["captions"]["n"] == 1
    assert found["reason"]["answered"] == found["regions"]["answered"] == 1, "appended answers have a <SEG>"
    for task in ("reason", "panoptic", "semantic", "instances", "regions", "captions"):
        values = [value for name, value in found[task].items() if name[0] != "n" and isinstance(value, float)]
        assert values and all(0 <= value <= 1 for value in values)
    assert found["bundle"] == str(phi3_bundle)
    assert found["data"]["folder"] == str(tmp_path)
    assert found["pictures"] == 5
    assert (found["unreadable"], found["against"]) == ([], None)


def test_a_bundle_agrees_with_itself(phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_refs(tmp_path)
    path = str(phi3_bundle)
    found = output(capsys, path, "--data", str(tmp_path), "--against", path, "--threads", "1")
    assert found["against"]["metrics"]["refer"] == found["refer"]
    assert found["against"]["agreement"]["refer"] == {
        "n": 2,
        "masks": 2,
        "mean_iou": 1,
        "min_iou": 1,
        "share_95": 1,
        "equal_text": 1,
        "equal_tokens": 1,
    }


def test_exact_numbers(
    scripted: Callable[..., list[Model]], phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_refs(tmp_path)
    (model,) = scripted(lambda *_: cat(HALF))
    found = output(capsys, str(phi3_bundle), "--data", str(tmp_path), "--task", "refer", "--limit", "1")
    assert found["refer"] == {"n": 2, "ciou": pytest.approx(0.6), "giou": pytest.approx(0.6), "answered": 1}
    assert [arguments for _, arguments, _ in model.calls] == [("the cat",), ("left one",)]
    assert found["answer"] == model.calls[0][2]["answer"] == "greedy"


def test_a_table_with_a_second_bundle(
    scripted: Callable[..., list[Model]], phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_refs(tmp_path)
    first, second = scripted(lambda *_: cat(CAT, text="It is."), lambda *_: cat(HALF, text="It is."))
    arguments = [str(phi3_bundle), "--data", str(tmp_path), "--against", str(phi3_bundle), "--split", "val"]
    assert evaluate.main([*arguments, "--answer", "append"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{phi3_bundle} (phi3, fp32) on {tmp_path} against {phi3_bundle}")
    assert [line.split() for line in lines[2:]][:5] == [
        ["task", "metric", "first", "second", "difference"],
        ["refer", "n", "2", "2"],
        ["refer", "ciou", "1.0000", "0.6000", "-0.4000"],
        ["refer", "giou", "1.0000", "0.6000", "-0.4000"],
        ["refer", "answered", "1.0000", "1.0000", "+0.0000"],
    ]
    assert ["refer", "2", "2", "0.6000", "0.6000", "0.0000", "1.0000", "-"] in [line.split() for line in lines]
    assert first.calls == second.calls, "the same asks"


def test_instances_and_regions_in_numbers(
    scripted: Callable[..., list[Model]], phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_instances(tmp_path)
    both = answer(Segment.from_mask(CAT, 0.9, "cat", 0), Segment.from_mask(DOG, 0.3, "dog", 1), size=SIZE)
    scripted(lambda method, _: both)
    found = output(capsys, str(phi3_bundle), "--data", str(tmp_path))
    # The second picture is empty, where both are surplus, but a category's recall is complete at its first.
    assert found["instances"]["ap"] == pytest.approx(1)
    assert found["regions"]["rq"] == pytest.approx(1 / 1.5), "the dog scores too little to count"
    assert found["regions"]["ap"] == pytest.approx(1)
    assert found["regions"]["kinds"]["box"]["miou"] == 1
    assert found["regions"]["kinds"]["point"]["miou"] == 0, "the first segment is the cat"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "'nowhere' is neither a folder nor a known data set"),
        (["--data", ".", "--task", "captions"], "asks nothing of captions; it has refer"),
        (["--data", ".", "--split", "train"], "no split 'train'; it holds testA, val"),
        (["--data", ".", "--limit", "0"], "no picture to evaluate"),
        (["--data", ".", "--against", "nowhere"], "nowhere is not a bundle"),
        (["--data", ".", "--task", "segment"], "invalid choice: 'segment'"),
        ([], "required: --data"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    arguments: list[str],
    message: str,
    phi3_bundle: Path,
    scripted: Callable[..., list[Model]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_refs(tmp_path)
    monkeypatch.chdir(tmp_path)
    (model,) = scripted(lambda *_: cat(CAT))
    capsys.readouterr()
    assert evaluate.main([str(phi3_bundle), *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.splitlines()[-1].startswith("xsam-eval: error: ")
    assert captured.out == ""
    assert not model.calls


def test_a_missing_package_is_one_line(
    phi3_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    write_panoptic(tmp_path)
    monkeypatch.setattr(coco_api, "import_module", missing)
    capsys.readouterr()
    assert evaluate.main([str(phi3_bundle), "--data", str(tmp_path)]) == 2
    assert "pip install 'xsam-edge[eval]'" in capsys.readouterr().err


def test_category_names_that_read_alike_are_shown(
    phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_panoptic(tmp_path)
    path.write_text(path.read_text().replace('"cat"', '"sky"'))
    capsys.readouterr()
    assert evaluate.main([str(phi3_bundle), "--data", str(tmp_path), "--task", "panoptic", "--threads", "1"]) == 2
    assert "'sky' and 'sky-other-merged' both read 'sky'" in capsys.readouterr().err


def test_unreadable_images_are_named(
    scripted: Callable[..., list[Model]], phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_instances(tmp_path, images=20)
    os.truncate(tmp_path / "val2017" / "000000000007.jpg", 100)
    scripted(lambda *_: answer(size=SIZE))
    assert evaluate.main([str(phi3_bundle), "--data", str(tmp_path), "--task", "instances"]) == 0
    assert "1 image could not be read: val2017/000000000007.jpg" in capsys.readouterr().out
