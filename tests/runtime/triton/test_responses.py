"""Results as tensors."""

from __future__ import annotations

import json

import numpy as np

from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.triton.responses import write_response
from xsam_edge.runtime.triton.signature import DTYPES, OUTPUTS

NAMES = [tensor.name for tensor in OUTPUTS]


def masked(*rows: int) -> np.ndarray:
    mask = np.zeros((3, 4), bool)
    mask[list(rows)] = True
    return mask


FIRST = Segment(masked(0), 0.5, "café", 2, (0, 0, 4, 1), 4)
SECOND = Segment(masked(1, 2), 0.25, None, 0, (0, 1, 4, 3), 8)
RESULTS = [
    Result("refer", (FIRST, SECOND), (3, 4), text="It is <SEG>.", timings={"llm": 1.5}),
    Result("refer", (), (3, 4), answered=False, reason="nothing scores 0.9"),
    Result("refer", (SECOND,), (3, 4)),
]


def test_types_and_axes_are_those_of_the_signature() -> None:
    for results in (RESULTS, RESULTS[1:2]):
        outputs = write_response(results, NAMES)
        assert list(outputs) == NAMES
        for tensor in OUTPUTS:
            array = outputs[tensor.name]
            assert array.dtype == DTYPES[tensor.dtype], tensor.name
            assert array.ndim == 1 + len(tensor.dims) and array.shape[0] == 1, tensor.name
            assert all(size in (-1, actual) for size, actual in zip(tensor.dims, array.shape[1:], strict=True))


def test_segments_of_all_prompts() -> None:
    outputs = {name: array[0] for name, array in write_response(RESULTS, NAMES).items()}
    assert np.array_equal(outputs["MASKS"], [masked(0), masked(1, 2), masked(1, 2)])
    assert [np.array_equal(rle.decode(**json.loads(text)), masked(0)) for text in outputs["RLE"]] == [
        True,
        False,
        False,
    ]
    assert outputs["SCORES"].tolist() == [0.5, 0.25, 0.25]
    assert outputs["BOXES_OUT"].tolist() == [[0, 0, 4, 1], [0, 1, 4, 3], [0, 1, 4, 3]]
    assert [label.decode() for label in outputs["LABELS"]] == ["café", "", ""]
    assert outputs["LABEL_IDS"].tolist() == [2, 0, 0]
    assert outputs["PROMPT_IDS"].tolist() == [0, 0, 2]
    assert outputs["TEXT"].tolist() == [b"It is <SEG>.", b"", b""]
    assert outputs["REASONS"].tolist() == [b"", b"nothing scores 0.9", b""]
    assert json.loads(outputs["TIMINGS"][0]) == {"llm": 1.5}


def test_a_map() -> None:
    id_map = np.array([[0, 7], [7, 7]], np.int32)
    result = Result("panoptic", (Segment(id_map == 7, 0.5, "cup", 0, (0, 0, 2, 2), 3, id=7),), (2, 2), id_map=id_map)
    outputs = write_response([result], ("ID_MAP", "SEGMENT_IDS"))
    assert set(outputs) == {"ID_MAP", "SEGMENT_IDS"}
    assert np.array_equal(outputs["ID_MAP"], id_map[None])
    assert outputs["SEGMENT_IDS"].tolist() == [[7]]
