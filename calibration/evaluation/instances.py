"""Instance segmentation: things, which may overlap, each with a score."""

from __future__ import annotations

from typing import Any

from xsam_edge.calibration.data.samples import Categories
from xsam_edge.calibration.evaluation.average_precision import AveragePrecision, Object
from xsam_edge.calibration.evaluation.overlap import mean
from xsam_edge.runtime.results.result import Result


class InstanceMetrics:
    """COCO's average precision over categories."""

    def __init__(self, things: int) -> None:
        self._precision = AveragePrecision(things)
        self._answered: list[bool] = []

    def add(self, ask: Categories, result: Result) -> None:
        """Count one picture."""
        self._answered.append(result.answered)
        truth = (
            Object(segment.mask(), segment.label, is_crowd=segment.is_crowd, area=segment.area)
            for segment in ask.segments
            if segment.label < ask.things
        )
        predicted = (Object(segment.mask, segment.label_id, segment.score) for segment in result.segments)
        self._precision.add(truth, predicted)

    def result(self) -> dict[str, Any]:
        """``n`` (pictures), ``ap``, ``ap50``, ``ap75``, ``ap_small``, ``ap_medium``, ``ap_large``, ``answered``."""
        return {"n": len(self._answered), **self._precision.result(), "answered": mean(self._answered)}
