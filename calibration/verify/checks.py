"""The comparisons of one recorded mode, gathered as its stages run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xsam_edge.calibration.verify import compare
from xsam_edge.calibration.verify.compare import Array, Bounds, Comparison, Measure, ValueKind
from xsam_edge.calibration.verify.reference import Recording


@dataclass
class Checks:
    """The comparisons of one recording, and the keys that were used."""

    recording: Recording
    bounds: Bounds
    done: list[Comparison] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def add(self, stage: str, key: str, kind: ValueKind, measure: Measure, judged: bool = True) -> None:
        """Judge a measure; one that is not ``judged`` is reported only."""
        self.used.add(key)
        bound, ok = compare.judge(measure, kind, self.bounds) if judged else (None, True)
        values = measure.values
        self.done.append(
            Comparison(
                self.recording.file, self.recording.mode, stage, key, kind, values, ok, measure.max_abs,
                measure.relative, measure.iou, measure.agreement, bound, measure.note,
            )
        )  # fmt: skip

    def numbers(self, stage: str, key: str, ours: Array, kind: ValueKind = "floats", part: Any = ()) -> None:
        """Compare a recorded array, or ``part`` of it, if it was recorded."""
        if key in self.recording:
            self.add(stage, key, kind, compare.numbers(ours, self.recording[key][part]))

    def skipped(self) -> dict[str, int]:
        """Recorded keys that nothing was compared with, and how many values they have."""
        recording = self.recording
        names = [key for key in recording.keys() if key not in self.used]  # noqa: SIM118
        return {f"{recording.file}:{recording.prefix}{key}": recording.count(key) for key in names}


@dataclass(frozen=True, eq=False)
class Outcome:
    """Everything that was compared, and what was not, with the number of its values."""

    comparisons: tuple[Comparison, ...]
    skipped: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether every bound is kept."""
        return all(item.ok for item in self.comparisons)
