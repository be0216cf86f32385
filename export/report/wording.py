"""Verdicts and figures in words, the same on the page and in the terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from xsam_edge.calibration.page.numbers import NONE, count, known, ratio
from xsam_edge.export.precision.plan import matches
from xsam_edge.export.report.facts import IDENTICAL_DB, BlockFacts, GateFacts, HalfRangeFacts, Report, SizeFacts

_HALF_END = "65,504"


@dataclass(frozen=True)
class GateVerdict:
    """``kind`` chooses the colour, ``title`` is a few words, ``text`` the sentence with the figures."""

    kind: Literal["passed", "degraded", "failed", "open"]
    title: str
    text: str


def spread(gate: GateFacts) -> str:
    """The standard error of the mean, which one picture does not tell."""
    return f"± {ratio(gate.stderr)}" if gate.pictures > 1 else "on a single picture"


def verdict(report: Report) -> GateVerdict:
    """Whether the masks hold."""
    gate = report.gate
    if gate is None:
        text = "The masks of this bundle were not compared with those of FP32."
        return (
            GateVerdict("degraded", "Degraded", text) if report.degraded else GateVerdict("open", "Not measured", text)
        )
    figures, bound = f"Mean mask IoU with FP32 is {ratio(gate.mean_iou)} {spread(gate)}", ratio(gate.min_iou)
    if report.degraded:
        return GateVerdict("degraded", "Degraded", f"{figures}; bound {bound} missed, as allowed.")
    if not gate.passed:
        return GateVerdict("failed", "Masks do not hold", f"{figures}; the bound is {bound}.")
    return GateVerdict("passed", "Masks hold", f"{figures}; the bound is {bound}.")


def half_range(facts: HalfRangeFacts) -> str:
    """What was seen of the range of FP16 values."""
    if not facts.pictures:
        return f"whether values stay within {_HALF_END} was not checked"
    largest = f"{facts.largest:,.0f}" if facts.largest >= 100 else f"{facts.largest:.3g}"
    raised = f"{count(facts.raised, 'node')} given FP32 for values from {facts.bound:,.0f} on"
    text = f"largest value {largest} of {_HALF_END} on {count(facts.pictures, 'picture')}"
    return f"{text}; {raised if facts.raised else 'no node had to be FP32'}; {facts.value}"


def decibels(value: float | None) -> str:
    """41.3 dB; "identical" from ``IDENTICAL_DB`` on, "no signal" below its negative."""
    if not known(value):
        return NONE
    if value >= IDENTICAL_DB:
        return "identical"
    return "no signal" if value <= -IDENTICAL_DB else f"{value:.1f} dB"


def total(sizes: tuple[SizeFacts, ...]) -> SizeFacts:
    """All files as one."""
    return SizeFacts("in all", sum(item.bytes for item in sizes), sum(item.fp32_bytes for item in sizes))


def of_fp32(item: SizeFacts) -> float | None:
    """Size as a share of FP32's."""
    return item.bytes / item.fp32_bytes if item.fp32_bytes else None


def is_raised(report: Report, block: BlockFacts) -> bool:
    """Whether a raised pattern means the block: its name, or all below it."""
    names = (block.name, f"{block.name}/")
    return any(matches(item.pattern, name) for item in report.raised for name in names)


def printable(text: str) -> str:
    """``text`` on one line, without what would move a terminal's cursor."""
    return re.sub(r"\s+", " ", "".join(letter if letter.isprintable() else " " for letter in text)).strip()
