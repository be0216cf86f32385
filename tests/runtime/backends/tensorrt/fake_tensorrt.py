"""A TensorRT without a GPU: an engine's file names an ONNX graph, which runs in ONNX Runtime on the bound addresses.

What TensorRT demands is asserted: an address for every tensor, aligned and apart from the others, shapes inside of the
chosen profile, and activation memory of the engine's size.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.runtime.backends.tensorrt.fake_cuda import ALIGNMENT, FakeCudart
from xsam_edge.runtime.backends.base import Buffer, output_shapes
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.engine_info import EngineInfo, EngineProfile, Flavour, KVCacheChoice
from xsam_edge.runtime.bundle.manifest import (
    MANIFEST_FILE,
    FileEntry,
    GraphSpec,
    TensorSpec,
    read_manifest,
)
from xsam_edge.runtime.bundle.typed_json import from_json

VERSION = "10.3.0"
LARGEST = {
    contract.SEQUENCE: 512,
    contract.ROWS: 512,
    contract.CONDITIONS: 64,
    contract.BATCH: 8,
    contract.HEIGHT: 4096,
    contract.WIDTH: 4096,
    contract.VISION_TAPS: 512,
    contract.MASK_TAPS: 512,
}
ACTIVATIONS = {
    contract.PIXELS: 2000,
    contract.IMAGE_ENCODER: 5000,
    contract.LLM: 3000,
    contract.MASK_DECODER: 4000,
}


def engine_bundle(onnx: Path, output: Path, flavour: Flavour = "tensorrt", context: int = 512) -> Path:
    """A bundle whose engines are those of :class:`FakeTensorRT`, made of one of ONNX graphs."""
    shutil.copytree(onnx, output, symlinks=True)
    manifest = read_manifest(onnx)
    graphs, files, profiles = {}, dict(manifest.files), {}
    for name, spec in manifest.graphs.items():
        profiles[name] = _profiles(name, spec, context)
        file = f"{name}.engine"
        text = {"onnx": str(onnx / spec.file), "name": name, "profiles": len(profiles[name])}
        content = json.dumps({**text, "spec": dataclasses.asdict(spec)})
        (output / file).write_text(content)
        graphs[name] = dataclasses.replace(spec, file=file)
        files[file] = FileEntry.of(output / file)
    engine = EngineInfo(
        flavour, VERSION, "auto", ("8.7",), "Orin", "540.4.0", "12.6", context, KVCacheChoice("decomposed", "test"),
        {}, profiles, {}, {},
    )  # fmt: skip
    made = dataclasses.replace(manifest, graphs=graphs, files=files, engine=engine)
    (output / MANIFEST_FILE).write_text(made.to_json())
    return output


def _profiles(name: str, spec: GraphSpec, context: int) -> tuple[EngineProfile, ...]:
    axes = {axis for tensor in spec.inputs for axis in tensor.shape if isinstance(axis, str)}
    largest = {**LARGEST, contract.PAST: context}
    low = {axis: 0 if axis in (contract.PAST, contract.ROWS) else 1 for axis in axes}
    widest = {axis: (low[axis], low[axis], largest[axis]) for axis in axes}
    if name != contract.LLM:
        return (EngineProfile("all", widest),)
    one = {contract.BATCH: (1, 1, 1)} if contract.BATCH in axes else {}
    step = {**widest, **one, contract.SEQUENCE: (1, 1, 1), contract.ROWS: (0, 1, 1)}
    return EngineProfile("prefill", widest), EngineProfile("decode", step)


class FakeTensorRT:
    """The module ``tensorrt``. ``runs`` lists the graph and profile of every execution that was enqueued."""

    class ILogger:
        """Base of the backend's log."""

        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    ExecutionContextAllocationStrategy = SimpleNamespace(STATIC=0, USER_MANAGED=2)
    CudaGraphStrategy = SimpleNamespace(DISABLED=0, WHOLE_GRAPH_CAPTURE=1)
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(LAZY=0, NONE=2)

    def __init__(self, cudart: FakeCudart) -> None:
        self.cudart = cudart
        self.runs: list[tuple[str, int]] = []
        self.engines: dict[str, FakeEngine] = {}
        self.uncapturable: set[str] = set()
        self.failing: set[str] = set()
        self.refused_profiles: set[int] = set()
        self.machine = "this one"  # what kernels are compiled for
        self.while_enqueued: Callable[[], None] | None = None  # called by each execution, as it is enqueued
        self.log: Any = None

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        self.log = log
        return SimpleNamespace(deserialize_cuda_engine=self._deserialise)

    def _deserialise(self, content: Any) -> Any:
        try:
            described = json.loads(bytes(content))
        except ValueError:
            self.log.log(1, "not an\nengine")
            return None
        engine = FakeEngine(self, described)
        self.engines[described["name"]] = engine
        return engine


