"""What a check finds: a record a line of JSON, in the file the moment it is known, so that a crash takes none along."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xsam_edge.runtime.errors import InputError

RESULTS = "results.jsonl"
DEVICE = "device"
OUTCOME = "outcome"
STARTED, DONE, NO_GPU = "started", "done", "needs a GPU"
"""Values of a step's ``OUTCOME``; any other one says what went wrong."""

_WHOLE = 1e4  # from here on numbers are shown without places after the point

Value = float | int | str | bool | None


@dataclass(frozen=True)
class Record:
    """One thing that a step found. ``unit`` is that of a number; ``note`` is what it holds for."""

    step: str
    name: str
    value: Value
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Recorder:
    """Appends what one step finds to a file, and shows it on stderr."""

    path: Path
    step: str

    def __call__(self, name: str, value: Value, unit: str = "", note: str = "") -> None:
        """Write one record, in one piece."""
        record = Record(self.step, name, round(value, 4) if isinstance(value, float) else value, unit, note)
        line = json.dumps(asdict(record)) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
        print(shown(record), file=sys.stderr, flush=True)


def shown(record: Record) -> str:
    """A record as a line of text."""
    note = f"  ({record.note})" if record.note else ""
    return f"{record.step}: {record.name}: {text(record)}{note}"


def text(record: Record) -> str:
    """The value and its unit."""
    match record.value:
        case bool():
            said = "yes" if record.value else "no"
        case None:
            said = "not known"
        case float() as number if abs(number) < _WHOLE:
            said = f"{number:.4g}"
        case int() | float() as number:
            said = f"{number:,.0f}"
        case said:
            pass
    return f"{said} {record.unit}".strip()


def read(paths: Iterable[Path]) -> list[Record]:
    """Records of several runs; of a step that ran several times the last run counts.

    A last line that was cut off is left out.

    Raises:
        InputError: a file that cannot be read, or holds no record.
    """
    found: dict[tuple[str, str], Record] = {}
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read ({error}); give a {RESULTS} that `gpu_check run` wrote") from None
        records = [record for record in map(_parsed, lines) if record is not None]
        if not records:
            raise InputError(f"{path} holds no result; give a {RESULTS} that `gpu_check run` wrote")
        for record in records:
            if (record.name, record.value) == (OUTCOME, STARTED):  # what it found before counts no more
                found = {key: other for key, other in found.items() if other.step != record.step}
            found[record.step, record.name] = record
    return list(found.values())


def _parsed(line: str) -> Record | None:
    try:
        fields: dict[str, Any] = json.loads(line)
        return Record(**fields)
    except (ValueError, TypeError):
        return None


def find(records: Sequence[Record], step: str, name: str) -> float | None:
    """The number of a step and a name; None where there is none."""
    for record in records:
        if (record.step, record.name) == (step, name) and isinstance(record.value, int | float):
            return float(record.value)
    return None
