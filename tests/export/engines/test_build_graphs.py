"""Every graph goes through NVIDIA's parser and compiler, which TensorRT-RTX runs without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xsam_edge.runtime.bundle.manifest import read_manifest

trt: Any = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install xsam-edge[dev])")

pytestmark = pytest.mark.engines

# Smallest, usual and largest size of each axis that a caller chooses.
PROFILE = {
    "batch": (1, 1, 8),
    "sequence": (1, 8, 64),
    "past": (0, 32, 64),
    "rows": (1, 1, 8),
    "conditions": (1, 2, 16),
}
# Graphs that differ in more than weights: the encoder and the mask decoder do not know the language model.
FP8 = [("phi3_fp8_bundle", "image_encoder"), ("phi3_fp8_bundle", "llm"), ("phi3_fp8_bundle", "mask_decoder")]
GRAPHS = [
    ("phi3_gpu_bundle", "image_encoder"),
    ("phi3_gpu_bundle", "llm"),
    ("phi3_gpu_bundle", "mask_decoder"),
    ("phi3_fp16_bundle", "image_encoder"),
    ("phi3_fp16_bundle", "llm"),
    ("phi3_fp16_bundle", "mask_decoder"),
    ("phi3_kv_bundle", "llm"),
    ("qwen3_bundle", "llm"),
    ("qwen3_fp16_bundle", "llm"),
    ("llama_bundle", "llm"),
    ("phi3_int8_bundle", "image_encoder"),
    ("phi3_int8_bundle", "llm"),
    ("phi3_int8_bundle", "mask_decoder"),
    ("phi3_int4_bundle", "image_encoder"),
    ("phi3_int4_bundle", "llm"),
    ("qwen3_int8_bundle", "llm"),
    *FP8,
]


class Log(trt.ILogger):  # type: ignore[misc]
    """Keeps what is worse than information."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        # Indices of 64 bit are what the contract says, scales in FP32 what quantised convolutions have in any type.
        expected = ("Int64 binding", "scales to fp32")
        if severity <= trt.ILogger.WARNING and not any(text in message for text in expected):
            self.problems.append(message)


def parser_errors(parser: Any) -> Iterator[str]:
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        yield f"{error.node_operator()} {error.node_name()}: {error.desc()}"


@pytest.mark.parametrize(("bundle", "name"), GRAPHS, ids=["-".join(graph) for graph in GRAPHS])
def test_a_strongly_typed_engine_builds(request: pytest.FixtureRequest, bundle: str, name: str) -> None:
    path: Path = request.getfixturevalue(bundle)
    spec = read_manifest(path).graphs[name]
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(path / spec.file)), list(parser_errors(parser))
    assert [network.get_input(i).name for i in range(network.num_inputs)] == [tensor.name for tensor in spec.inputs]
    for tensors, get in ((spec.inputs, network.get_input), (spec.outputs, network.get_output)):
        for index, tensor in enumerate(tensors):
            types = {"float32": trt.float32, "float16": trt.float16, "int64": trt.int64, "int8": trt.int8}
            kind = types[tensor.dtype]
            assert (get(index).name, get(index).dtype) == (tensor.name, kind)
    config = builder.create_builder_config()
    if (bundle, name) in FP8:  # GPUs before Ada have no products of it
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    profile = builder.create_optimization_profile()
    for tensor in spec.inputs:
        if any(isinstance(axis, str) for axis in tensor.shape):
            sizes = [PROFILE[axis] if isinstance(axis, str) else (axis,) * 3 for axis in tensor.shape]
            profile.set_shape(tensor.name, *zip(*sizes, strict=True))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None, log.problems
    assert engine.nbytes > 100_000
    assert log.problems == []
