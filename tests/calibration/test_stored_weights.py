import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from xsam_edge.calibration.instrumented import EditedBackend
from xsam_edge.calibration.stored_weights import Factor, StoredWeight, load_graph, narrow, store, stored_weights, widen
from xsam_edge.runtime.errors import BackendError

ROWS, COLUMNS = 4, 3


def write(folder: Path, dtype: ir.DataType = ir.DataType.FLOAT, *, narrowed: bool = False) -> Path:
    """x [n, ROWS] times a weight that lies in a file, plus it once more by another reader."""
    model = ir.from_proto(
        onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["": 20]>'
            f"g (float[n,{ROWS}] x, float[{ROWS},{COLUMNS}] w) => (float[n,{COLUMNS}] y, float[{ROWS},{COLUMNS}] z)"
            "{ y = MatMul(x, w) z = Neg(w) }"
        )
    )
    value = next(item for item in model.graph.inputs if item.name == "w")
    model.graph.inputs.remove(value)
    model.graph.initializers["w"] = value
    if narrowed:
        narrow(model.graph, {"w": dtype})
    weights(dtype).tofile(folder / "g.data")
    length = ROWS * COLUMNS * dtype.itemsize
    value.const_value = ir.ExternalTensor(
        "g.data", 0, int(length), dtype, shape=ir.Shape([ROWS, COLUMNS]), name="w", base_dir=folder
    )
    ir.save(model, folder / "g.onnx")
    return folder / "g.onnx"


def weights(dtype: ir.DataType = ir.DataType.FLOAT) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, COLUMNS)).astype(dtype.numpy())


def run(path: Path) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.eye(ROWS, dtype=np.float32)})


def weight_of(path: Path) -> tuple[ir.Model, StoredWeight]:
    model = load_graph(path)
    return model, stored_weights(model.graph)["w"]


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16])
def test_a_narrow_weight_is_seen_as_float32(tmp_path: Path, dtype: ir.DataType) -> None:
    path = write(tmp_path, dtype, narrowed=True)
    expected = weights(dtype).astype(np.float32)
    np.testing.assert_array_equal(run(path)[0], expected)
    model, weight = weight_of(path)
    assert [node.op_type for node in model.graph] == ["MatMul", "Neg"]
    assert model.graph.initializers["w"].dtype == ir.DataType.FLOAT and weight.dtype == ir.DataType.FLOAT
    np.testing.assert_array_equal(weight.numpy(), expected)
    np.testing.assert_array_equal(weight.rows(1, 3), expected[1:3])
    np.testing.assert_array_equal(weight.columns(0, 2), expected[:, :2])


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16])
def test_factors_are_kept_in_the_graph(tmp_path: Path, dtype: ir.DataType) -> None:
    path = write(tmp_path, dtype, narrowed=dtype != ir.DataType.FLOAT)
    model, weight = weight_of(path)
    by_row = np.linspace(0.5, 2, ROWS, dtype=np.float32)[:, None]
    by_column = np.linspace(0.1, 3, COLUMNS, dtype=np.float32)[None]
    model.graph.initializers["w"].const_value = weight.multiplied(Factor(by_row)).multiplied(Factor(by_column))
    store(model)
    ir.save(model, path)
    expected = weights(dtype).astype(np.float32) * by_row * by_column
    again, weight = weight_of(path)
    assert len(again.graph) == 2 and set(again.graph.initializers) == {"w"}
    np.testing.assert_array_equal(weight.rows(1, 4), expected[1:4])
    np.testing.assert_array_equal(weight.columns(1, 3), expected[:, 1:3])
    y, z = run(path)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(z, -expected)


def test_widened_into_a_file_it_is_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, ir.DataType.BFLOAT16, narrowed=True)
    expected = run(path)
    model = load_graph(path)
    widen(model, tmp_path / "wide")
    store(model)
    assert [node.op_type for node in model.graph] == ["MatMul", "Neg"]
    assert (tmp_path / "wide").stat().st_size == 4 * ROWS * COLUMNS
    ir.save(model, tmp_path / "other.onnx")
    for one, other in zip(run(tmp_path / "other.onnx"), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_mapped_weight_outlives_its_file(tmp_path: Path) -> None:
    path = write(tmp_path, ir.DataType.FLOAT16, narrowed=True)
    backend = EditedBackend(load_graph, threads=1)
    backend.maps_weights = True
    session = backend.session(backend.edited(path), path)
    assert {item.name for item in tmp_path.iterdir()} == {"g.onnx", "g.data"}
    (found, _) = session.run(None, {"x": np.eye(ROWS, dtype=np.float32)})
    np.testing.assert_array_equal(found, weights(ir.DataType.FLOAT16).astype(np.float32))


def test_a_plain_graph_stays_as_it_is(phi3_bundle: Path, tmp_path: Path) -> None:
    for name in ("llm.onnx", "llm.onnx.data"):
        shutil.copyfile(phi3_bundle / name, tmp_path / name)
    model = load_graph(tmp_path / "llm.onnx")
    nodes = [node.name for node in model.graph]
    store(model)
    assert nodes == [node.name for node in model.graph]
    assert ir.to_proto(model) == ir.to_proto(ir.load(tmp_path / "llm.onnx"))


def test_what_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"none")
    with pytest.raises(BackendError, match="cannot be read as ONNX"):
        load_graph(tmp_path / "g.onnx")
