from __future__ import annotations

import sys
from pathlib import Path

import onnxruntime
import pytest

from tests.recorded import DATA
from xsam_edge.runtime.cli.segment import main


@pytest.mark.parametrize("device", ["cuda", "tensorrt-rtx"])
def test_a_gpu_that_is_not_there_is_one_line(
    device: str,
    phi3_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None)
    output = tmp_path / "out.png"
    given = [str(phi3_bundle), str(DATA / "golden-phi3" / "image.png"), "--refer", "a car", "--device", device]
    assert main([*given, "-o", str(output)]) == 2
    out, err = capfd.readouterr()
    (line,) = [line for line in err.splitlines() if "error" in line or "Traceback" in line]
    assert line.startswith("xsam-segment: error: ") and "`pip " in line
    assert not out and not output.exists()
