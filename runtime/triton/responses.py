"""Results as the tensors of a response."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.triton.signature import DTYPES, OUTPUTS

Outputs = Mapping[str, npt.NDArray[Any]]

_DTYPES = {tensor.name: DTYPES[tensor.dtype] for tensor in OUTPUTS}


def write_response(results: Sequence[Result], wanted: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """The outputs of ``wanted`` names, each with a batch axis of one; what nobody asked for is not computed.

    ``results`` are those of one request, at least one, all of one image: one for each of its prompts.
    """
    return {name: make(results)[None] for name, make in _MAKERS.items() if name in wanted}


def _segments(results: Sequence[Result]) -> list[Segment]:
    return [segment for result in results for segment in result]


def _masks(results: Sequence[Result]) -> npt.NDArray[np.uint8]:
    segments, (height, width) = _segments(results), results[0].image_size
    masks = np.empty((len(segments), height, width), np.uint8)
    for mask, segment in zip(masks, segments, strict=True):
        mask[:] = segment.mask
    return masks


def _id_map(results: Sequence[Result]) -> npt.NDArray[np.int32]:
    id_map = results[0].id_map  # of the tasks that have one, there is one result
    return np.zeros((0, 0), np.int32) if id_map is None else id_map


def _bytes(texts: Sequence[str]) -> npt.NDArray[np.object_]:
    return np.array([text.encode() for text in texts], np.object_)


def _of_segments(name: str, value: Callable[[Segment], Any], *rest: int) -> Callable[[Sequence[Result]], Any]:
    dtype = _DTYPES[name]
    return lambda results: np.array([value(segment) for segment in _segments(results)], dtype).reshape(-1, *rest)


_MAKERS: Mapping[str, Callable[[Sequence[Result]], npt.NDArray[Any]]] = {
    "MASKS": _masks,
    "RLE": lambda results: _bytes([json.dumps(rle.encode(segment.mask)) for segment in _segments(results)]),
    "SCORES": _of_segments("SCORES", lambda segment: segment.score),
    "BOXES_OUT": _of_segments("BOXES_OUT", lambda segment: segment.box, 4),
    "LABELS": lambda results: _bytes([segment.label or "" for segment in _segments(results)]),
    "LABEL_IDS": _of_segments("LABEL_IDS", lambda segment: segment.label_id),
    "PROMPT_IDS": lambda results: np.repeat(np.arange(len(results), dtype=np.int32), [len(item) for item in results]),
    "SEGMENT_IDS": _of_segments("SEGMENT_IDS", lambda segment: segment.id),
    "ID_MAP": _id_map,
    "TEXT": lambda results: _bytes([result.text for result in results]),
    "REASONS": lambda results: _bytes([result.reason for result in results]),
    "TIMINGS": lambda results: _bytes([json.dumps(dict(result.timings)) for result in results]),
}
