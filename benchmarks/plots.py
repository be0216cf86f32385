"""Plots as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430;
  background: #fff; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: .25rem .6rem; text-align: left;
  border-bottom: 1px solid #d6dbe1; } td { font-variant-numeric: tabular-nums; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem 1rem; overflow-wrap: anywhere; }
pre { overflow-x: auto; font-size: 12px; }
svg { max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #1c2430; }
"""
_WIDTH, _LEFT, _RIGHT, _ROW = 920, 190, 210, 34
_TIME, _LIMIT, _INK = "#9db8d9", "#1f5fa8", "#1c2430"


def stages(entries: Sequence[Mapping[str, Any]]) -> str:
    """A bar per stage: its time, and within it the least time that the machine's peaks allow."""
    longest = max((max(entry["p50_ms"], entry["limit_ms"]) for entry in entries), default=1.0)
    parts = []
    for index, entry in enumerate(entries):
        top = index * _ROW + 4
        scale = (_WIDTH - _LEFT - _RIGHT) / longest
        parts += [
            _text(_LEFT - 8, top + 17, entry["name"], "end"),
            _bar(top, max(scale * entry["p50_ms"], 1), 24, _TIME, f"p50 {milliseconds(entry['p50_ms'])} ms"),
            _bar(
                top + 7, max(scale * entry["limit_ms"], 1), 10, _LIMIT, f"at best {milliseconds(entry['limit_ms'])} ms"
            ),
            _text(
                _LEFT + scale * max(entry["p50_ms"], entry["limit_ms"]) + 8,
                top + 17,
                f"{milliseconds(entry['p50_ms'])} ms, {entry['peak_fraction']:.0%} of the peak",
            ),
        ]
    legend = "pale: time at p50; dark: the least that flops and bytes allow at this machine's measured peaks"
    parts.append(_text(_LEFT, len(entries) * _ROW + 20, legend))
    return _svg(parts, len(entries) * _ROW + 30, "stages and their share of the peak")


def dots(series: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A row of dots per side, one per round, on one axis from 0."""
    longest = max((max(times) for _, times in series), default=1.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    parts = []
    for index, (name, times) in enumerate(series):
        middle = index * _ROW + 18
        parts.append(_text(_LEFT - 8, middle + 4, _short(name), "end"))
        parts.append(_line(_LEFT, middle, _LEFT + scale * longest, middle, "#d6dbe1"))
        for number, time in enumerate(times):
            wobble = (number % 3 - 1) * 4
            parts.append(
                f'<circle cx="{_LEFT + scale * time:.1f}" cy="{middle + wobble}" r="3.5" fill="{_TIME}" '
                f'stroke="{_LIMIT}"><title>{time:.2f} ms</title></circle>'
            )
        for share in (50, 95):
            at = _LEFT + scale * float(np.percentile(times, share))
            parts.append(_line(at, middle - 12, at, middle + 12, _INK))
        label = " / ".join(milliseconds(float(np.percentile(times, share))) for share in (50, 95))
        parts.append(_text(_LEFT + scale * longest + 10, middle + 4, f"{label} ms"))
    return _svg(parts, len(series) * _ROW + 8, "times of answers")


def milliseconds(value: float) -> str:
    """A time in three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _short(name: str) -> str:
    return name if len(name) <= 24 else "…" + name[-23:]


def _bar(top: float, width: float, height: float, colour: str, title: str) -> str:
    return (
        f'<rect x="{_LEFT}" y="{top}" width="{width:.1f}" height="{height}" rx="2" fill="{colour}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x0: float, y0: float, x1: float, y1: float, colour: str) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" stroke-width="1.5"/>'


def _svg(parts: Sequence[str], height: float, label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(label)}">' + "".join(parts) + "</svg>"
    )
