"""Runs recorded calls of the language model through its parts: all of them through one, then through the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from xsam_edge.calibration.instrumented import EditedBackend
from xsam_edge.calibration.staged.calls import EMBEDS, Call
from xsam_edge.calibration.staged.division import divide, take
from xsam_edge.calibration.staged.spool import Array, Spool
from xsam_edge.runtime.backends.onnxruntime import one_line
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.dtypes import FP8
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.progress import Progress, Step

GIVEN = (contract.SEG_HIDDEN, contract.NEXT_IDS)
"""What is kept of the language model, under these names."""

_HIDDEN, _HALF = "hidden", "float16"


class PartedLanguageModel:
    """The language model of a bundle, of which one part is in memory at a time.

    Args:
        backend: edits the graph and listens to what it has besides.
        path: of the graph.
        spec: of the graph.
        most_bytes: of a part's weights as float32.
        answer_rows: so many last rows of each run are given to the head, besides those whose logits are asked for.
    """

    def __init__(
        self, backend: EditedBackend, path: Path, spec: GraphSpec, most_bytes: int, answer_rows: int = 0
    ) -> None:
        self._backend, self._path, self._spec, self._answer_rows = backend, path, spec, answer_rows
        self._own = frozenset(tensor.name for tensor in spec.outputs)
        self.division = divide(backend.edited(path).graph, self._own, most_bytes)

    def run(self, part: int, calls: Sequence[Call], spool: Spool, progress: Progress) -> None:
        """Run a part over all calls, whose results of the part before are in ``spool``.

        Raises:
            BackendError: the part cannot be loaded, or fails.
        """
        model = self._backend.edited(self._path)
        take(model, self.division, part)
        _exchange_as_halves(model.graph)
        session = self._backend.session(model, self._path)
        onwards = self.division.output(part)
        names = [value.name for value in session.get_outputs()]
        pasts = _Pasts(calls)
        what = f"language model, part {part + 1} of {len(self.division)}"
        for number, call in enumerate(calls):
            progress(Step(what, number, len(calls), "prompts"))
            feeds = {value.name: self._feed(value, part, number, call, spool, pasts) for value in session.get_inputs()}
            try:
                found: dict[str, Array] = dict(zip(names, session.run(names, feeds), strict=True))
            except Exception as error:  # its exception types share no base
                raise BackendError(f"{self._spec.file} failed in ONNX Runtime: {one_line(error)}") from error
            pasts.add(number, found)
            if contract.NEXT_IDS in found:
                found[contract.NEXT_IDS] = found[contract.NEXT_IDS][-len(call.wanted) :]
            for name in GIVEN:
                if name in found:
                    spool.put(name, number, found[name])
            if onwards is not None:
                spool.put(f"{_HIDDEN}{part + 1}", number, found[onwards])
            besides = [name for name in names if name not in self._own and name != onwards]
            self._backend.tell(self._spec.file, {name: found[name] for name in besides})
        spool.drop(f"{_HIDDEN}{part}")
        del session
        self._backend.release()

    def _feed(self, value: Any, part: int, number: int, call: Call, spool: Spool, pasts: _Pasts) -> Array:
        if part and value.name == self.division.input(part):
            return spool.get(f"{_HIDDEN}{part}", number)
        if value.name == contract.INPUTS_EMBEDS:
            return spool.get(EMBEDS, number)
        if value.name == contract.POSITION_IDS:
            return call.positions[None]
        if value.name == contract.LOGITS_POSITIONS:
            rows = len(call.positions)
            return np.concatenate([np.arange(max(0, rows - self._answer_rows), rows), call.wanted])
        tensor = self._spec.input(value.name)
        heads, size = (int(axis) for axis in tensor.shape[2:])
        return pasts.gather(value.name, call, (heads, size), np.dtype(_HALF if tensor.dtype == FP8 else tensor.dtype))


def _exchange_as_halves(graph: ir.Graph) -> None:
    """Let 8-bit floats, which sessions take from no array, come and go as float16, which holds each of them."""
    coded, half = ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT16
    for value in [value for value in graph.inputs if value.dtype == coded]:
        value.type = ir.TensorType(half)
        node = _cast(value, coded, f"{value.name}\tcodes")
        for use in [use for use in value.uses() if use.node is not node]:
            use.node.replace_input_with(use.idx, node.outputs[0])
        graph.insert_before(graph[0], node)
    for index, value in enumerate(graph.outputs):
        if value.dtype == coded:
            name, value.name = str(value.name), f"{value.name}\tcodes"
            node = _cast(value, half, name)
            graph.append(node)
            graph.outputs[index] = node.outputs[0]


def _cast(value: ir.Value, dtype: ir.DataType, name: str) -> ir.Node:
    node = ir.node("Cast", [value], attributes={"to": dtype.value}, name=f"{name}\tcast")
    made = node.outputs[0]
    made.name, made.type, made.shape = name, ir.TensorType(dtype), value.shape
    return node


class _Pasts:
    """New keys and values of calls, for as long as a later call reads them."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._last: dict[int, int] = {}  # call -> the last one that reads it
        for number, call in enumerate(calls):
            self._last |= dict.fromkeys(np.unique(call.past[:, 0]).tolist(), number)
        self._rows: dict[int, dict[str, Array]] = defaultdict(dict)

    def add(self, number: int, found: Mapping[str, Array]) -> None:
        """Keep what a call gave, and let go of what nobody reads any more."""
        if number in self._last:
            self._rows[number] = {
                name: array.reshape(1, -1, *array.shape[2:])
                for name, array in found.items()
                if name.startswith(("new_key.", "new_value."))
            }
        for read in [read for read in self._rows if self._last[read] <= number]:
            del self._rows[read]

    def gather(self, name: str, call: Call, heads: tuple[int, int], dtype: np.dtype[Any]) -> Array:
        """The past of a call, [1, P, heads, head_dim]; zeros of a layer of another part, whose shape alone is read."""
        past = np.zeros((1, len(call.past), *heads), dtype)
        new = name.replace("past_", "new_")
        for read in np.unique(call.past[:, 0]).tolist():
            if new in self._rows[read]:
                own = call.past[:, 0] == read
                past[:, own] = self._rows[read][new][:, call.past[own, 1]]
        return past
