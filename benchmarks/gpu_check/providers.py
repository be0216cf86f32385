"""Where ONNX Runtime runs the nodes of a graph, and how long: a profile of one run in a session of its own."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from xsam_edge.runtime.backends.onnxruntime import find_model
from xsam_edge.runtime.backends.onnxruntime.providers import CUDA
from xsam_edge.runtime.backends.onnxruntime.providers import preload as preload_libraries
from xsam_edge.runtime.backends.onnxruntime.session import CPU
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.errors import BackendError


@dataclass(frozen=True)
class Placement:
    """Nodes of a graph after the optimisers, counted: by provider, on the CPU by operator, and copies between both.

    ``slowest`` are operators and the microseconds of all their nodes, the most first.
    """

    nodes: Mapping[str, int]
    on_cpu: Mapping[str, int]
    copies: int
    slowest: Sequence[tuple[str, int]]


def preload(device: str) -> None:
    """Load the CUDA libraries that torch has, which ONNX Runtime for GPUs needs, where they are not of the system."""
    if device == "cuda":
        import torch  # noqa: F401

        preload_libraries(onnxruntime)


def profile(path: Path, spec: GraphSpec, axes: Mapping[str, int], device: str) -> Placement:
    """Run a graph twice on zeros at these sizes, and read of the second run what ran where.

    Raises:
        BackendError: the provider of ``device`` is not there, or did not take the session.
    """
    wanted = CUDA.name if device == "cuda" else CPU
    if wanted not in onnxruntime.get_available_providers():
        raise BackendError(f"this onnxruntime {onnxruntime.__version__} has no {wanted}; bring onnxruntime-gpu")
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.log_severity_level = 3
        model = find_model(onnxruntime, path)
        model.configure(options)
        session = onnxruntime.InferenceSession(model.content, options, providers=list(dict.fromkeys([wanted, CPU])))
        used = session.get_providers()
        if used[0] != wanted:
            raise BackendError(f"{path.name} was opened on {used[0]}, not on {wanted}; its libraries do not load")
        for _ in range(2):
            session.run(None, zeros(spec, axes))
        events = json.loads(Path(session.end_profiling()).read_text())
    return placement(events)


def zeros(spec: GraphSpec, axes: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
    """Inputs of a graph at these sizes, 1 where an axis is not among them; positions ascend behind the past."""
    sizes = {axis: axes.get(axis, 0 if axis == contract.PAST else 1) for axis in spec.axes}
    inputs = {
        tensor.name: np.zeros([sizes[axis] if isinstance(axis, str) else axis for axis in tensor.shape], tensor.dtype)
        for tensor in spec.inputs
    }
    if contract.POSITION_IDS in inputs:
        inputs[contract.POSITION_IDS] += sizes[contract.PAST] + np.arange(sizes[contract.SEQUENCE])
    return inputs


def placement(events: Sequence[Mapping[str, Any]]) -> Placement:
    """Read a profile of two runs."""
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    second = kernels[len(kernels) // 2 :]
    nodes, on_cpu, times = Counter[str](), Counter[str](), Counter[str]()
    for event in second:
        operator, provider = event["args"]["op_name"], event["args"]["provider"].removesuffix("ExecutionProvider")
        nodes[provider] += 1
        times[operator] += int(event["dur"])
        if provider == "CPU":
            on_cpu[operator] += 1
    copies = sum(event["args"]["op_name"].startswith("Memcpy") for event in second)
    return Placement(nodes, on_cpu, copies, times.most_common(8))


def counted(counts: Mapping[str, int]) -> str:
    """Counts as text."""
    return ", ".join(f"{number:,} {name}" for name, number in counts.items()) or "none"
