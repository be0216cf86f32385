"""New engines are asked what their graphs are asked, where there is a GPU; here both are stand-ins."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from tests.runtime.backends.tensorrt.fake_tensorrt import fake_backend
from xsam_edge.export.cli import main
from xsam_edge.export.engines.build import BuiltEngine, EngineJob
from xsam_edge.export.engines.builder import Builder, Destination
from xsam_edge.export.engines.parity import parity_check, why_not
from xsam_edge.export.engines.targets import get_target
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.device.cuda_device import DeviceInfo
from xsam_edge.runtime.progress import Progress

GPU = DeviceInfo("RTX 4090", "8.9", 24 << 30, integrated=False, driver="580", cuda="13.0")

Build = Callable[[EngineJob, Progress], BuiltEngine]


def compiled(spec: Any, onnx: Path, job: EngineJob) -> BuiltEngine:
    """What the stand-in of TensorRT runs: the graph that an engine's file names."""
    text = {"onnx": str(onnx), "name": job.graph, "profiles": len(job.profiles), "spec": dataclasses.asdict(spec)}
    job.engine.write_text(json.dumps(text))
    scratch = tuple(1000 + index for index in range(len(job.profiles)))
    return BuiltEngine(job.graph, "1.7.1", 9, 1 << 30, job.engine.stat().st_size, scratch)


def right(bundle: Path) -> Build:
    graphs = read_manifest(bundle).graphs
    return lambda job, progress: compiled(graphs[job.graph], job.onnx, job)


def wrong(bundle: Path, folder: Path) -> Build:
    """A compiler that turns the sign of masks."""
    graphs = read_manifest(bundle).graphs

    def build(job: EngineJob, progress: Progress) -> BuiltEngine:
        if job.graph != "mask_decoder":
            return compiled(graphs[job.graph], job.onnx, job)
        model = ir.load(job.onnx)
        masks = next(value for value in model.graph.outputs if value.name == "mask_logits")
        masks.name = "turned"
        node = ir.node("Neg", [masks])
        node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "mask_logits", masks.type, masks.shape
        model.graph.append(node)
        model.graph.outputs[list(model.graph.outputs).index(masks)] = node.outputs[0]
        ir.save(model, folder / "wrong.onnx", external_data="wrong.onnx.data")
        return compiled(graphs[job.graph], folder / "wrong.onnx", job)

    return build


@pytest.fixture
def compile_with(shapes_gpu_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Compiles the demo model with a compiler and a GPU of the test's; returns the exit code."""

    def run(build: Build, *options: str, device: DeviceInfo | None = GPU) -> int:
        destination = Destination(get_target("rtx-40", device), device, ("8.9",))
        monkeypatch.setattr("xsam_edge.export.engines.command.find_destination", lambda *_, **__: destination)
        builder = Builder("tensorrt-rtx", "1.7.1", destination, None)
        monkeypatch.setattr("xsam_edge.export.engines.command.find_builder", lambda *_: builder)
        monkeypatch.setattr("xsam_edge.export.engines.convert.build_engine", build)
        monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
        given = ["--from", str(shapes_gpu_bundle), "--engine", "tensorrt-rtx", "--target", "rtx-40"]
        return main([*given, "-o", str(tmp_path / "engines"), *options])

    monkeypatch.setattr("xsam_edge.export.engines.command.parity_check", partial(parity_check, backend=fake_backend))
    return run


def test_engines_that_answer_alike_are_written(
    compile_with: Callable[..., int], shapes_gpu_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compile_with(right(shapes_gpu_bundle), "--json") == 0
    result = json.loads(capsys.readouterr().out)
    parity = result["parity"]
    assert parity["checked"] and parity["mean_iou"] > 0.999 and parity["token_agreement"] == 1
    assert parity["pictures"] == 2 and parity["masks"] >= 2
    profiles = result["engines"]["llm"]["profiles"]
    assert list(profiles) == ["first", "suffix", "decode", "prompts"]
    assert profiles["suffix"] == {"scratch_bytes": 1001}
    engine = read_manifest(tmp_path / "engines").engine
    assert engine is not None and engine.figures["llm"].engine_bytes == result["engines"]["llm"]["engine_bytes"]
    assert engine.figures["mask_decoder"].scratch_bytes == 1001


def test_engines_that_do_not_are_refused(
    compile_with: Callable[..., int], shapes_gpu_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compile_with(wrong(shapes_gpu_bundle, tmp_path)) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the engines answer otherwise than their graphs: a mean IoU of 0." in last
    assert "--no-parity" in last
    assert not (tmp_path / "engines").exists()


def test_no_parity_asks_nothing(
    compile_with: Callable[..., int], shapes_gpu_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compile_with(wrong(shapes_gpu_bundle, tmp_path), "--no-parity") == 0
    assert "note: parity with the graphs was not checked\n" in capsys.readouterr().out


def test_without_a_gpu_it_says_so(
    compile_with: Callable[..., int], shapes_gpu_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compile_with(right(shapes_gpu_bundle), device=None) == 0
    assert "parity with the graphs was not checked: there is no GPU here" in capsys.readouterr().out


def test_where_there_is_nothing_to_compare(shapes_gpu_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = read_manifest(shapes_gpu_bundle)
    assert why_not(manifest, GPU, ("8.6", "8.9")) == ""
    assert "8.9, not 12.0" in why_not(manifest, GPU, ("12.0",))
    drawn = dataclasses.replace(manifest, source=dataclasses.replace(manifest.source, sha256=""))
    assert "random weights" in why_not(drawn, GPU, ("8.9",))
    monkeypatch.setattr("xsam_edge.export.engines.parity._is_installed", lambda _: False)
    assert "onnxruntime" in why_not(manifest, GPU, ("8.9",))
