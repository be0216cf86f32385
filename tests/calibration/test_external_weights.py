"""Weights in files that links lead to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.calibration.statistics.test_collect import assert_equal, data, picture, products
from tests.linked import LAYOUTS
from xsam_edge.calibration.external_weights import gather, read_model
from xsam_edge.calibration.statistics.collect import collect
from xsam_edge.calibration.stored_weights import load_graph, stored_weights


def test_statistics_of_a_linked_bundle_are_its_own(phi3_bundle: Path, tmp_path: Path) -> None:
    linked = LAYOUTS["each_apart"](phi3_bundle, tmp_path)
    pictures = [picture(0)]
    expected, found = (
        collect(bundle, data(pictures), products, tmp_path / str(number), threads=1)
        for number, bundle in enumerate((phi3_bundle, linked))
    )
    assert_equal(expected, found)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_read_from_where_they_are(phi3_bundle: Path, tmp_path: Path, layout: str) -> None:
    linked = LAYOUTS[layout](phi3_bundle, tmp_path)
    expected, found = (stored_weights(load_graph(path / "mask_decoder.onnx").graph) for path in (phi3_bundle, linked))
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        np.testing.assert_array_equal(weight.numpy(), found[name].numpy())


def test_files_of_several_folders_are_named_from_one(phi3_bundle: Path, tmp_path: Path) -> None:
    """As of a trial, which keeps weights beside a graph whose own ones are links."""
    linked = LAYOUTS["each_apart"](phi3_bundle, tmp_path)
    model = read_model(linked / "mask_decoder.onnx")
    name, value = next(
        (n, v) for n, v in model.graph.initializers.items() if isinstance(v.const_value, ir.ExternalTensor)
    )
    before = {
        key: item.const_value.numpy().copy()
        for key, item in model.graph.initializers.items()
        if isinstance(item.const_value, ir.ExternalTensor) and item is not value
    }
    shape = value.const_value.shape
    assert shape is not None
    np.full(tuple(shape.numpy()), 7, np.float32).tofile(linked / "tried.data")
    value.const_value = ir.ExternalTensor(
        "tried.data", 0, None, ir.DataType.FLOAT, shape=ir.Shape(shape.numpy()), name=name, base_dir=linked
    )
    folder = gather(model)
    assert folder == tmp_path
    for key, item in model.graph.initializers.items():
        tensor = item.const_value
        if isinstance(tensor, ir.ExternalTensor):
            assert tensor.base_dir == folder and not Path(tensor.location).is_absolute() and ".." not in tensor.location
            np.testing.assert_array_equal(tensor.numpy(), before.get(key, 7))


def test_plain_files_keep_their_names(phi3_bundle: Path) -> None:
    model = read_model(phi3_bundle / "mask_decoder.onnx")
    assert gather(model) == phi3_bundle.resolve()
    tensors = [value.const_value for value in model.graph.initializers.values()]
    locations = {tensor.location for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}
    assert locations == {"mask_decoder.onnx.data"}


def test_a_graph_without_weights_in_files(tmp_path: Path) -> None:
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 20}, name="g")
    assert gather(ir.Model(graph, ir_version=10)) is None
