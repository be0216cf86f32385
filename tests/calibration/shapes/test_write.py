"""A written folder, read back by the readers of the common formats, says what the generator says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xsam_edge.calibration.data.samples import Ask, Caption, Categories, DataSet, Phrase, Task
from xsam_edge.calibration.open_data import open_data
from xsam_edge.calibration.shapes import phrases
from xsam_edge.calibration.shapes.__main__ import main
from xsam_edge.calibration.shapes.composition import compose
from xsam_edge.calibration.shapes.dataset import ShapesData

SEEDS = range(20, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "scenes"
    assert main(["--split", f"{SEEDS[0]}-{SEEDS[-1]}", "--size", "96", "--coco", "-o", str(path)]) == 0
    return path


def asked(data: DataSet, task: Task) -> Iterator[tuple[int, Ask]]:
    for picture in data.pictures([task]):
        seed = int(Path(picture.name).stem.removeprefix("shapes-"))
        yield from ((seed, ask) for ask in picture.asks)


def generated(task: Task) -> dict[int, list[Ask]]:
    found: dict[int, list[Ask]] = {seed: [] for seed in SEEDS}
    for seed, ask in asked(ShapesData(f"{SEEDS[0]}-{SEEDS[-1]}", size=96), task):
        found[seed].append(ask)
    return found


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instances"])
def test_categories(folder: Path, task: Task) -> None:
    pytest.importorskip("pycocotools")
    truth = generated(task)
    read = list(asked(open_data(folder), task))
    assert len(read) == len(SEEDS)
    for seed, ask in read:
        (true,) = truth[seed]
        assert isinstance(ask, Categories) and isinstance(true, Categories)
        assert (ask.names, ask.things) == (true.names, true.things)
        assert [segment.label for segment in ask.segments] == [segment.label for segment in true.segments]
        for segment, expected in zip(ask.segments, true.segments, strict=True):
            assert (segment.mask() == expected.mask()).all()


def test_phrases(folder: Path) -> None:
    masks = {seed: [segment.mask() for segment in asks[0].segments] for seed, asks in generated("instances").items()}
    count = 0
    for seed, ask in asked(open_data(folder), "refer"):
        assert isinstance(ask, Phrase)
        things = {item.text: item.thing for item in phrases.expressions(compose(seed))}
        assert (ask.mask() == masks[seed][things[ask.text]]).all()
        count += 1
    assert count > 5 * len(SEEDS)


def test_sentences(folder: Path) -> None:
    masks = {seed: [segment.mask() for segment in asks[0].segments] for seed, asks in generated("instances").items()}
    read = [(seed, ask) for seed, ask in asked(open_data(folder), "reason") if isinstance(ask, Phrase)]
    assert len(read) > len(SEEDS) // 2
    for seed, ask in read:
        things = {item.text: item.thing for item in phrases.sentences(compose(seed))}
        truth, drawn = masks[seed][things[ask.text]], ask.mask()
        assert (truth & drawn).sum() / (truth | drawn).sum() > 0.85  # LabelMe draws the outline itself too


def test_captions(folder: Path) -> None:
    truth = generated("captions")
    for seed, ask in asked(open_data(folder), "captions"):
        (true,) = truth[seed]
        assert isinstance(ask, Caption) and isinstance(true, Caption)
        assert (ask.text, ask.phrases) == (true.text, true.phrases)
        assert all((mask() == expected()).all() for mask, expected in zip(ask.masks, true.masks, strict=True))


def test_pictures_alone(tmp_path: Path) -> None:
    assert main(["--limit", "2", "--size", "64", "-o", str(tmp_path / "pictures")]) == 0
    files = sorted((tmp_path / "pictures").iterdir())
    assert [file.name for file in files] == ["00000000.png", "00000001.png"]
    assert np.asarray(Image.open(files[0])).shape == (64, 64, 3)


@pytest.mark.parametrize("arguments", [["--split", "nope"], ["--split", "train"], ["--size", "0"]])
def test_bad_input_ends_in_one_line(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([*arguments, "-o", str(tmp_path / "out")])
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and not (tmp_path / "out").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--limit", "1", "-o", str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err
