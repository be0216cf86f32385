import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotated import CAT, DOG, SIZE, polygon, write, write_captions
from xsam_edge.calibration.data.folder import open_folder
from xsam_edge.calibration.data.samples import Caption
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results import rle


@pytest.mark.parametrize("name", ["GranDf_HA_GCG_val.json", "annotations/OpenPsgGCG_val.json", "captions.json"])
def test_phrases_in_the_order_of_the_caption(name: str, tmp_path: Path) -> None:
    write_captions(tmp_path, name)
    data = open_folder(tmp_path)
    assert data.tasks == ("captions",)
    (picture,) = data.pictures(["captions"])
    (ask,) = picture.asks
    assert isinstance(ask, Caption)
    assert ask.text == "a cat chases a dog."
    assert ask.phrases == ("a cat", "a dog"), "a place that overlaps, a phrase of no caption and one without a mask go"
    assert np.array_equal(ask.masks[0](), CAT)
    assert np.array_equal(ask.masks[1](), DOG)


@pytest.mark.parametrize("masks", [{}, {"rle_masks": None}, {"rle_masks": [dict(rle.encode(np.zeros(SIZE, bool)))]}])
def test_phrases_without_a_mask_are_counted(masks: dict[str, Any], tmp_path: Path) -> None:
    path = write_captions(tmp_path)
    records = json.loads(path.read_text())
    records[0]["groundings"]["a dog"] = {"token_positives": [14, 19], **masks}
    write(path, records)
    data = open_folder(tmp_path)
    assert [picture.asks[0].phrases for picture in data.pictures(["captions"])] == [("a cat",)]  # type: ignore[union-attr]
    assert data.describe()["sources"][0]["without_outline"] == 2  # type: ignore[index]
    assert data.notes[0].startswith(f"{path}: 2 annotations have no outline")


def test_splits(tmp_path: Path) -> None:
    write_captions(tmp_path, "a_train.json")
    write_captions(tmp_path, "a_val.json")
    assert open_folder(tmp_path).describe()["sources"][0]["file"].endswith("a_val.json")  # type: ignore[index]
    assert open_folder(tmp_path, "train").describe()["sources"][0]["split"] == "train"  # type: ignore[index]
    write_captions(tmp_path, "annotations/b_val.json")
    with pytest.raises(InputError, match=r"captions for val in a_val.json and in b_val.json"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_positives": [1]}, "token_positives has 1 values; expected 2"),
        ({"token_positives": ["a", "b"]}, r"token_positives\[0\] is 'a'; expected a whole number"),
        ({"rle_masks": polygon(CAT)}, "holds polygons"),
        ({"rle_masks": "x"}, "rle_masks is 'x'; expected a list"),
    ],
)
def test_damaged_files_are_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_captions(tmp_path)
    records = json.loads(path.read_text())
    records[0]["groundings"]["a dog"].update(change)
    write(path, records)
    with pytest.raises(InputError, match=message) as error:
        open_folder(tmp_path)
    assert f"{path}: [0].groundings['a dog']." in str(error.value)


def test_no_phrase_is_no_data(tmp_path: Path) -> None:
    path = write_captions(tmp_path)
    records = json.loads(path.read_text())
    records[0]["caption"] = "nothing"
    write(path, records)
    with pytest.raises(InputError, match="no phrase with a mask"):
        open_folder(tmp_path)
