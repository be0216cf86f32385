from __future__ import annotations

import json
from pathlib import Path

import pytest

from xsam_edge.runtime.cli.segment import main


def test_what_is_asked_in_parts_is_called_approximate(
    phi3_bundle: Path, phi3_reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    asked = [str(phi3_bundle), str(phi3_reference / "image.png"), "--verify", "none", "--everything", str(names)]
    for count, approximate in ((4, None), (160, True)):
        names.write_text("".join(f"{'stuff' if number % 2 else 'thing'} name {number}\n" for number in range(count)))
        assert main([*asked, "--json", "-o", str(tmp_path / f"json-{count}")]) == 0
        output = capsys.readouterr()
        (entry,) = json.loads(output.out)["images"]
        assert (entry.get("approximate"), "approximate" in output.err) == (approximate, approximate is True)
    assert entry["parts"] > 1
    assert entry["files"]["ids"] is not None
    assert main([*asked, "--instances", "-o", str(tmp_path / "text")]) == 0
    assert f"approximate: the names were asked in {entry['parts']} parts" in capsys.readouterr().out


def test_wrong_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, fault in (
        (["--everything", str(tmp_path)], "is a folder"),
        (["--everything", "cocoa"], "is no list of names and no file"),
        (["--things", "a", "--everything"], "things and stuff and everything were given together"),
    ):
        assert main(["nowhere", "x.png", *more]) == 2
        assert fault in capsys.readouterr().err
