"""This machine's own peaks, measured beside the model: a large matrix product, and a large copy.

What a graph could reach at best is the greater of ``flops / peak`` and ``bytes / bandwidth`` (the roofline model,
Williams et al. 2009). Both peaks are those of the same backend, device and threads that the graphs use.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from xsam_edge.runtime.backends.base import Backend, Graph
from xsam_edge.runtime.bundle.manifest import GraphSpec, TensorSpec

_SIZES = (512, 1024, 2048, 4096)  # of square matrices; larger ones only while they take less than _ENOUGH
_ENOUGH = 0.1  # seconds
_TRIES = 5
_COPY_BYTES = 256 << 20


@dataclass(frozen=True)
class Peaks:
    """Operations and bytes per second, and how they were measured."""

    precision: str
    flops_per_second: float
    bytes_per_second: float
    gemm: str
    copy: str

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)

    def limit_ms(self, flops: float, moved: float) -> tuple[float, str]:
        """The least time for that much work, and what bounds it: "compute" or "memory"."""
        compute, memory = 1e3 * flops / self.flops_per_second, 1e3 * moved / self.bytes_per_second
        return (compute, "compute") if compute >= memory else (memory, "memory")


def measure(backend: Backend, precision: str, threads: int, device: str = "cpu") -> Peaks:
    """Measure both peaks; takes about two seconds."""
    best, size = 0.0, 0
    for side in _SIZES:
        run = _gemm(backend, precision, side)
        seconds = _best(run)
        if (rate := 2 * side**3 / seconds) > best:
            best, size = rate, side
        if seconds > _ENOUGH:
            break
    moved, how = _copy(backend, threads, device)
    name = _kind(precision)
    return Peaks(precision, best, moved, f"{name} MatMul of {size} x {size} through {backend.name}", how)


def _best(run: Callable[[], None]) -> float:
    """Seconds of the fastest of some runs after one that is not counted."""
    run()
    times = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _kind(precision: str) -> str:
    if precision.startswith(("int8", "w8a8")):
        return "int8"
    return "fp16" if precision.startswith("fp16") else "fp32"


def _gemm(backend: Backend, precision: str, size: int) -> Callable[[], None]:
    dtype = np.dtype(np.float16 if _kind(precision) == "fp16" else np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gemm.onnx"
        ir.save(_gemm_model(_kind(precision), size, dtype), path)
        graph = backend.open(path, _spec(path, (size, size), dtype))
    return _runner(backend, graph, (size, size), dtype)


def _runner(backend: Backend, graph: Graph, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[], None]:
    values = np.random.default_rng(0).standard_normal(shape, np.float32).astype(dtype)
    inputs, outputs = {"x": backend.upload(values)}, {"y": backend.allocate(shape, dtype)}
    return lambda: graph.run(inputs, outputs)


def _spec(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> GraphSpec:
    return GraphSpec(path.name, (TensorSpec("x", dtype.name, shape),), (TensorSpec("y", dtype.name, shape),))


def _gemm_model(kind: str, size: int, dtype: np.dtype[Any]) -> ir.Model:
    """x [size, size] times a constant; in int8, both are dequantised first, which a backend fuses into one product."""
    values = np.random.default_rng(1).standard_normal((size, size), np.float32)
    constants: dict[str, npt.NDArray[Any]] = {"w": values.astype(dtype)}
    if kind == "int8":
        constants = {
            "w": np.clip(np.rint(values * 30), -127, 127).astype(np.int8),
            "w_scale": np.float32(1 / 30).reshape(()),
            "w_zero": np.zeros((), np.int8),
            "x_scale": np.float32(1 / 30).reshape(()),
            "x_zero": np.full((), 128, np.uint8),
        }
    x = ir.Value(name="x", shape=ir.Shape((size, size)), type=ir.TensorType(ir.DataType.from_numpy(dtype)))
    values_of = {name: _constant(name, value) for name, value in constants.items()}
    nodes: list[ir.Node] = []

    def apply(operator: str, *inputs: ir.Value) -> ir.Value:
        nodes.append(ir.Node("", operator, inputs))
        return nodes[-1].outputs[0]

    left, right = x, values_of["w"]
    if kind == "int8":
        scale, zero = values_of["x_scale"], values_of["x_zero"]
        left = apply("DequantizeLinear", apply("QuantizeLinear", x, scale, zero), scale, zero)
        right = apply("DequantizeLinear", right, values_of["w_scale"], values_of["w_zero"])
    y = apply("MatMul", left, right)
    y.name, y.shape, y.type = "y", x.shape, x.type
    graph = ir.Graph([x], [y], nodes=nodes, initializers=list(values_of.values()), opset_imports={"": 20}, name="gemm")
    return ir.Model(graph, ir_version=10)


def _constant(name: str, value: npt.NDArray[Any]) -> ir.Value:
    tensor = ir.tensor(value, name=name)
    return ir.Value(name=name, shape=ir.Shape(value.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)


def _copy(backend: Backend, threads: int, device: str) -> tuple[float, str]:
    """Bytes read and written per second."""
    count = _COPY_BYTES // 4
    if device != "cpu":
        with tempfile.TemporaryDirectory() as folder:
            path, dtype = Path(folder) / "copy.onnx", np.dtype(np.float32)
            ir.save(_copy_model(count), path)
            run = _runner(backend, backend.open(path, _spec(path, (count,), dtype)), (count,), dtype)
        return 2 * _COPY_BYTES / _best(run), f"Identity of {_COPY_BYTES >> 20} MiB through {backend.name}"
    source, target = np.ones(count, np.float32), np.zeros(count, np.float32)
    bounds = np.linspace(0, count, threads + 1).astype(int)
    parts = [slice(start, stop) for start, stop in pairwise(bounds)]
    with ThreadPoolExecutor(threads) as pool:

        def run() -> None:
            list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))

        seconds = _best(run)
    return 2 * _COPY_BYTES / seconds, f"copy of {_COPY_BYTES >> 20} MiB in memory by {threads} threads"


def _copy_model(count: int) -> ir.Model:
    x = ir.Value(name="x", shape=ir.Shape((count,)), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("", "Identity", [x])
    y = node.outputs[0]
    y.name, y.shape, y.type = "y", x.shape, x.type
    return ir.Model(ir.Graph([x], [y], nodes=[node], opset_imports={"": 20}, name="copy"), ir_version=10)
