from __future__ import annotations

import numpy as np
import pytest

from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.language.sequence import JoinsRows, expand, row_parts, splice
from xsam_edge.runtime.language.tokenizer import IMAGE_ID, REGION_ID

TABLE = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float16)
IMAGE = np.random.default_rng(1).standard_normal((1, 5, 4)).astype(np.float32)
REGIONS = np.random.default_rng(2).standard_normal((2, 3, 4)).astype(np.float32)


def read(part: Buffer) -> np.ndarray:
    start = (part.address - 4096) // 16
    return IMAGE[:, start : start + part.shape[1]]


@pytest.mark.parametrize(
    "ids",
    [
        [1, 2, IMAGE_ID, 3],
        [IMAGE_ID],
        [IMAGE_ID, 4],
        [6, IMAGE_ID],
        [1, REGION_ID, IMAGE_ID, 2, REGION_ID],
        [3, 2],
        [],
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_parts_are_the_spliced_rows(ids: list[int], dtype: str) -> None:
    none = np.full(len(ids), -1)
    sequence = expand(np.array(ids, np.int64), none, none, 5, 3)
    regions = REGIONS[: ids.count(REGION_ID)]
    whole = splice(sequence, TABLE, IMAGE[0] if IMAGE_ID in ids else IMAGE[0, :0], regions)
    buffer = Buffer(4096, IMAGE.shape, np.dtype("float32"), None)
    parts = row_parts(sequence, TABLE, buffer, regions)
    rows = np.concatenate([read(part) if isinstance(part, Buffer) else part for part in parts], axis=1)
    np.testing.assert_array_equal(rows, whole)
    half = row_parts(sequence, TABLE, Buffer(0, IMAGE.shape, np.dtype(dtype), None), regions)
    assert all(part.dtype == dtype for part in half)
    assert sum(isinstance(part, Buffer) for part in parts) == ids.count(IMAGE_ID)


def test_a_part_of_an_image_is_refused() -> None:
    none = np.full(1, -1)
    sequence = expand(np.array([IMAGE_ID]), none, none, 5, 3).part(1)
    with pytest.raises(InputError, match="the image has 5 rows, the sequence needs 4"):
        row_parts(sequence, TABLE, Buffer(0, IMAGE.shape, np.dtype("float32"), None), None)


def test_a_cpu_does_without() -> None:
    from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
    from xsam_edge.runtime.backends.tensorrt.backend import TensorRTBackend

    assert not isinstance(OnnxRuntimeBackend(), JoinsRows)
    assert issubclass(TensorRTBackend, JoinsRows)
