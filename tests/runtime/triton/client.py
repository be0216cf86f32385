"""Requests of tensors, to a server and to the service that stands behind it."""

from __future__ import annotations

import io
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.runtime.triton.signature import INPUTS, OUTPUTS

Array = npt.NDArray[Any]
_DTYPES = {tensor.name: tensor.dtype for tensor in INPUTS}


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The content of a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def texts(*values: str | bytes) -> Array:
    """BYTES [1, N]."""
    return np.array([[value.encode() if isinstance(value, str) else value for value in values]], np.object_).reshape(
        1, -1
    )


def numbers(*values: Any) -> npt.NDArray[np.float32]:
    """FP32 with a batch axis in front."""
    return np.array([values], np.float32)


def infer(
    library: ModuleType, client: Any, wanted: tuple[str, ...] | None = None, **tensors: Array
) -> dict[str, Array]:
    """What a model answers; ``library`` is tritonclient.http or tritonclient.grpc."""
    inputs = []
    for name, array in tensors.items():
        dtype = {"f": "FP32", "i": "INT32", "u": "UINT8", "b": "BOOL"}.get(array.dtype.kind, "BYTES")
        inputs.append(library.InferInput(name, list(array.shape), dtype))
        inputs[-1].set_data_from_numpy(array)
    outputs = None if wanted is None else [library.InferRequestedOutput(name) for name in wanted]
    result = client.infer("xsam", inputs, outputs=outputs)
    found = {tensor.name: result.as_numpy(tensor.name) for tensor in OUTPUTS}
    return {name: array for name, array in found.items() if array is not None}
