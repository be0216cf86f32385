"""``report.json``."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from tests.export.report.sample_reports import EMPTY, FULL, GATE
from xsam_edge.export.report.facts import FORMAT, IDENTICAL_DB, Report, StageFacts, TaskFacts


def _read(report: Report) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(report.to_json(), parse_constant=refuse)


def test_every_field_is_a_key() -> None:
    content = _read(FULL)
    assert list(content) == ["format", *(field.name for field in fields(Report))]
    assert content["format"] == FORMAT
    for name in ("stages", "blocks", "raised", "sizes", "tasks", "worst", "smoothing", "unquantised"):
        values = getattr(FULL, name)
        assert content[name] == [{field.name: getattr(v, field.name) for field in fields(v)} for v in values]
    assert content["gate"] == {field.name: getattr(GATE, field.name) for field in fields(GATE)}
    assert content["calibration"]["unreadable"] == ["broken.jpg"]
    assert content["notes"] == list(FULL.notes)


def test_what_was_not_measured_is_null() -> None:
    content = _read(replace(EMPTY, tasks=(TaskFacts("captions", 3, 0, None, None, None, None, None),)))
    assert content["gate"] is None
    assert content["tasks"][0]["mean_iou"] is None
    assert content["blocks"] == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [(math.inf, IDENTICAL_DB), (-math.inf, -IDENTICAL_DB), (math.nan, None), (412.0, IDENTICAL_DB), (24.5, 24.5)],
)
def test_sqnr_without_a_number_in_json(value: float, expected: float | None) -> None:
    assert _read(replace(EMPTY, stages=(StageFacts("llm", "logits", value, 1.0),)))["stages"][0]["sqnr_db"] == expected


def test_other_values_that_are_not_finite_are_null() -> None:
    content = _read(replace(FULL, gate=replace(GATE, stderr=math.nan, mean_iou=math.inf)))
    assert (content["gate"]["stderr"], content["gate"]["mean_iou"]) == (None, None)


def test_numpy_values_become_plain_ones() -> None:
    stage = StageFacts("llm", "logits", np.float32(12.5), np.float64(0.5))
    content = _read(replace(EMPTY, stages=(stage,), degraded=np.bool_(True), peak_memory_bytes=np.int64(7)))
    assert content["stages"][0] == {"graph": "llm", "output": "logits", "sqnr_db": 12.5, "cosine": 0.5}
    assert (content["degraded"], content["peak_memory_bytes"]) == (True, 7)


def test_names_that_are_no_text_survive() -> None:
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    text = replace(EMPTY, calibration=replace(EMPTY.calibration, unreadable=(name,))).to_json()
    assert text.isascii()
    assert json.loads(text)["calibration"]["unreadable"] == [name]
