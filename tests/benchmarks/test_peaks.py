from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from xsam_edge.benchmarks import peaks
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend


def test_products_in_a_row_are_products_of_products(tmp_path: Path) -> None:
    size, dtype = 32, np.dtype(np.float32)
    path = tmp_path / "gemm.onnx"
    peaks._write_gemm(path, "fp32", size, dtype, 3)
    backend = OnnxRuntimeBackend("cpu", 1)
    graph = backend.open(path, peaks._spec(path, (size, size), dtype))
    x = np.random.default_rng(0).standard_normal((size, size), np.float32)
    inputs, outputs = {"x": backend.upload(x)}, {"y": backend.allocate((size, size), dtype)}
    graph.run(inputs, outputs)
    weight: Any = ir.load(path).graph.initializers["w"].const_value
    w = weight.numpy()
    np.testing.assert_allclose(backend.download(outputs["y"]), x @ w @ w @ w, rtol=1e-4, atol=1e-4)
    assert 0.3 < np.std(x @ w @ w @ w) < 3  # neither overflows nor vanishes, however many there are


def test_products_follow_each_other_until_waiting_is_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_gemm", lambda _backend, _precision, _size, count: count)
    monkeypatch.setattr(peaks, "_best", lambda count: 1e-3 + count * 1e-3)
    backend: Any = None
    seconds, rate, count = peaks._products(backend, "fp16", 100, 64)
    assert (seconds == 2e-3 and count == 32) or count == 64
    assert rate == pytest.approx(2e6 / 1e-3, rel=0.05)
    assert peaks._products(backend, "fp16", 100, 1)[2] == 1
    monkeypatch.setattr(peaks, "_best", lambda count: count * 1e-3)
    assert peaks._products(backend, "fp16", 100, 64)[2] == 1


def test_copies_grow_until_the_rate_or_the_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_runner", lambda _backend, _graph, shape, _dtype: 4 * shape[0])
    monkeypatch.setattr(peaks, "_best", lambda nbytes: 2e-4 + nbytes / 1.5e12)
    backend: Any = SimpleNamespace(name="gpu", open=lambda *_: None)
    rate, how = peaks._device_copy(backend)
    assert "4096 MiB" in how and rate == pytest.approx(3e12, rel=0.08)

    def little(nbytes: int) -> float:
        if nbytes > 1 << 30:
            raise RuntimeError("out of memory")
        return 2e-4 + nbytes / 1.5e12

    monkeypatch.setattr(peaks, "_best", little)
    assert "1024 MiB" in peaks._device_copy(backend)[1]
    monkeypatch.setattr(peaks, "_best", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        peaks._device_copy(backend)
