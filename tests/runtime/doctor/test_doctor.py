from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL
import pytest

from tests.linked import each_apart
from tests.runtime.doctor.recorded_machines import ORIN_COMMANDS, ORIN_DEVICE, ORIN_NANO, machine
from xsam_edge.runtime import XSam
from xsam_edge.runtime.bundle import verification
from xsam_edge.runtime.bundle.engine_info import EngineInfo, EngineProfile, KVCacheChoice
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, read_manifest
from xsam_edge.runtime.bundle.settings import RejectionRule
from xsam_edge.runtime.cli import doctor
from xsam_edge.runtime.doctor import bundle, software
from xsam_edge.runtime.doctor.host import Host, Output, run_command
from xsam_edge.runtime.doctor.machine import parse_l4t, parse_power_mode
from xsam_edge.runtime.doctor.software import OnnxRuntime
from xsam_edge.runtime.errors import BundleError
from xsam_edge.runtime.versions import untested


@pytest.fixture
def orin(tmp_path: Path) -> Host:
    return machine(tmp_path / "orin", ORIN_NANO, ORIN_COMMANDS)


@pytest.fixture
def empty(tmp_path: Path) -> Host:
    return machine(tmp_path / "empty", {}, {})


def report(capsys: pytest.CaptureFixture[str], host: Host, *arguments: str) -> dict[str, Any]:
    assert doctor.run(doctor.parser().parse_args([*arguments, "--json"]), host) == 0
    return json.loads(capsys.readouterr().out)


def test_a_jetson(orin: Host, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, orin)
    assert found["board"]["board"] == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert found["board"]["L4T"] == "R36.4.3"
    assert found["board"]["JetPack"] == "6.2+b77"
    assert found["board"]["system"].startswith("Ubuntu 22.04.5 LTS, kernel ")
    assert found["power"] == {
        "power mode": "MAXN_SUPER",
        "GPU clock": "306 of 1020 MHz",
        "CPU clock": "730 of 1728 MHz",
        "CPU governor": "schedutil",
    }
    assert "jetson_clocks" in found["notes"]["power.GPU clock"]
    assert found["processor"]["cores"] == 2
    assert found["processor"]["features"] == ["asimd", "asimddp", "asimdhp"]
    assert found["memory"] == {
        "memory": 7802160 << 10,
        "available": 5011000 << 10,
        "swap": 3901072 << 10,
        "swap in use": 101072 << 10,
    }
    gpu = found["gpu"]
    assert (gpu["GPU"], gpu["compute capability"], gpu["driver"]) == ("Orin", "8.7", "540.4.0")
    assert (gpu["CUDA of the driver"], gpu["CUDA toolkit"], gpu["cuda-python"]) == ("12.6", "12.6.11", "usable")
    assert (gpu["tensorrt"], gpu["tensorrt-rtx"]) == ("10.3.0", None)
    assert found["notes"]["gpu.tensorrt"].startswith("usable; untested: tests neither compile engines with it nor run")
    assert found["notes"]["gpu.tensorrt-rtx"].startswith("not installed; run `pip install")
    assert found["onnxruntime"] == {
        "ONNX Runtime": "1.23.2",
        "providers": ["CPUExecutionProvider"],
        "CUDA provider": None,
        "TensorRT-RTX provider": None,
    }
    assert found["notes"]["onnxruntime.CUDA provider"].startswith(
        "this onnxruntime 1.23.2 has no CUDAExecutionProvider"
    )
    assert "runs" not in found


def test_a_board_without_the_package_of_jetpack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = {key: value for key, value in ORIN_COMMANDS.items() if "dpkg" not in key}
    found = report(capsys, machine(tmp_path, ORIN_NANO, commands))
    assert found["board"]["JetPack"] == "6.1 or 6.2"
    assert "not installed" in found["notes"]["board.JetPack"]


def test_a_virtual_machine_tells_the_clock_of_its_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC\ncpu MHz\t\t: 2596.094\nflags\t\t: fpu avx2 fma amx_tile\n"
    found = report(capsys, machine(tmp_path, {"proc/cpuinfo": cpuinfo}, {}))
    assert found["power"]["CPU clock"] == "2596 MHz"
    assert (found["processor"]["CPU"], found["processor"]["features"]) == ("AMD EPYC", ["avx2", "fma", "amx_tile"])
    assert found["processor"]["usable cores"] >= 1


