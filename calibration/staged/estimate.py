"""How long a chain will take on this machine, from its products and a probe of how fast the machine multiplies."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
import onnx_ir as ir

from xsam_edge.calibration.stored_weights import load_graph
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import bundle_path, read_manifest

ASK_ROWS = 60  # of a prompt behind the image with its answer, as asks have on average
_SIZE = 2048  # of the matrices of the probe
_REACHED = 0.5  # of the probe's rate, by a whole chain on two cores


def seconds_per_picture(bundle: Path, asks: float, rate: float | None = None) -> float:
    """Of an FP32 chain with ``asks`` given answers a picture; ``rate`` is in operations a second, or else probed."""
    manifest = read_manifest(bundle)
    rows = manifest.settings.model.image_tokens + round(asks * ASK_ROWS)
    sizes = {contract.SEQUENCE: rows, contract.BATCH: 1, contract.ROWS: 1, contract.PAST: 0, contract.CONDITIONS: 8}
    times = {contract.MASK_DECODER: asks}
    graphs = {name: load_graph(bundle_path(bundle, manifest.graphs[name].file)).graph for name in contract.GRAPHS}
    operations = sum(times.get(name, 1.0) * products(graph, sizes) for name, graph in graphs.items())
    return operations / (_REACHED * (rate or machine_rate()))


def products(graph: ir.Graph, sizes: Mapping[str, int]) -> float:
    """Operations of the matrix products and convolutions of a graph whose named axes have ``sizes``.

    A product whose shape is not known counts nothing.
    """
    return float(sum(_operations(node, sizes) for node in graph))


def machine_rate() -> float:
    """Floating-point operations a second of a product of FP32 matrices: the best of three."""
    matrix = np.ones((_SIZE, _SIZE), np.float32)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2 * _SIZE**3 / best


def _operations(node: ir.Node, sizes: Mapping[str, int]) -> int:
    if node.op_type not in ("MatMul", "Gemm", "Conv") or node.inputs[1] is None:
        return 0
    made, weight = _shape(node.outputs[0], sizes), _shape(node.inputs[1], sizes)
    if made is None or weight is None:
        return 0
    if node.op_type == "Conv":
        return 2 * prod(made) * prod(weight[1:])
    turned = node.op_type == "Gemm" and "transB" in node.attributes and node.attributes["transB"].as_int()
    return 2 * prod(made) * weight[-1 if turned else -2]


def _shape(value: ir.Value, sizes: Mapping[str, int]) -> tuple[int, ...] | None:
    if value.shape is None:
        return None
    found = [axis if isinstance(axis, int) else _value(str(axis.value), sizes) for axis in value.shape]
    return None if None in found else tuple(axis for axis in found if axis is not None)


def _value(axis: str, sizes: Mapping[str, int]) -> int | None:
    """The size of an axis that is named by a sum of products, such as "past + sequence*batch"."""
    terms = [[factor.strip() for factor in term.split("*")] for term in axis.split("+")]
    known = {**sizes, **{name: int(name) for term in terms for name in term if name.isdigit()}}
    if not all(name in known for term in terms for name in term):
        return None
    return sum(prod(known[name] for name in term) for term in terms)
