"""HOTA: detection and association in one number, neither of which outweighs the other.

Luiten, Osep, Dendorfer, Torr, Geiger, Leal-Taixe and Leibe, "HOTA: A Higher Order Metric for Evaluating Multi-Object
Tracking", IJCV 2021 (arXiv 2009.07736).
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from xsam_edge.calibration.evaluation.tracked import Floats, TrackedTruth, best_pairs

_LEAST = np.arange(0.05, 0.99, 0.05)  # overlaps at which a pair counts as a match; the result is the mean over them


class Hota:
    """Frames are kept until the result is asked for: which track suits a thing is told by all of them."""

    def __init__(self) -> None:
        self._frames: list[tuple[list[int], list[int], Floats]] = []
        self._things: dict[Hashable, int] = {}
        self._tracks: dict[Hashable, int] = {}

    def add(self, frame: TrackedTruth) -> None:
        """Count one frame."""
        rows = [self._things.setdefault(thing, len(self._things)) for thing in frame.truth]
        columns = [self._tracks.setdefault(track, len(self._tracks)) for track in frame.given]
        self._frames.append((rows, columns, frame.overlap))

    def result(self) -> dict[str, float | None]:
        """``hota``, ``deta`` and ``assa``; None where there is neither a thing nor a track.

        In each frame pairs are chosen by overlap times how well the two suit each other over all frames. For each least
        overlap, DetA is TP / (TP + FN + FP), AssA the mean over matches of TPA / (TPA + FNA + FPA), which count the
        frames of the pair's thing and track, and HOTA the root of their product.
        """
        shape = (len(self._things), len(self._tracks))
        together, things, tracks = np.zeros(shape), np.zeros(shape[0]), np.zeros(shape[1])
        for rows, columns, overlap in self._frames:
            all_others = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
            together[np.ix_(rows, columns)] += np.divide(
                overlap, all_others, out=np.zeros_like(overlap), where=all_others > 0
            )
            things[rows] += 1
            tracks[columns] += 1
        if not things.sum() + tracks.sum():
            return {"hota": None, "deta": None, "assa": None}
        suits = together / (things[:, None] + tracks - together)
        matches = np.zeros((len(_LEAST), *shape))
        for rows, columns, overlap in self._frames:
            chosen = best_pairs(suits[np.ix_(rows, columns)] * overlap)
            for level, least in enumerate(_LEAST):
                enough = overlap[chosen] >= least - 1e-9
                matches[level, np.array(rows, int)[chosen[0][enough]], np.array(columns, int)[chosen[1][enough]]] += 1
        found = matches.sum((1, 2))
        associated = (matches * matches / (things[:, None] + tracks - matches)).sum((1, 2))
        deta = found / (things.sum() + tracks.sum() - found)
        assa = associated / np.maximum(found, 1)
        return {
            "hota": float(np.sqrt(deta * assa).mean()),
            "deta": float(deta.mean()),
            "assa": float(assa.mean()),
        }
