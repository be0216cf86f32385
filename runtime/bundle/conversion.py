"""Values of JSON become what an annotation says: a reader for each kind of annotation, made once.

What may be annotated stands in :mod:`xsam_edge.runtime.bundle.typed_json`, which turns a mismatch into a message.
"""

from __future__ import annotations

import dataclasses
import json
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from xsam_edge.runtime.bundle.constraints import Constraint

_VALUES = frozenset({dict, list, tuple, str, int, float, bool, NoneType})
_INT64 = range(-(1 << 63), 1 << 63)
_NAMED = 4  # unknown keys, in a message
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 2, 60, 60


def convert(kind: Any, value: Any) -> Any:
    """Build a ``kind`` from a value of JSON. Raises Mismatch."""
    return _reader(kind).read(value)


class Mismatch(Exception):  # noqa: N818  # an error only once it is said of which file
    """A value is not what its annotation says; ``path`` grows from the innermost part outwards."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.path: list[str] = []


class _Reader:
    """How a value of one annotation is read; ``accepts`` are the JSON types that it may have."""

    def __init__(self, expected: str, accepts: Collection[type], read: Callable[[Any], Any]) -> None:
        self.expected = expected
        self.accepts = frozenset(accepts)
        self.read = read


def _typed(expected: str, accepts: Collection[type], build: Callable[[Any], Any]) -> _Reader:
    def read(value: Any) -> Any:
        if type(value) not in accepts:
            raise _unlike(value, expected)
        return build(value)

    return _Reader(expected, accepts, read)


def _unlike(value: Any, expected: str) -> Mismatch:
    return Mismatch(f" is {shown(value)}; expected {expected}")


def shown(value: Any) -> str:
    """Any value of JSON in a few words of a message, whatever its size or depth."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int) and value not in _INT64:
        return "a number of more than 64 bits"
    return _REPR.repr(value)


def at_key(name: str) -> str:
    """A key as a part of a path: ``.llm`` or ``['llm.onnx']``."""
    return f".{name}" if name.isidentifier() and len(name) < _REPR.maxstring else f"[{shown(name)}]"


