"""The device that calibration runs on; where there is no GPU, ONNX Runtime's CUDA provider has a stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from tests.calibration.statistics.test_collect import assert_equal, data, picture, products
from xsam_edge.calibration.instrumented import check_device
from xsam_edge.calibration.statistics.collect import collect
from xsam_edge.runtime.backends.onnxruntime import WEIGHTS_FOLDER, Model
from xsam_edge.runtime.backends.onnxruntime.providers import CudaProvider
from xsam_edge.runtime.errors import BackendError


def test_statistics_of_a_gpu(phi3_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def session_with(self: CudaProvider, ort: Any, model: Model, options: Any, index: int = 0, **_: Any) -> Any:
        model.configure(options)
        opened.append(options)
        return ort.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(CudaProvider, "check", lambda *_: None)
    monkeypatch.setattr(CudaProvider, "session_with", session_with)
    pictures = [picture(number) for number in range(2)]
    found = {
        device: collect(phi3_bundle, data(pictures), products, tmp_path / device, threads=1, device=device)  # type: ignore[arg-type]
        for device in ("cpu", "cuda")
    }
    assert_equal(found["cpu"], found["cuda"])
    assert len(opened) == 3  # the graphs, all of them on the device
    assert all(options.get_session_config_entry(WEIGHTS_FOLDER) == str(phi3_bundle) for options in opened)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there may be a GPU")
def test_without_a_gpu_it_says_what_is_missing(phi3_bundle: Path, tmp_path: Path) -> None:
    check_device("cpu")
    with pytest.raises(BackendError, match="has no CUDAExecutionProvider; for a GPU run"):
        check_device("cuda")
    with pytest.raises(BackendError, match="has no CUDAExecutionProvider"):
        collect(phi3_bundle, data([picture(0)]), products, tmp_path, device="cuda")