class FakeEngine:
    """An ``ICudaEngine``."""

    def __init__(self, trt: FakeTensorRT, described: dict[str, Any]) -> None:
        self.trt = trt
        self.name = described["name"]
        self.spec: GraphSpec = from_json(GraphSpec, described["spec"], "engine")
        self.graph = OnnxRuntimeBackend("cpu", 1).open(Path(described["onnx"]), self.spec)
        self.num_optimization_profiles = described["profiles"]
        self.device_memory_size_v2 = ACTIVATIONS[self.name]
        self.contexts: list[FakeContext] = []
        self._tensors = [(t, "INPUT") for t in self.spec.inputs] + [(t, "OUTPUT") for t in self.spec.outputs]
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index][0].name

    def _tensor(self, name: str) -> tuple[TensorSpec, str]:
        return next(item for item in self._tensors if item[0].name == name)

    def get_tensor_mode(self, name: str) -> Any:
        return SimpleNamespace(name=self._tensor(name)[1])

    def get_tensor_dtype(self, name: str) -> Any:
        names = {"float32": "FLOAT", "float16": "HALF", "int64": "INT64", "uint8": "UINT8", "int8": "INT8"}
        names["float8_e4m3fn"] = "FP8"
        return SimpleNamespace(name=names[self._tensor(name)[0].dtype])

    def get_tensor_location(self, name: str) -> Any:
        return SimpleNamespace(name="DEVICE")

    def create_runtime_config(self) -> Any:
        config = SimpleNamespace(
            cuda_graph_strategy=0, strategy=0, dynamic_shapes_kernel_specialization_strategy=None, kernels=None
        )
        config.set_execution_context_allocation_strategy = lambda value: setattr(config, "strategy", value)
        config.create_runtime_cache = lambda: FakeRuntimeCache(self.trt.machine)
        config.set_runtime_cache = lambda cache: setattr(config, "kernels", cache)
        return config

    def create_execution_context(self, strategy: Any) -> FakeContext:
        assert getattr(strategy, "strategy", strategy) == FakeTensorRT.ExecutionContextAllocationStrategy.USER_MANAGED
        self.contexts.append(FakeContext(self, strategy))
        return self.contexts[-1]


class FakeRuntimeCache:
    """An ``IRuntimeCache``: what was compiled, which another machine, driver or release refuses."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self.compiled: set[str] = set()

    def serialize(self) -> bytes:
        return json.dumps([self.machine, sorted(self.compiled)]).encode()

    def deserialize(self, content: bytes) -> bool:
        try:
            machine, compiled = json.loads(content)
        except ValueError:
            return False
        if machine == self.machine:
            self.compiled = set(compiled)
        return bool(machine == self.machine)


class FakeContext:
    """An ``IExecutionContext``."""

    def __init__(self, engine: FakeEngine, config: Any) -> None:
        self.engine = engine
        self.config = config
        self.profile = 0
        self.activations = (0, 0)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        if not 0 <= profile < self.engine.num_optimization_profiles or profile in self.engine.trt.refused_profiles:
            raise RuntimeError(f"Error in set optimization profile {profile}")  # as the bindings do; never False
        self.profile = profile
        self.shapes.clear()
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        self.engine.trt.cudart.check(memory, size)
        assert memory % ALIGNMENT == 0 and size >= self.engine.device_memory_size_v2
        self.activations = (memory, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address and address % ALIGNMENT == 0, f"{name} is bound to {address}"
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        engine = self.engine
        cudart = engine.trt.cudart
        assert type(stream) is int and self.activations[0]
        if engine.trt.while_enqueued is not None:
            engine.trt.while_enqueued()
        if engine.name in engine.trt.failing or (
            engine.name in engine.trt.uncapturable and cudart.capturing is not None
        ):
            engine.trt.log.log(1, "no kernel")
            return False
        sizes = output_shapes(engine.spec, self.shapes)
        bound: dict[str, Buffer] = {}
        for tensor in (*engine.spec.inputs, *engine.spec.outputs):
            shape = self.shapes.get(tensor.name) or sizes[tensor.name]
            bound[tensor.name] = Buffer(self.addresses[tensor.name], shape, np.dtype(tensor.dtype), None)
            cudart.check(bound[tensor.name].address, max(1, bound[tensor.name].nbytes))
        assert len({buffer.address for buffer in bound.values()}) == len(bound), "two tensors at one address"
        inputs = {tensor.name: bound[tensor.name] for tensor in engine.spec.inputs}
        outputs = {tensor.name: bound[tensor.name] for tensor in engine.spec.outputs}
        engine.trt.runs.append((engine.name, self.profile))
        kernels = getattr(self.config, "kernels", None)
        if kernels is not None:
            kernels.compiled.add(f"{engine.name} {self.profile} {sorted(self.shapes.items())}")
        code = cudart.submit(stream, lambda: engine.graph.run(inputs, outputs))
        if code:
            engine.trt.log.log(1, f"enqueue failed: {code}")
        return code == 0

    def is_stream_capturable(self, stream: int) -> bool:
        assert type(stream) is int and self.shapes, "asked before any shape is known"
        return self.engine.name not in self.engine.trt.uncapturable


def fake_backend(bundle: Path, devices: int = 1, kernels: Any = None) -> Any:
    """A backend on fakes; they are its attributes ``fake_cudart`` and ``fake_trt``."""
    from xsam_edge.runtime.backends.tensorrt.backend import TensorRTBackend

    cudart = FakeCudart(devices)
    trt = FakeTensorRT(cudart)
    backend: Any = TensorRTBackend(read_manifest(bundle), cudart=cudart, trt=trt, kernels=kernels)
    backend.fake_cudart, backend.fake_trt = cudart, trt
    return backend