@cache
def _reader(kind: Any) -> _Reader:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if dataclasses.is_dataclass(kind):
        return _of_class(kind)
    if origin is Annotated:
        # Other annotations mean something to others, such as what a size is.
        return _constrained(_reader(arguments[0]), [item for item in arguments[1:] if isinstance(item, Constraint)])
    if origin is Literal:
        expected = ("one of " if len(arguments) > 1 else "") + ", ".join(map(str, arguments))
        return _constrained(
            _typed(expected, {type(value) for value in arguments}, _same),
            [Constraint(expected, lambda value: value in arguments)],
        )
    if origin in (Union, UnionType):
        return _of_union([_reader(option) for option in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return _typed("a list", {list, tuple}, _of_items(_reader(arguments[0])))
    if origin is tuple:
        return _of_size([_reader(item) for item in arguments])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _typed("an object", {dict}, _of_keys(_reader(arguments[0]), _reader(arguments[1])))
    raise TypeError(f"{kind} cannot be read from JSON")


def _same(value: Any) -> Any:
    return value


def _integer(value: int) -> int:
    if value not in _INT64:
        raise _unlike(value, "a whole number")
    return value


def _number(value: float) -> float:
    # A whole number of more than 64 bits may be beyond every float.
    if (isinstance(value, int) and value not in _INT64) or not abs(value) < float("inf"):
        raise _unlike(value, "a finite number")
    return float(value)


def _text(value: str) -> str:
    try:
        value.isascii() or value.encode()
    except UnicodeEncodeError:
        raise _unlike(value, "text that is valid Unicode") from None
    return value


_SCALARS: Mapping[Any, _Reader] = {
    Any: _Reader("a value", _VALUES, _same),
    object: _Reader("a value", _VALUES, _same),
    NoneType: _typed("null", {NoneType}, _same),
    bool: _typed("true or false", {bool}, _same),
    int: _typed("a whole number", {int}, _integer),
    float: _typed("a finite number", {int, float}, _number),
    str: _typed("text", {str}, _text),
}


def _constrained(reader: _Reader, constraints: Sequence[Constraint]) -> _Reader:
    expected = reader.expected
    for constraint in constraints:
        expected = constraint.expected.replace("{}", expected)

    def read(value: Any) -> Any:
        if type(value) not in reader.accepts:
            raise _unlike(value, expected)
        made = reader.read(value)
        for constraint in constraints:
            if not constraint.holds(made):
                raise _unlike(value, expected)
        return made

    return _Reader(expected, reader.accepts, read)


def _of_union(options: Sequence[_Reader]) -> _Reader:
    # The first option that takes a type has it: int | float, not float | int.
    by_type = {accepted: option.read for option in reversed(options) for accepted in option.accepts}
    expected = " or ".join(dict.fromkeys(option.expected for option in options))

    def read(value: Any) -> Any:
        option = by_type.get(type(value))
        if option is None:
            raise _unlike(value, expected)
        return option(value)

    return _Reader(expected, by_type, read)


def _of_items(reader: _Reader) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    def read(values: Sequence[Any]) -> tuple[Any, ...]:
        made: list[Any] = []
        try:
            for value in values:
                made.append(reader.read(value))
        except Mismatch as mismatch:
            mismatch.path.append(f"[{len(made)}]")
            raise
        return tuple(made)

    return read


def _of_size(readers: Sequence[_Reader]) -> _Reader:
    def read(values: Sequence[Any]) -> tuple[Any, ...]:
        if len(values) != len(readers):
            raise Mismatch(f" has {len(values)} values; expected {len(readers)}")
        made: list[Any] = []
        try:
            for reader, value in zip(readers, values, strict=True):
                made.append(reader.read(value))
        except Mismatch as mismatch:
            mismatch.path.append(f"[{len(made)}]")
            raise
        return tuple(made)

    return _typed(f"a list of {len(readers)}", {list, tuple}, read)


def _of_keys(key: _Reader, item: _Reader) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    def read(values: Mapping[str, Any]) -> dict[str, Any]:
        made = {}
        for name, value in values.items():
            try:
                key.read(name)
            except Mismatch:
                raise Mismatch(f" has the key {shown(name)}; expected {key.expected}") from None
            try:
                made[name] = item.read(value)
            except Mismatch as mismatch:
                mismatch.path.append(at_key(name))
                raise
        return made

    return read


def _of_class(kind: Any) -> _Reader:
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}
    required = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    retired: frozenset[str] = getattr(kind, "retired_keys", frozenset())
    strict, check = not getattr(kind, "extra_keys", False), getattr(kind, "check", None)

    def build(value: Mapping[str, Any]) -> Any:
        if strict and not value.keys() <= fields.keys():
            _refuse_unknown(value.keys() - fields.keys() - retired, fields)
        for name in required:
            if name not in value:
                raise Mismatch(f" has no {name!r}; expected {fields[name].expected} there")
        made = {}
        try:
            for name, reader in fields.items():
                if name in value:
                    made[name] = reader.read(value[name])
        except Mismatch as mismatch:
            mismatch.path.append(f".{name}")
            raise
        built = kind(**made)
        try:
            if check is not None:
                check(built)
        except ValueError as contradiction:
            raise Mismatch(f".{contradiction}") from None
        return built

    return _typed("an object", {dict}, build)


def _refuse_unknown(unknown: Collection[str], known: Collection[str]) -> None:
    if not unknown:
        return
    names = sorted(unknown)
    nearest = max(known, key=lambda name: _likeness(name, names[0]), default="")
    hint = f" (did you mean {nearest!r}?)" if _likeness(nearest, names[0]) > 0.5 else ""
    keys = ", ".join(map(shown, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")
    raise Mismatch(f" has the unknown key {keys}{hint}; expected only {', '.join(known)}")


def _likeness(first: str, second: str) -> float:
    """Share of the pairs of letters that two words have in common."""
    shown = (text[: _REPR.maxstring] for text in (first, second))  # a key may have megabytes
    one, other = ({text[index : index + 2] for index in range(len(text) - 1)} for text in shown)
    return 2 * len(one & other) / max(1, len(one) + len(other))
