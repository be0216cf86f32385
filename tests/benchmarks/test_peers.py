"""The torch side: the bundle's own weights, the same answers."""

import copy
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from safetensors.numpy import load_file

from xsam_edge.benchmarks import inputs, restore
from xsam_edge.benchmarks.chain import open_bundle
from xsam_edge.benchmarks.measure import Round
from xsam_edge.benchmarks.peers import TorchSide
from xsam_edge.benchmarks.report import agreement, iou
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.graph.passes import WeightPlan
from xsam_edge.export.models.xsam import XSam
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.bundle.typed_json import read_json
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import BundleError


@pytest.fixture(scope="module")
def model(phi3_bundle: Path, phi3_reference: Path) -> XSam:
    """The torch model of the bundle, from the checkpoint that the bundle was made of."""
    config = read_json(phi3_bundle / restore.CONFIG_FILE, ModelConfig)
    model, tensors = XSam(config), load_file(phi3_reference / "state_dict.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(tensors[name]))
    return model.eval()


@pytest.mark.parametrize("answering", ["append", "scripted"])
def test_torch_gives_the_same_answers(phi3_bundle: Path, model: XSam, answering, capsys) -> None:
    with ProgressPrinter(sys.stderr) as progress:
        ours = open_bundle(
            phi3_bundle, progress, answering=answering, device="cpu", threads=1, context=None, verify="none"
        )
    theirs = TorchSide(model, ours.xsam, answering, 1)
    picture, _ = inputs.pictures()
    rounds = [Round(side.first(picture(0), "the star"), side.next("the red circle")) for side in (ours, theirs)]
    found = agreement([rounds[0]], [rounds[1]])
    assert found["same_tokens"] and found["min_mask_iou"] > 0.99
    assert rounds[0].first.mask is not None
    expected = [] if answering == "append" else ours.xsam.language.tokenizer.encode("It is <SEG>.<|end|>").tolist()
    assert list(rounds[1].first.tokens) == expected
    stages = [call.stage for call in rounds[1].first.calls]
    decoded = ["llm_decode"] * max(len(expected) - 1, 0)
    assert stages == ["image_encoder", "llm_prefill", *decoded, "mask_decoder"]
    assert theirs.setup["threads"] == 1 and not theirs.setup["compiled"]


def test_torch_computes_in_half(phi3_bundle: Path, model: XSam) -> None:
    """Every part in FP16, as a model in half is on a GPU; its masks are those of FP32 but for rounding."""
    with ProgressPrinter(sys.stderr) as progress:
        ours = open_bundle(
            phi3_bundle, progress, answering="append", device="cpu", threads=1, context=None, verify="none"
        )
    side = TorchSide(copy.deepcopy(model), ours.xsam, "append", 1, dtype=torch.float16)
    picture, _ = inputs.pictures()
    half, whole = side.first(picture(0), "the star"), ours.first(picture(0), "the star")
    assert side.setup["precision"] == "fp16" and half.mask is not None and whole.mask is not None
    assert 0.9 < iou(half.mask, whole.mask) < 1, "1 would be FP32"


@pytest.mark.parametrize(
    "program",
    [
        lambda x: [ir.Node("", "Transpose", [x], [ir.AttrInt64s("perm", [1, 0])])],
        lambda x: [ir.Node("", "Add", [x, constant(np.full((3, 4), 0.5, np.float32))])],
        lambda x: [ir.Node("", "Gather", [x, constant(np.array([2, 0, 1]))])],
        lambda x: [ir.Node("", "Exp", [x])],
    ],
    ids=["transposed", "added to", "gathered", "exponential"],
)
def test_what_became_of_a_parameter_is_undone(program) -> None:
    original = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    plan = plan_of(program)
    from xsam_edge.export.graph.passes import evaluate

    values = np.full((3, 4), np.nan)
    restore.invert(plan, evaluate(plan.program, {"p": original}), values)
    assert np.abs(values - original).max() < 1e-6


def test_what_cannot_be_undone_is_an_error() -> None:
    plan = plan_of(lambda x: [ir.Node("", "Mul", [x, constant(np.full((1,), 0.3, np.float32))])])
    with pytest.raises(BundleError, match="cannot be undone"):
        restore.invert(plan, np.zeros((3, 4), np.float32), np.zeros((3, 4)))


def constant(value: np.ndarray) -> ir.Value:
    tensor = ir.tensor(value, name="constant")
    return ir.Value(name="constant", shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)


def plan_of(program) -> WeightPlan:
    x = ir.Value(name="p", shape=ir.Shape((3, 4)), type=ir.TensorType(ir.DataType.FLOAT))
    nodes = program(x)
    y = nodes[-1].outputs[0]
    y.name, y.type = "y", x.type
    held = [value for node in nodes for value in node.inputs if value is not None and value.const_value is not None]
    graph = ir.Graph([x], [y], nodes=nodes, initializers=held, opset_imports={"": 20}, name="weights")
    return WeightPlan(("p",), program=ir.Model(graph, ir_version=10))


def test_a_bundle_keeps_its_sizes(phi3_bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(phi3_bundle)
    config = restore.read_config(phi3_bundle, manifest)
    assert config.llm.hidden_size == manifest.settings.model.hidden_size
    assert isinstance(config.mask_encoder.taps, tuple)
    shutil.copy(phi3_bundle / "manifest.json", tmp_path)
    with pytest.raises(BundleError, match="export the bundle again"):
        restore.read_config(tmp_path, manifest)
    (tmp_path / restore.CONFIG_FILE).write_text("{}")
    with pytest.raises(BundleError, match=r"has no 'llm'; .*export the bundle again"):
        restore.read_config(tmp_path, manifest)


@pytest.mark.slow
def test_all_weights_are_found_in_the_graphs(phi3_bundle: Path, model: XSam) -> None:
    """Traces the three graphs again."""
    found = restore.torch_model(phi3_bundle, read_manifest(phi3_bundle))
    for (name, ours), (_, theirs) in zip(found.named_parameters(), model.named_parameters(), strict=True):
        if "rel_pos" not in name:  # of these, rows that no pair of positions needs are not in a graph
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6, msg=name)
