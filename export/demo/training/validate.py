"""A quick look at how training goes: mask IoU by kind of exercise, and how many answer tokens are right."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch.nn import functional as F

from xsam_edge.export.demo.training.forward import Predictions
from xsam_edge.export.demo.training.packing import Batch


class Scores:
    """Sums over batches; ``totals`` of several workers may be added up."""

    def __init__(self) -> None:
        self.totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, predictions: Predictions, batch: Batch) -> None:
        """Count a batch: for each target the IoU of the query that likes its condition best, for one condition; for
        lists of conditions the best IoU of the queries of that class.
        """
        scores = predictions.class_logits[-1].softmax(-1)
        masks = F.interpolate(predictions.mask_logits[-1], batch.targets.shape[-2:], mode="bilinear") > 0
        for exercise, kind in enumerate(batch.kinds):
            for target, label in enumerate(batch.labels[exercise].tolist()):
                if label < 0:
                    continue
                truth = batch.targets[exercise, target] > 0.5
                chosen = masks[exercise, scores[exercise, :, label].argmax()][None]
                if kind in ("categories", "similar"):
                    chosen = masks[exercise, scores[exercise].argmax(-1) == label]
                inter, union = (chosen & truth).sum((1, 2)), (chosen | truth).sum((1, 2))
                iou = float((inter / union.clamp(min=1)).max()) if len(chosen) else 0.0
                self._count(kind, iou)
        wanted = torch.cat([group.next_ids[group.next_ids >= 0] for group in batch.groups])
        right = (predictions.next_logits.argmax(-1) == wanted).float()
        self.totals["tokens"][0] += float(right.sum())
        self.totals["tokens"][1] += len(right)

    def _count(self, kind: str, value: float) -> None:
        self.totals[kind][0] += value
        self.totals[kind][1] += 1

    def means(self) -> dict[str, float]:
        """Mean of every kind."""
        return {kind: round(total / count, 4) for kind, (total, count) in sorted(self.totals.items())}
