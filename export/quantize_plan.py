"""What a user chooses of a reduced precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xsam_edge.export.precision.plan import FloatType, Plan, Precision

DEFAULT_SAMPLES = 256
DEFAULT_HELD_OUT = 64
DEFAULT_MIN_IOU = 0.97
DEFAULT_CHECKED = 4


@dataclass(frozen=True)
class QuantizeOptions:
    """Without a ``plan`` the preset of ``precision`` is taken.

    ``min_iou`` is the bound of the mean mask IoU with FP32 on ``held_out`` pictures; 0 compares nothing. ``checked``
    is how many pictures show whether values fit into FP16; 0 checks nothing. ``cache`` is the folder of calibration
    statistics, by default ``calibration.statistics.collect.default_cache()``.
    """

    precision: Precision
    float_type: FloatType = "fp16"
    encoders: Precision | None = None
    plan: Plan | None = None
    data: str = "shapes"
    samples: int = DEFAULT_SAMPLES
    held_out: int = DEFAULT_HELD_OUT
    ranges: str | None = None
    smoothing: bool | None = None
    min_iou: float = DEFAULT_MIN_IOU
    checked: int = DEFAULT_CHECKED
    allow_degraded: bool = False
    cache: Path | None = None
    threads: int = 0


def precision_of(plan: Plan) -> Precision:
    """What to call a plan: the lowest precision in it."""
    used = {rule.precision for rule in plan.rules}
    return "int4" if "int4" in used else "int8" if "int8" in used else plan.float
