import errno
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.scripted import Data, block, lazy
from xsam_edge.calibration.data.samples import Phrase
from xsam_edge.calibration.evaluation import rejection_rule
from xsam_edge.calibration.evaluation.rejection import Scores
from xsam_edge.calibration.evaluation.rejection_rule import check_data, check_writable, choose_rules, write_rules
from xsam_edge.runtime.bundle.engine_info import EngineInfo, EngineProfile, KVCacheChoice
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, read_manifest
from xsam_edge.runtime.bundle.settings import RejectionRule
from xsam_edge.runtime.errors import InputError, XSamError

RULE = RejectionRule(0.75, 0.05, 100)


@pytest.fixture
def bundle(phi3_bundle: Path, tmp_path: Path) -> Path:
    """A manifest is all that is read of a bundle here."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    shutil.copy(phi3_bundle / MANIFEST_FILE, folder)
    return folder


def content(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / MANIFEST_FILE).read_text())


def absent(task: str, count: int, short: bool = False) -> Sequence[Phrase]:
    return [Phrase(task, str(number), None, short=short) for number in range(count)]  # type: ignore[arg-type]


def test_absent_things_are_counted_before_any_image_is_opened() -> None:
    there = Phrase("refer", "a cat", lazy(block(0, 0, 2, 2)))
    data = Data(
        {"a": [there, *absent("refer", 3)], "b": [*absent("refer", 1), *absent("reason", 4)]}, broken=("a", "b")
    )
    check_data(data, ["refer", "reason"], None, 0.25)
    check_data(data, ["refer"], 1, 0.4)
    with pytest.raises(
        InputError, match=r"scripted asks for 3 absent things in refer; a rate of 0\.25 needs at least 4"
    ):
        check_data(data, ["refer"], 1, 0.25)
    with pytest.raises(InputError, match=r"4 absent things in reason; a rate of 0\.2 needs at least 5"):
        check_data(data, ["reason"], None, 0.2)
    with pytest.raises(InputError, match=r"asks for nothing that is absent.*shapes, gRefCOCO.*no_target"):
        check_data(Data({"a": [there]}), ["refer"], None, 0.5)


def test_a_short_question_counts_for_what_it_is_asked_by() -> None:
    data = Data({"a": [*absent("reason", 2, short=True), *absent("refer", 2)]})
    check_data(data, ["refer", "reason"], None, 0.25)


def test_rules_are_of_what_was_asked_for_something_absent() -> None:
    scores = {"refer": Scores([0.9], [0.1, 0.2, 0.2, 0.7]), "reason": Scores([0.9], [])}
    least = float(np.nextafter(np.float32(0.2), np.float32(1)))
    assert choose_rules(scores, "data", 0.25) == {"refer": RejectionRule(least, 0.25, 4)}
    with pytest.raises(InputError, match=r"data asks for 4 absent things in refer; a rate of 0\.1 needs at least 10"):
        choose_rules(scores, "data", 0.1)


def test_scores_of_one_leave_no_threshold() -> None:
    with pytest.raises(
        InputError, match=r"2 of 4 absent things of reason in data score 1.*to 0.25; take a rate of at least 0.5"
    ):
        choose_rules({"reason": Scores([], [1.0, 1.0, 0.5, 0.5])}, "data", 0.25)
    assert choose_rules({"reason": Scores([], [1.0, 1.0, 0.5, 0.5])}, "data", 0.5)["reason"].threshold < 1


def test_the_rule_alone_is_changed(bundle: Path) -> None:
    before = content(bundle)
    before["settings"]["prompt"]["separator"] = "kept, although nothing reads it"
    (bundle / MANIFEST_FILE).write_text(json.dumps(before))
    (bundle / MANIFEST_FILE).chmod(0o640)
    write_rules(bundle, read_manifest(bundle), {"reason": RULE})
    other = RejectionRule(0.5, 0.01, 300)
    write_rules(bundle, read_manifest(bundle), {"refer": other})
    assert read_manifest(bundle).settings.rejection == {"reason": RULE, "refer": other}
    after = content(bundle)
    after["settings"]["rejection"] = before["settings"].get("rejection")
    assert json.dumps(after) == json.dumps(before), "in the same order"
    assert [path.name for path in bundle.iterdir()] == [MANIFEST_FILE]
    assert (bundle / MANIFEST_FILE).stat().st_mode & 0o777 == 0o640


def test_a_rule_is_replaced(bundle: Path) -> None:
    write_rules(bundle, read_manifest(bundle), {"refer": RULE, "reason": RULE})
    write_rules(bundle, read_manifest(bundle), {"refer": replace(RULE, threshold=0.25)})
    rules = read_manifest(bundle).settings.rejection
    assert rules is not None and (rules["refer"].threshold, rules["reason"]) == (0.25, RULE)


def test_bundles_of_engines_take_rules(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    profiles = {
        name: (EngineProfile("all", {axis: (1, 1, 1) for axis in graph.axes}),)
        for name, graph in manifest.graphs.items()
    }
    engine = EngineInfo(
        "tensorrt", "10.3.0", "orin-nano", ("8.7",), "Orin", "", "", 64, KVCacheChoice("decomposed", ""), {}, profiles,
        {}, {},
    )  # fmt: skip
    compiled = replace(manifest, engine=engine)
    (bundle / MANIFEST_FILE).write_text(compiled.to_json())
    write_rules(bundle, read_manifest(bundle), {"refer": RULE})
    found = read_manifest(bundle)
    assert found.settings.rejection == {"refer": RULE}
    assert replace(found, settings=manifest.settings) == compiled


def test_another_bundle_in_its_place_is_left_alone(bundle: Path) -> None:
    measured = read_manifest(bundle)
    (bundle / MANIFEST_FILE).write_text(replace(measured, precision="fp16").to_json())
    with pytest.raises(InputError, match=r"manifest.json was changed while the bundle was measured"):
        write_rules(bundle, measured, {"refer": RULE})
    assert read_manifest(bundle).settings.rejection is None


def test_a_full_disk_leaves_the_manifest(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = content(bundle)
    monkeypatch.setattr(rejection_rule.os, "fsync", full)
    with pytest.raises(XSamError, match=r"cannot be written \(No space left on device\); it is as it was"):
        write_rules(bundle, read_manifest(bundle), {"refer": RULE})
    assert content(bundle) == before
    assert os.listdir(bundle) == [MANIFEST_FILE]


def test_a_folder_that_cannot_be_written_is_found(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(bundle)
    assert os.listdir(bundle) == [MANIFEST_FILE]

    def refused(**_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    with pytest.raises(InputError, match=r"bundle cannot be written \(Read-only file system\).*; copy the bundle"):
        check_writable(bundle)
