"""What the report draws: precisions in their colours, and the blocks of a graph as columns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from xsam_edge.calibration.page.columns import Column, columns
from xsam_edge.calibration.page.markup import Markup
from xsam_edge.calibration.page.numbers import known, ratio
from xsam_edge.export.report.facts import IDENTICAL_DB, BlockFacts
from xsam_edge.export.report.wording import decibels

PRECISIONS = ("int8", "int4", "fp8", "mixed", "fp16", "fp32")
_LOWEST, _HIGHEST = -40, 100  # dB: what lies outside ends at the edge


def kind_of(precision: str) -> str:
    """The style class of a precision."""
    return precision if precision in PRECISIONS else "mixed"


def block_chart(blocks: Sequence[BlockFacts], raised: Sequence[bool]) -> Markup:
    """SQNR of a graph's blocks over depth, a column each; raised ones carry a triangle.

    Blocks of one list of layers share a name. Values outside the scale end at its edge.
    """
    low, top = _limits([block.sqnr_db for block in blocks if known(block.sqnr_db)])
    label = "SQNR of the blocks in dB; the same figures stand in the table"
    return columns(list(map(_column, blocks, raised)), low, top, "dB", label)


def _limits(values: Sequence[float]) -> tuple[int, int]:
    """Ends of the scale in dB, whole tens around 0."""
    finite = [value for value in values if abs(value) < IDENTICAL_DB]
    top = min(_HIGHEST, max(20, 10 * math.ceil((max(finite, default=0) + 1) / 10)))
    low = 10 * math.floor(max(_LOWEST, min(values, default=0)) / 10)
    return min(0, low), top


def _column(block: BlockFacts, raised: bool) -> Column:
    value = block.sqnr_db if known(block.sqnr_db) else None
    words = [block.name, block.precision, decibels(value)]
    if block.alone_iou is not None:
        words.append(f"alone: IoU {ratio(block.alone_iou)}")
    if raised:
        words.append("raised")
    return Column(_family(block.name), value, kind_of(block.precision), ", ".join(words), raised)


def _family(name: str) -> str:
    """``/llm/model/layers.3/mlp/**`` -> ``llm/model/layers``: what stands before the first number."""
    return re.sub(r"\.\d.*|/\*+$", "", name).strip("/")
