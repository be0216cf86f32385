import errno
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotated import (
    CAT,
    DOG,
    SIZE,
    write_captions,
    write_instances,
    write_panoptic,
    write_reasons,
    write_refs,
)
from tests.scripted import Model, answer
from xsam_edge.calibration.cli import evaluate
from xsam_edge.calibration.shapes import phrases
from xsam_edge.calibration.shapes.composition import compose
from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.runtime import XSam
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, read_manifest
from xsam_edge.runtime.bundle.settings import RejectionRule
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

HALF = CAT.copy()
HALF[:, 4:] = False


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert evaluate.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


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
        ["task", "metric", "first", "second", "difference", "95%", "interval"],
        ["refer", "n", "2", "2"],
        ["refer", "ciou", "1.0000", "0.6000", "-0.4000", "-0.4000", "to", "-0.4000"],
        ["refer", "giou", "1.0000", "0.6000", "-0.4000", "-0.4000", "to", "-0.4000"],
        ["refer", "answered", "1.0000", "1.0000", "+0.0000"],
    ]
    assert ["refer", "2", "2", "0.6000", "0.6000", "0.0000", "1.0000", "-"] in [line.split() for line in lines]
    assert first.calls == second.calls, "the same asks"


def absent_refs(root: Path, scores: list[float]) -> Callable[[str, tuple[Any, ...]], Result]:
    """A cat, and phrases for absent things; returns what answers each of them with its score."""
    path = write_refs(root)
    records = json.loads(path.read_text())
    for number, _ in enumerate(scores):
        sentence = [{"sent": f"bird {number}"}]
        records.append({"ann_id": -1, "image_id": 2, "split": "val", "no_target": True, "sentences": sentence})
    path.write_text(json.dumps(records))
    by_phrase = {f"bird {number}": score for number, score in enumerate(scores)}
    return lambda _, arguments: cat(CAT, best_score=by_phrase.get(arguments[0], 0.75))


