"""Weights of graphs that are only tried: each is made once, kept in a file and mapped by ONNX Runtime from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
import onnx_ir as ir

from xsam_edge.export.graph.weight_codes import pack_int4
from xsam_edge.export.graph.weights import ALIGNMENT
from xsam_edge.export.staging import check_space

_FILE = "tried.data"


class WeightFile:
    """A file in the folder of the graphs that read it. It is removed at the end of a ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / _FILE
        self._tensors: dict[str, ir.ExternalTensor] = {}
        self._end = 0

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all tensors, which nobody reads any more."""
        self.path.unlink(missing_ok=True)
        self._tensors, self._end = {}, 0

    def keep(
        self, key: str, name: str, make: Callable[[], np.ndarray], dtype: ir.DataType = ir.DataType.FLOAT
    ) -> ir.ExternalTensor:
        """The tensor of a key, called ``name``; ``make`` is called at the first time only.

        Raises:
            XSamError: the disk is full.
        """
        if key not in self._tensors:
            array = np.ascontiguousarray(make())
            shape = ir.Shape(array.shape)
            if dtype == ir.DataType.INT4:
                array = pack_int4(array.astype(np.int8))
            self._tensors[key] = ir.ExternalTensor(
                _FILE, self._append(array), array.nbytes, dtype, shape=shape, name=name, base_dir=self.path.parent
            )
        return self._tensors[key]

    def _append(self, array: np.ndarray) -> int:
        offset = -(-self._end // ALIGNMENT) * ALIGNMENT
        check_space(self.path.parent, array.nbytes)
        with self.path.open("ab") as file:
            file.truncate(offset)
            file.write(array.reshape(-1).view(np.uint8).data)
            self._end = offset + array.nbytes
        return offset
