from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.samples import MANIFEST
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, read_manifest
from xsam_edge.runtime.bundle.work import Cost, GraphWork, factors, term_of

WORK = GraphWork(
    flops={"batch*sequence": 10, "batch*sequence*sequence": 2, "rows": 7},
    weight_bytes=1000,
    io_bytes={"1": 8, "past": 4},
    activation_bytes=({"1": 100}, {"past*sequence": 1}),
    uncounted=("2 Einsum",),
)


def test_the_cost_at_given_sizes() -> None:
    found = WORK.at({"batch": 2, "sequence": 3, "past": 5, "rows": 1})
    assert found == Cost(2 * 3 * 10 + 2 * 9 * 2 + 7, 1000, 8 + 20, 100, ("2 Einsum",))
    assert found.bytes == 1028
    assert WORK.at({"batch": 1, "sequence": 30, "past": 5, "rows": 0}).activation_bytes == 150
    assert WORK.at({"batch": 1, "sequence": 1, "past": 0, "rows": 0}).flops == 12


def test_a_size_is_needed_for_every_axis() -> None:
    assert WORK.axes == {"batch", "sequence", "past", "rows"}
    with pytest.raises(KeyError, match="past"):
        WORK.at({"batch": 1, "sequence": 1, "rows": 1})


def test_a_bundle_of_before_says_nothing(tmp_path: Path) -> None:
    document = json.loads(MANIFEST.to_json())
    del document["work"]
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(document))
    assert read_manifest(tmp_path).work == {}


def test_terms_are_products_of_axes() -> None:
    assert factors("1") == () and factors("batch*past*past") == ("batch", "past", "past")
    assert term_of(()) == "1" and term_of(("past", "batch", "past")) == "batch*past*past"
