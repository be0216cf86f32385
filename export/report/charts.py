"""Charts as inline SVG; their colours are those of the style sheet, so that they follow light, dark and print."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from xsam_edge.export.report.facts import IDENTICAL_DB, BlockFacts, GateFacts
from xsam_edge.export.report.markup import Markup, tag
from xsam_edge.export.report.wording import decibels, known, ratio

PRECISIONS = ("int8", "int4", "mixed", "fp16", "fp32")
_LOWEST, _HIGHEST = -40, 100  # dB: what lies outside ends at the edge
_LEFT, _RIGHT, _HEAD, _PLOT = 44, 12, 22, 170  # pixels
_PITCH = (9, 44)  # of a column, least and most
_CHARACTER = 7.2  # pixels of a label's letter, at most
_LABEL = 26  # letters
_WIDE = 560  # pixels from which a chart is not scaled down further, but scrolled
_UPRIGHT = 15  # pixels that an upright label needs


def bar(share: float, kind: str, of: float = 1.0) -> Markup:
    """A bar of a table's cell: ``share`` of the cell's width, before a faint one of width ``of``."""
    return tag(
        "svg",
        tag("rect", class_="track", width=f"{100 * _clip(of):.2f}%", height=10, rx=2),
        tag("rect", class_=f"fill {kind}", width=f"{100 * _clip(share):.2f}%", height=10, rx=2),
        class_="bar",
        width="100%",
        height=10,
        aria_hidden="true",
    )


def dot(value: float, bound: float, low: float, kind: str) -> Markup:
    """A value of a table's cell as a dot on a line from ``low`` to 1, with a tick at the bound."""
    span = 1 - low if low < 1 else 1.0
    x, tick = (f"{2 + 96 * _clip((place - low) / span):.2f}%" for place in (value, bound))
    return tag(
        "svg",
        tag("line", class_="grid", x1="2%", x2="98%", y1=7, y2=7),
        tag("line", class_="bound", x1=tick, x2=tick, y1=1, y2=13) if bound >= low else None,
        tag("circle", class_=kind, cx=x, cy=7, r=4.5),
        class_="bar",
        width="100%",
        height=14,
        aria_hidden="true",
    )


def kind_of(precision: str) -> str:
    """The style class of a precision."""
    return precision if precision in PRECISIONS else "mixed"


def gate_scale(gate: GateFacts, kind: str) -> Markup:
    """The mean IoU with two standard errors, and the bound, on a scale that ends at 1."""
    mean, error, bound = (
        value if math.isfinite(value) else 0.0 for value in (gate.mean_iou, gate.stderr, gate.min_iou)
    )
    low = max(0.0, min(mean - 2 * error, bound) - 0.25 * (1 - min(mean, bound)) - 0.002)
    width, left, right, y = 520, 24, 496, 34

    def at(value: float) -> float:
        return left + (right - left) * _clip((value - low) / (1 - low) if low < 1 else 1.0)

    def anchor(x: float) -> str:
        return "start" if x < 120 else "end" if x > width - 120 else "middle"

    x_mean, x_bound = at(mean), at(bound)
    return tag(
        "svg",
        tag("line", class_="axis", x1=left, x2=right, y1=y, y2=y),
        tag("rect", class_=f"error {kind}", x=at(mean - 2 * error), y=y - 5,
            width=max(1.0, at(mean + 2 * error) - at(mean - 2 * error)), height=10, rx=5),
        tag("line", class_="bound", x1=x_bound, x2=x_bound, y1=y - 13, y2=y + 13),
        tag("circle", class_=f"dot {kind}", cx=x_mean, cy=y, r=6),
        tag("text", f"mean {ratio(gate.mean_iou)}", class_="strong", x=x_mean, y=14, text_anchor=anchor(x_mean)),
        tag("text", f"bound {ratio(gate.min_iou)}", x=x_bound, y=62, text_anchor=anchor(x_bound)),
        tag("text", "1" if x_bound < right - 90 else None, class_="faint", x=right, y=62, text_anchor="middle"),
        tag("text", ratio(low, 3) if x_bound > left + 130 else None, class_="faint", x=left, y=62,
            text_anchor="middle"),
        class_="scale",
        viewBox=f"0 0 {width} 70",
        role="img",
        aria_label=f"mean mask IoU {ratio(gate.mean_iou)}, bound {ratio(gate.min_iou)}",
    )  # fmt: skip


@dataclass(frozen=True)
class _Family:
    """Neighbouring blocks that share a label, and where they stand."""

    label: str
    blocks: int
    left: float
    width: float


