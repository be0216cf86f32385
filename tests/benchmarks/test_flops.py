from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from xsam_edge.benchmarks import flops
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import BundleError


def test_work_is_that_of_the_bundle(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = read_manifest(phi3_bundle)
    counted = flops.work_of(phi3_bundle, replace(manifest, work={}), "llm")
    monkeypatch.setattr(flops, "unavailable", lambda: pytest.fail("nothing is needed to read a record"))
    recorded = flops.work_of(Path("nowhere"), manifest, "llm")
    assert recorded == counted == manifest.work["llm"]


def test_what_is_not_recorded_and_cannot_be_counted_is_told(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = replace(read_manifest(phi3_bundle), work={})
    monkeypatch.setattr(flops, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(BundleError, match="does not say what llm has to do, and onnxscript is not installed"):
        flops.work_of(phi3_bundle, before, "llm")
