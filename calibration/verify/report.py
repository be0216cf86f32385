"""What a verification says: a table for people, one object for programs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xsam_edge.calibration.page.text import aligned
from xsam_edge.calibration.verify.checks import Outcome
from xsam_edge.calibration.verify.compare import Comparison

_STAGES = (
    "preprocess", "image encoder", "prompt", "region sampler", "llm", "generation", "embeddings", "mask decoder",
    "postprocess",
)  # fmt: skip
_NUMBERS = {"keys", "values", "max abs", "relative", "IoU", "bound"}  # heads of columns that end flush
_SHOWN = 20  # failures in the table; the object has all


def table(outcome: Outcome, *, every: bool = False) -> str:
    """Stages, then files, each with its worst value, then what exceeds its bound; the last line is the verdict.

    ``every`` lists all comparisons, the worst first, in place of stages and files.
    """
    items = outcome.comparisons
    ranked = sorted(items, key=lambda item: item.severity, reverse=True)
    lines: list[str] = []
    if every:
        lines += [*aligned([_HEAD, *map(_row, ranked)], _NUMBERS), ""]
    else:
        lines += [*_groups("stage", sorted(items, key=_stage), lambda item: item.stage), ""]
        lines += [*_groups("file", items, lambda item: f"{item.file} {item.mode}".strip()), ""]
        failed = [item for item in ranked if not item.ok]
        if failed:
            lines += [f"{len(failed)} outside of the bounds:"]
            lines += [f"  {line}" for line in aligned([_HEAD, *map(_row, failed[:_SHOWN])], _NUMBERS)]
            lines += [f"  and {len(failed) - _SHOWN} more", ""] if len(failed) > _SHOWN else [""]
    return "\n".join([*lines, _verdict(outcome)])


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The verdict, the counts and every comparison, as values that ``json.dumps`` takes; no number is infinite."""
    items = outcome.comparisons
    return {
        "ok": outcome.ok,
        "compared": len(items),
        "compared_values": sum(item.values for item in items),
        "failed": sum(not item.ok for item in items),
        "skipped": len(outcome.skipped),
        "skipped_values": sum(outcome.skipped.values()),
        "comparisons": [{name: _finite(value) for name, value in dataclasses.asdict(item).items()} for item in items],
        "skipped_keys": outcome.skipped,
    }


_HEAD = ("file", "mode", "key", "values", "max abs", "IoU", "bound", "", "")


def _row(item: Comparison) -> tuple[str, ...]:
    bound = "-" if item.bound is None else f"{item.bound:g}"
    return (
        item.file, item.mode or "-", item.key, str(item.values), _number(item.max_abs), _iou(item.iou), bound,
        "ok" if item.ok else "FAIL", item.note[:120],
    )  # fmt: skip


def _stage(item: Comparison) -> int:
    return _STAGES.index(item.stage)


def _groups(title: str, items: Sequence[Comparison], name_of: Callable[[Comparison], str]) -> Iterator[str]:
    groups: dict[str, list[Comparison]] = {}
    for item in items:
        groups.setdefault(name_of(item), []).append(item)
    rows: list[tuple[str, ...]] = [(title, "keys", "values", "max abs", "relative", "IoU", "", "worst")]
    for name, group in groups.items():
        numeric = [item for item in group if item.kind in ("floats", "pixels") and item.max_abs is not None]
        worst = max(numeric, key=lambda item: item.max_abs or 0.0, default=None)
        failed = [item for item in group if not item.ok]
        pointed = max(failed, key=lambda item: item.severity, default=worst)
        rows.append(
            (
                name,
                str(len(group)),
                str(sum(item.values for item in group)),
                _number(worst.max_abs if worst else None),
                _number(max((item.relative or 0.0 for item in numeric), default=None)),
                _iou(min((item.iou for item in group if item.iou is not None), default=None)),
                f"{len(failed)} FAIL" if failed else "ok",
                (f"{pointed.key}" if title == "file" else f"{pointed.file} {pointed.key}")
                if pointed and (failed or pointed.max_abs)
                else "",
            )
        )
    yield from aligned(rows, _NUMBERS)


def _verdict(outcome: Outcome) -> str:
    items = outcome.comparisons
    failed = sum(not item.ok for item in items)
    reported = sum(item.bound is None for item in items)
    values = sum(item.values for item in items)
    verdict = f"FAIL: {failed} of {len(items)} comparisons exceed their bounds" if failed else "PASS"
    compared = f"{values:,} values in {len(items)} comparisons" + (f", {reported} without a bound" if reported else "")
    missing = f"{sum(outcome.skipped.values()):,} values of {len(outcome.skipped)} keys were not compared"
    return f"{verdict}{'; ' if failed else ': '}{compared}; {missing}"


def _number(value: float | None) -> str:
    return "-" if value is None else "0" if value == 0 else f"{value:.1e}"


def _iou(value: float | None) -> str:
    # Rounded down: 0.99996 is not 1.
    return "-" if value is None else f"{math.floor(value * 1e5) / 1e5:.5f}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
