"""The command: what is run, printed and returned."""

import json
from pathlib import Path

import pytest

from xsam_edge.benchmarks.gpu_check import __main__ as command
from xsam_edge.benchmarks.gpu_check import parcel, runner
from xsam_edge.benchmarks.gpu_check.records import RESULTS
from xsam_edge.benchmarks.gpu_check.skeleton import strip
from xsam_edge.benchmarks.gpu_check.steps import BUNDLES, SKELETONS


def test_a_run_on_a_cpu_gives_a_table_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "--steps", "facts,cuda", "--device", "cpu", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    table = capsys.readouterr().out
    assert "facts: done" in table and "processor: cores" in table and "cuda: needs a GPU (the device is a CPU)" in table
    assert command.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [outcome["value"] for outcome in found["outcomes"]] == ["done", "needs a GPU"]
    assert {goal["verdict"] for goal in found["goals"]} == {"not measured"} and found["records"]
    assert command.main(["report", str(tmp_path / RESULTS)]) == 0
    assert capsys.readouterr().out.startswith("# A GPU checked\n")


def test_without_a_gpu_it_is_said_and_the_code_is_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner.run, "__kwdefaults__", {**runner.run.__kwdefaults__, "missing": lambda: "no driver"})
    assert command.main(["run", "--steps", "roof,ort", "--out", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "roof: outcome: needs a GPU  (no driver)\n" in captured.err
    assert "roof: needs a GPU (no driver)" in captured.out and "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--steps", "rof"], "--steps names rof; the steps are facts, cuda"),
        (["run", "--parts", "nowhere"], "nowhere holds no part of a payload"),
        (["report", "nowhere"], "nowhere cannot be read"),
        (["pack", "--part", "0"], "--part is 0 MiB"),
        (["run", "--budget", "-1"], "is not a whole number"),
        ([], "the following arguments are required"),
    ],
)
def test_wrong_input_is_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err.splitlines()[-1] and not captured.out
    assert not list(tmp_path.iterdir())


def test_parts_are_kept_until_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "payload").mkdir()
    (tmp_path / "payload" / "some").write_bytes(bytes(range(256)) * 40)
    folders = parcel.write_parts(tmp_path / "payload", tmp_path, 200)
    monkeypatch.setattr(command, "_KEEP", tmp_path / "there")
    asked = []
    monkeypatch.setattr(runner, "run", lambda steps, setting, out, budget: asked.append(setting) or [])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RESULTS).write_text('{"step": "facts", "name": "a", "value": 1}\n')
    for folder in folders:
        assert command.main(["run", "--parts", str(folder), "--out", str(tmp_path / "out")]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: parts ")]
    assert len(notes) == len(folders) - 1 > 0
    assert {setting.payload for setting in asked} == {tmp_path / "there" / "payload"}


def test_instructions_name_every_step_once(tmp_path: Path) -> None:
    folders = parcel.write_parts(make(tmp_path / "payload"), tmp_path, 100)
    lines = command.instructions(folders)
    commands = [line for line in lines if not line.startswith("#")]
    assert len(commands) == len(folders) > 2
    assert (
        "--steps facts,cuda,roof,attention,torch,torch-compile " in commands[0]
        and f"--parts {folders[0]} " in commands[0]
    )
    assert "--steps facts " in commands[1]
    assert "--steps tests,ort,full-cuda,full-gpu " in commands[-1]
    (both,) = [line for line in command.instructions(folders[:1]) if not line.startswith("#")]
    assert "torch-compile,tests" in both


def make(folder: Path) -> Path:
    folder.mkdir()
    (folder / "some").write_bytes(bytes(range(256)) * 40)
    return folder


@pytest.mark.slow
def test_all_steps_run_on_a_cpu(
    tmp_path: Path, phi3_bundle: Path, phi3_fp16_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (BUNDLES, SKELETONS):
        (tmp_path / folder).mkdir()
    (tmp_path / BUNDLES / "phi3").symlink_to(phi3_bundle)
    for dialect in ("cuda", "gpu"):
        skeleton = tmp_path / SKELETONS / dialect
        strip(phi3_fp16_bundle, skeleton)
        described = json.loads((skeleton / "manifest.json").read_text())
        (skeleton / "manifest.json").write_text(json.dumps({**described, "dialect": dialect}))
    arguments = ["--device", "cpu", "--payload", str(tmp_path), "--out", str(tmp_path)]
    assert command.main(["run", "--json", *arguments]) == 0
    outcomes = json.loads(capsys.readouterr().out)["outcomes"]
    assert [outcome["value"] for outcome in outcomes if outcome["step"] != "cuda"] == ["done"] * 9
