"""Results as a reply has them: masks as PNG, run lengths or polygons, and what they took."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.polygons import coco_polygons
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

FORMATS = ("png", "rle", "polygon")
_INSIDE = np.uint8(255)
_FAST = 1  # of zlib: masks are runs, which no level makes much smaller


def render(results: Sequence[Result], texts: Sequence[str], mask_format: str, facts: Mapping[str, Any]) -> bytes:
    """The JSON of a reply.

    Args:
        results: one for each of ``texts``, or a single one of a question without.
        texts: the prompts.
        mask_format: one of ``FORMATS``.
        facts: what stands beside: model, scene, timings.
    """
    data = []
    answers = []
    for index, result in enumerate(results):
        spans = phrase_spans(result) if result.task == "gcgseg" else {}
        for place, segment in enumerate(result.segments):
            entry = segment_entry(segment, mask_format) | {"prompt_index": index}
            if place in spans:
                entry["caption_span"] = list(spans[place])
            data.append(entry)
        answers.append(
            {
                "prompt": texts[index] if texts else None,
                "text": result.text,
                "caption": result.caption,
                "found": result.found,
                "reason": result.reason,
                "best_score": result.best_score,
                "llm_forwards": result.llm_forwards,
            }
        )
    reply = {"created": int(time.time()), **facts, "mask_format": mask_format, "data": data, "results": answers}
    return json.dumps(reply, allow_nan=False, separators=(",", ":")).encode()


def segment_entry(segment: Segment, mask_format: str) -> dict[str, Any]:
    """A segment: ``mask``, ``box`` (x0, y0, x1, y1 in pixels) and ``score``, and what else is known of it."""
    return {
        "mask": _MASKS[mask_format](segment.mask),
        "box": list(segment.box),
        "score": segment.score,
        "label": segment.label,
        "label_id": segment.label_id,
        "area": segment.area,
        "is_thing": segment.is_thing,
        "id": segment.id,
    }


def phrase_spans(result: Result) -> dict[int, tuple[int, int]]:
    """Where in a caption the phrase of each segment stands: place of the segment -> (start, end) in characters.

    Phrases stand in the caption in the order of their ids.
    """
    spans: dict[int, tuple[int, int]] = {}
    at = 0
    for place, segment in sorted(enumerate(result.segments), key=lambda item: item[1].label_id):
        label = " ".join((segment.label or "").split())
        start = result.caption.find(label, at)
        if label and start >= 0:
            at = start + len(label)
            spans[place] = start, at
    return spans


def _png(mask: npt.NDArray[np.bool_]) -> str:
    file = io.BytesIO()
    Image.fromarray(mask.view(np.uint8) * _INSIDE).save(file, "PNG", compress_level=_FAST)
    return base64.b64encode(file.getvalue()).decode()


def _rle(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    return dict(rle.encode(mask))


_MASKS = {"png": _png, "rle": _rle, "polygon": coco_polygons}
