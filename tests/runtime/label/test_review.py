from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.runtime.label import labels
from tests.runtime.label.labels import CATEGORIES, picture, record, write_pictures
from xsam_edge.runtime.label import review
from xsam_edge.runtime.label.review import Review


def page(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(review, "LEAST_SURE", 3)
    monkeypatch.setattr(review, "EMPTY", 2)
    made = Review(CATEGORIES)
    names = [f"<b>{number}.png" for number in range(count)]
    write_pictures(tmp_path / "in", names)
    size = (20, 30)
    for number, name in enumerate(names):
        score = (number * 7 % count) / count
        given = record(
            name, size, ("car", score, labels.mask(size, 1, 1, 5, 5)), ("road", 0.99, labels.mask(size, 5, 0, 9, 9))
        )
        made.add(picture(given, number + 1, tmp_path / "in"))
    for number in range(3):
        made.add(picture(record(f"empty{number}.png", size), count + number + 1, tmp_path / "in"))
    path = tmp_path / f"{count}.html"
    made.write(path, 5)
    return path.read_text(encoding="utf-8")


def test_the_least_sure_come_first_and_the_page_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page(tmp_path, 40, monkeypatch)
    wanted = [number for _, number in sorted((number * 7 % 40, number) for number in range(40))][:3]
    names = re.findall(r"<figcaption><b>(?:&lt;b&gt;)?(\w+)\.png", text)
    assert names == [*map(str, wanted), "empty0", "empty1"]
    assert text.count("data:image/jpeg;base64,") == 3
    assert "43 pictures, 80 segments, 3 pictures without one, 5 damaged" in text
    assert "<td>car</td><td>40</td><td>40</td><td>0.487</td>" in text
    assert abs(len(page(tmp_path, 80, monkeypatch)) - len(text)) < 2000


def test_the_page_is_whole_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page(tmp_path, 10, monkeypatch)
    left: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "img", "br"):
                left.append(tag)
            assert not any(
                name in ("src", "href") and not (value or "").startswith("data:") for name, value in attributes
            )

        def handle_endtag(self, tag: str) -> None:
            assert left.pop() == tag

    Reader().feed(text)
    assert left == []
    assert "prefers-color-scheme: dark" in text
