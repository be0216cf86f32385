from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xsam_edge.runtime.cli.doctor import main as doctor
from xsam_edge.runtime.cli.label import main as label
from xsam_edge.runtime.cli.segment import main as segment


def test_bash_completes_options_choices_and_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    assert segment(["--print-completion", "bash"]) == 0  # also without the bundle that it takes
    script = tmp_path / "segment.bash"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "bundle-of-mine").mkdir()

    def completed(*words: str) -> list[str]:
        last, before = words[-1], words[-2]
        ask = f"COMP_WORDS=({' '.join(words[:-1])} '{last}'); COMP_CWORD={len(words) - 1}; "
        ask += f"_shtab_xsam_segment xsam-segment '{last}' {before}; echo ${{COMPREPLY[@]}}"
        run = ["bash", "-c", f"source {script}; {ask}"]
        return subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()

    assert completed("xsam-segment", "--verif") == ["--verify"]
    assert set(completed("xsam-segment", "--verify", "")) == {"full", "changed", "none"}
    assert completed("xsam-segment", "bundle-") == ["bundle-of-mine"]


def test_labelling_is_completed_too(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert label(["--print-completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "--everything" in script and "parquet" in script
    assert "_shtab_xsam_label_pos_0_COMPGEN=_shtab_compgen_files" in script


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert doctor(["--print-completion", shell]) == 0
    assert "xsam-doctor" in capsys.readouterr().out


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(["--print-completion", "fish"]) == 2
    assert "choose from" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert doctor(["--print-completion", "bash"]) == 2
    expected = "xsam-doctor: error: shtab is not installed; run `pip install 'xsam-edge[completion]'`\n"
    assert capsys.readouterr().err == expected
