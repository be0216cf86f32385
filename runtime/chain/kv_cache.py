"""The key-value cache of the language model: static memory, token-major, written in place.

Per layer two buffers [1, capacity, kv_heads, head_dim]. The first ``length`` rows are the past, which a graph reads
as a view; the rows behind them are where it writes the new keys and values. Rolling back is setting ``length``. A view
may be longer than the past: what a graph sees of it, it is told by the positions of the new tokens. Rows may be codes:
nothing here looks into them, and zeros are zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy.typing as npt

from xsam_edge.runtime.backends.base import Backend, Buffer
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.settings import ModelFacts
from xsam_edge.runtime.errors import ContextLengthError

# Rows without a past, of which there are a thousand and more, are rounded up to a multiple of this: kernels of
# attention want whole groups of eight, and those that are compiled for a shape should meet it again.
_FIRST_STEP = 64


@runtime_checkable
class PadsPasts(Protocol):
    """A backend that gains from pasts of few lengths, as it may replay a run whose shapes it had before."""

    past_step: int
    """Rows that a padded past is a multiple of."""

    def allocate_alike(self, count: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> list[Buffer]:
        """``count`` buffers of zeros, each as far behind the one before it."""

    def clear_alike(self, views: Sequence[Buffer]) -> None:
        """Set the same rows of each of these buffers to zero."""


@runtime_checkable
class PadsRows(Protocol):
    """A backend that pads pasts, and gains from new rows of few numbers too; without it, only one row is one of few."""

    row_steps: tuple[int, ...]
    """Numbers of new rows, ascending: others are rounded up. Of several, more than the last can only run in parts."""

    def pad_rows(self, rows: Buffer, count: int) -> Buffer:
        """[1, n, ...] with rows of zeros behind it, [1, count, ...]."""


class KVCache:
    """Keys and values of up to ``capacity`` tokens, where the graphs take up to ``longest`` (default: the model's)."""

    def __init__(
        self, backend: Backend, model: ModelFacts, capacity: int, dtype: npt.DTypeLike, longest: int | None = None
    ) -> None:
        shape, count = (1, capacity, model.num_kv_heads, model.head_dim), 2 * model.num_layers
        self.capacity = capacity
        self._longest = model.context_length if longest is None else longest
        self.length = 0
        # At equal distances one copy writes the rows of all layers.
        self._pads = backend if isinstance(backend, PadsPasts) else None
        self._pads_rows = backend if self._pads and isinstance(backend, PadsRows) else None
        self._most_at_once = backend.prefill_rows
        self._row_steps = self._pads_rows.row_steps if self._pads_rows else (1,) if self._pads else ()
        buffers = (
            [backend.allocate(shape, dtype) for _ in range(count)]
            if self._pads is None
            else self._pads.allocate_alike(count, shape, dtype)
        )
        self._written = 0  # rows from here on are zeros, where pasts are padded
        self._keys, self._values = buffers[::2], buffers[1::2]

    @property
    def nbytes(self) -> int:
        """Bytes of all layers."""
        return sum(buffer.nbytes for buffer in self._all())

    def _all(self) -> list[Buffer]:
        return [buffer for pair in zip(self._keys, self._values, strict=True) for buffer in pair]

    def past(self, *, padded: bool = False) -> dict[str, Buffer]:
        """The graph's inputs: every layer's first ``length`` rows; ``padded``, as many as the backend would have."""
        rows = self._pad() if padded else self.length
        inputs = {}
        for layer, (key, value) in enumerate(zip(self._keys, self._values, strict=True)):
            inputs[contract.past_key(layer)] = key.tokens(0, rows)
            inputs[contract.past_value(layer)] = value.tokens(0, rows)
        return inputs

    def _pad(self) -> int:
        """Round the past up; what is left behind it of other prompts goes.

        Padding is hidden, but multiplied by zero all the same: a row that overflowed would spoil every answer after it.
        """
        if self._pads is None:
            return self.length
        if self._written > self.length:
            stale = (buffer.tokens(self.length, self._written) for buffer in self._all())
            self._pads.clear_alike(list(stale))
            self._written = self.length
        step = self._pads.past_step
        return min(-(-self.length // step) * step, self.capacity)

    @property
    def most_rows(self) -> int | None:
        """The most rows of a run behind a past; None where only the context bounds them."""
        return self._row_steps[-1] if len(self._row_steps) > 1 else None

    def padded_rows(self, count: int, past: int) -> int | None:
        """What a run of ``count`` rows behind ``past`` others is rounded up to, if there is room; None if it is not."""
        if count > max(self._row_steps, default=0):
            if self.most_rows is None or past:
                return None
            rows = -(-count // _FIRST_STEP) * _FIRST_STEP
            return rows if rows <= min(self.capacity, self._most_at_once or rows) else count
        return next((step for step in self._row_steps if step >= count and past + step <= self.capacity), count)

    def pad_rows(self, rows: Buffer, count: int) -> Buffer:
        """[1, n, ...] as [1, count, ...], with rows of zeros."""
        return rows if self._pads_rows is None or rows.shape[1] == count else self._pads_rows.pad_rows(rows, count)

    def check_room(self, count: int) -> None:
        """Raise ContextLengthError unless ``count`` more rows fit."""
        if (stop := self.length + count) > self.capacity:
            raise ContextLengthError(f"{stop} tokens do not fit the context of {self.capacity}; {self.advice}")

    @property
    def advice(self) -> str:
        """What to do about a prompt that does not fit."""
        if self.capacity < self._longest:
            return "shorten the prompt or load the bundle with a larger context"
        return "shorten the prompt, since the bundle takes no larger context"

    def slots(self, count: int, batch: int = 1) -> dict[str, Buffer]:
        """The graph's outputs: the ``batch * count`` rows behind the past, [batch, count, kv_heads, head_dim].

        Of a batch above 1 they are scratch memory: its sequences all begin behind the past, so none of them can
        become a part of it.

        Raises:
            ContextLengthError: the cache has no room for them.
        """
        self.check_room(batch * count)
        stop = self.length + batch * count
        outputs = {}
        for layer, (key, value) in enumerate(zip(self._keys, self._values, strict=True)):
            outputs[contract.new_key(layer)] = key.tokens(self.length, stop).batched(batch)
            outputs[contract.new_value(layer)] = value.tokens(self.length, stop).batched(batch)
        self._written = max(self._written, stop)
        return outputs

    def advance(self, count: int) -> None:
        """Count ``count`` rows that were written into :meth:`slots` as past."""
        self.length += count

    def truncate(self, length: int) -> None:
        """Forget every row from ``length`` on."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a cache of {self.length} tokens to {length}")
        self.length = length
