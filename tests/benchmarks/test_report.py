from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from xsam_edge.benchmarks import page, tables
from xsam_edge.benchmarks.peaks import Peaks
from xsam_edge.benchmarks.report import Costs, counted, stage_reports
from xsam_edge.benchmarks.watch import Call
from xsam_edge.runtime.bundle.engine_info import EngineInfo, KVCacheChoice
from xsam_edge.runtime.bundle.manifest import Manifest, read_manifest
from xsam_edge.runtime.progress import silent

CALL = Call("image_encoder", 8.0, {})
PEAKS = Peaks("fp32", 1e9, 1e9, "a product", "a copy")


def engines(manifest: Manifest) -> Manifest:
    onnx = {name: manifest.files[graph.file].sha256 for name, graph in manifest.graphs.items()}
    choice = KVCacheChoice("decomposed", "test")
    engine = EngineInfo("tensorrt", "10.3.0", "auto", ("8.7",), "", "", "", 512, choice, {}, {}, {}, onnx)
    return dataclasses.replace(manifest, engine=engine)


def test_what_is_not_known_is_empty(phi3_bundle: Path) -> None:
    manifest = read_manifest(phi3_bundle)
    unknown = Costs(phi3_bundle, engines(dataclasses.replace(manifest, work={})))
    (without,) = stage_reports([CALL], unknown, PEAKS, silent)
    assert unknown.missing and "give their ONNX graphs with --graphs" in unknown.missing
    assert unknown.largest_activations() is None
    assert without["flops"] is without["limit_ms"] is without["bound"] is None and without["p50_ms"] == 8
    costs = Costs(phi3_bundle, manifest)
    (work,) = stage_reports([CALL], costs, None, silent)
    assert work["flops"] > 0 and work["peak_fraction"] is None
    assert costs.missing is None and costs.largest_activations() == work["activation_bytes"] > 0
    (whole,) = stage_reports([CALL], costs, PEAKS, silent)
    assert whole["peak_fraction"] > 0
    head, rows = tables.stages({"stages": [without, work, whole]})
    assert all(len(row) == len(head) for row in rows)
    assert [sum(cell == "" for cell in row[5:]) for row in rows] == [5, 3, 0]
    assert [page._bar(stage).part > 0 for stage in (without, work, whole)] == [False, False, True]
    reason = {"flops_per_second": None, "reason": "no GPU"}
    lines = list(tables.peaks({"peaks": {"fp16": reason}, "explained": {"peak_fraction": "x"}}))
    assert lines[0] == "peak fp16: not measured, no GPU"


def test_work_of_engines_is_counted_in_their_own_graphs(phi3_bundle: Path, qwen3_bundle: Path) -> None:
    manifest = read_manifest(phi3_bundle)
    built = engines(manifest)
    assert counted(phi3_bundle, manifest, None) == Costs(phi3_bundle, manifest)
    assert counted(Path("engines"), built, None) == Costs(Path("engines"), built)
    assert counted(Path("engines"), built, phi3_bundle) == Costs(phi3_bundle, manifest)
    assert counted(Path("engines"), built, qwen3_bundle) == Costs(Path("engines"), built)
    before = counted(Path("engines"), dataclasses.replace(built, work={}), phi3_bundle)
    assert before.of("image_encoder", {}) == counted(Path("engines"), built, None).of("image_encoder", {})


@pytest.mark.parametrize("needed", [True, False])
def test_memory_that_cannot_be_judged_is_told(needed: bool) -> None:
    memory = {"host_peak_bytes": 300e6, "imports_bytes": 100e6, "device_peak_bytes": 50e6}
    text = tables._memory({**memory, "needed_bytes": 150e6} if needed else memory)
    assert ("are 150 MB" in text) is needed and "on the device 50 MB" in text
