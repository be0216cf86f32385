"""What a user chooses of a reduced precision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xsam_edge.export.precision.plan import CachePrecision, FloatType, Plan, Precision

if TYPE_CHECKING:  # options are read where there is nothing that runs graphs
    from xsam_edge.calibration.instrumented import CalibrationDevice

DEFAULT_SAMPLES = 256
DEFAULT_HELD_OUT = 64
# Of a model of more parameters than this a CPU takes minutes for each picture.
LARGE = 1_000_000_000
LARGE_SAMPLES = 16
LARGE_HELD_OUT = 16
LARGE_GATE_MINUTES = 60.0
DEFAULT_MIN_IOU = 0.97
_LOWEST_FIRST: tuple[Precision, ...] = ("int4", "int8", "fp8")
DEFAULT_CHECKED = 4


@dataclass(frozen=True)
class QuantizeOptions:
    """Without a ``plan`` the preset of ``precision`` is taken. ``kv_cache`` is None where the plan says it.

    ``min_iou`` is the bound of the mean mask IoU with FP32 on ``held_out`` pictures; 0 compares nothing. ``checked``
    is how many pictures show whether values fit into FP16; 0 checks nothing. ``cache`` is the folder of calibration
    statistics, by default ``calibration.statistics.collect.default_cache()``; ``device`` computes them. ``samples``,
    ``held_out`` and ``gate_minutes`` are None until the size of the model is known: see :meth:`for_parameters`. The
    latter bounds what the comparison takes, and is None where nothing does.
    """

    precision: Precision
    float_type: FloatType = "fp16"
    encoders: Precision | None = None
    kv_cache: CachePrecision | None = None
    plan: Plan | None = None
    data: str = "shapes"
    samples: int | None = None
    held_out: int | None = None
    ranges: str | None = None
    smoothing: bool | None = None
    min_iou: float = DEFAULT_MIN_IOU
    gate_minutes: float | None = None
    checked: int = DEFAULT_CHECKED
    allow_degraded: bool = False
    cache: Path | None = None
    device: CalibrationDevice = "cpu"
    threads: int = 0

    def for_parameters(self, count: int) -> QuantizeOptions:
        """The options with the defaults of a model of so many parameters."""
        large = count > LARGE
        return replace(
            self,
            samples=self.samples or (LARGE_SAMPLES if large else DEFAULT_SAMPLES),
            held_out=self.held_out or (LARGE_HELD_OUT if large else DEFAULT_HELD_OUT),
            gate_minutes=self.gate_minutes or (LARGE_GATE_MINUTES if large else None),
        )

    @property
    def is_plain_half(self) -> bool:
        """Whether weights are rounded to FP16 with nothing measured."""
        only_half = self.precision == "fp16" and self.plan is None and self.encoders in (None, "fp16")
        return only_half and self.kv_cache is None and self.min_iou <= 0 and not self.checked


def precision_of(plan: Plan) -> Precision:
    """What to call a plan: the lowest precision in it."""
    used = {rule.precision for rule in plan.rules}
    return next((precision for precision in _LOWEST_FIRST if precision in used), plan.float)
