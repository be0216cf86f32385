from __future__ import annotations

import platform
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import PIL
import pytest

from xsam_edge.runtime import versions
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.versions import TESTED, UntestedVersionWarning, Version, loaded, parse, untested


@pytest.fixture(autouse=True)
def _nothing_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_told", set())


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.23.2", Version(1, 23, 2)),
        ("1.20", Version(1, 20)),
        ("7", Version(7, 0)),
        ("v2.5.1", Version(2, 5, 1)),
        ("1!2.3.4", Version(2, 3, 4)),
        ("10.3.0.26", Version(10, 3)),
        ("1.23.0+nv", Version(1, 23)),
        ("1.23.0+dev.1", Version(1, 23)),
        ("1.20.0.post1", Version(1, 20)),
        ("1.19.0rc1", Version(1, 19, 0, final=False)),
        ("1.20.0.dev20250101", Version(1, 20, 0, final=False)),
        ("2.6.0a0+ecf3bae40a.nv25.01", Version(2, 6, 0, final=False)),
        ("1.32.0-beta.2", Version(1, 32, 0, final=False)),
        ("3.14rc2", Version(3, 14, 0, final=False)),
        ("1.22.0build5", Version(1, 22)),
        ("1.22.0-custom", Version(1, 22)),
        ("9" * 5000, Version(999999999, 0)),
        ("nightly", None),
        ("", None),
        ("²", None),
        (".1", None),
    ],
)
def test_versions_of_releases_and_of_vendors(text: str, version: Version | None) -> None:
    assert parse(text) == version


def test_what_came_before_a_release_is_less() -> None:
    assert Version(1, 31, 9) < Version(1, 32, final=False) < Version(1, 32) < Version(1, 32, 1)


@pytest.mark.parametrize("package", TESTED)
def test_what_was_tested_and_lies_between_is_tested(package: str) -> None:
    tested = TESTED[package]
    newest = parse(tested.newest)
    assert newest is not None
    within = (tested.lowest, tested.newest, f"{newest.major}.{newest.minor}.99", f"{tested.newest}+nv")
    assert [untested(package, version) for version in within] == [""] * 4


def test_what_is_older_newer_or_unreadable_is_not() -> None:
    for version in ("1.19.2", "1.20.0rc1", "1.20.0.dev20250101", "0.1"):
        assert untested("onnxruntime", version).startswith("older than 1.20.0, the oldest that was tested; ")
    for version in ("1.33.0", "1.33.0.dev20270101", "2.0"):
        assert untested("onnxruntime", version).startswith("newer than 1.32.0, the newest that was tested; ")
    assert untested("onnxruntime", "nightly") == (
        "no version that can be read; should anything fail, install one from 1.20.0 to 1.32.0, which were tested"
    )
    assert untested("python", "3.9.18") == (
        "older than 3.10, the oldest that was tested; should anything fail, use one from there to 3.13"
    )


def test_no_engine_was_tested_on_a_gpu() -> None:
    compiled = f"untested: tests compile engines with {versions.COMPILED['tensorrt-rtx']} and run none; compare masks"
    assert untested("tensorrt-rtx", "1.7.1.116").startswith(compiled)
    assert untested("tensorrt", "10.3.0").startswith("untested: tests neither compile engines with it nor run them")


def test_what_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules are asked: what they were installed as may have any name."""
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.0+nv")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert list(dict(loaded())) == ["python", "numpy", "pillow", "tokenizers"]
    assert dict(loaded("onnxruntime"))["onnxruntime"] == "1.23.0+nv"
    assert "tensorrt" not in dict(loaded("tensorrt"))
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace())
    assert dict(loaded("tensorrt"))["tensorrt"] == "unknown"


def test_loading_tells_once_what_was_not_tested(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.33.0")
    monkeypatch.setattr(platform, "python_version", lambda: "3.12.1")
    with pytest.warns(UntestedVersionWarning) as caught:
        XSam.load(phi3_bundle, threads=1, verify="none")
    assert [str(warning.message) for warning in caught] == [
        "ONNX Runtime 1.33.0 is newer than 1.32.0, the newest that was tested; should anything fail, install one from "
        "1.20.0 to there"
    ]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        XSam.load(phi3_bundle, threads=1, verify="none")
    monkeypatch.setattr(PIL, "__version__", "9.5.0")
    with pytest.warns(UntestedVersionWarning, match=r"^Pillow 9\.5\.0 is older than 10\.3\.0, the oldest"):
        XSam.load(phi3_bundle, threads=1, verify="none")


def test_loading_with_tested_versions_tells_nothing(phi3_bundle: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        XSam.load(phi3_bundle, threads=1, verify="none")
