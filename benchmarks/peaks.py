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

from xsam_edge.benchmarks.tiny_onnx import Node, Tensor, write
from xsam_edge.runtime.backends.base import Backend, Graph
from xsam_edge.runtime.bundle.manifest import GraphSpec, TensorSpec

_SIZES = (512, 1024, 2048, 4096, 8192, 16384)  # of square matrices; larger ones only while they take < _ENOUGH
_ENOUGH = 0.1  # seconds
_TRIES = 5
_COPY_BYTES = 256 << 20
_LARGEST_COPY = 4 << 30
# A GPU waits for the host between runs: products of one run follow each other, and copies grow, until that is no more
# than this share of the time.
_RISE = 0.02
_MOST_PRODUCTS = 64


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
    """Measure both peaks; takes a few seconds."""
    best, how = 0.0, ""
    for side in _SIZES:
        seconds, rate, count = _products(backend, precision, side, 1 if device == "cpu" else _MOST_PRODUCTS)
        if rate > best:
            times = f", {count} in a row" if count > 1 else ""
            best, how = rate, f"{_kind(precision)} MatMul of {side} x {side}{times} through {backend.name}"
        if seconds > _ENOUGH:
            break
    moved, copied = _copy(threads) if device == "cpu" else _device_copy(backend)
    return Peaks(precision, best, moved, how, copied)


def _products(backend: Backend, precision: str, size: int, most: int) -> tuple[float, float, int]:
    """Seconds of one product of ``size``; operations per second of as many in a row, up to ``most``, as do most."""
    first, best, counted, count = 0.0, 0.0, 0, 1
    while count <= most:
        seconds = _best(_gemm(backend, precision, size, count))
        first = first or seconds
        rate = 2 * size**3 * count / seconds
        rises = rate > best * (1 + _RISE)
        if rate > best:
            best, counted = rate, count
        if not rises or seconds > _ENOUGH:
            break
        count *= 2
    return first, best, counted


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


def _gemm(backend: Backend, precision: str, size: int, count: int = 1) -> Callable[[], None]:
    dtype = np.dtype(np.float16 if _kind(precision) == "fp16" else np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gemm.onnx"
        _write_gemm(path, _kind(precision), size, dtype, count)
        graph = backend.open(path, _spec(path, (size, size), dtype))
    return _runner(backend, graph, (size, size), dtype)


def _runner(backend: Backend, graph: Graph, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[], None]:
    values = np.random.default_rng(0).standard_normal(shape, np.float32).astype(dtype)
    inputs, outputs = {"x": backend.upload(values)}, {"y": backend.allocate(shape, dtype)}
    return lambda: graph.run(inputs, outputs)


def _spec(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> GraphSpec:
    return GraphSpec(path.name, (TensorSpec("x", dtype.name, shape),), (TensorSpec("y", dtype.name, shape),))


def _write_gemm(path: Path, kind: str, size: int, dtype: np.dtype[Any], count: int = 1) -> None:
    """x [size, size] times a constant, ``count`` times; in int8 both are dequantised first, which a backend fuses."""
    values = np.random.default_rng(1).standard_normal((size, size), np.float32)
    values *= size**-0.5 if count > 1 else 1.0  # so that products of products stay as large as x
    constants: dict[str, npt.NDArray[Any]] = {"w": values.astype(dtype)}
    if kind == "int8":
        constants = {
            "w": np.clip(np.rint(values * 30), -127, 127).astype(np.int8),
            "w_scale": np.float32(1 / 30).reshape(()),
            "w_zero": np.zeros((), np.int8),
            "x_scale": np.float32(1 / 30).reshape(()),
            "x_zero": np.full((), 128, np.uint8),
        }
    nodes: list[Node] = []

    def apply(operator: str, *inputs: str, output: str = "") -> str:
        nodes.append(Node(operator, inputs, output or f"v{len(nodes)}"))
        return nodes[-1].output

    y = "x"
    right = apply("DequantizeLinear", "w", "w_scale", "w_zero") if kind == "int8" else "w"
    for index in range(count):
        if kind == "int8":
            y = apply("DequantizeLinear", apply("QuantizeLinear", y, "x_scale", "x_zero"), "x_scale", "x_zero")
        y = apply("MatMul", y, right, output="y" if index == count - 1 else "")
    write(path, Tensor("x", dtype, (size, size)), Tensor("y", dtype, (size, size)), nodes, constants)


def _copy(threads: int) -> tuple[float, str]:
    """Bytes read and written per second by the host."""
    count = _COPY_BYTES // 4
    source, target = np.ones(count, np.float32), np.zeros(count, np.float32)
    bounds = np.linspace(0, count, threads + 1).astype(int)
    parts = [slice(start, stop) for start, stop in pairwise(bounds)]
    with ThreadPoolExecutor(threads) as pool:

        def run() -> None:
            list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))

        seconds = _best(run)
    return 2 * _COPY_BYTES / seconds, f"copy of {_COPY_BYTES >> 20} MiB in memory by {threads} threads"


def _device_copy(backend: Backend) -> tuple[float, str]:
    """Bytes read and written per second on a device, of copies that grow while that gains and memory lasts."""
    best, how, nbytes = 0.0, "", _COPY_BYTES
    while nbytes <= _LARGEST_COPY:
        count, dtype = nbytes // 4, np.dtype(np.float32)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "copy.onnx"
                write(path, Tensor("x", dtype, (count,)), Tensor("y", dtype, (count,)), [Node("Identity", ("x",), "y")])
                run = _runner(backend, backend.open(path, _spec(path, (count,), dtype)), (count,), dtype)
            rate = 2 * nbytes / _best(run)
        except Exception:  # a backend's own types, where a device has no more memory
            if not best:
                raise
            break
        rises = rate > best * (1 + _RISE)
        if rate > best:
            best, how = rate, f"Identity of {nbytes >> 20} MiB through {backend.name}"
        if not rises:
            break
        nbytes *= 2
    return best, how
