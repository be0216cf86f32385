"""Bundles compiled by TensorRT-RTX, which needs no GPU for that."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from xsam_edge.export.cli import main
from xsam_edge.export.engines.build import EngineJob, build_engine, timing_cache
from xsam_edge.runtime import XSam
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.bundle.verification import check_files
from xsam_edge.runtime.device.cuda_device import DeviceInfo
from xsam_edge.runtime.errors import AlteredFileError, EngineBuildError, NoDeviceError
from xsam_edge.runtime.progress import silent

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install xsam-edge[dev])")
pytest.importorskip("polygraphy", reason="polygraphy is not installed (pip install xsam-edge[dev])")


def compile_bundle(bundle: Path, output: Path, *options: str) -> int:
    return main(["--from", str(bundle), "--engine", "tensorrt-rtx", "--target", "rtx-40", "-o", str(output), *options])


@pytest.fixture(scope="session")
def engines(bundles: Path, phi3_fp16_bundle: Path) -> Path:
    """Engines of the FP16 bundle; read only."""
    output = bundles / "phi3-fp16-engines"
    assert compile_bundle(phi3_fp16_bundle, output, "--context", "300") == 0
    return output


@pytest.mark.engines
def test_a_bundle_of_engines_describes_itself(engines: Path, phi3_fp16_bundle: Path) -> None:
    graphs, manifest = read_manifest(phi3_fp16_bundle), read_manifest(engines)
    check_files(engines, manifest)
    assert set(manifest.files) == {path.name for path in engines.iterdir()} - {"manifest.json"}
    kept = {name for name in graphs.files if not name.endswith((".onnx", ".onnx.data"))}
    assert {"tokenizer.json", "token_embeddings.bin"} < kept
    assert set(manifest.files) == {f"{name}.engine" for name in graphs.graphs} | kept
    for name, graph in manifest.graphs.items():
        assert (graph.inputs, graph.outputs) == (graphs.graphs[name].inputs, graphs.graphs[name].outputs)
    for field in ("variant", "precision", "source", "settings", "embeddings", "activations", "work"):
        assert getattr(manifest, field) == getattr(graphs, field)
    engine = manifest.engine
    assert engine is not None
    assert (engine.flavour, engine.target, engine.compute_capabilities) == ("tensorrt-rtx", "rtx-40", ("8.9",))
    assert engine.version.startswith("1.")
    assert (engine.context, engine.options["strongly_typed"]) == (300, True)
    names = [profile.name for profile in engine.profiles["llm"]]
    assert names == ["first", "suffix", "decode", "prompts"]
    assert engine.profiles["llm"][0].axes["sequence"][2] == 300
    assert engine.figures.keys() == engine.profiles.keys()
    assert list(engine.figures["llm"].profiles) == names
    for name, figures in engine.figures.items():
        assert figures.engine_bytes == manifest.files[f"{name}.engine"].bytes
        assert figures.scratch_bytes > 10_000
    assert engine.onnx["llm"] == graphs.files["llm.onnx"].sha256
    assert engine.memory["key-value cache"] > 0
    assert engine.kv_cache.flavour == "decomposed" and engine.kv_cache.reason
    assert manifest.producer["polygraphy"]


@pytest.mark.engines
def test_fp32_graphs_compile(phi3_gpu_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compile_bundle(phi3_gpu_bundle, tmp_path / "engines", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["engine"], result["precision"], result["warnings"]) == ("tensorrt-rtx", "fp32", {})
    assert result["bytes"]["llm.engine"] > 100_000
    llm = result["engines"]["llm"]
    assert llm["engine_bytes"] == result["bytes"]["llm.engine"]
    assert all(0 < told["scratch_bytes"] < 1 << 30 for told in llm["profiles"].values())
    assert not result["parity"]["checked"] and "no GPU here" in result["parity"]["note"]


@pytest.mark.engines
def test_loading_without_a_gpu_is_a_typed_error(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise NoDeviceError("none here")

    monkeypatch.setattr("xsam_edge.runtime.device.compatibility.find_device", none)
    with pytest.raises(NoDeviceError, match="none here"):
        XSam.load(engines)


@pytest.mark.engines
def test_one_changed_byte_is_refused_before_anything_is_deserialised(engines: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(engines, tmp_path / "copy"))
    with (copy / "llm.engine").open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(AlteredFileError, match=r"llm\.engine was altered"):
        XSam.load(copy, verify="none")


@pytest.mark.engines
def test_engines_are_no_bundle_to_compile(engines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compile_bundle(engines, tmp_path / "again") == 2
    assert "holds engines of tensorrt-rtx already" in capsys.readouterr().err


def test_an_altered_bundle_is_not_compiled(
    phi3_fp16_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(phi3_fp16_bundle, tmp_path / "copy"))
    with (copy / "llm.onnx.data").open("r+b") as file:
        file.write(b"\xff\xff")
    assert compile_bundle(copy, tmp_path / "engines") == 2
    assert "llm.onnx.data was altered" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


WITHOUT = """
import sys


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "onnx_ir", "onnxscript", "transformers", "onnxruntime"):
            raise ImportError(f"{name} is not installed")


