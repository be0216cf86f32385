from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from xsam_edge.benchmarks.gpu_check.stages import Nominal
from xsam_edge.benchmarks.gpu_peaks import GPU_PEAKS
from xsam_edge.benchmarks.roofline import ANSWERS, Run, answer_ms, cells, main, markdown, read_products
from xsam_edge.runtime.bundle.manifest import read_manifest

PEAKS = replace(
    GPU_PEAKS["h100"], multiprocessors=1, clock_ghz=1, fp16_per_clock=1, int8_ratio=2, fp8_ratio=0, bytes_per_second=1e8
)


def test_the_greater_of_both_bounds() -> None:
    assert Run({"fp16": 3e9, "int8": 4e9}, 1e8).seconds(PEAKS) == 5
    assert Run({"fp16": 3e9, "int8": 4e9}, 9e8).seconds(PEAKS) == 9
    assert Run({"fp16": 1.0, "fp8": 1.0}, 1.0).seconds(PEAKS) == float("inf"), "it has no such products"


def test_precisions_of_a_bundle(phi3_fp16_bundle: Path) -> None:
    manifest = read_manifest(phi3_fp16_bundle)
    found = read_products(phi3_fp16_bundle, manifest)
    nominal = Nominal.of(manifest.settings.model)
    for graph, axes in nominal.axes().values():
        runs = {precision: graphs[graph].run(axes) for precision, graphs in found.items()}
        sizes = {axis: axes.get(axis, 1) for axis in manifest.graphs[graph].axes}
        work = manifest.work[graph].at(sizes)
        assert runs["fp16"].flops == {"fp16": work.flops} and runs["fp16"].bytes == work.bytes
        for run in runs.values():
            assert sum(run.flops.values()) == work.flops, "nothing is lost or counted twice"
        assert runs["int8"].bytes <= runs["fp16"].bytes
        assert not runs["int4"].flops.keys() - {"fp16", "int8"}
    llm = {precision: graphs["llm"].run({"sequence": 64}) for precision, graphs in found.items()}
    assert llm["int4"].bytes < llm["int8"].bytes < llm["fp16"].bytes
    assert llm["int8"].flops["int8"] == llm["fp8"].flops["fp8"] > 0.5 * llm["fp16"].flops["fp16"]
    encoder = {precision: graphs["image_encoder"].run({}) for precision, graphs in found.items()}
    assert encoder["int8"].flops["int8"] > encoder["fp8"].flops["fp8"], "which takes no convolutions"
    assert answer_ms(found["int8"], nominal, PEAKS)["first"] < answer_ms(found["fp16"], nominal, PEAKS)["first"]
    assert answer_ms(found["fp8"], nominal, PEAKS)["first"] == float("inf")


def test_the_table(phi3_fp16_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = list(cells(phi3_fp16_bundle))
    assert {cell.target for cell in found} == GPU_PEAKS.keys()
    assert all(set(cell.ms) == set(ANSWERS) for cell in found if cell.precision != "fp8")
    lines = markdown(found).splitlines()
    assert len(lines) == 2 + len(GPU_PEAKS)
    orin = next(line for line in lines if line.startswith("| `orin-nx`"))
    assert "no such products" in orin and orin.count("**") == 2
    assert main([str(phi3_fp16_bundle)]) == 0
    assert markdown(found) in capsys.readouterr().out
    assert main([str(phi3_fp16_bundle), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["cells"]) == len(found)


def test_altered_graphs(phi3_fp16_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"", b"no graph"):
        bundle = tmp_path / f"bundle-{len(content)}"
        shutil.copytree(phi3_fp16_bundle, bundle)
        (bundle / "llm.onnx").write_bytes(content)
        assert main([str(bundle)]) == 2
        error = capsys.readouterr().err
        assert "llm.onnx is missing, or was altered" in error and error.count("\n") == 1


def test_wrong_bundles(phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(phi3_bundle)]) == 2
    assert "is not one of graphs in fp16" in capsys.readouterr().err
    assert main([str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
