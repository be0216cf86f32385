from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from xsam_edge.calibration.staged.estimate import products, seconds_per_picture


def graph(text: str) -> ir.Graph:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]>\ng {text}')
    return ir.from_proto(onnx.shape_inference.infer_shapes(model)).graph


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ("(float[n,8] x, float[8,4] w) => (float[n,4] y) { y = MatMul(x, w) }", 2 * 5 * 8 * 4),
        ("(float[n,8] x, float[4,8] w) => (float[n,4] y) { y = Gemm<transB=1>(x, w) }", 2 * 5 * 8 * 4),
        ("(float[2,n,8] x, float[2,8,3] w) => (float[2,n,3] y) { y = MatMul(x, w) }", 2 * 2 * 5 * 8 * 3),
        ("(float[1,3,8,8] x, float[6,3,2,2] w) => (float[1,6,7,7] y) { y = Conv(x, w) }", 2 * 6 * 49 * 3 * 4),
        ("(float[other,8] x, float[8,4] w) => (float[other,4] y) { y = MatMul(x, w) }", 0),
        ("(float[n,8] x) => (float[n,8] y) { y = Neg(x) }", 0),
    ],
)
def test_operations(text: str, operations: int) -> None:
    assert products(graph(text), {"n": 5}) == operations


def test_sums_and_products_of_axes() -> None:
    made = graph("(float[n,8] x, float[8,4] w) => (float[n,4] y) { y = MatMul(x, w) }")
    made.outputs[0].shape = ir.Shape(["past + n*batch", 4])
    assert products(made, {"n": 5, "past": 7, "batch": 2}) == 2 * (7 + 10) * 8 * 4


def test_more_questions_take_longer(phi3_bundle: Path) -> None:
    one, four = (seconds_per_picture(phi3_bundle, asks, 1e9) for asks in (1, 4))
    assert 0 < one < four < 4 * one
    assert seconds_per_picture(phi3_bundle, 1, 2e9) == pytest.approx(one / 2)
