from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from xsam_edge.export.graph.weight_codes import (
    WeightQuantization,
    block_scales,
    channel_scales,
    pack_int4,
    stored,
)

RNG = np.random.default_rng(0)


def parts(array: np.ndarray, step: int):
    for start in range(0, len(array), step):
        yield start, array[start : start + step]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("shape", [(64, 6), (6, 3, 2, 2)])
def test_channel_scales_cover_each_output(shape: tuple[int, ...], dtype: type) -> None:
    weight = np.float32(RNG.standard_normal(shape))
    axis = 1 if len(shape) == 2 else 0
    turned = np.moveaxis(weight, axis, 0).reshape(shape[axis], -1)
    turned[2] = 0  # a view
    scale = channel_scales(parts(weight, 4), shape, axis, dtype)
    assert scale.dtype == dtype and scale.shape == (shape[axis],) and (scale > 0).all()
    amax = np.abs(turned).max(axis=1)
    assert (127 * scale.astype(np.float64) >= amax * (1 - 1e-7)).all()
    assert (127 * scale.astype(np.float64) <= amax * 1.002)[amax > 0].all()
    quantization = WeightQuantization("int8", axis, scale)
    codes = np.concatenate([quantization.codes(rows, start) for start, rows in parts(weight, 4)])
    back = np.moveaxis(codes.astype(np.float32), axis, 0).reshape(shape[axis], -1) * scale.astype(np.float32)[:, None]
    assert (np.abs(back - turned) <= scale.astype(np.float32)[:, None] * 0.5001).all()
    assert np.abs(codes).max() == 127


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_fp8_codes_are_the_nearest_floats_and_reach_the_largest(dtype: type) -> None:
    weight = np.float32(RNG.standard_t(3, (64, 6)))
    weight[:, 2] = 0
    scale = channel_scales(parts(weight, 4), weight.shape, 1, dtype, "fp8")
    quantization = WeightQuantization("fp8", 1, scale)
    codes = np.concatenate([quantization.codes(rows, start) for start, rows in parts(weight, 16)])
    assert codes.dtype == ml_dtypes.float8_e4m3fn
    wide = codes.astype(np.float32)
    every = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    every = every[np.isfinite(every)]
    steps = weight / scale.astype(np.float32)
    nearest = np.abs(every - steps[..., None]).min(-1)
    np.testing.assert_allclose(np.abs(wide - steps), nearest, rtol=1e-6, atol=1e-7)
    largest = np.abs(wide).max(axis=0)
    assert (largest[[0, 1, 3, 4, 5]] == 448).all() and largest[2] == 0


def test_rows_read_in_other_blocks_give_the_same_codes() -> None:
    weight = np.float32(RNG.standard_normal((96, 10)))
    found = []
    for step in (32, 64, 96):
        scale = block_scales(parts(weight, step), weight.shape, 32, np.float16)
        quantization = WeightQuantization("int4", 0, scale, 32)
        found.append(np.concatenate([quantization.codes(rows, start) for start, rows in parts(weight, step)]))
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()
    assert found[0].min() >= -8 and found[0].max() <= 7


def test_block_scales_are_no_worse_than_those_of_the_largest_magnitude() -> None:
    weight = np.float32(RNG.standard_t(3, (64, 50)))

    def error(scale: np.ndarray) -> float:
        quantization = WeightQuantization("int4", 0, scale, 32)
        wide = np.repeat(scale.astype(np.float32), 32, axis=0)
        return float(np.square(quantization.codes(weight, 0) * wide - weight).sum())

    plain = np.abs(weight.reshape(2, 32, 50)).max(axis=1) / 7
    assert error(block_scales(parts(weight, 64), weight.shape, 32, np.float32)) < 0.95 * error(plain)


def test_scales_are_rounded_up_and_never_zero() -> None:
    exact = np.float64([1 / 3, 1e-9, 0, 70000 / 127])
    half = stored(exact, np.float16)
    assert (half.astype(np.float64)[[0, 1, 3]] >= exact[[0, 1, 3]]).all() and half[2] == 1
    with pytest.raises(ValueError, match="outside of float16"):
        stored(np.array([1e5]), np.float16)


def test_packing_is_that_of_onnx() -> None:
    codes = RNG.integers(-8, 8, (3, 6)).astype(np.int8)
    assert pack_int4(codes).tobytes() == ir.tensor(codes.astype(ml_dtypes.int4), dtype=ir.DataType.INT4).tobytes()
