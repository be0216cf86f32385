import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xsam_edge.calibration.verify.reference import open_reference, read_task, unread
from xsam_edge.runtime.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "image.png").write_bytes(b"x")
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def record(path: Path, **arrays: Any) -> None:
    np.savez(path, **arrays)


def meta(**facts: Any) -> np.ndarray:
    return np.frombuffer(json.dumps({"input_text": "hello", **facts}).encode(), np.uint8)


def test_lines_are_kept_apart(folder: Path) -> None:
    for name in ("image_features", "aaai_image_features", "img_chat", "aaai_img_chat", "img_other_bos"):
        record(folder / f"{name}.npz", x=np.zeros(1))
    main, aaai = open_reference(folder, "main"), open_reference(folder, "aaai26")
    assert [path.stem for path in main.tasks] == ["img_chat", "img_other_bos"]
    assert [path.stem for path in aaai.tasks] == ["aaai_img_chat"]
    assert main.features is not None
    assert main.features.file == "image_features"
    assert aaai.features is not None
    assert aaai.features.file == "aaai_image_features"


def test_modes_and_what_has_no_meta(folder: Path) -> None:
    path = folder / "img_chat.npz"
    record(
        path, **{"tensor/meta": meta(), "tensor/x.0": np.arange(6), "tensor/x.1": [1], "predict/y": np.zeros((2, 5))}
    )
    (recording,) = read_task(path)
    assert (recording.mode, recording.keys(), recording.text("input_text")) == ("tensor", ["x.0", "x.1"], "hello")
    assert "x.0" in recording
    assert recording.count("x.0") == 6
    assert [len(part) for part in recording.numbered("x")] == [6, 1]
    assert unread(path) == {"predict/y": 10}


@pytest.mark.parametrize(
    ("config", "last"),
    [({}, 2), ({"tiny": {"m2f": {"decoder_layers": 10}}}, 9), ({"tiny": {"m2f": 3}}, 2)],
)
def test_the_last_masks_of_the_decoder(config: dict[str, Any], last: int, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    for name, layer in (("img_a", 0), ("img_b", 2), ("img_c", 1)):
        record(folder / f"{name}.npz", **{f"tensor/decoder.masks_lowres.{layer}": np.zeros(1)})
    assert open_reference(folder, "main").last_masks == f"decoder.masks_lowres.{last}"


def test_region_files(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"tasks": {"img_intseg": {"vp": [1]}}}))
    record(folder / "img_intseg.npz", x=np.zeros(1))
    reference = open_reference(folder, "main")
    assert [path.name for path in reference.region_masks("aaai_img_intseg", 1)] == ["vpmask1.png"]
    for name in ("img_intseg_bos", "img_intseg_crowd_2"):
        assert [path.name for path in reference.region_masks(name, 1)] == ["vpmask1.png"]
    assert reference.task_config("img_intsegments") == reference.task_config("x") == {}
    assert [path.name for path in reference.region_masks("img_vgdseg", 2)] == ["vpmask0.png", "vpmask1.png"]


def test_pickles_are_refused(folder: Path) -> None:
    path = folder / "img_chat.npz"
    record(path, **{"tensor/meta": meta(), "tensor/x": np.array([{}], object)})
    (recording,) = read_task(path)
    with pytest.raises(InputError, match="tensor/x cannot be read"):
        recording["x"]


@pytest.mark.parametrize("facts", [b"[]", b'{"input_text": 3}', b"{", b"\xff"])
def test_a_meta_of_another_form(facts: bytes, folder: Path) -> None:
    record(folder / "img_chat.npz", **{"tensor/meta": np.frombuffer(facts, np.uint8)})
    with pytest.raises(InputError, match="record it again"):
        list(read_task(folder / "img_chat.npz"))
