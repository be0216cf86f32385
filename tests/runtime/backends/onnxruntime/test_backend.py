from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest

from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.model import XSam

pytestmark = pytest.mark.filterwarnings("ignore::xsam_edge.runtime.UntestedVersionWarning")


@pytest.mark.parametrize(
    ("version", "without_logits"),
    [
        ("1.32.0", True),
        ("1.33.0+nv", True),
        ("2.0", True),
        ("1.31.1", False),
        ("1.19.0rc1", False),
        ("1.32.0.dev20250101", False),
        ("nightly", False),
        (None, False),
    ],
)
def test_what_a_version_can_do(monkeypatch: pytest.MonkeyPatch, version: str | None, without_logits: bool) -> None:
    """Of a version that cannot be read nothing is taken for granted."""
    monkeypatch.setattr(onnxruntime, "__version__", version)
    assert OnnxRuntimeBackend("cpu", 1).runs_without_logits is without_logits


def test_a_module_without_a_version_loads_a_bundle(monkeypatch: pytest.MonkeyPatch, phi3_bundle: Path) -> None:
    monkeypatch.delattr(onnxruntime, "__version__")
    XSam.load(phi3_bundle, threads=1, verify="none")


@pytest.mark.parametrize(("version", "refused"), [("1.29.1", True), ("nightly", True), ("1.30.0", False)])
def test_float16_that_would_be_rounded_wrongly_is_refused(
    monkeypatch: pytest.MonkeyPatch, phi3_bundle: Path, version: str, refused: bool
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    spec = replace(read_manifest(phi3_bundle).graphs[contract.IMAGE_ENCODER], quantized="float16")
    backend, path = OnnxRuntimeBackend("cpu", 1), phi3_bundle / spec.file
    if not refused:
        assert backend.open(path, spec).spec is spec
        return
    with pytest.raises(BackendError, match=f"before 1.30 rounds wrongly, and this one is {version}; install"):
        backend.open(path, spec)