def block_chart(blocks: Sequence[BlockFacts], raised: Sequence[bool]) -> Markup:
    """SQNR of a graph's blocks over depth, a column each; raised ones carry a triangle.

    Blocks of one list of layers share a label. Values outside the scale end at its edge.
    """
    low, top = _limits([block.sqnr_db for block in blocks if known(block.sqnr_db)])
    families = _families(blocks)
    right = families[-1].left + families[-1].width if families else _LEFT

    def at(value: float) -> float:
        return _HEAD + _PLOT * (top - min(max(value, low), top)) / (top - low)

    parts = []
    step = 10 if top - low <= 60 else 20
    for tick in range(math.ceil(low / step) * step, top + 1, step):
        style = "axis" if tick == 0 else "grid"
        parts.append(tag("line", class_=style, x1=_LEFT, x2=right, y1=at(tick), y2=at(tick)))
        parts.append(tag("text", str(tick), class_="faint", x=_LEFT - 8, y=at(tick) + 4, text_anchor="end"))
    parts.append(tag("text", "dB", class_="faint", x=_LEFT - 8, y=12, text_anchor="end"))
    index = 0
    for family in families:
        pitch = family.width / family.blocks
        for place in range(family.blocks):
            parts.append(_column(blocks[index], raised[index], family.left + pitch * place, pitch, at))
            index += 1
    labels, depth = _labels(families)
    width, height = max(right, 300) + _RIGHT, _HEAD + _PLOT + depth
    return tag(
        "svg", *parts, *labels, class_="blocks wide" if width > _WIDE else "blocks",
        viewBox=f"0 0 {width:.0f} {height:.0f}", width=round(width), height=round(height),
        role="img", aria_label="SQNR of the blocks in dB; the same figures stand in the table",
    )  # fmt: skip


def _limits(values: Sequence[float]) -> tuple[int, int]:
    """Ends of the scale in dB, whole tens around 0."""
    finite = [value for value in values if abs(value) < IDENTICAL_DB]
    top = min(_HIGHEST, max(20, 10 * math.ceil((max(finite, default=0) + 1) / 10)))
    low = 10 * math.floor(max(_LOWEST, min(values, default=0)) / 10)
    return min(0, low), top


def _families(blocks: Sequence[BlockFacts]) -> list[_Family]:
    pitch = min(_PITCH[1], max(_PITCH[0], 860 / max(1, len(blocks))))
    found: list[_Family] = []
    left = float(_LEFT)
    for label, members in groupby(blocks, lambda block: _family(block.name)):
        number = len(list(members))
        found.append(_Family(label, number, left, max(_UPRIGHT, number * pitch)))
        left += found[-1].width
    return found


def _column(block: BlockFacts, raised: bool, left: float, pitch: float, at: Callable[[float], float]) -> Markup:
    value = block.sqnr_db if known(block.sqnr_db) else None
    words = [block.name, block.precision, decibels(value)]
    if block.alone_iou is not None:
        words.append(f"alone: IoU {ratio(block.alone_iou)}")
    if raised:
        words.append("raised")
    title = tag("title", ", ".join(words))
    middle, half = left + pitch / 2, min(12.0, pitch * 0.36)
    marks = []
    if value is None:
        marks.append(tag("circle", class_="absent", cx=middle, cy=at(0) - 5, r=2.5))
        y = at(0) - 5
    else:
        y, base = at(value), at(0)
        marks.append(tag("rect", class_=f"fill {kind_of(block.precision)}", x=middle - half, y=min(y, base),
                         width=2 * half, height=max(2.0, abs(base - y)), rx=1.5))  # fmt: skip
        y = min(y, base)
    if raised:
        y -= 5
        marks.append(tag("path", class_="raised", d=f"M{middle:.1f} {y - 7:.1f} l5 7 h-10 z"))
    return tag("g", title, *marks)


def _labels(families: Sequence[_Family]) -> tuple[list[Markup], float]:
    """Labels below the columns, level where they fit, else upright; and the room that they take."""
    parts, depth = [], 26.0
    base = _HEAD + _PLOT + 8
    for family in families:
        room = max(_LABEL, int(family.width / _CHARACTER))
        text = family.label if len(family.label) <= room else "…" + family.label[1 - room :]
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


def _family(name: str) -> str:
    """``/llm/model/layers.3/mlp/**`` -> ``llm/model/layers``: what stands before the first number."""
    return re.sub(r"\.\d.*|/\*+$", "", name).strip("/")


def _clip(share: float) -> float:
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else float(share > 0)