@pytest.fixture
def manifest_only(phi3_bundle: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    shutil.copy(phi3_bundle / MANIFEST_FILE, folder)
    return folder


def test_a_threshold_is_given_official_or_the_bundles(
    scripted: Callable[..., list[Model]], phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_refs(tmp_path)
    rules = {"refer": RejectionRule(0.5, 0.25, 4)}
    for given, asked, told in (
        ([], "official", "official"),
        (["--threshold", "official"], "official", "official"),
        (["--threshold", "0.25"], 0.25, 0.25),
        (["--threshold", "bundle"], 0.5, "bundle"),
    ):
        (model,) = scripted(lambda *_: cat(CAT))
        settings = replace(model.manifest.settings, rejection=rules)  # type: ignore[attr-defined]
        model.manifest = replace(model.manifest, settings=settings)  # type: ignore[attr-defined]
        found = output(capsys, str(phi3_bundle), "--data", str(tmp_path), *given)
        assert {options["threshold"] for _, _, options in model.calls} == {asked}
        assert (found["threshold"], found["written"]) == (told, None)


def test_a_number_is_of_panoptic_segments_too(
    scripted: Callable[..., list[Model]], phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_panoptic(tmp_path)
    for given, asked in (([], 0.0), (["--threshold", "bundle"], 0.0), (["--threshold", "0.75"], 0.75)):
        (model,) = scripted(lambda *_: answer(size=SIZE))
        output(capsys, str(phi3_bundle), "--data", str(tmp_path), "--task", "panoptic", *given)
        assert {options["threshold"] for _, _, options in model.calls} == {asked}


def test_a_written_threshold(
    scripted: Callable[..., list[Model]], manifest_only: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = absent_refs(tmp_path, [0.25, 0.5, 0.5, 0.875])
    scripted(reply)
    arguments = [str(manifest_only), "--data", str(tmp_path), "--write-threshold", "0.25"]
    assert evaluate.main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"written into {manifest_only / MANIFEST_FILE}",
        "task   absent below  false alarms                  hits",
        "refer  0.5000        1 of 4, 25.0% (4.6 to 69.9%)  2 of 2, 100.0% (34.2 to 100.0%)",
    ]
    above = float(np.nextafter(np.float32(0.5), np.float32(1)))
    assert read_manifest(manifest_only).settings.rejection == {"refer": RejectionRule(above, 0.25, 4)}
    scripted(reply)
    found = output(capsys, *arguments)
    assert found["written"]["refer"]["threshold"] == above
    assert (found["written"]["refer"]["false_alarms"]["n"], found["written"]["refer"]["hits"]["n"]) == (1, 2)
    assert found["refer"]["absent"]["n"] == 4, "asked as officially, although the bundle has a rule by now"


def test_of_two_bundles_the_first_is_written(
    scripted: Callable[..., list[Model]],
    manifest_only: Path,
    phi3_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    low, high = absent_refs(tmp_path / "data", [0.25, 0.25]), lambda *_: cat(CAT, best_score=0.875)
    scripted(low, high)
    arguments = [str(manifest_only), "--data", str(tmp_path / "data"), "--against", str(phi3_bundle)]
    output(capsys, *arguments, "--write-threshold", "0.5")
    rules = read_manifest(manifest_only).settings.rejection
    assert rules is not None and rules["refer"].threshold == pytest.approx(0.25)
    assert read_manifest(phi3_bundle).settings.rejection is None


def test_scores_that_leave_no_threshold_are_shown_and_nothing_is_written(
    scripted: Callable[..., list[Model]], manifest_only: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(absent_refs(tmp_path, [1.0, 1.0]))
    before = (manifest_only / MANIFEST_FILE).read_bytes()
    assert evaluate.main([str(manifest_only), "--data", str(tmp_path), "--write-threshold", "0.5"]) == 2
    captured = capsys.readouterr()
    assert "xsam-eval: error: 2 of 2 absent things of refer" in captured.err
    assert "refer, 5% false alarms  none" in captured.out
    assert (manifest_only / MANIFEST_FILE).read_bytes() == before


def test_a_bundle_that_cannot_be_written_is_found_before_the_run(
    scripted: Callable[..., list[Model]],
    manifest_only: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(**_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    (model,) = scripted(absent_refs(tmp_path, [0.5, 0.5]))
    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    assert evaluate.main([str(manifest_only), "--data", str(tmp_path), "--write-threshold", "0.5"]) == 2
    assert "cannot be written (Read-only file system)" in capsys.readouterr().err
    assert not model.calls


@pytest.mark.parametrize("mode", ["greedy", "append"])
def test_a_threshold_holds_on_the_data_that_it_was_chosen_by(
    mode: str, shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a real bundle; which asks are found at it is the same when they are asked again, by the bundle's own rule."""
    bundle = str(shutil.copytree(shapes_bundle, tmp_path / "bundle"))
    data = ["--data", "shapes:40-45", "--threads", "1", "--answer", mode]
    written = output(capsys, bundle, *data, "--write-threshold", "0.2")["written"]
    assert written.keys() == {"refer", "reason"}
    again = output(capsys, bundle, *data, "--task", "refer", "--task", "reason", "--threshold", "bundle")
    for task, point in written.items():
        used = again[task]["absent"]["in_use"]
        assert used["threshold"] == point["threshold"]
        assert used["false_alarms"] == point["false_alarms"] and used["false_alarms"]["rate"] <= 0.2
        assert used["hits"]["n"] <= point["hits"]["n"], "a mask may be empty"
    official = output(capsys, bundle, *data, "--task", "refer")
    assert official["refer"]["giou"] > 0.5 and "in_use" not in official["refer"]["absent"]

    scene = XSam.load(Path(bundle), threads=1).look(draw(compose(40), 192).pixels)
    absent = phrases.absent(compose(40))
    refused = [result for result in scene.refer([item.text for item in absent[:8]], answer=mode) if not result.found]
    assert refused and all("below the threshold" in result.reason for result in refused)


def test_a_threshold_holds_where_scores_are_alike(
    phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random weights score everything nearly the same: the last digit decides."""
    bundle = str(shutil.copytree(phi3_bundle, tmp_path / "bundle"))
    absent_refs(tmp_path / "data", [0.0] * 8)
    arguments = [bundle, "--data", str(tmp_path / "data"), "--threads", "1", "--answer", "append"]
    found = output(capsys, *arguments, "--write-threshold", "0.25")
    curve, point = found["refer"]["absent"]["roc"], found["written"]["refer"]
    assert curve[0]["threshold"] - curve[-1]["threshold"] < 1e-2
    used = output(capsys, *arguments, "--threshold", "bundle")["refer"]["absent"]["in_use"]
    assert {name: used[name] for name in point} == point
    assert used["false_alarms"]["n"] == 2


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
        (["--data", ".", "--limit", "0"], "'0' is not a whole number from 1 on"),
        (["--data", ""], "--data: the path is empty"),
        (["--data", "shapes", "--task", "captions", "--answer", "append"], "captions are decoded; leave it out"),
        (["--data", ".", "--against", ""], "--against: the path is empty"),
        (["--data", ".", "--against", "nowhere"], "nowhere is not a bundle"),
        (["--data", ".", "--threshold", "1.5"], "'1.5' is neither a number from 0 to 1 nor 'official' nor 'bundle'"),
        (["--data", ".", "--threshold", "nan"], "'nan' is neither"),
        (["--data", ".", "--write-threshold", "0"], "'0' is not a number between 0 and 1"),
        (["--data", ".", "--write-threshold", "1"], "'1' is not a number between 0 and 1"),
        (["--data", ".", "--write-threshold", "0.5"], "asks for nothing that is absent"),
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


def test_category_names_that_read_alike_are_shown(
    phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_panoptic(tmp_path)
    path.write_text(path.read_text().replace('"cat"', '"sky"'))
    capsys.readouterr()
    assert evaluate.main([str(phi3_bundle), "--data", str(tmp_path), "--task", "panoptic", "--threads", "1"]) == 2
    assert "'sky' and 'sky-other-merged' both read 'sky'" in capsys.readouterr().err
