"""What a second bundle loses or gains on the same pictures, with an interval: how sure a difference of metrics is.

Pictures are drawn again and again with replacement (Efron's bootstrap), both bundles' together, since what is hard for
one is hard for the other: their difference is far more certain than either metric.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.data.samples import TASKS, Ask, Categories, Phrase, Task
from xsam_edge.calibration.evaluation.overlap import first_mask, mask_overlap
from xsam_edge.calibration.evaluation.panoptic import PanopticMetrics
from xsam_edge.runtime.results.result import Result

DRAWS = 2000
_SEED = 0
_LEVEL = 0.95

Counts = npt.NDArray[np.float64]


class PictureCounts:
    """What metrics are sums of, picture by picture; ``watch`` goes to ``evaluate``.

    Of ``refer`` and ``reason`` intersections, unions, IoUs and phrases that are there; of ``panoptic`` the sums of each
    category's panoptic quality.
    """

    def __init__(self) -> None:
        self.counts: dict[Task, dict[str, Counts]] = defaultdict(dict)

    def watch(self, picture: str, _number: int, ask: Ask, result: Result) -> None:
        """Count one answer."""
        if isinstance(ask, Phrase) and ask.mask is not None:
            both, union = mask_overlap(first_mask(result), ask.mask(), ask.ignore() if ask.ignore else None)
            added = np.array([both, union, both / union if union else 1.0, 1.0])
        elif isinstance(ask, Categories) and ask.task == "panoptic":
            metrics = PanopticMetrics(ask.names, ask.things)
            metrics.add(ask, result)
            added = metrics.counts()
        else:
            return
        known = self.counts[ask.task]
        known[picture] = known[picture] + added if picture in known else added


def differences(first: PictureCounts, second: PictureCounts) -> dict[Task, dict[str, dict[str, float]]]:
    """``{task: {metric: {difference, low, high}}}``, the second less the first, in the metrics' own unit.

    ``low`` and ``high`` bound 95% of ``DRAWS`` drawings. Pictures that only one of the two answered are left out.
    """
    found: dict[Task, dict[str, dict[str, float]]] = {}
    for task in TASKS:
        pictures = [name for name in first.counts.get(task, {}) if name in second.counts.get(task, {})]
        if not pictures:
            continue
        sides = [np.stack([side.counts[task][name] for name in pictures]) for side in (first, second)]
        rng, count = np.random.default_rng(_SEED), len(pictures)
        drawn = rng.multinomial(count, np.full(count, 1 / count), DRAWS).astype(np.float64)
        whole = np.ones((1, count))
        metrics = [_metrics(task, np.tensordot(np.concatenate([whole, drawn]), side, 1)) for side in sides]
        found[task] = {name: _interval(metrics[1][name] - metrics[0][name]) for name in metrics[0]}
    return found


def _metrics(task: Task, sums: Counts) -> Mapping[str, Counts]:
    """Each metric [draws] of sums [draws, ...]."""
    if task == "panoptic":
        iou, matched, superfluous, missed = np.moveaxis(sums, -1, 0)  # each [draws, categories]
        weight = matched + (superfluous + missed) / 2
        seen = weight > 0
        quality = np.where(seen, iou / np.where(seen, weight, 1), 0)
        return {"pq": quality.sum(1) / np.maximum(seen.sum(1), 1)}
    both, union, ious, phrases = sums.T
    return {"ciou": np.where(union > 0, both / np.where(union > 0, union, 1), 1), "giou": ious / phrases}


def _interval(values: Counts) -> dict[str, Any]:
    """Of the value of all pictures, and those of drawings behind it."""
    low, high = np.quantile(values[1:], [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return {"difference": float(values[0]), "low": float(low), "high": float(high)}
