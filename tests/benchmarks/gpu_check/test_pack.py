import zipfile
from pathlib import Path

import pytest

from tests.benchmarks.gpu_check.test_fatbin import CODE, container, entry, library
from xsam_edge.benchmarks.gpu_check import pack
from xsam_edge.benchmarks.gpu_check.full import find_skeleton
from xsam_edge.benchmarks.gpu_check.parcel import collect
from xsam_edge.benchmarks.gpu_check.stages import COSTS_FILE, read_costs
from xsam_edge.benchmarks.watch import STAGES
from xsam_edge.runtime.bundle.contract import PIXELS
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.progress import Step, silent

KERNELS = container(entry(CODE, 80, b"a" * 40), entry(CODE, 90, b"b" * 40))


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "onnxruntime_gpu-1.31.1-cp312.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("onnxruntime/__init__.py", "")
        file.writestr("onnxruntime/capi/libonnxruntime_providers_cuda.so", bytes(library(KERNELS)))
        file.writestr("onnxruntime/capi/libonnxruntime_providers_tensorrt.so", b"large")
        file.writestr("onnxruntime_gpu-1.31.1.dist-info/METADATA", "Version: 1.31.1")
    return path


def test_onnxruntime_is_brought_without_what_is_not_needed(wheel: Path, tmp_path: Path) -> None:
    pack.bring(wheel, tmp_path / "site", 90)
    files = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*") if path.is_file()}
    assert files == {
        "onnxruntime/__init__.py",
        "onnxruntime/capi/libonnxruntime_providers_cuda.so",
        "onnxruntime_gpu-1.31.1.dist-info/METADATA",
    }
    content = (tmp_path / "site/onnxruntime/capi/libonnxruntime_providers_cuda.so").read_bytes()
    assert b"b" * 40 in content and b"a" * 40 not in content
    pack.bring(tmp_path / "site", tmp_path / "again", 0)
    assert (tmp_path / "again/onnxruntime/capi/libonnxruntime_providers_cuda.so").read_bytes() == content


def test_what_is_not_onnxruntime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give a wheel of onnxruntime-gpu"):
        pack.bring(tmp_path, tmp_path / "site", 90)
    assert not (tmp_path / "site").exists()


def test_what_failed_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack.export, "main", lambda arguments: 2)
    with pytest.raises(XSamError, match="shapes-fp32 was not exported"):
        pack.pack(tmp_path, variant="shapes", onnxruntime=None, capability=90, limit=1 << 20, progress=silent)
    assert not (tmp_path / "1").exists()


def test_costs_are_those_of_each_stage(phi3_fp16_bundle: Path) -> None:
    found = dict(pack._costs(phi3_fp16_bundle, read_manifest(phi3_fp16_bundle), silent))
    assert found.keys() == set(STAGES) - {PIXELS} and all(work.bytes > 0 for work in found.values())
    assert found["llm_prefill"].flops > found["llm_suffix"].flops > found["llm_decode"].flops > 0


@pytest.mark.slow
def test_a_payload_is_made_once_and_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports the demo model, and both dialects of its sizes with random weights."""
    monkeypatch.setattr(pack, "DEMO", {"shapes-fp32": pack.DEMO["shapes-fp32"]})
    said: list[Step] = []
    for _ in range(2):
        folders = pack.pack(
            tmp_path, variant="shapes", onnxruntime=None, capability=0, limit=4 << 20, progress=said.append
        )
    assert len([step for step in said if step.what.startswith("export shapes")]) == 1
    assert len(folders) > 1
    for folder in folders:
        payload, missing = collect(folder, tmp_path / "there")
    assert not missing and read_manifest(payload / "bundles" / "shapes-fp32").precision == "fp32"
    for dialect in pack.DIALECTS:
        assert read_costs(find_skeleton(payload / "skeletons", dialect) / COSTS_FILE).keys() == set(STAGES) - {PIXELS}
