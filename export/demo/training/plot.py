"""``python -m xsam_edge.export.demo.training.plot CURVE -o FILE``: a training curve as an SVG picture."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xsam_edge.runtime.bundle.typed_json import from_json, parse_json

_WIDTH, _HEIGHT = 420, 300  # of a panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 110, 34, 40
_COLOURS = (
    "#1b6ca8",
    "#d1495b",
    "#3a7d44",
    "#edae49",
    "#6d4c91",
    "#00798c",
    "#a44a3f",
    "#5c677d",
    "#bc6c25",
    "#9a031e",
    "#4f772d",
    "#7b2cbf",
)

Line = Sequence[tuple[float, float]]


def plot(curve: Sequence[Mapping[str, Any]]) -> str:
    """Draw the lines of a ``curve.jsonl``: the terms of the loss, and the validation by kind of ask."""
    losses = [line for line in curve if "total" in line]
    checks = [line for line in curve if "validation" in line]
    terms = {
        name: [(line["minutes"], math.log10(max(line[name], 1e-4))) for line in losses]
        for name in ("classes", "mask", "dice", "language")
    }
    kinds = sorted({kind for line in checks for kind in line["validation"]})
    scores = {
        kind: [(line["minutes"], line["validation"][kind]) for line in checks if kind in line["validation"]]
        for kind in kinds
    }
    end = max((line["minutes"] for line in curve if "minutes" in line), default=1.0)
    low = math.floor(min((y for line in terms.values() for _, y in line), default=-1))
    panels = [
        _panel("loss, training scenes", terms, end, (low, 1), lambda y: f"{10**y:g}", 0),
        _panel("mask IoU and right tokens, validation scenes", scores, end, (0, 1), lambda y: f"{y:g}", 1),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * _WIDTH}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        + "".join(panels)
        + "</svg>\n"
    )


def _panel(title: str, lines: Mapping[str, Line], end: float, span: tuple[float, float], show: Any, column: int) -> str:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    low, high = span

    def at(x: float, y: float) -> tuple[float, float]:
        return _LEFT + width * x / end, _TOP + height * (high - y) / (high - low)

    parts = [
        f'<g transform="translate({column * _WIDTH} 0)"><text x="{_LEFT}" y="18" font-weight="bold">{title}</text>'
    ]
    ticks = [low + step for step in range(high - low + 1)] if high - low > 1 else [step / 5 for step in range(6)]
    for tick in ticks:
        _, y = at(0, tick)
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{show(tick)}</text>')
    for step in range(5):
        x, y = at(end * step / 4, low)
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{end * step / 4:.0f}</text>')
    parts.append(f'<text x="{_LEFT + width / 2}" y="{_HEIGHT - 8}" text-anchor="middle">minutes</text>')
    order = sorted((name for name in lines if lines[name]), key=lambda name: -lines[name][-1][1])
    for row, name in enumerate(order):
        colour = _COLOURS[row % len(_COLOURS)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in lines[name]))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = _TOP + 12 + 15 * row
        parts.append(f'<text x="{_LEFT + width + 10}" y="{y}" fill="{colour}">{name}</text>')
    return "".join(parts) + "</g>"


def _line(text: str, where: str) -> dict[str, Any]:
    return from_json(dict[str, Any], parse_json(text, where), where)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("curve", type=Path, help="curve.jsonl that training wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, help="SVG file")
    options = parser.parse_args()
    lines = options.curve.read_text(encoding="utf-8").splitlines()
    curve = [_line(line, f"{options.curve}, line {number}") for number, line in enumerate(lines, 1)]
    options.output.write_text(plot(curve), encoding="utf-8")


if __name__ == "__main__":
    main()
