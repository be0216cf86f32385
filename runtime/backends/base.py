"""What a backend implements: memory on a device, and graphs that run on it.

The chain never hands arrays to a graph, it binds buffers: memory is allocated once and by the caller, so that a
backend on a GPU keeps features, embeddings and cache there, and a graph writes its outputs where they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.bundle.manifest import GraphSpec, TensorSpec

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Buffer:
    """A C-contiguous tensor at an address of the backend's device. ``owner`` keeps the memory alive."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: object

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def tokens(self, start: int, stop: int) -> Buffer:
        """Rows ``start:stop`` of axis 1 of a [1, tokens, ...] buffer, as a view.

        Raises:
            IndexError: the rows do not lie inside of the buffer.
        """
        if self.shape[0] != 1 or not 0 <= start <= stop <= self.shape[1]:
            raise IndexError(f"rows {start}:{stop} of a buffer of shape {self.shape}")
        row = prod(self.shape[2:]) * self.dtype.itemsize
        # Not dataclasses.replace: this is called for every layer in every step.
        return Buffer(self.address + start * row, (1, stop - start, *self.shape[2:]), self.dtype, self.owner)

    def item(self, index: int) -> Buffer:
        """One item of axis 0, as a view.

        Raises:
            IndexError: there is none of that index.
        """
        if not self.shape or not 0 <= index < self.shape[0]:
            raise IndexError(f"item {index} of a buffer of shape {self.shape}")
        shape = self.shape[1:]
        return Buffer(self.address + index * prod(shape) * self.dtype.itemsize, shape, self.dtype, self.owner)

    def batched(self, batch: int) -> Buffer:
        """The rows of a [1, tokens, ...] buffer as [batch, tokens / batch, ...], as a view.

        Raises:
            ValueError: the rows cannot be divided so.
        """
        if batch == 1:
            return self
        if self.shape[0] != 1 or self.shape[1] % batch:
            raise ValueError(f"a buffer of shape {self.shape} as a batch of {batch}")
        return Buffer(self.address, (batch, self.shape[1] // batch, *self.shape[2:]), self.dtype, self.owner)


class Graph(Protocol):
    """A loaded graph."""

    spec: GraphSpec

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        """Run with every input and output of ``spec`` bound to a buffer; returns when the outputs are written."""


class Backend(Protocol):
    """A device that allocates buffers and runs graphs."""

    name: str
    prefill_rows: int | None
    """Tokens of a prefill that run at once, where fewer than all gain something."""
    runs_without_logits: bool
    """Whether the language model may be asked for the logits of no row."""
    resizes_pixels: bool
    """Whether it is faster than the host at resizing pictures: with the graph ``pixels``, where a bundle has it."""

    def open(self, path: Path, spec: GraphSpec) -> Graph:
        """Load a graph. The caller has checked the file's hash.

        Raises:
            BackendError: the graph cannot be loaded, or its inputs and outputs are not those of ``spec``.
        """

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """Uninitialised memory on the device."""

    def upload(self, array: Array) -> Buffer:
        """The array on the device: a copy, or on a CPU the same memory."""

    def download(self, buffer: Buffer) -> Array:
        """A whole buffer as an array: a copy, or on a CPU a view that the next run may overwrite."""


@runtime_checkable
class ReadsViews(Protocol):
    """A backend of a device that downloads a part of a buffer without the rest."""

    def download_view(self, buffer: Buffer) -> Array:
        """A view of a buffer as an array of its own."""


def output_shapes(spec: GraphSpec, inputs: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shapes of all outputs for given input shapes.

    Raises:
        ValueError: an input is missing or unknown, has another rank or size than ``spec`` says, or two inputs
            disagree on a named axis.
    """
    axes: dict[str, int] = {}
    if set(inputs) != {tensor.name for tensor in spec.inputs}:
        raise ValueError(f"inputs {sorted(inputs)}, expected {sorted(tensor.name for tensor in spec.inputs)}")
    for tensor in spec.inputs:
        shape = inputs[tensor.name]
        if len(shape) != len(tensor.shape):
            raise ValueError(f"{tensor.name} has shape {shape}, expected {tensor.shape}")
        for size, axis in zip(shape, tensor.shape, strict=True):
            expected = axes.setdefault(axis, size) if isinstance(axis, str) else axis
            if size != expected:
                raise ValueError(f"{tensor.name} has shape {shape}, expected {tensor.shape} with {axes}")
    # The one axis of an output that no input has: the background class is added inside of the graph.
    if "conditions" in axes:
        axes["classes"] = axes["conditions"] + 1
    return {tensor.name: _resolve(tensor, axes) for tensor in spec.outputs}


def _resolve(tensor: TensorSpec, axes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(axes[axis] if isinstance(axis, str) else axis for axis in tensor.shape)
