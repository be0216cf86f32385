from __future__ import annotations

import errno
import os
import tracemalloc
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.export.small_graphs import ArrayWeights, graph, run
from xsam_edge.export.graph import weights as w
from xsam_edge.export.graph.passes import INLINE_BYTES, extract_weights
from xsam_edge.export.staging import check_space
from xsam_edge.runtime.errors import CheckpointError, XSamError
from xsam_edge.runtime.progress import Step, Tally

SHAPES = {
    "matrix.weight": (2500, 3),
    "kernel.weight": (4, 2, 3, 3),
    "norm.weight": (5,),
    "norm.bias": (5,),
    "class_predictor.logit_scale": (1,),
}


def random_rows(name: str, *bounds: int, seed: int = 0) -> np.ndarray:
    source = w.RandomWeights(SHAPES, seed)
    return np.concatenate([source.read_rows(name, a, b) for a, b in pairwise(bounds)])


@pytest.mark.parametrize("bounds", [(0, 1024, 2048, 2500), (0, 1, 2, 1500, 2499, 2500), (0, 1023, 2049, 2500)])
def test_random_weights_do_not_depend_on_the_blocks(bounds: tuple[int, ...]) -> None:
    whole = random_rows("matrix.weight", 0, 2500)
    np.testing.assert_array_equal(random_rows("matrix.weight", *bounds), whole)
    np.testing.assert_array_equal(random_rows("matrix.weight", 1000, 2100), whole[1000:2100])


def test_random_weights_are_sensible() -> None:
    matrix = random_rows("matrix.weight", 0, 2500)
    assert matrix.dtype == np.float32
    assert matrix.std() == pytest.approx(3**-0.5, rel=0.05)
    # No two stretches repeat.
    assert len(np.unique(matrix)) > 0.99 * matrix.size
    assert (random_rows("norm.weight", 0, 5) == 1).all()
    assert (random_rows("norm.bias", 0, 5) == 0).all()
    assert random_rows("class_predictor.logit_scale", 0, 1)[0] == pytest.approx(np.log(1 / 0.07))
    assert not np.array_equal(random_rows("matrix.weight", 0, 9, seed=1), matrix[:9])
    assert not np.array_equal(random_rows("kernel.weight", 0, 4).reshape(-1)[:27], matrix[:9].reshape(-1))


@pytest.mark.parametrize("shape", [(7, 5), (7,), (1, 1000), (0, 5), (1000, 1)])
def test_blocks_cover_a_tensor(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]) -> None:
    monkeypatch.setattr(w, "BLOCK_BYTES", 64)
    spans = list(w.blocks(shape))
    assert [row for start, stop in spans for row in range(start, stop)] == list(range(shape[0]))
    row = 4 * int(np.prod(shape[1:]))
    assert all((stop - start) * row <= 64 or stop - start == 1 for start, stop in spans)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_named(value: float) -> None:
    with pytest.raises(CheckpointError, match=r"a\.weight holds NaN or infinity"):
        w.cast(np.array([1, value], np.float32), np.dtype(np.float32), "a.weight")


def test_a_weight_that_another_is_computed_from_is_named_too(tmp_path: Path) -> None:
    model = graph("(float[3] x, float[3] bias) => (float[3] y) { two = Add(bias, bias) y = Add(x, two) }", ["bias"])
    plans = extract_weights(model)
    assert any(plan.program is not None for plan in plans.values())
    with pytest.raises(CheckpointError, match=r"^bias holds NaN or infinity"):
        write(tmp_path, model, plans, ArrayWeights(bias=np.float32([0, np.inf, 0])))


