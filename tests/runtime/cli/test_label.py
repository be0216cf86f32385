from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from xsam_edge.runtime.cli.label import main

NAMES = ["--things", "person,car", "--stuff", "road,sky", "--threshold", "0.1", "--threads", "1", "--verify", "none"]
FORMATS = ["--format", "coco", "--format", "panoptic", "--format", "yolo"]


@pytest.fixture
def pictures(tmp_path: Path, phi3_reference: Path) -> Path:
    """Six pictures in two folders, with names that are hard to have, one of them damaged."""
    folder = tmp_path / "in"
    image = Image.open(phi3_reference / "image.png").convert("RGB")
    for number, name in enumerate(("a.png", "b b.png", "x/a.png", "x/-n.png", "x/ü\n.png")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.rotate(60 * number).save(path)
    (folder / "x" / "damaged.jpg").write_bytes(b"\xff\xd8 nothing")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    left_out = {"label.log"}
    return {
        str(path.relative_to(folder)): os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and path.name not in left_out
    }


def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def test_a_data_set(phi3_bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = [str(phi3_bundle), str(pictures), *NAMES, "-o", str(out)]
    assert main([*command, *FORMATS, "--json"]) == 0
    output = capsys.readouterr()
    told = json.loads(output.out)
    assert (told["pictures"], told["damaged"], told["labelled_now"], told["labelled_before"]) == (5, 1, 5, 0)
    assert f"note: 1 pictures could not be labelled; {out / 'damaged.jsonl'} says why" in output.err
    assert set(told["files"]) == {path.name for path in out.iterdir()} - {"journal.jsonl", "label.log"}
    assert sum(told["segments"].values()) == len(json.loads((out / "instances.json").read_text())["annotations"]) > 0
    assert "6 of 6 pictures are to be labelled" in (out / "label.log").read_text()
    before = content(out)

    # What is there is not labelled again, but what was damaged; other forms need no model.
    assert main([*command, *FORMATS, "--json"]) == 0
    assert summary(capsys)["labelled_before"] == 5
    again = content(out)
    assert {name for name in before if before[name] != again[name]} == {"journal.jsonl"}
    (pictures / "x" / "damaged.jpg").unlink()
    mapping = tmp_path / "map.txt"
    mapping.write_text("person, car -> mover\n")
    assert main([*command, "--polygons", "--map", str(mapping), "--device", "cuda"]) == 2  # --threads is of the CPU
    assert main([*command, "--polygons", "--map", str(mapping), "--json"]) == 0
    told = summary(capsys)
    assert (told["labelled_now"], told["left_over"], list(told["segments"])) == (0, 1, ["mover", "road", "sky"])
    mapping.write_text("persn -> x\n")
    assert main([*command, "--map", str(mapping)]) == 2
    assert "did you mean 'person'" in capsys.readouterr().err

    # Another question is not mixed in.
    for more, name in ((["--instances"], "instances"), (["--threshold", "0.2"], "threshold")):
        assert main([*command, *more]) == 2
        assert f"holds labels for which {name} was" in capsys.readouterr().err


def test_phrases(phi3_bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    phrases = tmp_path / "phrases.txt"
    phrases.write_text("the ironing man\na car\n")
    asked = [str(phi3_bundle), str(pictures / "a.png"), "--threshold", "0", "--json", "--verify", "none"]
    assert main([*asked, "--refer-file", str(phrases), "-o", str(tmp_path / "one")]) == 0
    assert set(summary(capsys)["segments"]) == {"the ironing man", "a car"}
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"picture": "a.png", "refer": ["a car", "the ironing man"]}))
    assert main([*asked, "--prompts", str(prompts), "-o", str(tmp_path / "two")]) == 0
    assert set(summary(capsys)["segments"]) == {"the ironing man", "a car"}


