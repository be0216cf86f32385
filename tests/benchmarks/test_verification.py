from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from xsam_edge.benchmarks import verification
from xsam_edge.runtime.bundle.manifest import Manifest, read_manifest
from xsam_edge.runtime.bundle.verification import Checked, Verify


def test_ways_are_compared(phi3_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verification.main([str(phi3_bundle), "--repeat", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    entries = read_manifest(phi3_bundle).files.values()
    assert result["bytes"] == sum(entry.bytes for entry in entries) and result["chunks"] == len(entries)
    assert {name: times["n"] for name, times in result["times"].items()} == {"read": 2, "full": 2, "changed": 2}
    ratio = result["times"]["full"]["p50_ms"] / result["times"]["read"]["p50_ms"]
    assert result["over_reading"]["full"] == pytest.approx(ratio, rel=0.01)
    text = verification.as_text(result)
    assert verification.FORGET in text and "times as long as reading" in text and text.endswith("p50 of 2")


def test_the_cache_is_cold_before_each_way(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(verification, "forget", lambda paths: told.append("forget"))
    monkeypatch.setattr(verification, "read_all", lambda paths: told.append("read"))
    check = verification.check_files

    def checking(bundle: Path, manifest: Manifest, verify: Verify = "full") -> Checked:
        told.append(verify)
        return check(bundle, manifest, verify=verify)

    monkeypatch.setattr(verification, "check_files", checking)
    verification.measure(phi3_bundle, 2)
    ways = ["changed", "full", "read"]
    assert told == ["full", *(word for way in ways + ways[::-1] for word in ("forget", way))]


def test_files_are_written_out_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10_000))
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "fsync", lambda file: calls.append(("fsync",)))
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *what: calls.append(what))
    verification.forget([path])
    assert calls == [("fsync",), (0, 0, os.POSIX_FADV_DONTNEED)]


def test_what_is_held_is_counted_in_pages(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10_000))
    verification.read_all([path])
    assert 10_000 <= verification.held(path) < 10_000 + os.sysconf("SC_PAGE_SIZE")
    path.write_bytes(b"")
    assert verification.held(path) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["BUNDLE", "--repeat", "0"], "at least 1"), (["nosuch"], "is not a bundle"), (["ALTERED"], "was altered")],
)
def test_wrong_input_is_one_line(
    phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    altered = Path(shutil.copytree(phi3_bundle, tmp_path / "altered"))
    content = (altered / "llm.onnx").read_bytes()
    (altered / "llm.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    names = {"BUNDLE": str(phi3_bundle), "ALTERED": str(altered)}
    assert verification.main([names.get(text, text) for text in arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and not printed.out
