"""A measurement as Markdown, and as one HTML page with plots that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from xsam_edge.benchmarks import plots
from xsam_edge.benchmarks.plots import milliseconds

Report = Mapping[str, Any]
Row = Sequence[str]

_ANSWERS = {"first": "first answer, new image", "next": "next answer, same image"}


def markdown(report: Report, *, stages: bool = True, facts: bool = True) -> str:
    """Tables of answers and, with ``stages``, of stages; with ``facts``, everything that the numbers hold for."""
    parts = [_title(report), "", *_table(*_answers(report)), "", *_notes(report)]
    if stages:
        for side in (report, *_others(report)):
            parts += ["", f"Stages of {_name(side)}:", "", *_table(*_stages(side))]
        parts += ["", *(f"- {line}" for line in _peak_lines(report))]
    if facts:
        parts += ["", "What it ran on:", "", *(f"- {name}: {value}" for name, value in _facts(report))]
    return "\n".join(parts)


def html(report: Report) -> str:
    """A self-contained page: tables, plots and, at its end, the whole report as JSON."""
    sides = [report, *_others(report)]
    body = [f"<h1>{escape(_title(report))}</h1>", _html_table(*_answers(report))]
    body += [f"<p>{escape(line.removeprefix('- '))}</p>" for line in _notes(report)]
    body.append("<h2>Answers</h2><p>Every counted round is a dot, the bars are p50 and p95.</p>")
    for answer, title in _ANSWERS.items():
        body += [f"<h3>{title}</h3>", plots.dots([(_name(s), s["samples_ms"][answer]) for s in sides])]
    for side in sides:
        body += [f"<h2>Stages of {escape(_name(side))}</h2>", plots.stages(side["stages"]), _html_table(*_stages(side))]
    body += [f"<p>{escape(line)}</p>" for line in _peak_lines(report)]
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(report))
    body.append(f"<h2>What it ran on</h2><dl>{facts}</dl>")
    data = json.dumps(report, indent=1)
    body.append(f"<details><summary>all of it, as JSON</summary><pre>{escape(data)}</pre></details>")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/><title>{escape(_title(report))}</title>'
        f"<style>{plots.STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _title(report: Report) -> str:
    bundle = report["bundle"]
    against = ", ".join(_name(side) for side in _others(report))
    return f"{bundle['path']} ({bundle['variant']}, {bundle['precision']})" + (f" against {against}" if against else "")


def _others(report: Report) -> list[Report]:
    return [side for side in (report["against"], *report["others"]) if side]


def _name(side: Report) -> str:
    return Path(str(side["name"])).name


def _answers(report: Report) -> tuple[Row, list[Row]]:
    """Head and rows of the table of answers."""
    others = _others(report)
    ratios = [f"{_name(side)} / this" for side in others]
    rows = []
    for side in (report, *others):
        for answer, title in _ANSWERS.items():
            times = side["answers"][answer]
            percentiles = [milliseconds(times[key]) for key in ("p50_ms", "p90_ms", "p95_ms", "p99_ms")]
            row = [_name(side), title, *percentiles, str(times["n"])]
            rows.append(row + [f"{o['ratio'][answer]:.2f}" if side is report else "" for o in others])
        for part in ("preprocess", "postprocess"):
            times = side[part]
            percentiles = [milliseconds(times[key]) for key in ("p50_ms", "p90_ms", "p95_ms", "p99_ms")]
            rows.append([_name(side), f"of it {part}", *percentiles, str(times["n"]), *([""] * len(others))])
    return ["side", "answer", "p50 ms", "p90", "p95", "p99", "n", *ratios], rows


def _stages(side: Report) -> tuple[Row, list[Row]]:
    head = ["stage", "sizes", "runs", "p50 ms", "p95", "GFLOP", "MB", "at best ms", "bound by", "of the peak"]
    rows = []
    for stage in side["stages"]:
        sizes = ", ".join(f"{axis} {size}" for axis, size in stage["axes"].items())
        work = [
            f"{stage['flops'] / 1e9:.3g}",
            f"{stage['bytes'] / 1e6:.3g}",
            milliseconds(stage["limit_ms"]),
            stage["bound"],
        ]
        times = [str(stage["n"]), milliseconds(stage["p50_ms"]), milliseconds(stage["p95_ms"])]
        rows.append([stage["name"], sizes, *times, *work, f"{stage['peak_fraction']:.0%}"])
    return head, rows


def _notes(report: Report) -> list[str]:
    over = report["overhead"]
    lines = [
        f"- the next answer is {report['next_is_faster_by']:.1f} times as fast as the first; "
        f"{report['llm_forwards_per_answer']:.2f} LLM forwards and {report['tokens_per_answer']:.1f} tokens an answer",
        f"- outside of the graphs: {milliseconds(over['first']['outside_graphs_ms'])} ms of a first answer "
        f"({over['first']['outside_graphs_share']:.1%}), {milliseconds(over['next']['outside_graphs_ms'])} ms of a "
        f"next one ({over['next']['outside_graphs_share']:.1%}); without pre- and post-processing "
        f"{milliseconds(over['first']['runtime_ms'])} and {milliseconds(over['next']['runtime_ms'])} ms",
    ]
    if together := report["together"]:
        one_by_one, at_once = (together[way]["p50_ms"] for way in ("one_by_one", "together"))
        lines.append(
            f"- {together['prompts']} prompts at once: {together['rate']:.2f} times the rate of one by one "
            f"({milliseconds(at_once)} ms against {milliseconds(one_by_one)}), "
            f"masks of IoU {together['min_mask_iou']:.4f} at least"
        )
    for graph, counts in report.get("products", {}).items():
        lines.append(f"- products of {graph}: " + ", ".join(f"{number} {op}" for op, number in counts.items()))
    memory, energy = report["memory"], report["energy"]
    if memory.get("host_peak_bytes"):
        peak, imports, needed = (memory[f"{name}_bytes"] / 1e6 for name in ("host_peak", "imports", "needed"))
        device = memory["device_peak_bytes"]
        lines.append(
            f"- peak memory {peak:.0f} MB, of which {imports:.0f} MB are there before the bundle is loaded; weights, "
            f"cache and activations are {needed:.0f} MB" + (f"; on the device {device / 1e6:.0f} MB" if device else "")
        )
    else:
        lines.append(f"- peak memory: not measured, {memory['reason']}")
    joules = energy["joules_per_answer"]
    lines.append(
        f"- energy: {joules:.3g} J a first answer ({energy['source']})"
        if joules is not None
        else f"- energy: not measured, {energy['reason']}"
    )
    for side in _others(report):
        same = "the same tokens" if side["same_tokens"] else f"{side['answers_with_same_tokens']:.0%} the same tokens"
        lines.append(f"- {_name(side)} says {same}, and draws masks of IoU {side['min_mask_iou']:.4f} at least")
    return lines


def _peak_lines(report: Report) -> Iterable[str]:
    for peak in report["peaks"].values():
        yield (
            f"peak {peak['precision']}: {peak['flops_per_second'] / 1e9:.0f} GFLOP/s ({peak['gemm']}), "
            f"{peak['bytes_per_second'] / 1e9:.1f} GB/s ({peak['copy']})"
        )
    yield report["explained"]["peak_fraction"]


def _facts(report: Report) -> Iterable[tuple[str, str]]:
    yield "included", report["included"]
    yield "bundle", _flat(report["bundle"])
    yield "settings", _flat(report["settings"])
    for side in (report, *_others(report)):
        yield f"set-up of {_name(side)}", _flat({**side["setup"], "warmup seconds": side["warmup_seconds"]})
    for name, value in report["environment"].items():
        yield name.replace("_", " "), _flat(value)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name.replace('_', ' ')} {_flat(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_flat(item) for item in value) or "none"
    return "not told" if value is None else str(value)


def _table(head: Row, rows: Sequence[Row]) -> list[str]:
    def line(cells: Row) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *map(line, rows)]


def _html_table(head: Row, rows: Sequence[Row]) -> str:
    def line(tag: str, cells: Row) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line('th', head)}{''.join(line('td', row) for row in rows)}</table>"
