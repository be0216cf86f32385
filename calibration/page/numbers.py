"""Numbers in words, the same on every page and in the terminal; sizes and times are in ``runtime.units``."""

from __future__ import annotations

import math
from typing import TypeGuard

NONE = "–"


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number."""
    return value is not None and not math.isnan(value)


def ratio(value: float | None, digits: int = 4) -> str:
    """0.9876."""
    return f"{value:.{digits}f}" if known(value) else NONE


def percent(value: float | None) -> str:
    """98.7%; 100% only where it is all."""
    if not known(value):
        return NONE
    text = f"{100 * value:.1f}"
    return f"{'99.9' if text == '100.0' and value < 1 else text.removesuffix('.0')}%"


def milliseconds(value: float) -> str:
    """A time in three digits, without its unit: 0.25, 12.3, 246, 2103."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def count(number: int, one: str, many: str = "") -> str:
    """1 block, 2 blocks."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