def test_a_weight_that_becomes_codes_or_scales_is_named_too() -> None:
    weights = np.ones((4, 4), np.float32)
    weights[3, 2] = -np.inf
    with pytest.raises(CheckpointError, match="a holds NaN or infinity"):
        list(w.read_blocks(ArrayWeights(a=weights), "a"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_half_way_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    model = graph(
        "(float[2,64] x, float[64,64] a, float[64,64] b) => (float[2,64] y) { m = MatMul(x, a) y = MatMul(m, b) }",
        ["a", "b"],
    )
    plans = extract_weights(model)
    pwrite, written = os.pwrite, []

    def full(file: int, data: bytes, offset: int) -> int:
        if written:
            raise OSError(code, os.strerror(code))
        written.append(offset)
        return pwrite(file, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    values = np.zeros((64, 64), np.float32)
    with pytest.raises(XSamError, match=r"filled up: \S+ GB are free, 32\.8 kB are needed; free some space"):
        write(tmp_path, model, plans, ArrayWeights(a=values, b=values))


def test_a_weight_out_of_range_is_named() -> None:
    values = np.array([1, -7e4], np.float32)
    with pytest.raises(CheckpointError, match=r"a\.weight reaches 7e\+04, outside of float16.*--precision fp32"):
        w.cast(values, np.dtype(np.float16), "a.weight")
    assert w.cast(values, np.dtype(np.float32), "a.weight").tolist() == [1, -7e4]
    with pytest.raises(CheckpointError, match="outside of float32"):
        w.cast(np.array([1e300]), np.dtype(np.float32), "a.weight")


def test_casts_round_to_nearest() -> None:
    values = np.float32(1) + np.float32([0.0004, 0.0006, -3e-4])
    np.testing.assert_array_equal(
        w.cast(values, np.dtype(np.float16), "a"), np.float16([1, 1.0009765625, 0.9995117188])
    )
    assert w.cast(np.array([3], np.int64), np.dtype(np.int64), "a").dtype == np.int64


def write(tmp_path: Path, model: ir.Model, plans, source) -> Path:
    steps: list[Step] = []
    tally = Tally(steps.append, "weights", None, "bytes")
    w.write_external_data(model, plans, source, tmp_path / "g.onnx.data", tally)
    ir.save(model, tmp_path / "g.onnx")
    onnx.checker.check_model(str(tmp_path / "g.onnx"), full_check=True)
    assert steps[-1].done == sum(length for _, length in w.external_layout(model, plans).values())
    return tmp_path / "g.onnx"


@pytest.mark.parametrize("block", [4, 40, 64, 1 << 20])
def test_streamed_weights_arrive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, block: int) -> None:
    """Whole, transposed and computed weights and a constant, in blocks of any size."""
    monkeypatch.setattr(w, "BLOCK_BYTES", block)
    model = graph(
        "(float[2,5] x, float[7,5] a, float[7,3] b, float[3] c) => (float[2,3] y, float[2,1,300] z) {"
        " t = Transpose<perm=[1,0]>(a) m = MatMul(x, t) n = MatMul(m, b) two = Add(c, c) y = Add(n, two)"
        " shape = Constant<value_ints=[1,1,300]>() one = Constant<value_floats=[1.5]>() e = Expand(one, shape)"
        " axis = Constant<value_ints=[1]>() s = ReduceSum(y, axis) u = Unsqueeze(s, axis) z = Mul(u, e) }",
        ["a", "b", "c"],
    )
    plans = extract_weights(model)
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((7, 5), (7, 3), (3,)))
    source = ArrayWeights(a=a, b=b, c=c)
    path = write(tmp_path, model, plans, source)
    assert all(rows * source.arrays[name][0].nbytes <= max(block, 20) for name, rows in source.reads if name in "ab")
    x = rng.standard_normal((2, 5)).astype(np.float32)
    y, z = run(str(path), x=x)
    np.testing.assert_allclose(y, x @ a.T @ b + 2 * c, atol=1e-5)
    np.testing.assert_allclose(z, np.broadcast_to(1.5 * y.sum(1)[:, None, None], z.shape), atol=1e-5)
    stored = {i.name: i for i in onnx.load(path, load_external_data=False).graph.initializer}
    assert stored["a.T"].data_location == onnx.TensorProto.EXTERNAL


def test_half_precision_is_cast_on_the_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(w, "BLOCK_BYTES", 32)
    model = graph(
        "(float16[1,5] x, float[7,5] a) => (float16[1,7] y) { t = Transpose<perm=[1,0]>(a) y = MatMul(x, t) }", ["a"]
    )
    plans = extract_weights(model)
    model.graph.initializers["a.T"].type = ir.TensorType(ir.DataType.FLOAT16)
    a = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    write(tmp_path, model, plans, ArrayWeights(a=a))
    (stored,) = onnx.load(tmp_path / "g.onnx").graph.initializer
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored), a.T.astype(np.float16))


def test_large_tensors_lie_on_page_boundaries() -> None:
    model = graph(
        "(float[3] x, float[3] a, float[20000] b, float[1] c, float[20000] d) => (float[3] y)"
        " { s = Add(x, a) y = Mul(s, c) z = Mul(b, c) u = Mul(d, c) }",
        ["a", "b", "c", "d"],
    )
    layout = w.external_layout(model, dict.fromkeys("abcd"))  # type: ignore[arg-type]
    spans = sorted(layout.values())
    assert len(spans) == 4
    assert [layout[name][0] % w.ALIGNMENT for name in "bd"] == [0, 0]
    assert all(a + n <= b for (a, n), (b, _) in pairwise(spans))
    assert max(a + n for a, n in spans) < 170_000  # small ones take no page


def test_small_constants_stay_in_the_graph() -> None:
    size = INLINE_BYTES // 4
    model = graph(
        f"(float[n] x) => (float[n] y) <float[{size}] a = {{{', '.join(['1'] * size)}}},"
        f" float[{size + 1}] b = {{{', '.join(['1'] * (size + 1))}}}> {{ s = Add(x, a) y = Add(s, b) }}"
    )
    assert set(w.external_layout(model, {})) == {"b"}


def test_memory_is_that_of_a_block(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """24 MB of weights through blocks of 256 KiB."""
    monkeypatch.setattr(w, "BLOCK_BYTES", 1 << 18)
    model = graph(
        "(float[1,2000] x, float[1500,2000] a, float[1500,2000] b) => (float[1,2000] y)"
        " { t = Transpose<perm=[1,0]>(a) m = MatMul(x, t) y = MatMul(m, b) }",
        ["a", "b"],
    )
    plans = extract_weights(model)
    source = w.RandomWeights({"a": (1500, 2000), "b": (1500, 2000)}, 0)
    monkeypatch.setattr(w.RandomWeights, "_ROWS", 16)
    tracemalloc.start()
    try:
        w.write_external_data(model, plans, source, tmp_path / "data")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 << 20
    assert (tmp_path / "data").stat().st_size == 24_001_280


def test_a_full_disk_is_foreseen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**9))
    check_space(tmp_path, 10**9)
    with pytest.raises(XSamError, match=r"has 1\.00 GB free, 2\.50 GB are needed"):
        check_space(tmp_path, 25 * 10**8)


def test_short_writes_are_continued(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = os.pwrite
    monkeypatch.setattr(w.os, "pwrite", lambda file, data, offset: whole(file, data[:7], offset))
    model = graph("(float[9] x, float[9] a) => (float[9] y) { y = Add(x, a) }", ["a"])
    plans = extract_weights(model)
    path = write(tmp_path, model, plans, ArrayWeights(a=np.arange(9, dtype=np.float32)))
    np.testing.assert_array_equal(run(str(path), x=np.zeros(9, np.float32))[0], np.arange(9))
