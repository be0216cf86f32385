"""Mask logits that stay on the device but for the queries that an answer is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Array, Buffer

Float = npt.NDArray[np.float32]


class MaskLogits:
    """Float32 [queries, gh, gw] on a device, of which an index reads a query, or several in the order given.

    ``np.asarray`` reads all. Nothing is kept on the host.
    """

    def __init__(self, buffer: Buffer, download: Callable[[Buffer], Array]) -> None:
        self._buffer = buffer
        self._download = download

    @property
    def shape(self) -> tuple[int, ...]:
        """(queries, gh, gw)."""
        return self._buffer.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, queries: int | np.integer[Any] | Iterable[int]) -> Float:
        if isinstance(queries, (int, np.integer)):
            return self._download(self._buffer.item(int(queries)))
        rows = [self[int(query)] for query in queries]
        return np.stack(rows) if rows else np.empty((0, *self.shape[1:]), np.float32)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        whole = self._download(self._buffer)
        return whole if dtype is None else whole.astype(dtype, copy=False)


Masks = Float | MaskLogits
"""Mask logits float32 [queries, gh, gw]: on the host, or read from a device as far as they are needed."""
