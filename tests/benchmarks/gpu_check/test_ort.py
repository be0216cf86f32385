from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xsam_edge.benchmarks.gpu_check import ort
from xsam_edge.benchmarks.gpu_check.records import RESULTS, Recorder, read
from xsam_edge.benchmarks.gpu_check.steps import BUNDLES, Setting
from xsam_edge.runtime.errors import InputError, XSamError


def test_bundles_are_compared_and_a_broken_one_leaves_the_others_alone(phi3_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / BUNDLES
    (folder / "broken").mkdir(parents=True)
    (folder / "whole").symlink_to(phi3_bundle)
    say = Recorder(tmp_path / RESULTS, "ort")
    with pytest.raises(XSamError, match="broken failed"):
        ort.run(Setting("cpu", tmp_path), say)
    found = {record.name: record for record in read([say.path])}
    assert found["broken"].value == "failed" and "is not a bundle" in found["broken"].note
    assert found["whole: texts equal"].value is True and found["whole: texts equal"].note == "6 of 6 answers"
    assert found["whole: least mask IoU"].value == 1
    assert str(found["whole: nodes of llm"].value).endswith(" CPU")


def test_no_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no bundle; make the payload with"):
        ort.run(Setting("cpu", tmp_path), Recorder(tmp_path / RESULTS, "ort"))


def answer(text: str, *masks: list[int]) -> SimpleNamespace:
    return SimpleNamespace(text=text, segments=masks, masks=np.array(masks or [[0]], bool))


def test_answers_that_differ_are_seen() -> None:
    expected = [answer("a", [1, 1, 0, 0]), answer("b", [1, 0]), answer("c"), answer("d", [0, 0])]
    found = [answer("x", [1, 0, 0, 0]), answer("b"), answer("c"), answer("d", [0, 0])]
    texts, overlaps = ort.agreement(found, expected)  # type: ignore[arg-type]
    assert texts == 3 and overlaps == [0.5, 0.0, 1.0, 1.0]
