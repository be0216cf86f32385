"""Commands without the packages of the extras, which are hidden from processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import tomllib

from tests.lean import ABSENT, cases, fault

ROOT = Path(__file__).parents[1]
COMMANDS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
HIDDEN = f"""
import sys
from importlib import import_module

sys.modules.update(dict.fromkeys({ABSENT}))
module, _, function = sys.argv.pop(1).partition(":")
sys.exit(getattr(import_module(module), function)())
"""


def run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command, *options = arguments
    program = [sys.executable, "-c", HIDDEN, COMMANDS[command], *options]
    return subprocess.run(
        program, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, phi3_bundle: Path, phi3_reference: Path) -> tuple[Path, ...]:
    return phi3_bundle, phi3_reference, tmp_path_factory.mktemp("lean")


@pytest.mark.parametrize("number", range(len(cases(Path(), Path(), Path()))))
def test_a_command(places: tuple[Path, Path, Path], number: int) -> None:
    case = cases(*places)[number]
    assert fault(case, run) is None
    assert case.code == 0 or not any((places[2] / name).exists() for name in ("bundle", "b", "e"))


def test_every_command_is_run() -> None:
    assert {case.arguments[0] for case in cases(Path(), Path(), Path())} == COMMANDS.keys()
