"""The tests that need a GPU, run by pytest: how many passed, and which did not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from xsam_edge.benchmarks.gpu_check.records import Recorder
from xsam_edge.benchmarks.gpu_check.steps import BUNDLES, Setting
from xsam_edge.runtime.errors import InputError, XSamError

_ROOT = Path(__file__).resolve().parents[2]
_BUNDLE = "shapes-fp16"  # what the tests ask, where nothing can be exported


def run(setting: Setting, say: Recorder) -> None:
    """The step; raises XSamError where a test failed."""
    tests = _ROOT / "tests"
    if not tests.is_dir():
        raise InputError(f"{tests} is not there; the tests are in a clone of the repository")
    arguments = ["-m", "gpu", str(tests / "runtime" / "backends")]
    bundle = setting.payload / BUNDLES / _BUNDLE
    environment = {**os.environ, **({"XSAM_BUNDLE": str(bundle.resolve())} if bundle.is_dir() else {})}
    outcomes, failed = run_tests(arguments, environment)
    for outcome in ("passed", "skipped", "failed"):
        say(outcome, outcomes[outcome], "tests")
    if failed:
        raise XSamError(f"{len(failed)} tests failed: {', '.join(failed[:5])}")


def run_tests(arguments: Sequence[str], environment: dict[str, str]) -> tuple[Counter[str], list[str]]:
    """Numbers of tests that passed, were skipped and failed, and the names of those that failed.

    Raises:
        XSamError: pytest did not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
        done = subprocess.run(command, cwd=_ROOT, env=environment, stdout=sys.stderr, check=False)
        if not report.is_file():
            raise XSamError(f"pytest ended with exit code {done.returncode} and ran no test; is it installed?")
        outcomes, failed = Counter[str](), []
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            kinds = {child.tag for child in case}
            outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            outcomes[outcome] += 1
            if outcome == "failed":
                failed.append(str(case.get("name")))
    return outcomes, failed
