import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xsam_edge.runtime.cli.segment import main
from xsam_edge.runtime.results import rle


@pytest.fixture
def image(phi3_reference: Path) -> str:
    return str(phi3_reference / "image.png")


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def test_refer(phi3_bundle: Path, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(phi3_bundle), image, "--refer", "The ironing man", "-o", str(tmp_path / "out"), "--json"]
    assert main(arguments) == 0
    result = answer(capsys)
    (entry,) = result["images"]
    assert (result["variant"], entry["error"], entry["answered"]) == ("phi3", None, True)
    assert "<SEG>" in entry["text"]
    assert {"preprocess", "image_encoder", "llm", "mask_decoder", "postprocess"} == set(entry["timings_ms"])
    (segment,) = entry["segments"]
    written = np.asarray(Image.open(entry["files"]["masks"][0]))
    np.testing.assert_array_equal(written == 255, rle.decode(**segment["mask"]))
    assert segment["area"] == (written == 255).sum() > 0
    assert segment["label"] == "The ironing man"


def test_the_table(phi3_bundle: Path, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    categories = ["--things", "person, car", "--stuff", "road,tree", "--threshold", "0.1"]
    assert main([str(phi3_bundle), image, *categories, "-o", str(tmp_path / "out")]) == 0
    output = capsys.readouterr()
    assert "150 x 100" in output.out
    assert "mask_decoder" in output.out
    assert output.err == ""
    ids = np.asarray(Image.open(tmp_path / "out" / "image" / "ids.png"))
    for path in sorted((tmp_path / "out" / "image").glob("0*.png")):
        np.testing.assert_array_equal(np.asarray(Image.open(path)) == 255, ids == int(path.name[:2]))


def test_regions(
    phi3_bundle: Path, image: str, phi3_reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = str(phi3_reference / "vpmask0.png")
    regions = ["--mask", mask, "--box", "3,3,40,40", "--point", "100,50", "--threshold", "0"]
    assert main([str(phi3_bundle), image, *regions, "--json", "-o", str(tmp_path / "out")]) == 0
    (entry,) = answer(capsys)["images"]
    assert entry["task"] == "vgdseg"
    assert {segment["label"] for segment in entry["segments"]} <= {"region 1", "region 2", "region 3"}
    assert main([str(phi3_bundle), image, "--mask", mask, "--json", "-o", str(tmp_path / "one")]) == 0
    (entry,) = answer(capsys)["images"]
    assert (entry["task"], len(entry["segments"])) == ("intseg", 1)


def test_the_ids_of_a_result_are_regions(
    phi3_bundle: Path, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    categories = ["--things", "person,car", "--stuff", "road,tree", "--threshold", "0.1"]
    assert main([str(phi3_bundle), image, *categories, "-o", str(tmp_path / "map"), "--json"]) == 0
    (entry,) = answer(capsys)["images"]
    ids, segment = entry["files"]["ids"], entry["segments"][-1]
    given = [str(phi3_bundle), image, "--json", "--append-answer"]
    masks = []
    for mask in (f"{ids}:{segment['id']}", entry["files"]["masks"][-1]):
        out = str(tmp_path / f"out-{len(masks)}")
        assert main([*given, "--mask", mask, "-o", out]) == 0
        (found,) = answer(capsys)["images"]
        masks.append([segment["mask"] for segment in found["segments"]])
    assert masks[0] == masks[1]
    assert main([*given, "--mask", f"{ids}:99", "-o", str(tmp_path / "none")]) == 2
    assert "the mask has no pixel of the id 99; it holds the values 0, 1" in capsys.readouterr().err


def test_chat_writes_nothing(
    phi3_bundle: Path,
    image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [str(phi3_bundle), image, "--chat", "What is unusual about this image?", "--max-new-tokens", "3"]
    assert main([*arguments, "--json"]) == 0
    (entry,) = answer(capsys)["images"]
    assert entry["files"] is None
    assert entry["text"]
    assert list(tmp_path.iterdir()) == []


def test_several_phrases_are_one_batch(
    phi3_bundle: Path, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    asked = ["--refer", "a car", "--refer", "the ironing man"]
    assert main([str(phi3_bundle), image, *asked, "-o", out, "--json"]) == 0
    entries = answer(capsys)["images"]
    assert [entry["asked"] for entry in entries] == ["a car", "the ironing man"]
    folders = [Path(entry["files"]["result"]).parent.name for entry in entries]
    assert folders == ["image_01_a-car", "image_02_the-ironing-man"]
    for entry in entries:
        assert main([str(phi3_bundle), image, "--refer", entry["asked"], "-o", out, "--json", "--overwrite"]) == 0
        (alone,) = answer(capsys)["images"]
        assert alone["segments"] == entry["segments"] and alone["llm_forwards"] >= 1
    assert main([str(phi3_bundle), image, *asked, "-o", out, "--overwrite"]) == 0
    table = capsys.readouterr().out
    assert f"{image}  a car  150 x 100" in table and f"{image}  the ironing man  150 x 100" in table


def test_no_seg_is_an_answer(phi3_bundle: Path, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(phi3_bundle), image, "--describe", "--max-new-tokens", "1", "-o", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "nothing was segmented: the model's answer holds no <SEG>" in capsys.readouterr().out
    assert main([*arguments, "--json", "--overwrite"]) == 0
    (entry,) = answer(capsys)["images"]
    assert entry["answered"] is False
    assert entry["segments"] == []


def test_one_bad_image_of_three(
    phi3_bundle: Path, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(image, tmp_path / "image.png")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    out = tmp_path / "out"
    images = [image, str(bad), str(tmp_path / "image.png")]
    assert main([str(phi3_bundle), *images, "--refer", "a man", "-o", str(out), "--json"]) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert f"xsam-segment: error: {bad} is empty" in output.err
    entries = json.loads(output.out)["images"]
    assert [entry["error"] is None for entry in entries] == [True, False, True]
    assert entries[0]["segments"] == entries[2]["segments"]
    assert sorted(path.name for path in out.iterdir()) == ["image", "image-2"]


def test_an_altered_bundle_is_refused(
    phi3_bundle: Path, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    altered = tmp_path / "bundle"
    shutil.copytree(phi3_bundle, altered)
    weights = altered / "llm.onnx.data"
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    arguments = [str(altered), image, "--refer", "a man", "-o", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "llm.onnx.data was altered" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*arguments, "--verify", "none"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch", "IMAGE", "--refer", "a"], "nosuch is not a bundle"),
        (["BUNDLE", "IMAGE"], "no task was given"),
        (["BUNDLE", "nosuch.png", "--refer", "a"], "nosuch.png does not exist"),
        (["BUNDLE", "IMAGE", "--refer", "a <SEG>"], "contains '<SEG>'"),
        (["BUNDLE", "IMAGE", "--refer", "a", "--context", "40"], "the context holds 40"),
        (["BUNDLE", "IMAGE", "--box", "500,0,600,9"], "does not lie in the image"),
        (["BUNDLE", "IMAGE", "--refer", "a", "--threads", "-1"], "whole number"),
        (["BUNDLE", "IMAGE", "--refer", "a", "--threads", "100000"], "expected a whole number from 0 to"),
        (["BUNDLE", "IMAGE", "--refer", "a", "--threads", "1", "--device", "cuda"], "--threads is of the CPU"),
        (["BUNDLE", "IMAGE", "--refer", "a", "--context", "0"], "'0' is not a whole number from 1 on"),
        (["BUNDLE", "IMAGE", "--describe", "--max-new-tokens", "0"], "'0' is not a whole number from 1 on"),
        (["BUNDLE", "IMAGE", "--refer", "a", "-o", ""], "-o/--output: the path is empty"),
        (["", "IMAGE", "--refer", "a"], "BUNDLE: the path is empty"),
        (["BUNDLE", "", "--refer", "a"], "IMAGE: the path is empty"),
        (["BUNDLE", "IMAGE", "--mask", ""], "--mask: the path is empty"),
        (["BUNDLE", "IMAGE", "--things", "@"], "--things '@' names no file; is a variable of the shell not set?"),
        (["BUNDLE", "IMAGE", "--refer", "a", "-o", "FULL"], "not empty"),
    ],
)
def test_refusals(
    arguments: list[str],
    message: str,
    phi3_bundle: Path,
    image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    known = {"BUNDLE": str(phi3_bundle), "IMAGE": image, "FULL": "full"}
    assert main([known.get(argument, argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("xsam-segment: error:") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["full"], "a refused call writes nothing"
