"""What is said where a package of an extra is missing."""

from __future__ import annotations

import argparse
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

import xsam_edge.runtime.cli.extras as extras
from xsam_edge.runtime.cli.common import Parser, command

ROOT = Path(__file__).parents[3]


def test_every_extra_is_one_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").replace("_", "-")
    for extra, packages in extras._EXTRAS.items():
        listed = text[text.index(f"\n{extra} = [") :].partition("]\n")[0]
        assert all(re.search(f'"{package.replace("_", "-")}[>\\[]', listed) for package in packages), extra


@pytest.mark.parametrize(
    ("running", "message"),
    [
        ((3, 10), "run `pip install 'xsam-edge[export]'` with Python 3.11 or newer, this is 3.10"),
        ((3, 11), "torch is not installed; run `pip install 'xsam-edge[export]'`"),
    ],
)
def test_an_extra_and_its_python(running: tuple[int, int], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (*running, 0))
    remedy = extras.remedy("torch")
    assert remedy is not None and remedy.endswith(message)
    assert extras.remedy("pycocotools") == "pycocotools is not installed; run `pip install 'xsam-edge[eval]'`"


def test_a_command_ends_in_a_line_unless_the_package_is_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(_: argparse.Namespace) -> int:
        import_module(name)
        return 0

    for name in ("onnx_ir", "nobody_has_this"):
        monkeypatch.setitem(sys.modules, name, None)
    name = "onnx_ir"
    assert command("program", Parser(), body, []) == 2
    assert capsys.readouterr().err.startswith("program: error: onnx_ir is not installed; run `pip install")
    name = "nobody_has_this"
    with pytest.raises(ModuleNotFoundError):
        command("program", Parser(), body, [])
