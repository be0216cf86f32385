"""The key-value cache in 8 bits: keys and values are codes between the language model's runs, and floats in each.

The past is dequantised where it comes in, new rows are quantised where they go out; what is new in a run is attended to
as it is. Behind one DequantizeLinear NVIDIA's compiler still makes one kernel of an attention. The values of a head
share a scale, which is a constant of the graph: codes are copied, padded and cut like any rows, and zero is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from xsam_edge.export.graph.passes import initializer
from xsam_edge.export.graph.weight_codes import LIMITS, stored
from xsam_edge.export.precision.plan import CachePrecision
from xsam_edge.export.quantization.qdq import TYPES, zero_point
from xsam_edge.runtime.errors import CheckpointError

HEADS_AXIS = 2
"""Of keys and values, [batch, tokens, heads, head_dim]."""

_NEW, _PAST = ("new_key.", "new_value."), "past_"


@dataclass(frozen=True, eq=False)
class CacheCodes:
    """What keys and values become; ``ranges`` are the largest magnitudes of the heads, float32 [kv_heads], by the
    names of the outputs ``new_key.L`` and ``new_value.L``.
    """

    precision: CachePrecision
    ranges: Mapping[str, npt.NDArray[np.float32]]


def new_rows(graph: ir.Graph) -> list[ir.Value]:
    """The outputs that are new keys and values: those of the language model, none of other graphs."""
    return [value for value in graph.outputs if str(value.name).startswith(_NEW)]


def quantize_cache(graph: ir.Graph, codes: CacheCodes) -> None:
    """Make codes of the past and of the new rows of a graph whose floating-point types are set, in place.

    Raises:
        CheckpointError: a range that the type of the cache cannot hold a scale of.
    """
    pasts = {str(value.name): value for value in graph.inputs}
    for value in new_rows(graph):
        name, dtype = str(value.name), value.dtype
        assert dtype is not None
        try:
            steps = stored(codes.ranges[name] / LIMITS[codes.precision], dtype.numpy())
        except ValueError as error:
            raise CheckpointError(f"{name} cannot be stored as {codes.precision}: {error}") from None
        scale = initializer(graph, f"/{name}/scale", steps)
        constants = [scale, zero_point(graph, codes.precision, len(steps))]
        _dequantize(graph, pasts[_PAST + name.removeprefix("new_")], constants, codes.precision)
        _quantize(graph, value, constants, codes.precision)


def _dequantize(graph: ir.Graph, past: ir.Value, constants: list[ir.Value], precision: CachePrecision) -> None:
    node = ir.node(
        "DequantizeLinear", [past, *constants], attributes={"axis": HEADS_AXIS}, name=f"/{past.name}/DequantizeLinear"
    )
    floats = node.outputs[0]
    floats.name, floats.type, floats.shape = f"{node.name}_output_0", past.type, past.shape
    past.type = ir.TensorType(TYPES[precision])
    for use in [use for use in past.uses() if use.node is not node]:  # of its shape too, which has no kernel of FP8
        use.node.replace_input_with(use.idx, floats)
    graph.insert_before(graph[0], node)


def _quantize(graph: ir.Graph, rows: ir.Value, constants: list[ir.Value], precision: CachePrecision) -> None:
    name, rows.name = str(rows.name), f"/{rows.name}/floats"
    node = ir.node(
        "QuantizeLinear", [rows, *constants], attributes={"axis": HEADS_AXIS}, name=f"/{name}/QuantizeLinear"
    )
    made = node.outputs[0]
    made.name, made.type, made.shape = name, ir.TensorType(TYPES[precision]), rows.shape
    graph.append(node)
    graph.outputs[[item is rows for item in graph.outputs].index(True)] = made
