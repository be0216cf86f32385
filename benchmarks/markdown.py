"""A benchmark as Markdown."""

from __future__ import annotations

from xsam_edge.benchmarks import tables
from xsam_edge.benchmarks.tables import Benchmark
from xsam_edge.calibration.page.text import markdown as table


def markdown(benchmark: Benchmark, *, stages: bool = True, facts: bool = True) -> str:
    """Tables of answers and, with ``stages``, of stages; with ``facts``, everything that the numbers hold for."""
    lines = [tables.title(benchmark), "", *table(*tables.answers(benchmark)), "", *_bullets(*tables.notes(benchmark))]
    if stages:
        for side in (benchmark, *tables.against(benchmark)):
            lines += ["", f"Stages of {tables.name(side)}:", "", *table(*tables.stages(side))]
        lines += ["", *_bullets(*tables.peaks(benchmark))]
    if facts:
        lines += ["", "What it ran on:", "", *_bullets(*(f"{name}: {text}" for name, text in tables.facts(benchmark)))]
    return "\n".join(lines)


def _bullets(*lines: str) -> list[str]:
    return [f"- {line}" for line in lines]
