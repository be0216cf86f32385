"""A chart of columns: values in order, those of one family under one name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from xsam_edge.calibration.page.markup import Markup, tag
from xsam_edge.calibration.page.scale import AxisScale, labels

_LEFT, _RIGHT, _HEAD, _PLOT = 44, 12, 22, 170  # pixels
_PITCH = (9, 44)  # of a column, least and most
_CHARACTER = 7.2  # pixels of a name's letter, at most
_NAME = 26  # letters
_WIDE = 560  # pixels from which a chart is not scaled down further, but scrolled
_UPRIGHT = 15  # pixels that an upright name needs
_TICKS = 7


@dataclass(frozen=True)
class Column:
    """A value, None where there is none; ``kind`` is its style, and a ``marked`` column carries a triangle.

    Neighbours of one ``family`` share a name below. ``title`` says all there is to say.
    """

    family: str
    value: float | None
    kind: str
    title: str
    marked: bool = False


@dataclass(frozen=True)
class _Family:
    """Neighbouring columns that share a name, and where they stand."""

    name: str
    columns: tuple[Column, ...]
    left: float
    width: float


def columns(shown: Sequence[Column], low: float, high: float, unit: str, label: str) -> Markup:
    """Columns from 0 up or down on a scale from ``low`` to ``high``, which holds 0.

    What lies outside ends at the edge.
    """
    families = _families(shown)
    right = families[-1].left + families[-1].width if families else _LEFT
    scale = AxisScale(low, high, _HEAD + _PLOT, _HEAD)
    parts = _axis(scale, right, unit)
    for family in families:
        pitch = family.width / len(family.columns)
        for place, column in enumerate(family.columns):
            parts.append(_column(column, family.left + pitch * place, pitch, scale))
    names, depth = _names(families)
    width, height = max(right, 300) + _RIGHT, _HEAD + _PLOT + depth
    return tag(
        "svg", *parts, *names, class_="columns chart wide" if width > _WIDE else "columns chart",
        viewBox=f"0 0 {width:.0f} {height:.0f}", width=round(width), height=round(height), role="img",
        aria_label=label,
    )  # fmt: skip


def _axis(scale: AxisScale, right: float, unit: str) -> list[Markup]:
    parts: list[Markup] = []
    ticks = scale.ticks(_TICKS)
    for tick, text in zip(ticks, labels(ticks), strict=True):
        y, style = scale.at(tick), "grid" if tick else "axis"
        parts.append(tag("line", class_=style, x1=_LEFT, x2=right, y1=y, y2=y))
        parts.append(tag("text", text, class_="faint", x=_LEFT - 8, y=y + 4, text_anchor="end"))
    return [*parts, tag("text", unit, class_="faint", x=_LEFT - 8, y=12, text_anchor="end")]


def _families(shown: Sequence[Column]) -> list[_Family]:
    pitch = min(_PITCH[1], max(_PITCH[0], 860 / max(1, len(shown))))
    families: list[_Family] = []
    left = float(_LEFT)
    for name, group in groupby(shown, lambda column: column.family):
        members = tuple(group)
        families.append(_Family(name, members, left, max(_UPRIGHT, len(members) * pitch)))
        left += families[-1].width
    return families


def _column(column: Column, left: float, pitch: float, scale: AxisScale) -> Markup:
    middle, half, base = left + pitch / 2, min(12.0, pitch * 0.36), scale.at(0)
    if column.value is None:
        top = base - 5
        shape = tag("circle", class_="absent", cx=middle, cy=top, r=2.5)
    else:
        top = min(scale.at(column.value), base)
        shape = tag("rect", class_=f"fill {column.kind}", x=middle - half, y=top, width=2 * half,
                    height=max(2.0, abs(base - scale.at(column.value))), rx=1.5)  # fmt: skip
    mark = tag("path", class_="mark", d=f"M{middle:.1f} {top - 12:.1f} l5 7 h-10 z") if column.marked else None
    return tag("g", tag("title", column.title), shape, mark)


def _names(families: Sequence[_Family]) -> tuple[list[Markup], float]:
    """Names below the columns, level where they fit, else upright; and the room that they take."""
    parts, depth = [], 26.0
    base = _HEAD + _PLOT + 8
    for family in families:
        room = max(_NAME, int(family.width / _CHARACTER))
        text = family.name if len(family.name) <= room else "…" + family.name[1 - room :]
        left, right = family.left, family.left + family.width
        middle = (left + right) / 2
        parts.append(tag("line", class_="axis", x1=left + 2, x2=right - 2, y1=base, y2=base))
        if len(text) * _CHARACTER <= family.width:
            parts.append(tag("text", text, x=middle, y=base + 15, text_anchor="middle"))
        else:
            place = f"translate({middle + 4:.1f} {base + 6:.1f}) rotate(-90)"
            parts.append(tag("text", text, transform=place, text_anchor="end"))
            depth = max(depth, 22 + len(text) * _CHARACTER)
    return parts, depth
