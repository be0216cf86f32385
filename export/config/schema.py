"""Every size of a model by its dotted name, such as ``llm.num_layers``: what it may be and what it means.

Read off the dataclasses in ``sizes``, so that a field that is added there is known to checks and to ``--config``.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.runtime.errors import InputError


@dataclass(frozen=True)
class ValueType:
    """A type of values with its range. ``expected`` says it in words."""

    expected: str
    holds: Callable[[Any], bool]


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= sys.float_info.max


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(holds, value))


_COUNT = ValueType("a whole number above 0", lambda value: type(value) is int and value > 0)
_NUMBER = ValueType("a number above 0", _positive)
_INDEX = ValueType("a whole number", lambda value: type(value) is int)
_KINDS: Mapping[Any, ValueType] = {
    int: _COUNT,
    float: _NUMBER,
    bool: ValueType("true or false", lambda value: type(value) is bool),
    str: ValueType("a text", lambda value: type(value) is str and value != ""),
    tuple[int, ...]: ValueType("a list of whole numbers", _list_of(_INDEX.holds)),
    tuple[float, ...]: ValueType("a list of numbers above 0", _list_of(_positive)),
}
_INDICES = ("select_layer",)  # of hidden states, which may be counted from the end


@dataclass(frozen=True)
class SizeField:
    """One field of one part of a model."""

    name: str  # part.field
    kind: ValueType
    nullable: bool
    meaning: str

    def read(self, value: Any) -> Any:
        """Give a decoded JSON value the field's type.

        Raises:
            InputError: another type or out of range; names the size and says what was expected.
        """
        if self.nullable and value is None:
            return None
        if not self.kind.holds(value):
            expected = self.kind.expected + (" or null" if self.nullable else "")
            raise InputError(f"{self.name} is {value!r}; expected {expected}: {self.meaning}")
        if isinstance(value, list):
            return tuple(value)
        return float(value) if self.kind is _NUMBER else value


def _sizes() -> Iterator[SizeField]:
    for part, config in typing.get_type_hints(ModelConfig).items():
        for field, annotated in typing.get_type_hints(config, include_extras=True).items():
            hint, meaning = typing.get_args(annotated)
            nullable = isinstance(hint, types.UnionType)
            kind = _INDEX if field in _INDICES else _KINDS[typing.get_args(hint)[0] if nullable else hint]
            yield SizeField(f"{part}.{field}", kind, nullable, meaning)


#: Dotted name -> size.
SIZES: Mapping[str, SizeField] = {size.name: size for size in _sizes()}