@pytest.mark.parametrize("json_wanted", [True, False])
def test_what_is_absent_is_said(
    empty: Host, capsys: pytest.CaptureFixture[str], json_wanted: bool, tmp_path: Path
) -> None:
    arguments = [str(tmp_path / "nowhere"), *(["--json"] if json_wanted else [])]
    assert doctor.run(doctor.parser().parse_args(arguments), empty) == 0
    out = capsys.readouterr().out
    if json_wanted:
        found = json.loads(out)
        for section in ("board", "power", "memory", "gpu", "onnxruntime"):
            absent = [name for name, value in found[section].items() if value is None]
            assert absent, section
        assert found["runs"]["files"]["runs"] is False
        assert "is not a bundle" in found["runs"]["files"]["reason"]
    else:
        assert "no Jetson: /etc/nv_tegra_release is absent" in out
        assert "Traceback" not in out and "None" not in out


def test_this_machine(phi3_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([str(phi3_bundle)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["files", "ok"] in lines and ["CPU", "runs"] in lines


def test_libraries_that_crash_are_named(orin: Host, capsys: pytest.CaptureFixture[str]) -> None:
    value, reason = software.ask_python(Host(), "import os; os.kill(os.getpid(), 11)")
    assert value is None and reason == "crashed (SIGSEGV)"
    assert software.ask_python(Host(), "import no_such_module")[1].endswith("No module named 'no_such_module'")
    assert software.ask_python(Host(), "print('[1')") == (None, "printed what is no answer")
    assert software.ask_python(Host(), "print('noise'); print('[1, 2]')") == ([1, 2], "")

    def crash(command: Any) -> Output:
        return Output(-11, "", "") if command[0] == sys.executable else orin.run(command)

    found = report(capsys, Host(orin.root, crash))
    assert found["gpu"]["tensorrt"] is None and found["gpu"]["GPU"] is None
    assert found["notes"]["gpu.tensorrt"].startswith("crashed (SIGSEGV); ")
    assert found["notes"]["onnxruntime.ONNX Runtime"].startswith("crashed (SIGSEGV); ")


@pytest.mark.parametrize("version", ["1.19.0rc1", "1.33.0", "nightly"])
def test_versions_that_were_not_tested(
    orin: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(PIL, "__version__", "13.1.0")
    monkeypatch.setattr(software.platform, "python_version", lambda: "3.9.1")
    answer = Output(0, json.dumps([version, ["CPUExecutionProvider"]]))
    host = machine(orin.root, {}, {**ORIN_COMMANDS, "python onnxruntime as m": answer})
    found = report(capsys, host)
    assert (found["python"]["pillow"], found["onnxruntime"]["ONNX Runtime"]) == ("13.1.0", version)
    newer = "newer than 13.0.0, the newest that was tested; should anything fail, install one from 10.3.0 to there"
    assert found["notes"]["python.pillow"] == newer
    assert found["notes"]["python.Python"].startswith(f"{sys.executable}; older than 3.10, the oldest that was tested")
    assert found["notes"]["onnxruntime.ONNX Runtime"].endswith(untested("onnxruntime", version))
    assert not {"python.numpy", "python.tokenizers"} & found["notes"].keys()
    assert doctor.run(doctor.parser().parse_args([]), host) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"pillow 13.1.0 ({newer})" in lines
    assert f"ONNX Runtime {version} ({untested('onnxruntime', version)})" in lines


@pytest.mark.parametrize("version", ["1.23.2", "1.23.0+nv", "1.32.9"])
def test_versions_that_were_tested_have_no_note(orin: Host, capsys: pytest.CaptureFixture[str], version: str) -> None:
    answer = Output(0, json.dumps([version, ["CPUExecutionProvider"]]))
    found = report(capsys, machine(orin.root, {}, {**ORIN_COMMANDS, "python onnxruntime as m": answer}))
    assert "onnxruntime.ONNX Runtime" not in found["notes"]


def test_a_library_without_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds of one's own may have none; asked for in a real process."""
    (tmp_path / "onnxruntime.py").write_text("def get_available_providers(): return ['CPUExecutionProvider']")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    section, found = software.onnxruntime(Host())
    assert section.values()["ONNX Runtime"] == "unknown"
    assert found.providers == ("CPUExecutionProvider",)
    assert found.problems["cuda"].startswith("this onnxruntime unknown has no CUDAExecutionProvider; ")
    assert section.facts[0].note.startswith("no version that can be read")


def test_commands_that_are_not_there() -> None:
    assert run_command(["/no/such/command"]).code is None
    assert Host().output("/no/such/command") is None
    assert Host().output(sys.executable, "-c", "raise SystemExit(3)") is None


def engines_of(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    made = Path(shutil.copytree(folder, tmp_path / "engines"))
    manifest = read_manifest(made)
    profiles = {
        name: (EngineProfile("all", {axis: (1, 1, 1) for axis in graph.axes}),)
        for name, graph in manifest.graphs.items()
    }
    engine = EngineInfo(
        "tensorrt", "10.3.0", "orin-nano", ("8.7",), "Orin", "540.4.0", "12.6", 64, KVCacheChoice("decomposed", ""),
        {}, profiles, {}, {},
    )  # fmt: skip
    engine = dataclasses.replace(engine, **changes)
    (made / MANIFEST_FILE).write_text(dataclasses.replace(manifest, engine=engine).to_json())
    return made


def test_engines_on_their_board(
    orin: Host, phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(capsys, orin, str(engines_of(phi3_bundle, tmp_path)))
    assert found["runs"] == {"files": {"runs": True, "reason": ""}, "tensorrt": {"runs": True, "reason": ""}}
    assert found["bundle"]["model"] == "phi3, fp32, tensorrt 10.3.0 for orin-nano"


def test_the_rule_of_a_bundle_is_told(
    orin: Host, phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(capsys, orin, str(phi3_bundle))
    assert found["bundle"]["rejection"] is None
    assert found["notes"]["bundle.rejection"] == "what is asked for is found, whatever its best mask scores"
    copy = Path(shutil.copytree(phi3_bundle, tmp_path / "copy"))
    manifest = read_manifest(copy)
    rules = {"refer": RejectionRule(0.84198, 0.05, 100), "reason": RejectionRule(0.5, 0.125, 8)}
    ruled = dataclasses.replace(manifest, settings=dataclasses.replace(manifest.settings, rejection=rules))
    (copy / MANIFEST_FILE).write_text(ruled.to_json())
    found = report(capsys, orin, str(copy))
    assert found["bundle"]["rejection"] == "refer below 0.8420, reason below 0.5000"
    assert found["notes"]["bundle.rejection"] == (
        "refer found at most 5% of 100 absent things; reason found at most 12.5% of 8 absent things"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": "10.13.3"}, "built by tensorrt 10.13.3, installed is 10.3.0; build them again"),
        ({"compute_capabilities": ("11.0",)}, "built for compute capability 11.0, Orin has 8.7; build them on this"),
        ({"flavour": "tensorrt-rtx"}, "need tensorrt-rtx 10.3.0; not installed; run `pip install"),
    ],
)
def test_engines_that_cannot_run(
    changes: dict[str, Any],
    reason: str,
    orin: Host,
    phi3_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = report(capsys, orin, str(engines_of(phi3_bundle, tmp_path, **changes)))
    (verdict,) = [value for way, value in found["runs"].items() if way != "files"]
    assert verdict["runs"] is False and reason in verdict["reason"]


def test_onnx_graphs_on_a_board(orin: Host, phi3_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, orin, str(phi3_bundle))["runs"]
    assert found["CPU"]["runs"] is True
    assert found["CUDA"]["runs"] is False
    assert "xsam-export --from BUNDLE --engine tensorrt" in found["CUDA"]["reason"]


BOTH = OnnxRuntime(("CUDAExecutionProvider", "CPUExecutionProvider"), {"cuda": "", "tensorrt-rtx": ""})


@pytest.mark.parametrize("problem", ["", "onnxruntime 1.31.1 cannot use CUDA: libcublasLt.so.13 cannot be loaded; run"])
def test_a_provider_that_is_there_may_not_be_usable(
    orin: Host, phi3_bundle: Path, capsys: pytest.CaptureFixture[str], problem: str
) -> None:
    """Libraries of CUDA that are missing are told, not found out by a session that is slow."""
    answers = {
        **ORIN_COMMANDS,
        "python providers import problems": Output(0, json.dumps({"cuda": problem, "tensorrt-rtx": problem})),
        "python onnxruntime as m": Output(0, json.dumps(["1.31.1", list(BOTH.providers)])),
    }
    found = report(capsys, machine(orin.root, {}, answers), str(phi3_bundle))
    expected = {"runs": not problem, "reason": problem or "with --device cuda"}
    assert found["runs"]["CUDA"] == expected
    assert ("TensorRT-RTX" in found["runs"]) == (not problem)
    assert found["onnxruntime"]["CUDA provider"] == (None if problem else "usable")
    assert found["notes"].get("onnxruntime.CUDA provider", "") == problem


def test_kernels_of_an_earlier_start(orin: Host, phi3_bundle: Path, tmp_path: Path) -> None:
    made = engines_of(phi3_bundle, tmp_path, flavour="tensorrt-rtx", version="1.7.1.116")
    _, environment = software.gpu(orin)
    (first,) = [fact for fact in bundle.examine(made, environment, BOTH, None)[0].facts if fact.name == "kernels"]
    assert first.value is None and first.note.startswith(f"the first start compiles them, and keeps them in {made}")
    Path(first.note.rpartition(" ")[2]).write_bytes(bytes(2000))
    (second,) = [fact for fact in bundle.examine(made, environment, BOTH, None)[0].facts if fact.name == "kernels"]
    assert second.value == "2.0 kB" and "of an earlier start" in second.note


def test_a_bundle_that_is_too_large(orin: Host, phi3_bundle: Path) -> None:
    _, environment = software.gpu(orin)
    device = dataclasses.replace(environment.device, memory=1 << 20)  # type: ignore[type-var]
    small = dataclasses.replace(environment, device=device)
    _, verdicts = bundle.examine(phi3_bundle, small, BOTH, 1 << 20)
    reasons = {item.way: item.reason for item in verdicts}
    assert "1.0 MB are available" in reasons["CPU"] and "Orin has" in reasons["CUDA"]
    assert [item.runs for item in verdicts] == [True, False, False, False]
    assert ORIN_DEVICE["name"] == "Orin"


def test_an_altered_bundle(orin: Host, phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copytree(phi3_bundle, tmp_path / "altered"))
    content = (copy / "llm.onnx").read_bytes()
    (copy / "llm.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = report(capsys, orin, str(copy))["runs"]
    assert list(found) == ["files"] and "llm.onnx was altered" in found["files"]["reason"]
    unchecked = report(capsys, orin, str(copy), "--verify", "none")["runs"]
    assert unchecked["files"] == {"runs": True, "reason": "sizes only; hashes were not checked"}
    assert unchecked["CPU"]["runs"] is True


def test_a_linked_bundle(orin: Host, phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What can be loaded is whole, and what is not there is no damage."""
    linked = each_apart(phi3_bundle, tmp_path)
    found = report(capsys, orin, str(linked))["runs"]
    assert found["files"] == {"runs": True, "reason": ""} and found["CPU"]["runs"]
    weights = linked / "llm.onnx.data"
    weights.resolve().unlink()
    found = report(capsys, orin, str(linked))["runs"]
    with pytest.raises(BundleError) as error:
        XSam.load(linked)
    assert found == {"files": {"runs": False, "reason": str(error.value)}}
    assert "llm.onnx.data is a link to" in str(error.value)


def test_an_unchanged_bundle_is_not_read_again(
    orin: Host, phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time_ns() + 10_000_000_000  # by then no file is so young that it could change unnoticed
    monkeypatch.setattr(verification, "time", SimpleNamespace(time_ns=lambda: now))
    assert report(capsys, orin, str(phi3_bundle))["runs"]["files"] == {"runs": True, "reason": ""}
    files = report(capsys, orin, str(phi3_bundle), "--verify", "changed")["runs"]["files"]
    assert files == {"runs": True, "reason": "unchanged since all hashes were checked"}


def test_parsing() -> None:
    assert parse_l4t("# R38 (release), REVISION: 2.0, GCID: 1") == "R38.2.0"
    assert parse_l4t("") is None
    assert parse_power_mode("NVPM WARN: fan mode is not set!\nNV Power Mode: 15W\n0") == "15W"
    assert parse_power_mode("") is None