def test_everything_of_a_file(
    phi3_bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{'stuff ' if number % 5 == 0 else ''}name {number}\n" for number in range(160)))
    asked = [str(phi3_bundle), str(pictures / "a.png"), "--everything", str(names), "--json", "--verify", "none"]
    assert main([*asked, "-o", str(tmp_path / "out")]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["approximate"] == 1
    assert "160 names are asked in" in output.err and "labels of 1 pictures are approximate" in output.err
    images = json.loads((tmp_path / "out" / "instances.json").read_text())["images"]
    assert images[0]["approximate"] is True


def test_what_cannot_be_read_is_damaged(
    phi3_bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(pictures / "pipe.png")
    (pictures / "self.png").symlink_to("self.png")
    (tmp_path / "list.txt").write_text(f"{pictures / 'pipe.png'}\n{pictures / 'self.png'}\n{pictures / 'a.png'}\n")
    out = tmp_path / "out"
    assert main([str(phi3_bundle), f"@{tmp_path / 'list.txt'}", *NAMES, "-o", str(out), "--json"]) == 0
    told = summary(capsys)
    assert (told["pictures"], told["damaged"]) == (1, 2)
    assert "pipe.png is no file; a picture was expected" in (out / "damaged.jsonl").read_text()


def test_an_error_before_any_answer_leaves_nothing(
    phi3_bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [str(phi3_bundle), str(pictures), "--threads", "1", "-o", str(out)]
    assert main([*command, "--things", "car", "--context", "9999999"]) == 2
    assert not out.exists()
    out.mkdir()
    assert main([*command, "--things", "car", "--context", "9999999"]) == 2
    assert not list(out.iterdir())
    assert main([*command, "--stuff", "sky", "--instances"]) == 2
    assert "--instances leaves stuff out" in capsys.readouterr().err


def test_strict(phi3_bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main([str(phi3_bundle), str(pictures), *NAMES, "--strict", "-o", str(out)]) == 2
    assert "x/damaged.jpg" in capsys.readouterr().err
    assert not (out / "instances.json").exists()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["IN"], "nothing says what to label"),
        (["IN", "--things", "a", "--everything"], "were given together"),
        (["IN", "--things", "a,a"], "'a' is there twice"),
        (["IN", "--things", "a", "--stuff", "A"], "read the same"),
        (["IN", "--things", "a", "-o", "IN/labels"], "is inside of"),
        (["EMPTY", "--things", "a"], "no picture is in"),
        (["IN", "--everything", "IN"], "is a folder; --everything takes"),
        (["IN", "--things", "a", "-o", "FULL"], "is not empty and holds no journal.jsonl"),
        (["IN", "--things", "a", "-o", "FULL/mine.txt/x"], "Not a directory"),
        (["IN", "--things", "<SEG>"], "controls the model"),
    ],
)
def test_wrong_input(
    phi3_bundle: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    fault: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    places = {"IN": str(pictures), "EMPTY": str(tmp_path / "empty"), "FULL": str(tmp_path / "full")}
    given = [
        places.get(word, word.replace("IN/", f"{pictures}/").replace("FULL/", f"{tmp_path}/full/"))
        for word in arguments
    ]
    output = [] if "-o" in given else ["-o", str(tmp_path / "out")]
    assert main([str(phi3_bundle), *given, *output, "--verify", "none"]) == 2
    error = capsys.readouterr().err
    assert fault in error and error.count("error: ") == 1
    assert not (tmp_path / "out" / "instances.json").exists()


def killed(command: list[str], journal: Path, lines: int) -> None:
    """Start a command and kill it once so many lines are in the journal."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    try:
        while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_run_that_was_killed_goes_on(phi3_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    for number in range(12):
        shutil.copy(pictures / "a.png", pictures / f"more-{number:02d}.png")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    asked = [str(phi3_bundle), str(pictures), *NAMES, *FORMATS, "--quiet"]
    assert main([*asked, "-o", str(whole)]) == 0
    run = "import sys; from xsam_edge.runtime.cli.label import main; sys.exit(main())"
    command = [sys.executable, "-c", run, *asked, "-o", str(broken)]
    for lines in (4, 9):
        killed(command, broken / "journal.jsonl", lines)
        assert not (broken / "instances.json").exists()
    with open(broken / "journal.jsonl", "ab") as journal:
        journal.write(b'{"picture":"more-1')  # as a loss of power leaves it
    assert main([*asked, "-o", str(broken)]) == 0
    assert content(broken) == content(whole)
