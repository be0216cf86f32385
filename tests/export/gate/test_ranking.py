"""Quantised blocks are ranked by the noise of their own products."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx_ir as ir
import pytest

from xsam_edge.calibration.calibration_data import open_calibration
from xsam_edge.export.gate.observe import Error
from xsam_edge.export.gate.ranking import Ranking, added_noise, adding_blocks
from xsam_edge.export.gate.weight_file import WeightFile
from xsam_edge.export.precision.plan import Assignment, NodePrecision, Plan, assign
from xsam_edge.export.quantization.lowering import bundle_names
from xsam_edge.runtime.progress import silent


def test_noise_of_products_adds_up_and_counts_as_a_share_of_the_sum_it_goes_to() -> None:
    sites = {"small": [Error(4, 1), Error(8, 2)], "large": [Error(10, 0.1)], "silent": [Error(0, 0)]}
    noise = added_noise(sites, {"small": 1, "large": 99, "sum": 100}, {"small": {"sum"}, "large": {"sum", "unseen"}})
    assert noise == pytest.approx({"small": 0.005, "large": 0.0099, "silent": 0})


def test_blocks_that_add_the_output_of_a_layer() -> None:
    hidden = ir.Value(name="hidden")
    branch = ir.node("Relu", [hidden], name="/llm/layers.0/mlp/Relu")
    total = ir.node("Add", [hidden, branch.outputs[0]], name="/llm/layers.0/Add")
    after = ir.node("Relu", [total.outputs[0]], name="/llm/norm/Relu")
    graph = ir.Graph([hidden], [after.outputs[0]], nodes=[branch, total, after])
    assert adding_blocks(graph) == {"/llm/layers.0/mlp/**": {"/llm/layers.0/*"}}


def test_each_block_shows_its_own_noise_alone(shapes_bundle: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(shapes_bundle, tmp_path / "base"))
    names = bundle_names(base)
    clipped = next(name for name in names.sites if "/segmentor/encoder/layers.2/mlp/" in name)
    sound = next(name for name in names.sites if "/segmentor/encoder/layers.3/mlp/" in name)
    four = next(name for name in names.sites if "/llm/model/layers.1/mlp/" in name)
    nodes = dict(assign(Plan("fp32"), names).nodes)
    nodes |= {clipped: NodePrecision("fp32", "int8"), sound: NodePrecision("fp32", "int8")}
    nodes[four] = NodePrecision("fp32", "int4")
    pictures = open_calibration("shapes", 1, 1).held_out
    with WeightFile(base) as weights:
        ranking = Ranking(base, {clipped: 0.05, sound: 20.0}, weights, pictures, progress=silent)
        noise = ranking(Assignment("fp32", nodes))
        nodes[clipped] = NodePrecision("fp32")
        again = ranking(Assignment("fp32", nodes))
    first, *others = sorted(noise, key=noise.__getitem__, reverse=True)
    assert first == "/segmentor/encoder/layers.2/mlp/**" and noise[first] > 0.1
    assert set(others) == {"/segmentor/encoder/layers.3/mlp/**", "/llm/model/layers.1/mlp/**"}
    assert all(1e-7 < noise[block] < 0.1 for block in others)
    # What is before a block does not matter to it.
    assert again == {block: noise[block] for block in others}
    assert sorted(path.name for path in base.iterdir()) == sorted(path.name for path in shapes_bundle.iterdir())
