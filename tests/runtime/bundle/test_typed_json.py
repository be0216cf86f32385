from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest

from xsam_edge.runtime.bundle.constraints import NOT_EMPTY, FileName, Name, PositiveInt, Sha256, above, between, one_of
from xsam_edge.runtime.bundle.typed_json import from_json, load_json, parse_json, read_json
from xsam_edge.runtime.errors import BundleError, CheckpointError, InputError

DIGITS = "0" * 64


@dataclass(frozen=True)
class Part:
    size: PositiveInt
    kind: Literal["a", "b"] = "a"

    def check(self) -> None:
        if self.kind == "b" and self.size < 3:
            raise ValueError(f"size is {self.size}; expected 3 or more of kind b")


@dataclass(frozen=True)
class Whole:
    retired_keys: ClassVar[frozenset[str]] = frozenset({"colour"})

    name: Name
    parts: Mapping[str, tuple[Part, ...]]
    ratio: Annotated[float, above(0)] = 0.5
    pair: tuple[int, str] = (1, "x")
    flag: bool = False
    either: int | str | None = None
    file: FileName = "a/b.bin"
    digest: Sha256 = DIGITS
    level: Annotated[int, between(0, 5)] = 0
    mode: Annotated[str, one_of("fast", "slow")] = "fast"
    names: Annotated[tuple[str, ...], NOT_EMPTY] = ("x",)
    anything: Any = None
    table: dict[FileName, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    extra_keys: ClassVar[bool] = True

    id: int


SMALL = {"name": "n", "parts": {"one": [{"size": 1}], "two.bin": []}}


def test_values_become_what_is_annotated() -> None:
    whole = from_json(Whole, {**SMALL, "ratio": 2, "pair": [3, "y"], "either": "z", "anything": [1, {}]}, "w.json")
    assert whole == Whole("n", {"one": (Part(1),), "two.bin": ()}, 2.0, (3, "y"), either="z", anything=[1, {}])
    assert type(whole.ratio) is float
    assert from_json(tuple[Record, ...], [{"id": 1, "more": None}, {"id": 2}], "r.json") == (Record(1), Record(2))
    assert from_json(Whole, {**SMALL, "colour": {"no": "longer"}}, "w.json") == from_json(Whole, SMALL, "w.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "name is 3; expected text on one line that is not empty"),
        ({"name": ""}, "name is ''; expected text on one line that is not empty"),
        ({"name": "a\nb"}, r"name is 'a\nb'; expected text on one line that is not empty"),
        ({"name": "\ud800"}, r"name is '\ud800'; expected text that is valid Unicode"),
        ({"name": None}, "name is null; expected text on one line that is not empty"),
        ({"parts": []}, "parts is []; expected an object"),
        ({"parts": {"one": {}}}, "parts.one is {}; expected a list"),
        ({"parts": {"one": [{"size": 1}, {"size": 0}]}}, "parts.one[1].size is 0; expected a whole number above 0"),
        ({"parts": {"one": [{"size": True}]}}, "parts.one[0].size is true; expected a whole number above 0"),
        ({"parts": {"one": [{"size": 2.0}]}}, "parts.one[0].size is 2.0; expected a whole number above 0"),
        ({"parts": {"one": [{}]}}, "parts.one[0] has no 'size'; expected a whole number above 0 there"),
        ({"parts": {"a.b": [{"size": -1}]}}, "parts['a.b'][0].size is -1; expected a whole number above 0"),
        ({"parts": {"one": [{"size": 2, "kind": "b"}]}}, "parts.one[0].size is 2; expected 3 or more of kind b"),
        ({"parts": {"one": [{"size": 1, "kind": "c"}]}}, "parts.one[0].kind is 'c'; expected one of a, b"),
        ({"parts": {"\udfff": []}}, r"parts has the key '\udfff'; expected text"),
        ({"ratio": 0}, "ratio is 0; expected a finite number above 0"),
        ({"ratio": float("nan")}, "ratio is nan; expected a finite number"),
        ({"ratio": float("inf")}, "ratio is inf; expected a finite number"),
        ({"ratio": 10**400}, "ratio is a number of more than 64 bits; expected a finite number"),
        ({"level": 1 << 63}, "level is a number of more than 64 bits; expected a whole number"),
        ({"level": 6}, "level is 6; expected a whole number from 0 to 5"),
        ({"pair": [1]}, "pair has 1 values; expected 2"),
        ({"pair": [1, 2]}, "pair[1] is 2; expected text"),
        ({"pair": "1x"}, "pair is '1x'; expected a list of 2"),
        ({"flag": 1}, "flag is 1; expected true or false"),
        ({"either": 1.5}, "either is 1.5; expected a whole number or text or null"),
        ({"mode": "slwo"}, "mode is 'slwo'; expected one of fast, slow"),
        ({"names": []}, "names is []; expected a list that is not empty"),
        ({"digest": "0" * 63}, f"digest is '{'0' * 63}'"),
        ({"digest": DIGITS + "\n"}, "expected 64 hexadecimal digits"),
        ({"table": {"../x": 1}}, "table has the key '../x'; expected the name of a file inside of its folder"),
        ({"rato": 1}, "w.json has the unknown key 'rato' (did you mean 'ratio'?); expected only name, parts, ratio"),
        ({"a\n1": 1, "b": 2}, r"w.json has the unknown key 'a\n1', 'b'; expected only name, parts"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError) as error:
        from_json(Whole, {**SMALL, **change}, "w.json", BundleError, advice="make it again")
    text = str(error.value)
    assert text.startswith("w.json") and text.endswith("; make it again") and text.isprintable()
    assert message.removeprefix("w.json") in text or message.startswith("digest")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/", "/a", "../a", "a/..", "a/../b", "a\\..\\b", "\\a", "C:a", "C:\\a", "a\0b", "a\nb", "\\\\h\\s"],
)
def test_names_of_files_stay_inside(name: str) -> None:
    with pytest.raises(InputError, match="inside of its folder"):
        from_json(FileName, name, "w.json")
    assert from_json(FileName, "a/b c.bin", "w.json") == "a/b c.bin"


def test_what_is_no_object() -> None:
    for value in ([1], None, "text", 3):
        with pytest.raises(InputError, match=r"^w\.json is .*; expected an object$"):
            from_json(Whole, value, "w.json")


DEEP = b"[" * 200_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as JSON (it is empty)"),
        (b" \n", "cannot be read as JSON (it is empty)"),
        (b"{", "cannot be read as JSON (Expecting property name"),
        (b"\xff\xfe{\x00}\x00", "cannot be read as JSON ('utf-8' codec"),
        (b'{"name": "\xe9"}', "cannot be read as JSON ('utf-8' codec"),
        (DEEP, "cannot be read as JSON (it is nested too deeply)"),
        (b'{"a":' * 200_000, "cannot be read as JSON (it is nested too deeply)"),
        (b'{"name": "a", "parts": {}, "name": "b"}', "cannot be read as JSON (an object has the key 'name' twice)"),
        (b'{"name": "n", "parts": {}, "level": 1' + b"0" * 100_000 + b"}", "JSON (a number has 100001 digits)"),
        (b'{"name": "n", "parts": {}, "level": 1' + b"0" * 639 + b"}", "level is a number of more than 64 bits"),
        (b'{"name": "n", "parts": {}, "ratio": 1e400}', "ratio is inf; expected a finite number"),
        (b'{"name": "n", "parts": {}, "ratio": NaN}', "ratio is nan; expected a finite number"),
        (b'{"name": "n", "parts": {}, "ratio": -Infinity}', "ratio is -inf; expected a finite number"),
        (b'{"name": "\\ud83d", "parts": {}}', "name is '\\ud83d'; expected text that is valid Unicode"),
        (b'{"name": "n", "parts": ' + b"[" * 300 + b"]" * 300 + b"}", "parts is [[[...]]]; expected an object"),
        (b'[{"name": "n"}]', "is [{'name': 'n'}]; expected an object"),
        (b"NaN", "is nan; expected an object"),
        (b'{"name": "n", "parts": {}, "x": 1, "' + b"x" * 100_000 + b'": 1}', "has the unknown key 'x', 'xxx"),
        (b'{"name": "n", "parts": {}, "' + b"x" * 30_000_000 + b'": 1}', "has the unknown key 'xxx"),
        (b"{" + b",".join(b'"k%d": 1' % number for number in range(50_000)) + b', "k0": 2}', "the key 'k0' twice"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_hostile_files_are_refused_at_once_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(CheckpointError) as error:
        read_json(path, Whole, CheckpointError, advice="download it again")
    assert time.perf_counter() - start < 5
    text = str(error.value)
    assert text.startswith(str(path)) and text.endswith("; download it again")
    assert message in text and text.isprintable() and len(text) < 700


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_bytes(b'\xef\xbb\xbf{"id": 3}')
    assert read_json(tmp_path / "w.json", Record) == Record(3)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such thing"):
        load_json(tmp_path / "none.json", missing="no such thing")
    with pytest.raises(InputError, match=r"none\.json cannot be read \(No such file or directory\); look elsewhere"):
        load_json(tmp_path / "none.json", advice="look elsewhere")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        load_json(tmp_path, missing="no such thing")
    (tmp_path / "old.json").write_bytes(b'{"name": "a\x92b"}')
    assert load_json(tmp_path / "old.json", lenient=True) == {"name": "ab"}


def test_a_line_of_a_file_is_named() -> None:
    with pytest.raises(InputError, match=r"^x\.jsonl, line 3 cannot be read as JSON"):
        parse_json("{", "x.jsonl, line 3")
