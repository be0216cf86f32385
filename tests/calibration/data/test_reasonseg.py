import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotated import SIZE, write, write_reasons
from xsam_edge.calibration.data.folder import open_folder
from xsam_edge.calibration.data.samples import Phrase
from xsam_edge.runtime.errors import InputError


def phrases(root: Path, split: str | None = None) -> list[Phrase]:
    found = [ask for picture in open_folder(root, split).pictures(["reason"]) for ask in picture.asks]
    assert all(isinstance(ask, Phrase) and ask.task == "reason" for ask in found)
    return found  # type: ignore[return-value]


def test_questions_and_phrases(tmp_path: Path) -> None:
    write_reasons(tmp_path)
    first, second, phrase = phrases(tmp_path)
    assert [first.text, second.text, phrase.text] == ["What purrs?", "Who hunts mice?", "a dog"]
    assert (first.kind, first.short, phrase.kind, phrase.short) == ("sentence", False, "phrase", True)
    target = np.zeros(SIZE, bool)
    target[2:8, 1:6] = True
    ignored = np.zeros(SIZE, bool)
    ignored[2:8, 4:6] = True
    assert first.ignore and np.array_equal(first.ignore(), ignored), "the smaller outline is drawn last"
    assert first.mask and np.array_equal(first.mask(), target & ~ignored)
    assert phrase.ignore is None
    assert phrase.mask and phrase.mask()[3, 13] and not phrase.mask()[9, 8]


def test_what_is_asked_for_may_be_absent(tmp_path: Path) -> None:
    path = write_reasons(tmp_path) / "c.json"
    assert len(phrases(tmp_path)) == 3, "nothing says what it asks for"
    absent = {"text": ["Who barks?"], "is_sentence": True, "no_target": True, "shapes": []}
    write(path, absent)
    asked = phrases(tmp_path)[3]
    assert (asked.text, asked.mask, asked.ignore, asked.short) == ("Who barks?", None, None, False)
    write(path, {**absent, "shapes": [{"label": "flag", "points": []}]})
    assert len(phrases(tmp_path)) == 4


def test_the_folder_may_be_the_split(tmp_path: Path) -> None:
    folder = write_reasons(tmp_path)
    assert len(phrases(folder)) == len(phrases(folder, "val")) == 3
    assert [picture.name for picture in open_folder(folder).pictures(["reason"])] == ["a.jpg", "b.jpg"]


def test_splits(tmp_path: Path) -> None:
    write_reasons(tmp_path, "train")
    assert len(phrases(tmp_path)) == 3, "the only one"
    write_reasons(tmp_path, "test")
    with pytest.raises(InputError, match="test, train; say which with --split"):
        open_folder(tmp_path)
    assert len(phrases(tmp_path, "test")) == 3


def test_text_that_is_not_utf_8_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_reasons(tmp_path) / "b.json"
    path.write_bytes(path.read_bytes().replace(b"a dog", b"a\x92 dog"))
    assert phrases(tmp_path)[2].text == "a dog"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapes": 3}, "shapes is 3; expected a list"),
        ({"shapes": [{"points": []}]}, r"shapes\[0\] has no 'label'; expected text"),
        ({"shapes": [{"label": "x", "points": [[1]]}]}, r"shapes\[0\]\.points\[0\] has 1 values; expected 2"),
        ({"shapes": [{"label": "x", "points": [[1, "2"]]}]}, r"points\[0\]\[1\] is '2'; expected a finite number"),
        (
            {"shapes": [{"label": "x", "points": [[1, float("nan")]]}]},
            r"points\[0\]\[1\] is nan; expected a finite",
        ),
        (
            {"shapes": [{"label": "x", "points": [[1, 1e30]]}]},
            r"points\[0\]\[1\] is 1e\+30; .* to 100000",
        ),
        ({"text": [3]}, r"text\[0\] is 3; expected text"),
        ({"no_target": True}, r"b\.json: no_target is true beside 1 outline; expected no outline"),
        ({"is_sentence": "yes"}, "is_sentence is 'yes'; expected true or false or one of 0, 1"),
    ],
)
def test_damaged_files_are_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_reasons(tmp_path) / "b.json"
    write(path, {**json.loads(path.read_text()), **change})
    with pytest.raises(InputError, match=message) as error:
        open_folder(tmp_path)
    assert str(path) in str(error.value)


def test_annotations_without_an_image(tmp_path: Path) -> None:
    folder = write_reasons(tmp_path)
    (folder / "b.jpg").unlink()
    with pytest.raises(InputError, match=r"b.json has no image beside it; expected b.jpg"):
        open_folder(tmp_path)


def test_other_files_beside_images_are_no_questions(tmp_path: Path) -> None:
    folder = write_reasons(tmp_path)
    for path in folder.glob("*.json"):
        path.write_text('{"width": 3}')
    with pytest.raises(InputError, match="holds no data set that is known"):
        open_folder(tmp_path)