sys.meta_path.insert(0, Blocked())
from xsam_edge.export.cli import main

sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.engines
def test_a_device_needs_neither_torch_nor_onnx(phi3_fp16_bundle: Path, tmp_path: Path) -> None:
    options = ["--from", str(phi3_fp16_bundle), "--engine", "tensorrt-rtx", "--target", "rtx-50"]
    command = [sys.executable, "-c", WITHOUT, *options, "-o", str(tmp_path / "engines")]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    engine = read_manifest(tmp_path / "engines").engine
    assert engine is not None and engine.compute_capabilities == ("12.0",)


def graph(path: Path, nodes: list[Any], weights: dict[str, Any], kind: int = TensorProto.FLOAT) -> Path:
    inputs = [helper.make_tensor_value_info("x", kind, (1, 4))]
    outputs = [helper.make_tensor_value_info("y", kind, None)]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    body = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def job(onnx: Path) -> EngineJob:
    return EngineJob("llm", onnx, onnx.with_suffix(".engine"), "tensorrt-rtx", ("8.9",), ())


@pytest.mark.engines
def test_a_failed_build_names_the_node_and_what_to_try(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="/llm/layers.0/up")]
    mixed = graph(tmp_path / "mixed.onnx", nodes, {"w": np.ones((4, 4), np.float32)}, TensorProto.FLOAT16)
    with pytest.raises(EngineBuildError, match=r"llm: node /llm/layers\.0/up \(MatMul\).*a Cast is missing"):
        build_engine(job(mixed), silent)


@pytest.mark.engines
def test_a_scale_of_nothing_is_named(tmp_path: Path) -> None:
    names = ["x", "s", "z"]
    nodes = [
        helper.make_node("QuantizeLinear", names, ["q"], name="/llm/q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="/llm/dq"),
    ]
    path = graph(tmp_path / "scale.onnx", nodes, {"s": np.float32(0), "z": np.int8(0)})
    with pytest.raises(EngineBuildError, match=r"node /llm/q \(QuantizeLinear\).*scales above 0"):
        build_engine(job(path), silent)


def test_a_compiler_that_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"], name="/llm/same")]
    path = graph(tmp_path / "same.onnx", nodes, {})
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\ncat > /dev/null\necho out of something >&2\nkill -SEGV $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr("xsam_edge.export.engines.build.sys.executable", str(dying))
    with pytest.raises(EngineBuildError, match=r"llm: the compiler crashed \(SIGSEGV.*out of something"):
        build_engine(job(path), silent)


def test_timings_are_kept_per_library_gpu_and_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    device = DeviceInfo("Orin (nvgpu)", "8.7", 1, integrated=True, driver="540.4.0", cuda="12.6")
    path = timing_cache("tensorrt", "10.3.0", device)
    assert path is not None and path.parent == tmp_path / "xsam-edge" / "timing"
    assert path.name == "tensorrt-10.3.0-Orin_nvgpu_-8.7-540.4.0.cache"
    assert timing_cache("tensorrt", "10.3.1", device) != path
    assert timing_cache("tensorrt", "10.3.0", None) is None
