"""The demo model: an official checkpoint like any other, small, and able to see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from xsam_edge.calibration.cli import evaluate
from xsam_edge.calibration.shapes.__main__ import main as draw
from xsam_edge.calibration.shapes.composition import GROUNDS, SHAPES
from xsam_edge.export.config.hub import resolve
from xsam_edge.runtime import XSam
from xsam_edge.runtime.cli.segment import main as segment

SCENES = 24


def test_the_checkpoint_is_small_and_16_bit() -> None:
    folder = resolve("shapes")
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 16e6
    with safe_open(folder / "model.safetensors", "pt") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    assert kinds == {"F16"}
    assert "Apache-2.0" in (folder / "README.md").read_text()


def test_it_sees(shapes_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures over few scenes, well under those of the card: a broken chain falls far below."""
    capsys.readouterr()
    assert evaluate.main([str(shapes_bundle), "--data", "shapes:val", "--limit", str(SCENES), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["refer"]["ciou"] > 0.7 and found["refer"]["giou"] > 0.7
    assert found["reason"]["ciou"] > 0.7
    assert found["panoptic"]["pq"] > 0.7 and found["semantic"]["miou"] > 0.8
    assert found["instances"]["ap50"] > 0.7
    assert found["regions"]["miou"] > 0.7 and found["regions"]["pq"] > 0.6
    assert found["captions"]["recall"] > 0.6
    assert min(found[task]["answered"] for task in ("refer", "panoptic", "regions", "captions")) > 0.95


def test_the_demo_s_questions(shapes_bundle: Path, tmp_path: Path) -> None:
    assert draw(["--split", "6-6", "--size", "240", "-o", str(tmp_path / "scenes")]) == 0
    (image,) = (tmp_path / "scenes").glob("*.png")
    arguments = [str(shapes_bundle), str(image), "-o", str(tmp_path / "found"), "--overwrite"]
    categories = ["--things", ",".join(SHAPES), "--stuff", ",".join(GROUNDS)]
    for task in (["--refer", "the white cross"], categories, ["--describe"]):
        assert segment([*arguments, *task]) == 0
        assert list((tmp_path / "found").glob("**/overlay.png"))


def test_answers_in_words(shapes_bundle: Path) -> None:
    from PIL import Image

    from xsam_edge.calibration.shapes.composition import compose
    from xsam_edge.calibration.shapes.draw import draw as draw_scene

    scene = XSam.load(shapes_bundle, threads=1).look(Image.fromarray(draw_scene(compose(6), 192).pixels))
    assert scene.chat("How many shapes are there?").text.startswith("There ")
    described = scene.describe()
    assert described.text.endswith("<SEG>.")
    assert described.caption and not set("<>") & set(described.caption)
    assert all(phrase in described.caption for phrase in described.labels)
