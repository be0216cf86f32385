"""Peaks, memory, energy, environment: what the machine tells."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.doctor.recorded_machines import ORIN_COMMANDS, ORIN_NANO, machine
from xsam_edge.benchmarks import energy, environment, memory, peaks
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_peaks_in_every_precision(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setattr(peaks, "_SIZES", (32, 64))
    monkeypatch.setattr(peaks, "_COPY_BYTES", 1 << 20)
    found = peaks.measure(OnnxRuntimeBackend(threads=1), precision, 2)
    assert found.flops_per_second > 1e6 and found.bytes_per_second > 1e6
    assert precision in found.gemm and "2 threads" in found.copy
    json.dumps(found.to_json(), allow_nan=False)


def test_the_integer_product_is_a_product() -> None:
    """Quantised x and w give their product within the error of both roundings."""
    backend = OnnxRuntimeBackend(threads=1)
    run = peaks._gemm(backend, "int8", 64)
    inputs, outputs = (cell.cell_contents for cell in run.__closure__ if isinstance(cell.cell_contents, dict))
    run()
    x, y = inputs["x"].owner, outputs["y"].owner
    w = np.clip(np.rint(np.random.default_rng(1).standard_normal((64, 64), np.float32) * 30), -127, 127) / 30
    assert np.abs(y - x @ w).max() < 0.5 < np.abs(y).max()


def test_the_roofline_is_the_greater_bound() -> None:
    peak = peaks.Peaks("fp32", 1e9, 1e8, "", "")
    assert peak.limit_ms(1e6, 1e3) == (1.0, "compute")
    assert peak.limit_ms(1e3, 1e6) == (10.0, "memory")


def test_the_environment_is_described() -> None:
    found = environment.describe(3)
    assert found["conditions"]["threads"] == 3
    assert found["processor"]["CPU"] and found["processor"]["usable cores"] >= 1
    assert {"numpy", "tokenizers"} <= set(found["python"]["packages"])
    json.dumps(found, allow_nan=False)


def test_a_jetson_is_described_as_the_doctor_does(tmp_path: Path) -> None:
    found = environment.describe(1, machine(tmp_path, ORIN_NANO, ORIN_COMMANDS))
    assert found["board"]["L4T"] == "R36.4.3"
    assert (found["power"]["power mode"], found["power"]["GPU clock"]) == ("MAXN_SUPER", "306 of 1020 MHz")
    assert (found["memory"]["memory"], found["gpu"]["GPU"]) == (7802160 << 10, "Orin")


def test_a_board_tells_its_power() -> None:
    orin = "RAM 2448/7620MB (lfb 4x4MB) CPU [0%@729] VDD_IN 4954mW/4954mW VDD_CPU_GPU_CV 617mW/617mW"
    assert energy.board_watts(orin) == 4.954
    assert energy.board_watts("POM_5V_IN 2100/2150 POM_5V_CPU 300/310") == 2.1
    assert energy.board_watts("RAM 2448/7620MB") is None


def test_a_counter_that_begins_anew() -> None:
    values = iter([90.0, 15.0])
    counter = energy.Counter("counter", lambda: next(values), wrap=100.0)
    counter.start()
    assert counter.stop() == 25


def test_energy_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([5.0, 17.0])
    monkeypatch.setattr(energy, "find_meter", lambda _: (energy.Counter("counter", lambda: next(values)), ""))
    asked: list[int] = []
    monkeypatch.setattr(energy, "_SECONDS", 0)
    found = energy.measure(lambda: asked.append(1), 4, "cpu")
    assert found["joules_per_answer"] == 3 and len(asked) == 4
    monkeypatch.setattr(energy, "find_meter", lambda _: (None, "no meter"))
    assert energy.measure(lambda: asked.append(1), 4, "cpu") == {"joules_per_answer": None, "reason": "no meter"}
    assert len(asked) == 4, "nothing is run for nothing"


def test_memory_is_judged_by_what_is_needed() -> None:
    found = {"host_peak_bytes": 240, "imports_bytes": 40, "weight_bytes": 100, "kv_cache_bytes": 30}
    judged = memory.judge(found, 70)
    assert judged["needed_bytes"] == 200
    assert judged["peak_over_needed"] == 1.2 and judged["peak_without_imports_over_needed"] == 1
    assert memory.judge({"host_peak_bytes": None, "reason": "x"}, 70) == {"host_peak_bytes": None, "reason": "x"}


def test_a_measuring_process_that_fails_says_why(tmp_path) -> None:
    found = memory.measure(tmp_path, device="cpu", threads=1, context=None, phrase="x")
    assert found["host_peak_bytes"] is None and "is not a bundle" in found["reason"]
