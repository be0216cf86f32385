from __future__ import annotations

import json
from pathlib import Path

from xsam_edge.runtime.label.formats.writer import Lists


def test_lists_of_any_length_become_one_object(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    lists = Lists(path, {"info": {"x": 1}}, ("first", "second", "third"))
    for number in range(3):
        lists.add("second", {"n": number})
    lists.add("first", {"text": "\udcff\n"})
    lists.close()
    assert json.loads(path.read_text()) == {
        "info": {"x": 1},
        "first": [{"text": "\udcff\n"}],
        "second": [{"n": 0}, {"n": 1}, {"n": 2}],
        "third": [],
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
