"""Inputs and outputs of the model: names, types, shapes and meanings, of which config.pbtxt and its page are made.

Every tensor has an axis for the batch in front, of one, which ``dims`` leave out as ``config.pbtxt`` does: Triton puts
requests together by it (``max_batch_size``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

#: Names that tritonclient and ``config.pbtxt`` (with TYPE_ before, STRING for BYTES) have for types, as NumPy's.
DTYPES: Mapping[str, type[np.generic]] = {
    "BYTES": np.object_,
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "FP32": np.float32,
}

#: What ``TASK`` may be.
TASKS = ("refer", "reason", "panoptic", "instances", "semantic", "regions", "describe", "chat")

_SEGMENTING = ("refer", "reason", "panoptic", "instances", "semantic", "regions", "describe")
_CATEGORIES = ("panoptic", "instances", "semantic")


@dataclass(frozen=True)
class Tensor:
    """An input or output; in ``dims`` -1 is any size. An input belongs to ``tasks``."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    meaning: str
    tasks: tuple[str, ...] = TASKS
    optional: bool = True


INPUTS = (
    Tensor("TASK", "BYTES", (1,), ", ".join(TASKS), optional=False),
    Tensor("IMAGE", "BYTES", (1,), "the content of an image file, such as a JPEG"),
    Tensor("PIXELS", "UINT8", (-1, -1, 3), "height, width, RGB; in place of IMAGE"),
    Tensor("PROMPTS", "BYTES", (-1,), "phrases, sentences or questions in UTF-8", ("refer", "reason", "chat")),
    Tensor("THINGS", "BYTES", (-1,), "names of categories that are counted one by one", _CATEGORIES),
    Tensor("STUFF", "BYTES", (-1,), "names of categories that are one region each", _CATEGORIES),
    Tensor("BOXES", "FP32", (-1, 4), "x0, y0, x1, y1 in pixels of the image", ("regions",)),
    Tensor("POINTS", "FP32", (-1, 2), "x, y in pixels of the image", ("regions",)),
    Tensor("SIMILAR", "BOOL", (1,), "everything that resembles a region, also of a single one", ("regions",)),
    Tensor("SEVERAL", "BOOL", (1,), "everything that fits, as one mask, in place of the best", ("refer", "reason")),
    Tensor("THRESHOLD", "FP32", (1,), "the score, 0 to 1, below which a thing is not there", _SEGMENTING),
    Tensor("OVERLAP_THRESHOLD", "FP32", (1,), "what must be left of a mask that others cover, 0 to 1", ("panoptic",)),
    Tensor("ANSWER", "BYTES", (1,), "greedy or append", ("refer", "reason", *_CATEGORIES, "regions")),
    Tensor("MAX_NEW_TOKENS", "INT32", (1,), "tokens that an answer may have", ("describe", "chat")),
)

OUTPUTS = (
    Tensor("MASKS", "UINT8", (-1, -1, -1), "0 and 1, at the image's own size: segments, height, width"),
    Tensor("RLE", "BYTES", (-1,), "the same as COCO's compressed run lengths, a JSON object a segment"),
    Tensor("SCORES", "FP32", (-1,), "0 to 1"),
    Tensor("BOXES_OUT", "FP32", (-1, 4), "x0, y0, x1, y1 in pixels, the last two exclusive"),
    Tensor("LABELS", "BYTES", (-1,), "phrase or category; empty where there is none"),
    Tensor("LABEL_IDS", "INT32", (-1,), "index of the category, things before stuff, or of the region"),
    Tensor("PROMPT_IDS", "INT32", (-1,), "index of the prompt that the segment answers"),
    Tensor("SEGMENT_IDS", "INT32", (-1,), "the segment's value in a panoptic ID_MAP, else 0"),
    Tensor("ID_MAP", "INT32", (-1, -1), "panoptic: segment ids, 0 none; semantic: categories, -1 none; else empty"),
    Tensor("TEXT", "BYTES", (-1,), "what was said, one a prompt"),
    Tensor("REASONS", "BYTES", (-1,), "why a prompt has no segment, else empty; one a prompt"),
    Tensor("TIMINGS", "BYTES", (-1,), "milliseconds by stage as a JSON object, one a prompt"),
)
