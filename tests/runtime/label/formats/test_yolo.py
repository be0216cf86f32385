from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tests.runtime.label.labels import DATA, picture, random_record, write_pictures
from xsam_edge.runtime.label.formats.yolo import Yolo


def write(folder: Path, *names: str) -> list[str]:
    out = folder / "out"
    out.mkdir()
    writer = Yolo(out, DATA)
    for number, name in enumerate(names):
        writer.add(picture(random_record(name, number), number + 1, folder / "in"))
    writer.close()
    return [str(path.relative_to(out / "labels")) for path in sorted((out / "labels").rglob("*.txt"))]


def test_lines_are_classes_and_outlines(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(4)]
    write_pictures(tmp_path / "in", names)
    assert write(tmp_path, *names) == [f"{number}.txt" for number in range(4)]
    for number, name in enumerate(names):
        assert (tmp_path / "out/images" / name).read_bytes() == (tmp_path / "in" / name).read_bytes()
        segments = picture(random_record(name, number)).segments
        lines = (tmp_path / f"out/labels/{number}.txt").read_text().splitlines()
        for line, segment in zip(lines, segments, strict=True):
            kind, *corners = line.split()
            assert int(kind) == segment.category.id - 1
            points = np.array(corners, float).reshape(-1, 2)
            assert points.min() >= 0 and points.max() <= 1
            canvas = Image.new("1", (300, 200))
            ImageDraw.Draw(canvas).polygon([(x * 300, y * 200) for x, y in points], fill=1)
            drawn = np.asarray(canvas)[5::10, 5::10]
            assert (drawn != segment.mask()).mean() < 0.02
    yaml = (tmp_path / "out/data.yaml").read_text()
    assert "train: images\nval: images\nnames:\n" in yaml
    assert [json.loads(line.partition(": ")[2]) for line in yaml.splitlines()[-3:]] == ["car", "person", "road"]


def test_names_do_not_collide(tmp_path: Path) -> None:
    names = [
        "a.jpg",
        "a.jpg.png",
        "a.png",
        "a b.jpg",
        "x/a.jpg",
        "y/a.jpg",
        "y/new\nline.jpg",
        os.fsdecode(b"y/\xff.jpg"),
    ]
    written = write(tmp_path, *names)
    assert len(written) == len(names)
    assert {"a.txt", "a.jpg.txt", "a.png.txt", "a b.txt", "x/a.txt", "y/a.txt"} <= set(written)
    assert not any("\n" in name for name in written)
    for label in written:  # every label belongs to one link, which its name leads to
        links = [path for path in (tmp_path / "out/images").rglob("*") if path.is_symlink()]
        assert sum(str(link.relative_to(tmp_path / "out/images").with_suffix(".txt")) == label for link in links) == 1
    targets = {os.readlink(link) for link in links}
    assert targets == {str((tmp_path / "in" / name).resolve()) for name in names}
