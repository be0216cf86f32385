from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.label.asks import Ask, Each, Same, ask_of
from xsam_edge.runtime.label.categories import Category
from xsam_edge.runtime.label.pictures import Pictures

PICTURES = Pictures(Path("/p"), ["a.jpg", "b.jpg"])


def write(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_the_same_of_all() -> None:
    ask = Ask(("car",), ("road",))
    asks = Same(ask)
    assert asks.of(0) is asks.of(1) is ask
    assert asks.categories == (Category("car", True, 1), Category("road", False, 2))
    assert asks.header == {"things": ["car"], "stuff": ["road"]}
    assert ask_of(json.loads(json.dumps(ask.to_json())), "here") == ask


def test_each_its_own(tmp_path: Path) -> None:
    second = {"picture": "a.jpg", "things": ["car"], "stuff": ["road"]}
    path = write(tmp_path / "p", {"picture": "b.jpg", "refer": "the red car"}, "", second)
    asks = Each(path, PICTURES)
    assert asks.of(0) == Ask(("car",), ("road",))
    assert asks.of(1) == Ask(phrases=("the red car",))
    assert [(item.name, item.is_thing) for item in asks.categories] == [
        ("the red car", True),
        ("car", True),
        ("road", False),
    ]
    assert list(asks.header) == ["prompts"]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["no json"], "line 1 is no JSON object"),
        ([{"picture": "c.jpg", "refer": ["x"]}], "'c.jpg' is none of the pictures"),
        ([{"picture": "a.jpg", "refer": ["x"]}], "asks nothing of 1 of 2 pictures, such as 'b.jpg'"),
        ([{"picture": "a.jpg", "refer": ["x"]}] * 2, "has a line already"),
        ([{"picture": "a.jpg", "refer": ["x"], "things": ["y"]}], "either refer, or things"),
        ([{"picture": "a.jpg"}], "either refer, or things"),
        ([{"picture": "a.jpg", "refer": [3]}], "no list of texts"),
        ([{"picture": "a.jpg", "ref": ["x"]}], "'ref' is unknown; did you mean 'refer'"),
        ([{"picture": "a.jpg", "things": ["x", "x"]}], "there twice"),
        ([{"picture": "a.jpg", "things": ["x"]}, {"picture": "b.jpg", "stuff": ["x"]}], "stuff in another"),
    ],
)
def test_other_lines_are_refused(tmp_path: Path, lines: list[Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        Each(write(tmp_path / "p", *lines), PICTURES)
