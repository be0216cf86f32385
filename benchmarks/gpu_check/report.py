"""What a check found, as a table for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from xsam_edge.benchmarks.gpu_check.goals import Goal, goals
from xsam_edge.benchmarks.gpu_check.records import OUTCOME, Record, text
from xsam_edge.benchmarks.gpu_check.steps import BY_NAME
from xsam_edge.calibration.page.text import markdown as table

_NAME, _VALUE, _NOTE = 52, 24, 160  # characters of the terminal's columns
_TOOK = "took"
# Of the facts, those that a page's first line says.
_HEADLINE = {
    ("facts", "card: name"): "",
    ("facts", "card: driver_version"): "driver ",
    ("facts", "version of torch"): "torch ",
    ("ort", "onnxruntime"): "onnxruntime ",
}


def terminal(records: Sequence[Record]) -> str:
    """Every figure in a line, then outcomes and goals."""
    lines = []
    for step, found in groupby(_ordered(records), key=lambda record: record.step):
        lines += ["", f"{step}: {_outcome(records, step)}"]
        lines += [_line(record) for record in found if record.name not in (OUTCOME, _TOOK)]
    lines += ["", "goals"]
    lines += [
        f"  {goal.text:<{_NAME + 20}} {goal.verdict}{'; ' + goal.found if goal.found else ''}"
        for goal in goals(records)
    ]
    return "\n".join(lines[1:])


def _line(record: Record) -> str:
    line = f"  {record.name:<{_NAME}} {text(record):<{_VALUE}} {record.note}".rstrip()
    return line if len(line) <= _NAME + _VALUE + _NOTE else f"{line[: _NAME + _VALUE + _NOTE]}..."


def _ordered(records: Sequence[Record]) -> list[Record]:
    order = {name: place for place, name in enumerate(BY_NAME)}
    return sorted(records, key=lambda record: order.get(record.step, len(order)))


def _outcome(records: Sequence[Record], step: str) -> str:
    said = {record.name: record for record in records if record.step == step}
    parts = []
    if outcome := said.get(OUTCOME):
        parts.append(f"{outcome.value} ({outcome.note})" if outcome.note else str(outcome.value))
    if took := said.get(_TOOK):
        parts.append(f"{took.value} s")
    return ", ".join(parts) or "no outcome"


def markdown(records: Sequence[Record]) -> str:
    """A page: on what, goals, steps that were not done, and the figures of each step."""
    steps = list(dict.fromkeys(record.step for record in _ordered(records)))
    lines = [
        "# A GPU checked",
        "",
        *_headline(records),
        "",
        "## Goals",
        "",
        *_goals(goals(records)),
        "",
        "## Steps",
        "",
    ]
    rows = [[step, BY_NAME[step].about if step in BY_NAME else "", _outcome(records, step)] for step in steps]
    lines += table(["step", "what", "outcome"], rows)
    for step in steps:
        found = [record for record in records if record.step == step and record.name not in (OUTCOME, _TOOK)]
        if found:
            body = [[record.name, text(record), record.note] for record in found]
            lines += ["", f"## {step}", "", *table(["what", "found", "note"], body)]
    return "\n".join(lines) + "\n"


def _headline(records: Sequence[Record]) -> list[str]:
    said = {(record.step, record.name): text(record) for record in records}
    known = [f"{label}{said[key]}" for key, label in _HEADLINE.items() if key in said]
    card = "" if ("facts", "card: name") in said else "no GPU that is known of, "
    measured = f"Measured on {card}{', '.join(known)}." if known else "It is not known what this was measured on."
    return ["Made by `python -m xsam_edge.benchmarks.gpu_check report`.", "", measured]


def _goals(found: Sequence[Goal]) -> list[str]:
    return table(["goal", "verdict", "found"], [[goal.text, goal.verdict, goal.found] for goal in found])
