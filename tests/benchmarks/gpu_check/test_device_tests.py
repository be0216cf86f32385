import os
from pathlib import Path

import pytest

from xsam_edge.benchmarks.gpu_check import device_tests
from xsam_edge.benchmarks.gpu_check.records import RESULTS, Recorder, find, read
from xsam_edge.benchmarks.gpu_check.steps import BUNDLES, Setting
from xsam_edge.runtime.errors import XSamError

TESTS = """
import os, pytest
def test_good(): assert os.environ.get("XSAM_BUNDLE", "").endswith("shapes-fp16")
def test_bad(): assert 0
@pytest.mark.skip
def test_not_now(): pass
@pytest.fixture
def broken(): raise ValueError
def test_worse(broken): pass
"""


def test_outcomes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    environment = {**os.environ, "XSAM_BUNDLE": "shapes-fp16"}
    outcomes, failed = device_tests.run_tests([str(tmp_path / "test_some.py")], environment)
    assert outcomes == {"passed": 1, "failed": 2, "skipped": 1} and failed == ["test_bad", "test_worse"]
    with pytest.raises(XSamError, match="ran no test"):
        device_tests.run_tests(["--no-such-option"], environment)


def test_failed_tests_fail_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run_tests(arguments: list[str], environment: dict[str, str]) -> tuple[dict[str, int], list[str]]:
        asked.append((arguments, environment.get("XSAM_BUNDLE")))
        return {"passed": 3, "skipped": 1, "failed": 1}, ["test_bad"]

    monkeypatch.setattr(device_tests, "run_tests", run_tests)
    (tmp_path / BUNDLES / "shapes-fp16").mkdir(parents=True)
    say = Recorder(tmp_path / RESULTS, "tests")
    with pytest.raises(XSamError, match="1 tests failed: test_bad"):
        device_tests.run(Setting("cuda", tmp_path), say)
    assert find(read([say.path]), "tests", "passed") == 3
    ((arguments, bundle),) = asked
    assert arguments[:2] == ["-m", "gpu"] and Path(arguments[2]).is_dir()
    assert bundle == str(tmp_path / BUNDLES / "shapes-fp16")
