"""Pickles of plain values, such as RefCOCO's ``refs(unc).p``: the one place, but for checkpoints, where a
pickle is read.

A pickle is a program: it may call whatever can be imported. What is read here can do no more than build lists, dicts,
texts, numbers and scalars of NumPy, in three steps, none of which trusts the one before it: only the operations that
such data take may occur at all; of names only NumPy's own are known, and stand for the few lines below and never for
what they name elsewhere; and what comes out is copied value by value, as from JSON.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType

import numpy as np

from xsam_edge.runtime.errors import InputError

MAX_BYTES = 64 << 20
"""The 142,000 sentences of RefCOCO take less than half of it. A byte of a pickle may take a hundred of memory."""

_DEEPEST = 16
_NUMBER = re.compile("b1|[iu][1248]|f[248]")
_LONGEST = 8  # bytes of a number
_LARGEST = 1 << 63

_BY_CODE = {operation.code.encode("latin-1"): operation for operation in pickletools.opcodes}
_REMEMBERED = {"PUT", "BINPUT", "LONG_BINPUT"}
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_CALLS = {"REDUCE", "BUILD"}
_KNOWN = frozenset({
    "PROTO", "FRAME", "STOP", "MARK", "GET", "BINGET", "LONG_BINGET", "MEMOIZE", "GLOBAL", "STACK_GLOBAL",
    "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_TUPLE",
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    *_REMEMBERED, *_TUPLES, *_CALLS,
})  # fmt: skip


def read_plain_pickle(path: Path) -> object:
    """The lists, dicts with keys of text, texts, numbers, booleans and None that a pickle holds.

    Texts of Python 2 are taken for UTF-8, or else for Latin-1; scalars of NumPy become numbers.

    Raises InputError for a file that is missing, damaged or larger than ``MAX_BYTES``, and for anything else in it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES >> 20} MiB; nothing of it was read")
    try:
        _check(content)
        return _Plain(len(content)).copy(_Unpickler(content).load())
    except _Refused as error:
        raise InputError(
            f"{path} {error}; only plain values are read from a pickle, and nothing of it was run"
        ) from None
    except Exception as error:  # damaged data raise anything
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is no pickle that can be read ({reason}); download the file again") from None


class _Refused(Exception):  # noqa: N818  # an error only once it is said of which file
    """What a pickle does that plain values do not take."""


def _check(content: bytes) -> None:
    """Refuse operations that plain values do not take, before any is carried out.

    Numbers of memory cells are bounded, as a single one makes room for all below it. Tuples are arguments of NumPy's
    scalars and nothing else: as keys, nested deeply, they would end the process.
    """
    made = False  # a tuple, by the operation before
    for done, (name, argument) in enumerate(_operations(content)):
        if name in _REMEMBERED:
            if isinstance(argument, int) and not 0 <= argument <= done:
                raise _Refused(f"puts a value into cell {argument}, where there can be {done}")
        elif made and name not in _CALLS and name != "MEMOIZE":
            raise _Refused("holds a tuple, where there should be a list")
        elif name != "MEMOIZE":
            made = name in _TUPLES


def _operations(content: bytes) -> Iterator[tuple[str, object]]:
    """Names of operations with their arguments, up to the end; ``pickletools.genops`` cannot read Python 2's texts."""
    stream = io.BytesIO(content)
    while code := stream.read(1):
        operation = _BY_CODE.get(code)
        if operation is None:
            raise ValueError(f"there is no operation {code!r}")
        if operation.name not in _KNOWN:
            raise _Refused(f"holds the operation {operation.name}")
        if operation.name == "STRING":
            yield operation.name, stream.readline()
        else:
            yield operation.name, operation.arg.reader(stream) if operation.arg else None
        if operation.name == "STOP":
            return
    raise EOFError("it ends before it is whole")


class _Unpickler(pickle.Unpickler):
    """Knows the three names by which scalars of NumPy are pickled."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        """What stands for a name; no module is imported and nothing is looked up. Raises for all other names."""
        if (module, name) == ("numpy", "dtype"):
            return _TypeOf()
        if (module, name) in (("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")):
            return _ScalarOf()
        if (module, name) == ("_codecs", "encode"):
            return _BytesOf()
        raise _Refused(f"names {module}.{name}")


# Instances without a dict and without slots: a pickle can neither alter them nor what they do.


class _NumberType:
    """In place of a ``numpy.dtype``."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or not all(isinstance(item, (int, str, bytes, NoneType)) for item in state):
            raise _Refused("holds a dtype that is no number's")
        order = state[1] if len(state) > 1 else None
        self.order = _text(order) if isinstance(order, (str, bytes)) else "="
        if self.order not in ("<", ">", "|", "="):
            raise _Refused(f"holds the byte order {self.order!r}")


class _TypeOf:
    __slots__ = ()

    def __call__(self, code: object, *flags: object) -> _NumberType:
        name = _text(code) if isinstance(code, (str, bytes)) else ""
        if not _NUMBER.fullmatch(name) or not all(isinstance(flag, int) for flag in flags):
            raise _Refused(f"holds the dtype {name!r}, which is no number's")
        return _NumberType(name)


class _ScalarOf:
    __slots__ = ()

    def __call__(self, kind: object, raw: object) -> int | float | bool:
        if not isinstance(kind, _NumberType) or not isinstance(raw, bytes):
            raise _Refused("holds a scalar of NumPy that is no number")
        (value,) = np.frombuffer(raw, np.dtype(kind.order + kind.code)).tolist()
        plain: int | float | bool = value
        return plain


class _BytesOf:
    """In place of ``_codecs.encode``, by which Python 3 writes the bytes of a number for Python 2."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or len(text) > _LONGEST or encoding not in ("latin1", b"latin1"):
            raise _Refused("encodes what is no number")
        return text.encode("latin-1")


class _Plain:
    """Copies what was built. A value that refers to others again and again would grow without end: a pickle of so many
    bytes has no more values.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def copy(self, value: object, depth: int = 0) -> object:
        """A value with all that is in it."""
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            raise _Refused("holds values that refer to themselves or are nested too deeply")
        if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
            raise _Refused("holds a number of more than 64 bits")
        if value is None or isinstance(value, (int, float)):
            return value
        if isinstance(value, (str, bytes)):
            return _text(value)
        if isinstance(value, (list, tuple)):
            return [self.copy(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {self._key(key): self.copy(item, depth + 1) for key, item in value.items()}
        raise _Refused("holds what is neither text nor number, list nor dict")

    def _key(self, key: object) -> str:
        if not isinstance(key, (str, bytes)):
            raise _Refused("holds a dict with a key that is no text")
        return _text(key)


def _text(value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
