from pathlib import Path

import numpy as np
import pytest

from xsam_edge.benchmarks.gpu_check import providers
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import BackendError


def event(operator: str, provider: str, duration: int) -> dict:
    arguments = {"op_name": operator, "provider": f"{provider}ExecutionProvider"}
    return {"cat": "Node", "name": f"{operator}_kernel_time", "dur": duration, "args": arguments}


def test_a_profile_tells_where_nodes_ran() -> None:
    run = [
        event("MatMul", "CUDA", 30),
        event("MemcpyToHost", "CUDA", 5),
        event("Shape", "CPU", 1),
        event("MatMul", "CUDA", 20),
    ]
    other = [
        {"cat": "Session", "name": "model_run", "dur": 90},
        {**event("MatMul", "CUDA", 1), "name": "MatMul_fence_before"},
    ]
    found = providers.placement([event("MatMul", "CUDA", 999), *other, *run[1:], *run])
    assert found.nodes == {"CUDA": 3, "CPU": 1} and found.on_cpu == {"Shape": 1} and found.copies == 1
    assert list(found.slowest) == [("MatMul", 50), ("MemcpyToHost", 5), ("Shape", 1)]
    assert providers.counted(found.nodes) == "3 CUDA, 1 CPU" and providers.counted({}) == "none"


def test_a_graph_is_profiled(phi3_bundle: Path) -> None:
    spec = read_manifest(phi3_bundle).graphs["llm"]
    axes = {"sequence": 3, "past": 2}
    inputs = providers.zeros(spec, axes)
    np.testing.assert_array_equal(inputs["position_ids"], [[2, 3, 4]])
    assert inputs["past_key.0"].shape[1] == 2 and inputs["logits_positions"].shape == (1,)
    found = providers.profile(phi3_bundle / spec.file, spec, axes, "cpu")
    assert set(found.nodes) == {"CPU"} and found.on_cpu["MatMul"] > 0 and not found.copies


def test_a_provider_that_is_absent_or_not_used_is_an_error(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = read_manifest(phi3_bundle).graphs["llm"]
    known = ["CPUExecutionProvider"]
    monkeypatch.setattr(providers.onnxruntime, "get_available_providers", lambda: known)
    with pytest.raises(BackendError, match="has no CUDAExecutionProvider; bring onnxruntime-gpu"):
        providers.profile(phi3_bundle / spec.file, spec, {}, "cuda")
    known.append("CUDAExecutionProvider")  # as a build whose libraries do not load: it falls back
    with pytest.raises(BackendError, match="was opened on CPUExecutionProvider, not on CUDAExecutionProvider"):
        providers.profile(phi3_bundle / spec.file, spec, {}, "cuda")
