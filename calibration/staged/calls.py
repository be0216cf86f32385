"""Runs of the language model that are recorded instead of run, and what they gave afterwards.

With a given answer, what the language model reads hangs on nothing that it says. So all runs of many pictures can be
recorded first and then be run together, layers first: each part of the weights is read once for all of them. Only
the past comes from the model itself. Which run has written each of its rows is told by the memory: a recorded run
leaves its number where its keys would be.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.staged.spool import Array, Spool
from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.errors import XSamError

EMBEDS = "embeds"
_CALLS = "calls"
_NUMBER = np.dtype(np.int32)  # two of which fit into the keys of a token, of any type
_FIELDS = ("positions", "wanted", "past")


@dataclass(frozen=True, eq=False)
class Call:
    """One run: ``positions`` int64 [S], ``wanted`` int64 [N] rows whose logits are asked for, ``past`` int64 [P, 2]:
    the call and the row of it that each row of the past comes from.
    """

    positions: npt.NDArray[np.int64]
    wanted: npt.NDArray[np.int64]
    past: npt.NDArray[np.int64]


class RecordedLanguageModel:
    """Stands in for the language model's graph; every output that is read by the chain is zero."""

    def __init__(self, spec: GraphSpec, spool: Spool) -> None:
        self.spec = spec
        self.calls: list[Call] = []
        self._spool = spool

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        """See :class:`xsam_edge.runtime.backends.base.Graph`."""
        number = len(self.calls)
        self._spool.put(EMBEDS, number, view(inputs[contract.INPUTS_EMBEDS]))
        positions, wanted = (
            view(inputs[name]).reshape(-1).copy() for name in (contract.POSITION_IDS, contract.LOGITS_POSITIONS)
        )
        self.calls.append(Call(positions, wanted, _read_numbers(view(inputs[contract.past_key(0)]))))
        for name in (contract.SEG_HIDDEN, contract.LOGITS, contract.NEXT_IDS):
            view(outputs[name])[...] = 0
        _write_numbers(view(outputs[contract.new_key(0)]), number)


class ReplayedGraph:
    """Stands in for a graph whose outputs are known, ``names`` of them in the order of its runs."""

    def __init__(self, spec: GraphSpec, spool: Spool, names: Sequence[str]) -> None:
        self.spec = spec
        self._spool, self._names = spool, names
        self._runs = 0

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        """See :class:`xsam_edge.runtime.backends.base.Graph`. Outputs that are not known are left as they are."""
        for name in self._names:
            known, wanted = self._spool.get(name, self._runs), view(outputs[name])
            if known.shape != wanted.shape:
                raise XSamError(
                    f"run {self._runs} of {self.spec.file} gave {name} of shape {known.shape}, and now has "
                    f"{wanted.shape}: the pictures or their questions have changed meanwhile; start again"
                )
            wanted[...] = known
        self._runs += 1


class SpooledGraph:
    """A graph whose outputs are kept beside being given."""

    def __init__(self, graph: object, spec: GraphSpec, spool: Spool) -> None:
        self.spec = spec
        self._graph, self._spool = graph, spool
        self._runs = 0

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        """See :class:`xsam_edge.runtime.backends.base.Graph`."""
        self._graph.run(inputs, outputs)  # type: ignore[attr-defined]
        for name, buffer in outputs.items():
            self._spool.put(name, self._runs, view(buffer))
        self._runs += 1


class SilentGraph:
    """Stands in for a graph that is not run; its outputs are zero."""

    def __init__(self, spec: GraphSpec) -> None:
        self.spec = spec

    def run(self, _inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        """See :class:`xsam_edge.runtime.backends.base.Graph`."""
        for buffer in outputs.values():
            view(buffer)[...] = 0


def save_calls(spool: Spool, calls: Sequence[Call]) -> None:
    """Keep recorded calls with their embeddings."""
    spool.put(_CALLS, 0, np.array(len(calls)))
    for number, call in enumerate(calls):
        for field in _FIELDS:
            spool.put(field, number, getattr(call, field))


def load_calls(spool: Spool) -> list[Call]:
    """What :func:`save_calls` kept."""
    count = int(spool.get(_CALLS, 0))
    return [Call(*(np.array(spool.get(field, number)) for field in _FIELDS)) for number in range(count)]


def view(buffer: Buffer) -> Array:
    """The memory of a buffer on a CPU, as an array."""
    if not buffer.nbytes:
        return np.empty(buffer.shape, buffer.dtype)
    memory = (ctypes.c_uint8 * buffer.nbytes).from_address(buffer.address)
    array: Array = np.ctypeslib.as_array(memory).view(buffer.dtype).reshape(buffer.shape)
    return array


def _write_numbers(keys: Array, call: int) -> None:
    """Number rows [B, S, heads, head_dim] by the call and the row, B * S of them."""
    rows = np.arange(keys.shape[0] * keys.shape[1])
    numbers = np.stack([np.full_like(rows, call), rows], axis=1).astype(_NUMBER)
    _bytes_of_rows(keys)[:, : numbers.itemsize * 2] = numbers.view(np.uint8)


def _read_numbers(keys: Array) -> npt.NDArray[np.int64]:
    numbers: npt.NDArray[np.int64] = (
        _bytes_of_rows(keys)[:, : 2 * _NUMBER.itemsize].copy().view(_NUMBER).astype(np.int64)
    )
    return numbers


def _bytes_of_rows(keys: Array) -> npt.NDArray[np.uint8]:
    """The memory of rows [B, S, heads, head_dim], [B * S, bytes], whatever their type."""
    row = keys.shape[2] * keys.shape[3] * keys.itemsize
    return keys.reshape(-1).view(np.uint8).reshape(keys.shape[0] * keys.shape[1], row)
