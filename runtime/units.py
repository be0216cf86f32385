"""Sizes and times as people read them."""

from __future__ import annotations

_SIZES = ((1e9, "GB", 2), (1e6, "MB", 1), (1e3, "kB", 1))


def size(count: float) -> str:
    """Bytes: 512 B, 12.3 MB, 4.56 GB."""
    for unit, name, digits in _SIZES:
        if count >= unit:
            return f"{count / unit:.{digits}f} {name}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """A time: 42 s, 7 min, 2 h 05 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"
