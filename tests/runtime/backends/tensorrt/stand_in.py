"""A TensorRT whose engines copy: the library's surface, with work that any CUDA can do, a real one too.

An execution puts copies between bound tensors into the given stream, nothing else: what is staged, in which order, what
is captured and replayed and how long memory lives is the backend's, and can be seen in what comes out. What TensorRT
refuses is refused: addresses that are not aligned, shapes outside of a profile, memory for activations that is too
little.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any

from xsam_edge.runtime.backends.cuda.calls import Cuda
from xsam_edge.runtime.backends.cuda.tensors import DeviceTensors
from xsam_edge.runtime.backends.tensorrt.engine import Library
from xsam_edge.runtime.backends.tensorrt.graph import Activations, TensorRTGraph
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.engine_info import EngineProfile
from xsam_edge.runtime.bundle.manifest import GraphSpec, TensorSpec

WIDTH = 64  # of a row, float32: rows at any place are aligned
ACTIVATIONS = 4096
_CODES = {"float32": "FLOAT", "float16": "HALF", "int64": "INT64"}


@dataclass(frozen=True)
class Layer:
    """An output that is a copy of an input: of all of it, or with ``last`` of its last row."""

    source: str
    target: str
    last: bool = False


def row_graph() -> tuple[GraphSpec, tuple[EngineProfile, ...], tuple[Layer, ...]]:
    """Like a language model with a layer: new rows go to the cache, and the last row of the past comes back."""
    rows = ("batch", contract.SEQUENCE, WIDTH)
    spec = GraphSpec(
        "llm.engine",
        (TensorSpec(contract.INPUTS_EMBEDS, "float32", rows), TensorSpec("past", "float32", (1, contract.PAST, WIDTH))),
        (TensorSpec("new", "float32", rows), TensorSpec("seen", "float32", ("batch", 1, WIDTH))),
    )
    axes = {"batch": (1, 1, 1), contract.SEQUENCE: (1, 8, 512), contract.PAST: (0, 256, 1024)}
    profiles = EngineProfile("prefill", axes), EngineProfile("decode", {**axes, contract.SEQUENCE: (1, 1, 1)})
    return spec, profiles, (Layer(contract.INPUTS_EMBEDS, "new"), Layer("past", "seen", last=True))


class StandIn:
    """The module ``tensorrt``; ``executions`` counts what was enqueued."""

    class ILogger:
        """Base of the backend's log."""

        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    ExecutionContextAllocationStrategy = SimpleNamespace(STATIC=0, USER_MANAGED=2)

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.executions = 0
        self.log: Any = None

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        self.log = log
        return SimpleNamespace()


class Engine:
    """An ``ICudaEngine``."""

    device_memory_size_v2 = ACTIVATIONS

    def __init__(
        self, library: StandIn, spec: GraphSpec, profiles: tuple[EngineProfile, ...], layers: tuple[Layer, ...]
    ) -> None:
        self.library, self.spec, self.profiles, self.layers = library, spec, profiles, layers
        self.num_optimization_profiles = len(profiles)

    def create_execution_context(self, strategy: int) -> Context:
        assert strategy == StandIn.ExecutionContextAllocationStrategy.USER_MANAGED
        return Context(self)


class Context:
    """An ``IExecutionContext``."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.profile = 0
        self.memory = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        if not 0 <= profile < self.engine.num_optimization_profiles:
            raise RuntimeError(f"Error in set optimization profile {profile}")
        self.profile = profile
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory % 256 == 0 and size >= ACTIVATIONS
        self.memory = memory

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        tensor = self.engine.spec.input(name)
        low, _, high = self.engine.profiles[self.profile].shapes(tensor.shape)
        inside = all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))
        if inside:
            self.shapes[name] = tuple(shape)
        else:
            self.engine.library.log.log(1, f"{name} {shape} is outside of profile {self.profile}")
        return inside

    def set_tensor_address(self, name: str, address: int) -> bool:
        if not address or address % 256:
            self.engine.library.log.log(1, f"{name} is misaligned")
            return False
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert type(stream) is int and self.memory, "no memory for activations"
        assert len(set(self.addresses.values())) == len(self.addresses), "two tensors at one address"
        self.engine.library.executions += 1
        for layer in self.engine.layers:
            nbytes = 4 * prod(self.shapes[layer.source])
            source = self.addresses[layer.source]
            if layer.last:
                source, nbytes = source + nbytes - 4 * WIDTH, 4 * WIDTH if nbytes else 0
            if nbytes:
                self.engine.library.cuda.copy(self.addresses[layer.target], source, nbytes, stream)
        return True


class Machine:
    """A graph of :func:`row_graph` on a CUDA, with the streams and the memory that the backend would give it."""

    def __init__(self, cudart: Any) -> None:
        self.cuda = Cuda(cudart)
        self.tensors = DeviceTensors(self.cuda)
        self.library = StandIn(self.cuda)
        self.spec, self.profiles, self.layers = row_graph()
        self.activations = Activations(self.tensors._device)
        self.activations.grow(ACTIVATIONS)

    def graph(self) -> TensorRTGraph:
        """One more graph, in a stream of its own."""
        library = Library("tensorrt", self.library)
        engine = Engine(self.library, self.spec, self.profiles, self.layers)
        stream = self.cuda.stream()
        return TensorRTGraph(
            self.spec, self.profiles, engine, library, self.cuda, stream, self.activations, self.tensors
        )
