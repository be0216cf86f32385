"""ONNX files of a few nodes, written without the package onnx, which a device with the runtime alone lacks.

A file is a ``ModelProto`` of protocol buffers: fields of a number and a length, one inside the other. The numbers are
those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.onnxruntime.linked import varint

_OPSET, _IR_VERSION = 20, 10
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "float16": 10}
_LENGTH = 2  # the wire type of what is preceded by its length; 0 is that of a number

_Content = list[bytes]  # parts, so that a constant of gigabytes is not copied at every level


@dataclass(frozen=True)
class Node:
    """An operator of ONNX without attributes, with the names of what it takes and of what it gives."""

    operator: str
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Tensor:
    """The name, dtype and shape of an input or output."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def write(
    path: Path, x: Tensor, y: Tensor, nodes: Sequence[Node], constants: Mapping[str, npt.NDArray[Any]] | None = None
) -> None:
    """Write a graph from ``x`` to ``y``. Dtypes are float32, float16, int8 and uint8; all of it is below 2 GB."""
    graph: _Content = []
    for node in nodes:
        names = [part for name in node.inputs for part in _text(1, name)]
        graph += _field(1, [*names, *_text(2, node.output), *_text(4, node.operator)])
    graph += _text(2, "graph")
    for name, value in (constants or {}).items():
        dims = [part for size in value.shape for part in _number(1, size)]
        kind = _number(2, _TYPES[value.dtype.name])
        graph += _field(5, [*dims, *kind, *_text(8, name), *_field(9, [value.tobytes()])])
    graph += _field(11, _value(x)) + _field(12, _value(y))
    model = [*_number(1, _IR_VERSION), *_field(7, graph), *_field(8, [*_text(1, ""), *_number(2, _OPSET)])]
    with path.open("wb") as file:
        file.writelines(model)


def _value(tensor: Tensor) -> _Content:
    shape = [part for size in tensor.shape for part in _field(1, _number(1, size))]
    kind = [*_number(1, _TYPES[tensor.dtype.name]), *_field(2, shape)]
    return [*_text(1, tensor.name), *_field(2, _field(1, kind))]


def _number(field: int, value: int) -> _Content:
    return [varint(field << 3), varint(value)]


def _text(field: int, text: str) -> _Content:
    return _field(field, [text.encode()])


def _field(field: int, content: _Content) -> _Content:
    return [varint(field << 3 | _LENGTH), varint(sum(map(len, content))), *content]
