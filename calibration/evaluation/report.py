"""What an evaluation says, as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xsam_edge.calibration.data.samples import Task
from xsam_edge.calibration.evaluation.run import Evaluation
from xsam_edge.calibration.page.text import aligned

Metrics = Mapping[Task, Mapping[str, Any]]

_HIDDEN = ("per_category",)  # as many rows as categories; programs read them
_COUNTS = ("n", "masks", "n_interactive", "n_similar")


def table(evaluation: Evaluation) -> str:
    """One line for each task and kind, its metrics by name."""
    lines = aligned([row for task, metrics in evaluation.tasks.items() for row in _rows(task, metrics)])
    return "\n".join([*lines, "", *_closing(evaluation)])


def comparison_table(first: Evaluation, second: Evaluation, agreement: Metrics) -> str:
    """Both bundles' metrics beside one another, then how far their answers agree."""
    rows: list[tuple[str, ...]] = [("task", "metric", "first", "second", "difference")]
    for task, metrics in first.tasks.items():
        other: Mapping[str, Any] = second.tasks.get(task, {})
        for name, value in metrics.items():
            if name not in _HIDDEN and not isinstance(value, Mapping):
                known = name not in _COUNTS and None not in (value, other.get(name))
                difference = f"{other[name] - value:+.4f}" if known else ""
                rows.append((task, name, _value(name, value), _value(name, other.get(name)), difference))
    masks: list[tuple[str, ...]] = [("task", *next(iter(agreement.values()), {}))]
    for task, shared in agreement.items():
        masks.append((task, *(_value(name, value) for name, value in shared.items())))
    return "\n".join([*aligned(rows), "", "agreement of the two", *aligned(masks), "", *_closing(first)])


def _rows(task: str, metrics: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield (task, *_cells(metrics))
    for name, value in metrics.items():
        if not isinstance(value, Mapping) or name in _HIDDEN:
            continue
        if name == "kinds":
            for kind, values in value.items():
                yield (f"  {kind}", *_cells(values))
        else:
            yield (f"  {name}", *_cells(value))


def _cells(metrics: Mapping[str, Any]) -> list[str]:
    return [f"{name} {_value(name, value)}" for name, value in metrics.items() if not isinstance(value, Mapping)]


def _value(name: str, value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if name in _COUNTS else f"{value:.4f}"


def _closing(evaluation: Evaluation) -> Iterator[str]:
    count = len(evaluation.unreadable)
    if count:
        yield f"{count} image{'s'[: count != 1]} could not be read: {', '.join(evaluation.unreadable[:5])}" + (
            ", ..." if count > 5 else ""
        )
    yield f"{evaluation.pictures} picture{'s'[: evaluation.pictures != 1]} in {evaluation.seconds:.0f} s"
