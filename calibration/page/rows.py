"""Charts of rows, in a cell of a table or one below the other. They take the width there is; text keeps its size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from xsam_edge.calibration.page.markup import Markup, tag
from xsam_edge.calibration.page.scale import AxisScale, clip, labels

_EDGE = 1.0  # percent of the width that stay free at both ends, for what is drawn around a place
_ROW = 44  # pixels
_AXIS = 24
_TICKS = 6
_SPREAD = (-4, 0, 4)  # pixels by which dots lie apart


def bar(share: float, kind: str, of: float = 1.0) -> Markup:
    """A bar of a table's cell: ``share`` of the cell's width, before a faint one of width ``of``."""
    return _cell(
        10,
        tag("rect", class_="track", width=f"{100 * clip(of):.2f}%", height=10, rx=2),
        tag("rect", class_=f"fill {kind}", width=f"{100 * clip(share):.2f}%", height=10, rx=2),
    )


def dot(value: float, bound: float, low: float, kind: str) -> Markup:
    """A value of a table's cell as a dot on a line from ``low`` to 1, with a tick at the bound."""
    scale = AxisScale(low, 1.0, 2.0, 98.0)
    tick = _percent(scale.at(bound))
    return _cell(
        14,
        tag("line", class_="grid", x1="2%", x2="98%", y1=7, y2=7),
        tag("line", class_="bound", x1=tick, x2=tick, y1=1, y2=13) if bound >= low else None,
        tag("circle", class_=kind, cx=_percent(scale.at(value)), cy=7, r=4.5),
    )


def _cell(height: int, *parts: Markup | None) -> Markup:
    return tag("svg", *parts, class_="cell", width="100%", height=height, aria_hidden="true")


def interval(value: float, error: float, bound: float, kind: str, words: tuple[str, str], label: str) -> Markup:
    """A value with two standard errors, and its bound, on a scale that ends at 1.

    ``words`` stand at the value and at the bound.
    """
    value, error, bound = (number if math.isfinite(number) else 0.0 for number in (value, error, bound))
    low = max(0.0, min(value - 2 * error, bound) - 0.25 * (1 - min(value, bound)) - 0.002)
    scale = AxisScale(low, 1.0, _EDGE, 100 - _EDGE)
    at, tick, y = scale.at(value), scale.at(bound), 34
    left, right = scale.at(value - 2 * error), scale.at(value + 2 * error)
    return _rows(
        70,
        label,
        tag("line", class_="axis", x1=_percent(scale.start), x2=_percent(scale.end), y1=y, y2=y),
        tag("rect", class_=f"pale {kind}", x=_percent(left), y=y - 5, width=_percent(max(0.2, right - left)),
            height=10, rx=5),
        tag("line", class_="bound", x1=_percent(tick), x2=_percent(tick), y1=y - 13, y2=y + 13),
        tag("circle", class_=kind, cx=_percent(at), cy=y, r=6),
        _text(words[0], at, 14, "strong"),
        _text(words[1], tick, 62),
        _text("1", scale.end, 62, "faint") if tick < 70 else None,
        _text(f"{low:.3f}", scale.start, 62, "faint") if tick > 35 else None,
    )  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """A row of :func:`bars`: a pale bar of length ``value`` and within it one of length ``part``, in units of x."""

    name: str
    value: float
    part: float
    text: str
    titles: tuple[str, str]


def bars(rows: Sequence[Bar], label: str, kind: str = "s0") -> Markup:
    """Bars on one axis from 0."""
    scale = _from_zero(max(row.value, row.part) for row in rows)
    parts: list[Markup] = []
    for index, row in enumerate(rows):
        top = index * _ROW
        parts += [
            *_heading(row.name, row.text, top),
            tag("rect", tag("title", row.titles[0]), class_=f"pale {kind}", **_span(scale, row.value), y=top + 20,
                height=16, rx=2),
            tag("rect", tag("title", row.titles[1]), class_=kind, **_span(scale, row.part), y=top + 24, height=8, rx=2),
        ]  # fmt: skip
    return _rows(len(rows) * _ROW + _AXIS, label, *_axis(scale, len(rows) * _ROW), *parts)


@dataclass(frozen=True)
class Dots:
    """A row of :func:`dots`: every value a dot, and ``marks`` as lines across them; ``text`` says what marks are at."""

    name: str
    values: tuple[float, ...]
    marks: tuple[float, ...]
    text: str


def dots(rows: Sequence[Dots], label: str, show: Callable[[float], str], kind: str = "s0") -> Markup:
    """Distributions, row below row, on one axis from 0; ``show`` is what a dot says of its value."""
    scale = _from_zero(value for row in rows for value in row.values)
    parts: list[Markup] = []
    for index, row in enumerate(rows):
        top = index * _ROW
        middle = top + 28
        parts += _heading(row.name, row.text, top)
        parts.append(tag("line", class_="grid", x1=_percent(scale.start), x2=_percent(scale.end), y1=middle, y2=middle))
        for number, value in enumerate(row.values):
            y = middle + _SPREAD[number % len(_SPREAD)]
            parts.append(
                tag("circle", tag("title", show(value)), class_=f"pale {kind}", cx=_place(scale, value), cy=y, r=4)
            )
        for mark in row.marks:
            x = _place(scale, mark)
            parts.append(tag("line", class_="bound", x1=x, x2=x, y1=middle - 9, y2=middle + 9))
    return _rows(len(rows) * _ROW + _AXIS, label, *_axis(scale, len(rows) * _ROW), *parts)


def _from_zero(values: Iterable[float]) -> AxisScale:
    return AxisScale(0.0, max(values, default=1.0) or 1.0, _EDGE, 100 - _EDGE)


def _heading(name: str, text: str, top: float) -> list[Markup]:
    """What stands above a row, at its ends."""
    return [
        tag("text", name, class_="heading strong", x=0, y=top + 13),
        tag("text", text, class_="heading faint", x="100%", y=top + 13, text_anchor="end"),
    ]


def _axis(scale: AxisScale, y: float) -> list[Markup]:
    parts = [tag("line", class_="axis", x1=_percent(scale.start), x2=_percent(scale.end), y1=y, y2=y)]
    ticks = scale.ticks(_TICKS)
    for tick, text in zip(ticks, labels(ticks), strict=True):
        x = _place(scale, tick)
        parts.append(tag("line", class_="grid", x1=x, x2=x, y1=0, y2=y))
        parts.append(_text(text, scale.at(tick), y + 16, "faint", room=4))
    return parts


def _rows(height: float, label: str, *parts: Markup | None) -> Markup:
    return tag("svg", *parts, class_="rows", width="100%", height=height, role="img", aria_label=label)


def _text(text: str, place: float, y: float, kind: str | None = None, room: float = 25) -> Markup:
    """A text in the middle of a place, but beside it where less than ``room`` percent are left to an end."""
    anchor = "start" if place < room else "end" if place > 100 - room else "middle"
    return tag("text", text, class_=kind, x=_percent(place), y=y, text_anchor=anchor)


def _span(scale: AxisScale, value: float) -> dict[str, str]:
    """Left end and width of a bar, which is seen however short."""
    return {"x": _percent(scale.start), "width": _percent(max(0.2, scale.at(value) - scale.start))}


def _place(scale: AxisScale, value: float) -> str:
    return _percent(scale.at(value))


def _percent(place: float) -> str:
    return f"{place:.2f}%"
