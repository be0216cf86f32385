from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from xsam_edge.benchmarks.tiny_onnx import Node, Tensor, write

DTYPES = (np.float32, np.float16, np.int8, np.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_file_is_what_onnx_reads(tmp_path: Path, dtype: type) -> None:
    kind, values = np.dtype(dtype), np.arange(300, dtype=np.int32).astype(dtype).reshape(2, 150)
    x, y = Tensor("x", kind, (2, 150)), Tensor("y", kind, (2, 150))
    path = tmp_path / "g.onnx"
    nodes = [Node("Identity", ("x",), "between"), Node("Add", ("between", "constant"), "y")]
    write(path, x, y, nodes, {"constant": values, "one": np.ones((), dtype)})
    onnx.checker.check_model(str(path), full_check=True)
    graph = ir.load(path).graph
    assert [(node.op_type, [v.name for v in node.inputs], node.outputs[0].name) for node in graph] == [
        ("Identity", ["x"], "between"),
        ("Add", ["between", "constant"], "y"),
    ]
    for value, name in ((graph.inputs[0], "x"), (graph.outputs[0], "y")):
        assert value.name == name and value.shape == (2, 150)
        assert value.dtype == ir.DataType.from_numpy(kind)
    constants = {name: value.const_value for name, value in graph.initializers.items()}
    np.testing.assert_array_equal(constants["constant"].numpy(), values)
    assert constants["one"].shape == ()
