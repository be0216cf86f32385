import os
import time
from pathlib import Path

import pytest

from xsam_edge.benchmarks.gpu_check import runner
from xsam_edge.benchmarks.gpu_check.records import NO_GPU, OUTCOME, RESULTS, find, read
from xsam_edge.benchmarks.gpu_check.runner import Outcome, exit_code
from xsam_edge.benchmarks.gpu_check.steps import BY_NAME, STEPS, UNPACKED, Setting, Step
from xsam_edge.runtime.errors import InputError


@pytest.fixture(autouse=True)
def _child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_CHILD", "tests.benchmarks.gpu_check.unwell_child")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))


def step(name: str, budget: int = 60, **options: bool) -> Step:
    return Step(name, budget, "", "", **options)


def run(tmp_path: Path, *steps: Step, device: str = "cpu", missing: str = "", budget: float = 900) -> list[Outcome]:
    setting = Setting("cuda" if device == "cuda" else "cpu", tmp_path)
    return runner.run(steps, setting, tmp_path, budget, missing=lambda: missing)


def test_a_step_that_ends_badly_leaves_the_others_alone(tmp_path: Path) -> None:
    outcomes = run(tmp_path, step("good"), step("crash"), step("silent"), step("fail"), step("better"))
    values = {outcome.step: outcome.value for outcome in outcomes}
    assert values == {
        "good": "done",
        "crash": "crashed (SIGSEGV)",
        "silent": "ended with exit code 7",
        "fail": "failed",
        "better": "done",
    }
    assert exit_code(outcomes, Setting("cpu", tmp_path)) == 1
    records = read([tmp_path / RESULTS])
    assert all(find(records, name, "found") == 1.5 for name in values), "what was found before counts"
    assert {record.step: record.value for record in records if record.name == OUTCOME} == values


def test_a_step_whose_time_is_over_ends_with_what_it_started(tmp_path: Path) -> None:
    start = time.monotonic()
    outcomes = run(tmp_path, step("hang", budget=4), step("good"))
    assert [outcome.value for outcome in outcomes] == ["timed out after 4 s", "done"]
    assert time.monotonic() - start < 40
    started = int((tmp_path / "started").read_text())
    while is_running(started):  # what was killed ends in its own time
        assert time.monotonic() - start < 50
        time.sleep(0.05)


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie, which it is until its new parent looks."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_budget_of_all_ends_the_last(tmp_path: Path) -> None:
    (outcome,) = run(tmp_path, step("good"), budget=1)
    assert outcome.value == "no time left"
    assert exit_code([outcome], Setting("cpu", tmp_path)) == 1


def test_without_a_gpu_steps_that_need_one_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = (step("good", anywhere=True), step("better"), step("best", gpu_only=True))
    outcomes = run(tmp_path, *steps, device="cuda", missing="no NVIDIA driver")
    assert [outcome.value for outcome in outcomes] == ["done", NO_GPU, NO_GPU]
    assert "better: outcome: needs a GPU  (no NVIDIA driver)\n" in capsys.readouterr().err
    assert exit_code(outcomes, Setting("cuda", tmp_path)) == 2


def test_on_a_cpu_only_steps_without_a_small_form_are_left_out(tmp_path: Path) -> None:
    outcomes = run(tmp_path, step("good"), step("best", gpu_only=True), missing="no NVIDIA driver")
    assert [outcome.value for outcome in outcomes] == ["done", NO_GPU]
    assert exit_code(outcomes, Setting("cpu", tmp_path)) == 0


def test_a_further_run_replaces_what_a_step_found(tmp_path: Path) -> None:
    run(tmp_path, step("fail"), step("good"))
    run(tmp_path, step("good"))
    records = read([tmp_path / RESULTS])
    assert [record.name for record in records if record.step == "good"].count("found") == 1


def test_what_is_brought_comes_before_what_is_installed(tmp_path: Path) -> None:
    paths = runner._environment(Setting("cuda", tmp_path))["PYTHONPATH"].split(os.pathsep)
    assert paths[0] == str(tmp_path / "site") and (Path(paths[1]) / "xsam_edge" / "benchmarks").is_dir()
    assert str(tmp_path / "site") not in runner._environment(Setting("cpu", tmp_path))["PYTHONPATH"]


def test_steps_are_chosen_by_name_in_their_order() -> None:
    assert [step.name for step in runner.chosen("roof, facts")] == ["facts", "roof"]
    assert runner.chosen(None) == list(STEPS)
    for names in ("roof,rof", ","):
        with pytest.raises(InputError, match="the steps are facts, cuda"):
            runner.chosen(names)


def test_every_step_has_a_function_and_fits_the_whole() -> None:
    import importlib

    for step in STEPS:
        module, function = step.target.split(":")
        assert callable(getattr(importlib.import_module(f"xsam_edge.benchmarks.gpu_check.{module}"), function))
    assert sum(step.budget for step in STEPS) <= 900
    assert sum(BY_NAME[name].budget for name in UNPACKED) <= 600
    assert sum(step.budget for step in STEPS if step.name not in UNPACKED) <= 600
