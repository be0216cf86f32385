from pathlib import Path

import pytest

from xsam_edge.benchmarks.gpu_check.records import RESULTS, Record, Recorder, find, read, shown, text
from xsam_edge.runtime.errors import InputError


def test_records_come_back(tmp_path: Path) -> None:
    say = Recorder(tmp_path / "new" / RESULTS, "roof")
    say("copy", 3000.123456, "GB/s", "1 GiB")
    say("works", True)
    assert read([say.path]) == [Record("roof", "copy", 3000.1235, "GB/s", "1 GiB"), Record("roof", "works", True)]
    assert find(read([say.path]), "roof", "copy") == 3000.1235
    assert find(read([say.path]), "roof", "gone") is None


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    say = Recorder(tmp_path / RESULTS, "roof")
    say("copy", 1)
    with say.path.open("a") as file:
        file.write('{"step": "roof", "na')
    assert len(read([say.path])) == 1


def test_of_several_files_the_last_counts(tmp_path: Path) -> None:
    for number in (1, 2):
        say = Recorder(tmp_path / f"{number}.jsonl", "roof")
        say("outcome", "started")
        say("copy", number)
        say(f"only {number}", number)
    records = read([tmp_path / "1.jsonl", tmp_path / "2.jsonl"])
    assert [(record.name, record.value) for record in records] == [("outcome", "started"), ("copy", 2), ("only 2", 2)]


@pytest.mark.parametrize("content", [None, b"", b"no json\n", b"\xff\xfe", b'{"step": 1}\n'])
def test_what_holds_no_result_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=r"give a results\.jsonl that"):
        read([tmp_path / "x"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, "yes"), (False, "no"), (None, "not known"), (0.01234567, "0.01235 ms"), (123456.7, "123,457 ms"),
     (12345, "12,345 ms"), ("works", "works ms")],
)  # fmt: skip
def test_values_as_text(value: float | str | bool | None, expected: str) -> None:
    unit = "" if isinstance(value, bool) or value is None else "ms"
    assert text(Record("a", "b", value, unit)) == expected
    assert shown(Record("a", "b", value, unit, "note")) == f"a: b: {expected}  (note)"
