"""``xsam-export --triton``: what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.export.triton.stand_in import parameters
from xsam_edge.export.cli import main
from xsam_edge.runtime.bundle.engine_info import EngineInfo, EngineProfile, KVCacheChoice
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, read_manifest
from xsam_edge.runtime.bundle.verification import check_files

FILES = {"README.md", "xsam/config.pbtxt", "xsam/1/model.py"}

PROGRAM = """
import sys
from xsam_edge.export.cli import main

code = main(sys.argv[1:])
heavy = ("torch", "transformers", "optimum", "onnx", "onnxruntime", "huggingface_hub", "triton_python_backend_utils")
print(code, sorted(name for name in heavy if name in sys.modules))
"""


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def fault(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a command that must fail."""
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("xsam-export: error: ")


def test_by_path(shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "models"
    output.mkdir()  # an empty folder is no obstacle
    assert main(["--from", str(shapes_bundle), "--triton", str(output), "--instances", "2", "--threads", "1"]) == 0
    assert "the model xsam, 2 on the CPU" in capsys.readouterr().out
    assert files(output) == FILES
    assert os.listdir(tmp_path) == ["models"]
    expected = {"bundle": str(shapes_bundle), "threads": "1", "scenes": "8", "device": "cpu"}
    assert parameters(output) == expected


def test_a_relative_path_becomes_an_absolute_one(
    shapes_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bundle").symlink_to(shapes_bundle)
    assert main(["--from", "bundle", "--triton", "models", "--json"]) == 0
    assert parameters(tmp_path / "models")["bundle"] == str(tmp_path / "bundle")


def test_a_copy(shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "models"
    assert main(["--from", str(shapes_bundle), "--triton", str(output), "--copy-bundle", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["repository"], told["instances"], told["gpu"]) == (str(output), 1, False)
    assert told["parameters"]["bundle"] == "1/bundle"
    copied = output / "xsam" / "1" / "bundle"
    check_files(copied, read_manifest(copied))
    assert {f"xsam/1/bundle/{name}" for name in read_manifest(copied).files} < files(output)


def test_what_is_there_is_replaced_when_that_is_asked_for(
    shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--from", shapes_bundle, "--triton", tmp_path / "models", "--scenes", "1"]
    assert main([*map(str, arguments), "--copy-bundle"]) == 0
    capsys.readouterr()
    assert "exists; choose another folder, or replace the repository with --overwrite" in fault(capsys, *arguments)
    assert main([*map(str, arguments), "--overwrite"]) == 0
    assert files(tmp_path / "models") == FILES
    assert parameters(tmp_path / "models")["scenes"] == "1"


def test_what_is_somebody_elses_is_left_alone(
    shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "models"
    arguments = ["--from", shapes_bundle, "--triton", output, "--overwrite"]
    (output / "other" / "1").mkdir(parents=True)
    assert "is not a repository of xsam; it is left alone" in fault(capsys, *arguments)
    shutil.rmtree(output)
    assert main([*map(str, arguments), "--copy-bundle"]) == 0
    capsys.readouterr()
    inside = output / "xsam" / "1" / "bundle"
    assert "lies in" in fault(capsys, "--from", inside, "--triton", output, "--overwrite")
    (output / "other").mkdir()
    assert "holds other beside xsam; it is left alone" in fault(capsys, *arguments)
    assert (inside / MANIFEST_FILE).is_file() and (output / "other").is_dir()
    file = tmp_path / "file"
    file.write_text("text")
    assert "is not a repository" in fault(capsys, "--from", shapes_bundle, "--triton", file, "--overwrite")
    assert file.read_text() == "text"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--triton OUT --checkpoint shapes", "--triton serves a bundle; name it with --from"),
        ("--triton OUT --from BUNDLE --engine tensorrt", "--engine is not of --triton"),
        ("--triton OUT --from BUNDLE --plan", "--plan is not of --triton"),
        ("--triton OUT --from BUNDLE -o OUT", "--output is not of --triton"),
        ("--triton OUT --from BUNDLE --context 99", "--context is not of --triton"),
        ("--triton OUT --from BUNDLE --precision fp16", "--precision is of an export"),
        ("--triton BUNDLE/rep --from BUNDLE", "which stays as it is; choose another folder"),
        ("--triton OUT --from NOWHERE", "is not a bundle: it has no manifest.json"),
        ("--triton OUT --from BUNDLE --device cuda --threads 2", "--threads is of the CPU"),
        ("--from BUNDLE --engine tensorrt -o OUT --instances 2", "--instances is of --triton"),
        ("--from BUNDLE -o OUT", "--from was given alone; add --engine, one of tensorrt, tensorrt-rtx, or --triton"),
    ],
)
def test_nonsense_is_refused(
    arguments: str, message: str, shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"OUT": tmp_path / "out", "BUNDLE": shapes_bundle, "NOWHERE": tmp_path / "nowhere"}
    places["BUNDLE/rep"] = shapes_bundle / "rep"
    assert message in fault(capsys, *(places.get(word, word) for word in arguments.split()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault_of", ["missing", "altered"])
def test_a_bundle_that_is_not_whole(
    fault_of: str, shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, output = tmp_path / "bundle", tmp_path / "out"
    shutil.copytree(shapes_bundle, bundle)
    weights = bundle / "llm.onnx.data"
    if fault_of == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    line = fault(capsys, "--from", bundle, "--triton", output, "--copy-bundle")
    assert f"llm.onnx.data {'is missing' if fault_of == 'missing' else 'was altered'}" in line
    assert os.listdir(tmp_path) == ["bundle"]


@pytest.mark.parametrize(("dialect", "device"), [("cpu", "cpu"), ("gpu", "cpu"), ("cuda", "cuda")])
def test_the_device_is_that_of_the_graphs(dialect: str, device: str, shapes_bundle: Path, tmp_path: Path) -> None:
    bundle, output = tmp_path / "bundle", tmp_path / "out"
    shutil.copytree(shapes_bundle, bundle)
    manifest = replace(read_manifest(bundle), dialect=dialect)
    (bundle / MANIFEST_FILE).write_text(manifest.to_json())
    assert main(["--from", str(bundle), "--triton", str(output)]) == 0
    assert parameters(output)["device"] == device
    kind = re.search(r"kind: (\w+)", (output / "xsam" / "config.pbtxt").read_text())
    assert kind is not None and kind[1] == ("KIND_GPU" if device == "cuda" else "KIND_CPU")


def test_engines_are_for_a_gpu(shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, output = tmp_path / "bundle", tmp_path / "out"
    shutil.copytree(shapes_bundle, bundle)
    manifest = read_manifest(bundle)
    profiles = {
        name: (EngineProfile("all", {axis: (1, 1, 1) for axis in graph.axes}),)
        for name, graph in manifest.graphs.items()
    }
    choice = KVCacheChoice("decomposed", "")
    engine = EngineInfo("tensorrt", "10.3.0", "auto", ("8.7",), "", "", "", 64, choice, {}, profiles, {}, {})
    (bundle / MANIFEST_FILE).write_text(replace(manifest, engine=engine).to_json())
    assert "--device is of graphs" in fault(capsys, "--from", bundle, "--triton", output, "--device", "cpu")
    assert "--threads is of graphs" in fault(capsys, "--from", bundle, "--triton", output, "--threads", "2")
    assert main(["--from", str(bundle), "--triton", str(output)]) == 0
    assert "kind: KIND_GPU gpus: [ 0 ]" in (output / "xsam" / "config.pbtxt").read_text()
    assert "device" not in parameters(output)


def test_it_needs_no_other_package(shapes_bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, "--from", str(shapes_bundle), "--triton", str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("option", ["--instances 1025", "--scenes 99999999999"])
def test_numbers_have_limits(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--triton", str(tmp_path / "out"), "--from", "nowhere", *option.split()]) == 2
    assert " is more than 10" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
