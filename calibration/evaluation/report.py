"""What an evaluation says, as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xsam_edge.calibration.data.samples import Task
from xsam_edge.calibration.evaluation.rejection import OperatingPoint
from xsam_edge.calibration.evaluation.run import Evaluation
from xsam_edge.calibration.page.text import aligned
from xsam_edge.runtime.bundle.settings import Referring

Metrics = Mapping[Task, Mapping[str, Any]]

# As many rows as categories, and what has a table or a line of its own; programs read them.
_HIDDEN = ("per_category", "at", "roc", "in_use", "without_pixels")
_COUNTS = ("n", "masks", "n_interactive", "n_similar", "n_present")


def table(evaluation: Evaluation) -> str:
    """One line for each task and kind, its metrics by name, then what thresholds do."""
    lines = aligned([row for task, metrics in evaluation.tasks.items() for row in _rows(task, metrics)])
    return "\n".join([*lines, "", *_thresholds({"": evaluation.tasks}), *_closing(evaluation)])


def comparison_table(
    first: Evaluation, second: Evaluation, agreement: Metrics, differences: Mapping[Task, Mapping[str, Any]]
) -> str:
    """Both bundles' metrics beside one another, then how far their answers agree."""
    rows: list[tuple[str, ...]] = [("task", "metric", "first", "second", "difference", "95% interval")]
    for task, metrics in first.tasks.items():
        other: Mapping[str, Any] = second.tasks.get(task, {})
        for name, value in metrics.items():
            if name not in _HIDDEN and not isinstance(value, Mapping):
                known = name not in _COUNTS and None not in (value, other.get(name))
                difference = f"{other[name] - value:+.4f}" if known else ""
                sure = differences.get(task, {}).get(name)
                interval = f"{sure['low']:+.4f} to {sure['high']:+.4f}" if sure else ""
                values = _value(name, value), _value(name, other.get(name))
                rows.append((task, name, *values, difference, interval))
    masks: list[tuple[str, ...]] = [("task", *next(iter(agreement.values()), {}))]
    for task, shared in agreement.items():
        masks.append((task, *(_value(name, value) for name, value in shared.items())))
    thresholds = _thresholds({", first": first.tasks, ", second": second.tasks})
    return "\n".join([*aligned(rows), "", "agreement of the two", *aligned(masks), "", *thresholds, *_closing(first)])


def written_rules(path: Path, points: Mapping[Referring, OperatingPoint]) -> str:
    """What was written into a manifest, and what it does on the data that it was chosen by."""
    rows: list[tuple[str, ...]] = [("task", "absent below", "false alarms", "hits")]
    rows += [(method, *_point_cells(point.to_json())) for method, point in points.items()]
    return "\n".join([f"written into {path}", *aligned(rows)])


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
    return [
        f"{name} {_value(name, value)}"
        for name, value in metrics.items()
        if name not in _HIDDEN and not isinstance(value, Mapping)
    ]


def _share(counted: Mapping[str, Any]) -> str:
    """A share of asks in words: "3 of 60, 5.0% (1.7 to 13.7%)", in brackets its 95% interval."""
    if not counted["of"]:
        return "-"
    rate, low, high = (f"{100 * counted[name]:.1f}" for name in ("rate", "low", "high"))
    return f"{counted['n']} of {counted['of']}, {rate}% ({low} to {high}%)"


def _thresholds(evaluations: Mapping[str, Metrics]) -> list[str]:
    """What thresholds do where absent things were asked for; evaluations by what is put behind a task."""
    rows: list[tuple[str, ...]] = [
        ("rejection", "threshold", "false alarms: absent, but found", "hits: there, and found")
    ]
    for suffix, tasks in evaluations.items():
        for task, metrics in tasks.items():
            absent: Mapping[str, Any] = metrics.get("absent", {})
            points = {f"{100 * float(rate):g}% false alarms": point for rate, point in absent.get("at", {}).items()}
            if "in_use" in absent:
                points["in use"] = absent["in_use"]
            for name, point in points.items():
                cells = ("none",) if point is None else _point_cells(point)
                rows.append((f"{task}{suffix}, {name}", *cells))
    if len(rows) == 1:
        return []
    return [*aligned(rows), "in brackets: 95% intervals", ""]


def _point_cells(point: Mapping[str, Any]) -> tuple[str, ...]:
    return f"{point['threshold']:.4f}", _share(point["false_alarms"]), _share(point["hits"])


def _value(name: str, value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if name in _COUNTS else f"{value:.4f}"


def _closing(evaluation: Evaluation) -> Iterator[str]:
    count = len(evaluation.unreadable)
    if count:
        yield f"{count} image{'s'[: count != 1]} could not be read: {', '.join(evaluation.unreadable[:5])}" + (
            ", ..." if count > 5 else ""
        )
    if empty := evaluation.tasks.get("panoptic", {}).get("without_pixels"):
        have, were = ("segment has", "was") if empty == 1 else ("segments have", "were")
        yield f"{empty} annotated {have} no pixel in the map and {were} left out of panoptic"
    yield f"{evaluation.pictures} picture{'s'[: evaluation.pictures != 1]} in {evaluation.seconds:.0f} s"
