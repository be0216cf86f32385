"""A CPU as a backend that pads rows and pasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Array, Buffer
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend


class Padding(OnnxRuntimeBackend):
    """See ``PadsPasts`` and ``PadsRows`` of :mod:`xsam_edge.runtime.chain.kv_cache`."""

    past_step = 4
    row_steps: tuple[int, ...] = (1, 4, 8)

    def allocate_alike(self, count: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> list[Buffer]:
        return [self.upload(np.zeros(shape, dtype)) for _ in range(count)]

    def clear_alike(self, views: Sequence[Buffer]) -> None:
        for view in views:
            start = (view.address - view.owner.ctypes.data) // view.owner[0, 0].nbytes
            view.owner[0, start : start + view.shape[1]] = 0

    def download(self, buffer: Buffer) -> Array:
        owner: Any = buffer.owner
        view: Array = np.ndarray(buffer.shape, buffer.dtype, owner, buffer.address - owner.ctypes.data)
        return view

    def pad_rows(self, rows: Buffer, count: int) -> Buffer:
        padded = np.zeros((1, count, *rows.shape[2:]), rows.dtype)
        padded[:, : rows.shape[1]] = self.download(rows)
        return self.upload(padded)
