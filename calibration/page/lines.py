"""Curves: lines over a common axis, panel below panel, each line's name at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xsam_edge.calibration.page.markup import Markup, tag
from xsam_edge.calibration.page.scale import AxisScale, labels
from xsam_edge.calibration.page.style import SERIES, file_style

_PLOT, _HEIGHT = 328, 280  # pixels: between the vertical edges of a plot, and of a panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 106, 36, 44
_SAMPLE, _LETTER = 25, 7  # pixels: of what stands before a name, and of a letter of it
_APART = 14  # pixels between two names
_TICKS = 6

Polyline = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """Lines by name, as points (x, y), within x and y from low to high; ``log`` is of y.

    ``x_names`` are what places on the x axis are called, where these are no numbers of a scale.
    """

    title: str
    lines: Mapping[str, Polyline]
    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    log: bool = False
    x_names: Mapping[float, str] | None = None


def panels(drawn: Sequence[Panel], label: str, *, alone: bool = False) -> Markup:
    """The panels as one picture; ``alone`` makes it a file of its own."""
    width, height = _width(drawn), _HEIGHT * len(drawn)
    parts = [tag("g", *_panel(panel), transform=f"translate(0 {_HEIGHT * row})") for row, panel in enumerate(drawn)]
    ground = [tag("style", Markup(file_style())), tag("rect", class_="ground", width=width, height=height)]
    return tag(
        "svg", *(ground if alone else ()), *parts, xmlns="http://www.w3.org/2000/svg" if alone else None,
        class_="chart", viewBox=f"0 0 {width} {height}", width=width, height=height, role="img", aria_label=label,
    )  # fmt: skip


def _width(drawn: Sequence[Panel]) -> int:
    """Of the picture: what the longest name needs."""
    longest = max((len(name) for panel in drawn for name in panel.lines), default=0)
    return _LEFT + _PLOT + max(_RIGHT, _SAMPLE + _LETTER * longest)


def _panel(panel: Panel) -> list[Markup]:
    x = AxisScale(*panel.x, _LEFT, _LEFT + _PLOT)
    y = AxisScale(*panel.y, _HEIGHT - _BOTTOM, _TOP, panel.log)
    parts = [tag("text", panel.title, class_="strong", x=_LEFT, y=18), *_axes(x, y, panel)]
    kinds = {name: _kind(number) for number, name in enumerate(panel.lines)}
    for name, line in panel.lines.items():
        points = " ".join(f"{x.at(across):.1f},{y.at(up):.1f}" for across, up in line)
        parts.append(tag("polyline", tag("title", name), class_=f"line {kinds[name]}", points=points))
    ends = {name: y.at(line[-1][1]) for name, line in panel.lines.items() if line}
    for name, place in spread(ends, y.end, y.start).items():
        sample = f"{x.end + 6},{place:.1f} {x.end + 20},{place:.1f}"
        parts.append(tag("polyline", class_=f"line {kinds[name]}", points=sample))
        parts.append(tag("text", name, class_=kinds[name], x=x.end + _SAMPLE, y=place + 4))
    return parts


def _axes(x: AxisScale, y: AxisScale, panel: Panel) -> list[Markup]:
    parts: list[Markup] = []
    ticks = y.ticks(_TICKS)
    for tick, text in zip(ticks, labels(ticks), strict=True):
        parts.append(tag("line", class_="grid", x1=x.start, x2=x.end, y1=y.at(tick), y2=y.at(tick)))
        parts.append(tag("text", text, class_="faint", x=x.start - 6, y=y.at(tick) + 4, text_anchor="end"))
    parts.append(tag("line", class_="axis", x1=x.start, x2=x.end, y1=y.start, y2=y.start))
    names = panel.x_names or dict(zip(places := x.ticks(_TICKS), labels(places), strict=True))
    for tick, text in names.items():
        parts.append(tag("line", class_="axis", x1=x.at(tick), x2=x.at(tick), y1=y.start, y2=y.start + 4))
        parts.append(tag("text", text, class_="faint", x=x.at(tick), y=y.start + 17, text_anchor="middle"))
    middle = (x.start + x.end) / 2
    return [*parts, tag("text", panel.x_label, class_="faint", x=middle, y=y.start + 34, text_anchor="middle")]


def _kind(number: int) -> str:
    """The style of a line: a colour, and dashes once all of them are taken."""
    return f"s{number % SERIES}" + (" dashed" if number // SERIES % 2 else "")


def spread(places: Mapping[str, float], top: float, bottom: float) -> dict[str, float]:
    """Places near those given, by name, from top to bottom and so far apart that names do not touch."""
    order = sorted(places, key=lambda name: places[name])
    moved: dict[str, float] = {}
    lowest = top
    for name in order:
        moved[name] = lowest = max(places[name], lowest)
        lowest += _APART
    highest = bottom
    for name in reversed(order):
        moved[name] = highest = min(moved[name], highest)
        highest -= _APART
    return moved
