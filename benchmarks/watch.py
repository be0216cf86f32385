"""A backend that notes every run of a graph: which, how long, at which sizes. It can put words into a model's mouth.

It stands between the pipeline and the backend, so that what is measured is the runtime as it is.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Array, Backend, Buffer, Graph, ReadsViews
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import GraphSpec, Manifest
from xsam_edge.runtime.chain.kv_cache import PadsPasts, PadsRows
from xsam_edge.runtime.language.sequence import JoinsRows

PREFILL, SUFFIX, DECODE = "llm_prefill", "llm_suffix", "llm_decode"
#: Stages in the order of the chain. A suffix is several tokens behind a past: a further prompt on the same image.
STAGES = (contract.PIXELS, contract.IMAGE_ENCODER, PREFILL, SUFFIX, DECODE, contract.MASK_DECODER)

#: What a backend may do beside the methods of ``Backend``: the protocol that it is asked by, and its members.
EXTRAS: Mapping[type, tuple[str, ...]] = {
    ReadsViews: ("download_view",),
    PadsPasts: ("past_step", "allocate_alike", "clear_alike"),
    PadsRows: ("row_steps", "pad_rows"),
    JoinsRows: ("assemble",),
}


@dataclass(frozen=True)
class Call:
    """One run of a graph. ``axes`` are the sizes of its named axes."""

    graph: str
    ms: float
    axes: Mapping[str, int]

    @property
    def stage(self) -> str:
        """One of ``STAGES``."""
        if self.graph != contract.LLM:
            return self.graph
        if not self.axes[contract.PAST]:
            return PREFILL
        return DECODE if self.axes[contract.SEQUENCE] == 1 else SUFFIX

    def joined(self, later: Call) -> Call | None:
        """Both as one run, where ``later`` is the next part of the same forward: nobody asked this one for a token."""
        if not self.graph == later.graph == contract.LLM:
            return None
        start, count = self.axes[contract.PAST], self.axes[contract.SEQUENCE]
        alone = self.axes[contract.BATCH] == later.axes[contract.BATCH] == 1
        if not alone or self.axes[contract.ROWS] or later.axes[contract.PAST] != start + count:
            return None
        count += later.axes[contract.SEQUENCE]
        axes = {**later.axes, contract.PAST: start, contract.SEQUENCE: count}
        return Call(self.graph, self.ms + later.ms, axes)


@dataclass(frozen=True)
class Script:
    """An answer that a model is made to give: ``ids`` behind a prompt of ``start`` tokens.

    Models that were never trained answer with noise of any length; a script gives them a trained model's work to do.
    """

    start: int
    ids: Sequence[int]

    def behind(self, position: int) -> int | None:
        """The token behind the one at a position, counted from the prompt's first; None where the script has none."""
        index = position + 1 - self.start
        return self.ids[index] if 0 <= index < len(self.ids) else None

    def impose(self, next_ids: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]) -> None:
        """Put the script's tokens in the place of ``next_ids`` [rows], which follow the tokens at ``positions``."""
        for row, position in enumerate(positions.tolist()):
            if (token := self.behind(position)) is not None:
                next_ids[row] = token


class WatchedBackend:
    """Another backend, watched: ``calls`` grows with every run, where the parts of a prefill are one.

    With a ``script``, the model gives that answer.

    A script needs memory that the host can write: the backend of a CPU.
    """

    def __init__(self, backend: Backend, manifest: Manifest) -> None:
        self.name = backend.name
        self.prefill_rows = backend.prefill_rows
        self.runs_without_logits = backend.runs_without_logits
        self.resizes_pixels = backend.resizes_pixels
        self.calls: list[Call] = []
        self.script: Script | None = None
        self._backend = backend
        self._names = {spec.file: name for name, spec in manifest.graphs.items()}
        # As attributes, where whoever asks for a protocol finds them, and only those that the backend has.
        for protocol, members in EXTRAS.items():
            if isinstance(backend, protocol):
                for member in members:
                    setattr(self, member, getattr(backend, member))

    def open(self, path: Path, spec: GraphSpec) -> WatchedGraph:
        """Load a graph whose runs are noted."""
        return WatchedGraph(self._backend.open(path, spec), self._names[spec.file], self)

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        return self._backend.allocate(shape, dtype)

    def upload(self, array: Array) -> Buffer:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        return self._backend.upload(array)

    def download(self, buffer: Buffer) -> Array:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        return self._backend.download(buffer)


class WatchedGraph:
    """A graph of a :class:`WatchedBackend`."""

    def __init__(self, graph: Graph, name: str, watch: WatchedBackend) -> None:
        self.spec = graph.spec
        self._graph = graph
        self._name = name
        self._watch = watch

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        """Run the graph, note the call, and impose the script."""
        start = time.perf_counter()
        self._graph.run(inputs, outputs)
        elapsed = 1e3 * (time.perf_counter() - start)
        call = Call(self._name, elapsed, axes_of(self.spec, inputs))
        if self._watch.calls and (joined := self._watch.calls[-1].joined(call)):
            self._watch.calls[-1] = joined
        else:
            self._watch.calls.append(call)
        if self._watch.script is not None and self._name == contract.LLM:
            next_ids = _array(outputs[contract.NEXT_IDS])
            rows = _array(inputs[contract.LOGITS_POSITIONS])
            positions = _array(inputs[contract.POSITION_IDS]).reshape(-1)
            self._watch.script.impose(next_ids, positions[rows % len(positions)])  # of a batch, all have the same


def axes_of(spec: GraphSpec, inputs: Mapping[str, Buffer]) -> dict[str, int]:
    """Sizes of the named axes of a graph's inputs."""
    return {
        axis: size
        for tensor in spec.inputs
        for axis, size in zip(tensor.shape, inputs[tensor.name].shape, strict=True)
        if isinstance(axis, str)
    }


def _array(buffer: Buffer) -> npt.NDArray[Any]:
    """A buffer of the host as an array over the same memory, whatever part of an allocation it is."""
    if not prod(buffer.shape):
        return np.empty(buffer.shape, buffer.dtype)
    memory = (ctypes.c_char * buffer.nbytes).from_address(buffer.address)
    values: npt.NDArray[Any] = np.frombuffer(memoryview(memory), buffer.dtype)
    return values.reshape(buffer.shape)
