"""What a value read from JSON must be beside its type, declared at its field: ``Annotated[int, above(0)]``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Constraint:
    """A condition on a value. ``expected`` names what meets it, with "{}" where its type comes in."""

    expected: str
    holds: Callable[[Any], bool]


def above(limit: float) -> Constraint:
    """A number greater than ``limit``."""
    return Constraint(f"{{}} above {limit}", lambda value: value > limit)


def at_least(limit: float) -> Constraint:
    """A number, ``limit`` or more."""
    return Constraint(f"{{}} from {limit} on", lambda value: value >= limit)


def between(low: float, high: float) -> Constraint:
    """A number from ``low`` to ``high``."""
    return Constraint(f"{{}} from {low} to {high}", lambda value: low <= value <= high)


def one_of(*values: Any) -> Constraint:
    """One of a few values."""
    return Constraint(f"one of {', '.join(map(str, values))}", lambda value: value in values)


def matching(pattern: str, meaning: str) -> Constraint:
    """Text that a regular expression describes as a whole; ``meaning`` says in words what that is."""
    return Constraint(meaning, lambda value: re.fullmatch(pattern, value) is not None)


def holding_once(part: str) -> Constraint:
    """Text in which ``part`` occurs once."""
    return Constraint(f"{{}} that holds {part!r} once", lambda value: value.count(part) == 1)


def is_inside(name: str) -> bool:
    """Whether the name of a file, relative to a folder, leads to a place inside of it, on every system."""
    parts = name.replace("\\", "/").split("/")
    return (
        parts[0] != ""  # of the root, or empty
        and name[1:2] != ":"  # of a drive
        and ".." not in parts
        and not {*parts} <= {"", "."}
        and "\0" not in name
        and len(name.splitlines()) == 1
    )


NOT_EMPTY = Constraint("{} that is not empty", bool)
ON_A_LINE = Constraint("{} on one line", str.isprintable)

PositiveInt = Annotated[int, above(0)]
Count = Annotated[int, at_least(0)]
Text = Annotated[str, NOT_EMPTY]
Line = Annotated[str, ON_A_LINE]
Name = Annotated[str, ON_A_LINE, NOT_EMPTY]
FileName = Annotated[str, Constraint("the name of a file inside of its folder", is_inside)]
Sha256 = Annotated[str, matching("[0-9a-f]{64}", "64 hexadecimal digits")]
