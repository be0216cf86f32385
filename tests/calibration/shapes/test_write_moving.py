import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xsam_edge.calibration.shapes.__main__ import main
from xsam_edge.calibration.shapes.composition import SHAPES
from xsam_edge.calibration.shapes.motion import move
from xsam_edge.runtime.results import rle

SIZE, LENGTH = 48, 40


def test_what_is_written_is_what_moves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "moving"
    arguments = ["--split", "5-6", "--frames", str(LENGTH), "--size", str(SIZE), "-o", str(folder)]
    assert main(arguments) == 0
    assert "2 scenes, 40 frames each, of 48 x 48 pixels" in capsys.readouterr().out
    written = json.loads((folder / "annotations.json").read_text())
    assert [(video["id"], video["length"], video["fps"]) for video in written["videos"]] == [
        (5, 40, 10.0),
        (6, 40, 10.0),
    ]
    assert [category["name"] for category in written["categories"]] == list(SHAPES)
    assert [entry["id"] for entry in written["annotations"]] == list(range(1, len(written["annotations"]) + 1))
    scene = move(6, LENGTH)
    own = [entry for entry in written["annotations"] if entry["video_id"] == 6]
    for number, (drawing, seen) in enumerate(scene.frames(SIZE)):
        path = folder / "frames" / written["videos"][1]["file_names"][number]
        np.testing.assert_array_equal(np.asarray(Image.open(path)), drawing.pixels)
        there = [entry for entry in own if entry["segmentations"][number] is not None]
        assert len(there) == len(seen)
        for entry, thing in zip(there, sorted(seen, key=lambda thing: thing.identity), strict=True):
            np.testing.assert_array_equal(rle.decode(**entry["segmentations"][number]), thing.mask)
            assert (entry["category_id"], entry["areas"][number]) == (thing.label + 1, thing.mask.sum())
            x, y, width, height = (int(value) for value in entry["bboxes"][number])
            assert thing.mask[y : y + height, x : x + width].sum() == thing.mask.sum()
            assert entry["visible"][number] == round(thing.visible, 4)
    assert all(entry["bboxes"][0] is None for entry in own if entry["segmentations"][0] is None)


@pytest.mark.parametrize("other", [["--coco"], ["--split", "hard-0-3"], ["--split", "directions"]])
def test_moving_scenes_have_no_other_form(other: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--split", "0-3", *other, "--frames", "5", "-o", str(tmp_path / "out")]) == 2
    assert f"leave {' '.join(other)} out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
