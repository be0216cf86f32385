import builtins
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xsam_edge.calibration.data import plain_pickle
from xsam_edge.calibration.data.plain_pickle import read_plain_pickle
from xsam_edge.runtime.errors import InputError


def read(content: bytes, folder: Path) -> Any:
    path = folder / "refs(unc).p"
    path.write_bytes(content)
    return read_plain_pickle(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values(protocol: int, tmp_path: Path) -> None:
    tokens = ["the", "cat"]
    value = [{"a": [1, -2, 3.5, True, None], "sentences": [{"sent": "thé cat", "tokens": tokens}]}, tokens, {}]
    assert read(pickle.dumps(value, protocol), tmp_path) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("code", ["i1", "i2", "i4", ">i4", "i8", "u1", "u8", "f2", "f4", "f8", ">f8", "b1"])
def test_scalars_of_numpy_are_numbers(protocol: int, code: str, tmp_path: Path) -> None:
    value = np.array([3], code)[0] if code[0] != ">" else np.frombuffer(np.array([3], code).tobytes(), code)[0]
    found = read(pickle.dumps({"ann_id": value, "again": [value, value]}, protocol), tmp_path)
    assert found == {"ann_id": value.item(), "again": [value.item()] * 2}
    assert type(found["ann_id"]) is type(value.item())


OLD = (
    b"(lp1\n(dp2\nS'sent'\np3\nS'caf\\xc3\\xa9'\np4\nsS'raw'\np5\nV\xe9t\xe9\np6\nsS'odd'\nS'\\xe9'\nsS'ann_id'\np7\n"
    b"cnumpy.core.multiarray\nscalar\np8\n(cnumpy\ndtype\np9\n(S'i8'\np10\nI0\nI1\ntp11\nRp12\n"
    b"(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbS'\\x07\\x00\\x00\\x00\\x00\\x00\\x00\\x00'\np15\ntp16\nRp17\n"
    b"sS'image_id'\nL12345678901L\nsS'seen'\nI01\nsa."
)
"""As Python 2 writes it, with the scalar of a NumPy of its time."""

BINARY = (
    b"\x80\x02]q\x01}q\x02(U\x04sentq\x03U\x05caf\xc3\xa9q\x04U\x06ann_idq\x05"
    b"cnumpy.core.multiarray\nscalar\nq\x06cnumpy\ndtype\nq\x07U\x02i8K\x00K\x01\x87Rq\x08"
    b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbU\x08\x07\x00\x00\x00\x00\x00\x00\x00\x86Rq\tua."
)


def test_pickles_of_python_2(tmp_path: Path) -> None:
    assert read(OLD, tmp_path) == [
        {"sent": "café", "raw": "été", "odd": "é", "ann_id": 7, "image_id": 12345678901, "seen": True}
    ]
    assert read(BINARY, tmp_path) == [{"sent": "café", "ann_id": 7}]


class Reduced:
    """What a pickle makes it: the call of a function."""

    def __init__(self, *call: Any) -> None:
        self._call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


class Plain:
    """An object with a state, of a class that exists."""

    def __init__(self) -> None:
        self.x = 1


def named(name: str, arguments: bytes = b"(S'touch sprung'\nt") -> bytes:
    module, _, attribute = name.partition(" ")
    return f"c{module}\n{attribute}\n".encode() + arguments + b"R."


def stacked(module: str, name: str) -> bytes:
    """A name of protocol 4, which may have dots in it."""
    parts = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
    return b"\x80\x04" + parts + b"\x93\x8c\x0ctouch sprung\x85R."


CALLS = {
    "system": pickle.dumps(Reduced(os.system, ("touch sprung",))),
    "system of protocol 0": named("os system"),
    "system of Python 2": named("posix system"),
    "popen": pickle.dumps(Reduced(subprocess.Popen, (["touch", "sprung"],))),
    "eval": pickle.dumps(Reduced(builtins.eval, ("open('sprung', 'w')",))),
    "eval of Python 2": named("__builtin__ eval", b"(S\"open('sprung', 'w')\"\nt"),
    "exec": pickle.dumps(Reduced(builtins.exec, ("open('sprung', 'w')",))),
    "open": pickle.dumps(Reduced(open, ("sprung", "w"))),
    "import": pickle.dumps(Reduced(builtins.__import__, ("this",))),
    "getattr": pickle.dumps(Reduced(getattr, (Reduced(builtins.__import__, ("os",)), "system"))),
    "getattr of a known name": b"cbuiltins\ngetattr\n(cnumpy\ndtype\nS'__class__'\ntR.",
    "a name behind a known one": stacked("numpy", "dtype.__class__"),
    "a name behind a module": stacked("numpy", "os.system"),
    "another name of numpy": named("numpy load"),
    "runstring": named("numpy.testing._private.utils runstring"),
    "an array": pickle.dumps(np.arange(3)),
    "a text of numpy": pickle.dumps(np.str_("x")),
    "a complex number": pickle.dumps(np.complex128(1)),
    "a date": pickle.dumps(np.datetime64("2020-01-01")),
    "a record": pickle.dumps(np.zeros(1, [("a", "i4")])[0]),
    "an object in a dtype": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\nI0\nI1\ntRI1\ntR.",
    "a dtype of a dtype": b"cnumpy\ndtype\n(cnumpy\ndtype\n(S'i8'\nI0\nI1\ntRI0\nI1\ntR.",
    "codecs": named("_codecs decode"),
    "a long text": b"c_codecs\nencode\n(X\x09\x00\x00\x00123456789X\x06\x00\x00\x00latin1tR.",
    "an object": pickle.dumps(Plain()),
    "an ordered dict": pickle.dumps(OrderedDict(a=1)),
    "a set": pickle.dumps({1, 2}),
    "a frozen set": pickle.dumps(frozenset({1})),
    "a complex": pickle.dumps(1j),
    "bytes of protocol 2": pickle.dumps(b"123456789", 2),
    "an array of bytes": pickle.dumps(bytearray(b"x"), 5),
}

OPERATIONS = {
    "INST": b"(S'touch sprung'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch sprung'\no.",
    "NEWOBJ": b"\x80\x02cnumpy\ndtype\n)\x81.",
    "NEWOBJ_EX": b"\x80\x04\x8c\x05numpy\x8c\x05dtype\x93)}\x92.",
    "EXT1": b"\x80\x02\x82\x01.",
    "PERSID": b"Pabc\n.",
    "BINPERSID": b"NQ.",
    "POP": b"NN0.",
    "DUP": b"N2.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
}

SHAPES = {
    "a huge memo": b"\x80\x02]r\xff\xff\xff\x7f.",
    "a huge memo of protocol 0": b"(lp99999999999\n.",
    "a memo below zero": b"(lp-1\n.",
    "a tuple as a key": b"}(K\x01K\x02\x86K\x03u.",
    "tuples in each other": b"}N" + b"\x85" * 200_000 + b"Ns.",
    "a list in itself": b"]q\x00h\x00a.",
    "lists in each other": b"]" * 100_000 + b"a" * 99_999 + b".",
    "lists that double": b"]q\x00"
    + b"".join(b"](h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(60))
    + b".",
    "a key that is a number": b"}K\x01K\x02s.",
    "a number of many bits": b"\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.",
    "an attribute of a known name": b"cnumpy\ndtype\n}Vx\nI1\nsb.",
    "a slot of a known name": b"cnumpy\ndtype\n(N}V__call__\nI1\nstb.",
    "a state with an object": b"cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR(I3\nS'<'\n(lI1\ntb.",
    "a byte order": b"cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR(I3\nS'?'\ntb.",
    "a dtype": b"cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR.",
    "a known name itself": b"cnumpy\ndtype\n.",
    "a number of the wrong size": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i8'\nI0\nI1\ntRS'123'\ntR.",
    "a text longer than the file": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "no end": b"(lp0\n",
    "no pickle": b"[1, 2]",
    "nothing": b"",
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever a pickle runs, runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "this", raising=False)
    yield
    assert not (tmp_path / "sprung").exists() and "this" not in sys.modules


@pytest.mark.parametrize("content", CALLS.values(), ids=CALLS)
def test_names_are_not_looked_up(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"refs\(unc\)\.p .*; only plain values are read from a pickle"):
        read(content, tmp_path)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_of_other_values_are_refused_before_any_is_carried_out(operation: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"holds the operation {operation}; only plain values"):
        read(OPERATIONS[operation], tmp_path)


@pytest.mark.parametrize("content", SHAPES.values(), ids=SHAPES)
def test_shapes_that_no_data_have_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"refs\(unc\)\.p .*; (only plain values|download the file again)"):
        read(content, tmp_path)
    assert read(BINARY, tmp_path)[0]["ann_id"] == 7, "nothing of it stays"


@pytest.mark.parametrize("nest", ["flags", "state"])
def test_tuples_do_not_nest_by_way_of_a_dtype(nest: str, tmp_path: Path) -> None:
    """Two of them show what 200,000 would do."""
    kind = b"cnumpy\ndtype\n(S'i8'\n"
    inner = kind + b"I0\ntp0\nR" if nest == "flags" else kind + b"I0\ntR(I3\nS'<'\ntp0\nb"
    outer = kind + b"g0\ntR" if nest == "flags" else kind + b"I0\ntR(I3\nS'<'\ng0\ntb"
    with pytest.raises(InputError, match="no number's"):
        read(b"(" + inner + outer + b"l.", tmp_path)


def test_a_file_of_another_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps(["x" * 100])
    monkeypatch.setattr(plain_pickle, "MAX_BYTES", len(content))
    assert read(content, tmp_path) == ["x" * 100]
    monkeypatch.setattr(plain_pickle, "MAX_BYTES", len(content) - 1)
    with pytest.raises(InputError, match=r"larger than 0 MiB; nothing of it was read"):
        read(content, tmp_path)


def test_a_folder_is_no_pickle(tmp_path: Path) -> None:
    (tmp_path / "refs.p").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_plain_pickle(tmp_path / "refs.p")


def test_memory_of_a_huge_memo_is_never_taken() -> None:
    """The refusal comes before the unpickler sees a byte."""
    with pytest.raises(plain_pickle._Refused, match=f"into cell {2**31 - 1}, where there can be 2"):
        plain_pickle._check(SHAPES["a huge memo"])
