"""Small ONNX graphs with weights that have no value yet, as tracing leaves them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx.parser
import onnx_ir as ir
import onnxruntime


def graph(text: str, weights: Sequence[str] = (), names: Sequence[str] = ()) -> ir.Model:
    """Parse ``(inputs) => (outputs) { nodes }``; inputs in ``weights`` become initialisers without a value.

    ``names`` are those of the nodes in order.
    """
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]>\ng {text}')
    for node, name in zip(proto.graph.node, names, strict=bool(names)):
        node.name = name
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    for value in list(model.graph.inputs):
        if value.name in weights:
            model.graph.inputs.remove(value)
            model.graph.initializers[value.name] = value
    return model


class ArrayWeights:
    """Arrays as a source of weights; ``reads`` counts the rows of every access."""

    def __init__(self, **arrays: np.ndarray) -> None:
        self.arrays = arrays
        self.reads: list[tuple[str, int]] = []

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self.arrays.items()}

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        self.reads.append((name, stop - start))
        return self.arrays[name][start:stop]


def run(path: str, **inputs: np.ndarray) -> list[np.ndarray]:
    """Outputs of a graph file in ONNX Runtime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)
