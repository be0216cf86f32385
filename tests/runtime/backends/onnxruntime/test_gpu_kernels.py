"""Every node of the exported graphs has a kernel of ONNX Runtime's CUDA provider, but for integers of shapes.

What has none runs on the CPU, and tensors are copied there and back at every run. ``cuda_kernels.json`` holds what the
provider of some releases registers, as their ``get_all_opkernel_def()`` told it: by operator, the first and the last
version of ONNX (null: that version alone) and types by constraint. Of each release there is what differs from the one
before.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from xsam_edge.runtime.bundle import contract

onnx = pytest.importorskip("onnx")

Kernels = dict[str, list[tuple[int, int | None, dict[str, str]]]]
BUNDLES = (
    "phi3_bundle",
    "phi3_fp16_bundle",
    "phi3_kv_bundle",
    "phi3_int8_bundle",
    "phi3_int4_bundle",
    "qwen3_bundle",
    "qwen3_int8_bundle",
    "llama_bundle",
)
# Operators without a kernel, by the release and the graph. Of 1.27 on there are none.
_OF_OPSET_19 = {contract.IMAGE_ENCODER: {"Pad", "Resize"}, contract.MASK_DECODER: {"ReduceMax"}}
MISSING: dict[str, dict[str, set[str]]] = {
    "1.23.2": _OF_OPSET_19,
    "1.26.0": {contract.MASK_DECODER: {"ReduceMax"}},
    "1.27.0": {},
    "1.31.1": {},
}
# What of weights of four bits has none besides.
INT4_MISSING: dict[str, set[str]] = {"1.23.2": {"Cast", "Reshape", "Transpose", "Unsqueeze"}}


@cache
def kernels() -> dict[str, Kernels]:
    """Kernels of each release."""
    found: dict[str, Kernels] = {}
    release: Kernels = {}
    for version, changes in json.loads((Path(__file__).parent / "cuda_kernels.json").read_text()).items():
        release = found[version] = {**release, **changes}
    return found


@cache
def load(path: Path) -> tuple[Any, dict[str, str], int]:
    """A graph, the types of its values, and the version of ONNX's operators."""
    model = onnx.load(path, load_external_data=False)
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    types = {value.name: onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower() for value in values}
    types |= {tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type).lower() for tensor in graph.initializer}
    (opset,) = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return graph, types, opset


def of_shapes(graph: Any, types: dict[str, str]) -> set[str]:
    """Values that are worked out of shapes and constants alone, in integers."""
    found = {tensor.name for tensor in graph.initializer if types[tensor.name].startswith("int")}
    for node in graph.node:
        from_shape = node.op_type in ("Shape", "Constant") or all(name in found for name in node.input if name)
        if from_shape and all(types[name].startswith("int") for name in node.output):
            found.update(node.output)
    return found


def has_kernel(node: Any, types: dict[str, str], opset: int, release: Kernels) -> bool:
    """Whether the provider registers the operator's version for these types, by ONNX Runtime's rule."""
    name = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
    if node.domain:
        return name in release
    schema = onnx.defs.get_schema(node.op_type, opset)
    constraints: dict[str, str] = {}
    for formals, names in ((schema.inputs, node.input), (schema.outputs, node.output)):
        for index, value in enumerate(names):
            if value:
                constraints[formals[min(index, len(formals) - 1)].type_str] = types[value]
    return any(
        (first == schema.since_version if last is None else first <= schema.since_version <= last)
        and all(kind in allowed[key].split() for key, kind in constraints.items() if key in allowed)
        for first, last, allowed in release.get(name, [])
    )


@pytest.mark.parametrize("version", MISSING)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_node_has_a_kernel(bundle: str, version: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(bundle)
    for name in contract.GRAPHS:
        graph, types, opset = load(folder / f"{name}.onnx")
        shapes = of_shapes(graph, types)
        nodes = [node for node in graph.node if node.op_type != "Constant" and not shapes.issuperset(node.output)]
        assert len(nodes) > 50
        lacking = {node.op_type for node in nodes if not has_kernel(node, types, opset, kernels()[version])}
        four_bits = INT4_MISSING.get(version, set()) if (bundle, name) == ("phi3_int4_bundle", contract.LLM) else set()
        assert lacking == MISSING[version].get(name, set()) | four_bits, name


def test_the_rule_of_versions() -> None:
    """A kernel without a last version is of its first alone: that of ReduceMax from 18 on is none of 20."""
    node = onnx.helper.make_node("ReduceMax", ["x", "axes"], ["y"])
    types = {"x": "float", "axes": "int64", "y": "float"}
    assert [has_kernel(node, types, 20, kernels()[version]) for version in MISSING] == [False, False, True, True]
    assert has_kernel(node, types, 18, kernels()["1.23.2"])
    assert not has_kernel(node, {**types, "x": "string", "y": "string"}, 20, kernels()["1.31.1"])
