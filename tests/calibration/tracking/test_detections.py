from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xsam_edge.calibration.shapes.composition import SHAPES
from xsam_edge.calibration.shapes.motion import move
from xsam_edge.calibration.tracking.__main__ import main
from xsam_edge.calibration.tracking.detections import SIZE, THRESHOLD, read, true_segments, truth, write
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.result import Result

LENGTH, SEEDS = 30, range(2)


class Seeing:
    """A model that sees the shapes that are there, told by the picture."""

    def __init__(self) -> None:
        self.known = {
            drawing.pixels.tobytes(): true_segments(seen)
            for seed in SEEDS
            for drawing, seen in move(seed, LENGTH).frames(SIZE)
        }

    def look(self, pixels: np.ndarray) -> Seeing:
        self.segments = self.known[pixels.tobytes()]
        return self

    def categories(self, things: tuple[str, ...], **options: Any) -> Result:
        assert (things, options) == (SHAPES, {"instances": True, "threshold": THRESHOLD})
        return Result("instances", self.segments, (SIZE, SIZE))

    def __enter__(self) -> Seeing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("found") / "found.jsonl"
    write(path, Seeing(), SEEDS, LENGTH)  # type: ignore[arg-type]
    return path


def test_what_was_found_is_read_back(file: Path) -> None:
    scenes = list(read(file))
    assert [scene.seed for scene in scenes] == list(SEEDS)
    for scene in scenes:
        expected = [true_segments(seen) for seen in truth(move(scene.seed, LENGTH))]
        assert list(scene.frames) == expected
    assert list(file.parent.iterdir()) == [file]
    with pytest.raises(FileExistsError):
        write(file, Seeing(), SEEDS, LENGTH)  # type: ignore[arg-type]


def test_other_files_are_named(file: Path, tmp_path: Path) -> None:
    scene = json.loads(file.read_text().splitlines()[0])
    for content in ("[]", "{", json.dumps({**scene, "frames": [[{"label": 99}]]}), json.dumps({**scene, "size": 64})):
        (tmp_path / "other.jsonl").write_text(content)
        with pytest.raises(InputError, match=r"line 1 of .*other\.jsonl"):
            list(read(tmp_path / "other.jsonl"))


def test_the_command_tracks_what_was_kept(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["no bundle is asked", "--detections", str(file), "--seeds", "0-1", "--frames", str(LENGTH)]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["seeds"], found["frames"]) == ([0, 1], LENGTH)
    assert found["found"] == found["true"], "this model sees what is there"
    assert found["found"]["tracker"]["idf1"] > 0.95
    assert found["found"]["tracker"]["false_positives"] == 0
    assert main(arguments) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:5] == ["segments", "identities", "idf1", "mota", "hota"]
    assert [row.split()[:2] for row in rows] == [[a, b] for a in ("found", "true") for b in ("tracker", "greedy")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0-2"], "has other scenes than the seeds 0-2"),
        (["--seeds", "1-1"], "has other scenes"),
        (["--frames", "31"], "of 31 frames"),
        (["--seeds", "5-1"], "'5-1' is no range of seeds"),
        (["--seeds", "all"], "'all' is no range of seeds"),
    ],
)
def test_other_scenes_are_refused(
    arguments: list[str], message: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--seeds": "0-1", "--frames": str(LENGTH), **dict([arguments])}
    options = [word for pair in given.items() for word in pair]
    assert main(["no bundle", "--detections", str(file), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_file_of_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_bytes(b"\x89MCAP0\r\n\xff\xfe")
    with pytest.raises(InputError, match=r"line 1 of .*other\.jsonl is no scene with detections"):
        list(read(path))
