"""A benchmark as one HTML page with charts, which needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xsam_edge.benchmarks import tables
from xsam_edge.benchmarks.tables import Benchmark
from xsam_edge.calibration.page import parts
from xsam_edge.calibration.page.markup import Markup, join, tag
from xsam_edge.calibration.page.numbers import milliseconds
from xsam_edge.calibration.page.rows import Bar, Dots, bars, dots
from xsam_edge.calibration.page.text import Row
from xsam_edge.runtime.units import size

_TEXTS = ("answer", "sizes", "bound by")  # columns that hold no number


def html(benchmark: Benchmark) -> str:
    """Answers, stages, what it ran on and, at its end, the whole benchmark as JSON."""
    sides = [benchmark, *tables.against(benchmark)]
    bundle = benchmark["bundle"]
    others = ", ".join(tables.name(side) for side in sides[1:])
    lead = f"{bundle['variant']}, {bundle['precision']}" + (f", against {others}" if others else "")
    return parts.page(
        tables.title(benchmark),
        tag("h1", tables.name(benchmark)),
        tag("p", lead, class_="lead"),
        parts.tiles(_tiles(benchmark)),
        _answers(benchmark, sides),
        *map(_stages, sides),
        parts.section("Peaks of this machine", None, parts.bullets(tables.peaks(benchmark))),
        parts.section("What it ran on", None, parts.facts(tables.facts(benchmark))),
        parts.section(
            "All of it", None, parts.fold("as JSON", tag("pre", json.dumps(benchmark, indent=1, allow_nan=False)))
        ),
    )


def _tiles(benchmark: Benchmark) -> Iterable[tuple[str, str, str]]:
    for answer, words in tables.ANSWERS.items():
        times = benchmark["answers"][answer]
        yield words, f"{milliseconds(times['p50_ms'])} ms", f"p95 {milliseconds(times['p95_ms'])} ms"
    for side in tables.against(benchmark):
        first, following = (f"{side['ratio'][answer]:.2f}" for answer in tables.ANSWERS)
        yield f"{tables.name(side)} takes", f"{first}×", f"as long; a next answer {following}"
    if together := benchmark["together"]:
        yield f"{together['prompts']} prompts at once", f"{together['rate']:.2f}×", "the rate of one by one"
    if peak := benchmark["memory"].get("host_peak_bytes"):
        yield "memory", size(peak), "at the peak"
    if (joules := benchmark["energy"]["joules_per_answer"]) is not None:
        yield "energy", f"{joules:.3g} J", "a first answer"


def _answers(benchmark: Benchmark, sides: Sequence[Benchmark]) -> Markup:
    charts = [
        join(tag("h3", words), dots([_dots(side, answer) for side in sides], f"times of the {words}", _time))
        for answer, words in tables.ANSWERS.items()
    ]
    text = "Every counted round is a dot, the bars are p50 and p95; milliseconds."
    return parts.section(
        "Answers", text, *charts, _table(*tables.answers(benchmark)), parts.bullets(tables.notes(benchmark))
    )


def _dots(side: Benchmark, answer: str) -> Dots:
    times = tuple(side["samples_ms"][answer])
    marks = tuple(float(np.percentile(times, share)) for share in (50, 95))
    return Dots(tables.name(side), times, marks, " / ".join(map(milliseconds, marks)) + " ms")


def _stages(side: Benchmark) -> Markup:
    kinds = parts.legend([("s0 pale", "time at p50, ms"), ("s0", "the least that flops and bytes allow at the peaks")])
    chart = bars([_bar(stage) for stage in side["stages"]], "stages and their share of the peak")
    return parts.section(f"Stages of {tables.name(side)}", None, kinds, chart, _table(*tables.stages(side)))


def _bar(stage: Mapping[str, Any]) -> Bar:
    time = milliseconds(stage["p50_ms"])
    if stage["limit_ms"] is None:
        return Bar(
            stage["name"], stage["p50_ms"], 0.0, f"{time} ms", (f"p50 {time} ms", "what it has to do is not known")
        )
    least = milliseconds(stage["limit_ms"])
    text = f"{time} ms, {stage['peak_fraction']:.0%} of the peak"
    return Bar(stage["name"], stage["p50_ms"], stage["limit_ms"], text, (f"p50 {time} ms", f"at best {least} ms"))


def _table(head: Row, rows: Sequence[Row]) -> Markup:
    columns = "c" + "".join("c" if name in _TEXTS else "n" for name in head[1:])
    return parts.table(head, rows, columns)


def _time(value: float) -> str:
    return f"{value:.2f} ms"
