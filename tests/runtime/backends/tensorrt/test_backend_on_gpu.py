"""On a real GPU, with what is installed: `make gpu-test`.

``XSAM_BUNDLE`` names a bundle of ONNX graphs to run, where torch is not at hand to export one.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import numpy as np
import pytest

from tests.recorded import DATA
from xsam_edge.runtime.backends.cuda.calls import Cuda, import_cudart
from xsam_edge.runtime.backends.onnxruntime.gpu import GpuBackend
from xsam_edge.runtime.backends.onnxruntime.providers import CUDA
from xsam_edge.runtime.bundle.engine_info import MODULES
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.device.cuda_device import DeviceInfo, find_device
from xsam_edge.runtime.errors import BackendError, NoDeviceError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene

pytestmark = pytest.mark.gpu
IMAGE = DATA / "golden-phi3" / "image.png"


@pytest.fixture(scope="module", autouse=True)
def device() -> DeviceInfo:
    try:
        return find_device()
    except NoDeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def cuda(device: DeviceInfo) -> Cuda:
    try:
        return Cuda(import_cudart())
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def onnx(request: pytest.FixtureRequest, device: DeviceInfo) -> Path:
    if bundle := os.environ.get("XSAM_BUNDLE"):
        return Path(bundle)
    pytest.importorskip("torch", reason="torch is not installed to export a bundle; name one with XSAM_BUNDLE")
    exported: Path = request.getfixturevalue("phi3_fp16_bundle")  # not before it is known that there is a GPU
    return exported


@pytest.fixture(scope="module", params=sorted(MODULES))
def engines(request: pytest.FixtureRequest, device: DeviceInfo, bundles: Path) -> Path:
    """Engines of the bundle, compiled here."""
    flavour = request.param
    try:
        importlib.import_module(MODULES[flavour])
        import_cudart()
    except (ImportError, BackendError) as error:
        pytest.skip(f"{flavour}: {error}")
    from xsam_edge.export.cli import main
    from xsam_edge.export.engines.flavours import RTX_CAPABILITIES

    if flavour == "tensorrt-rtx" and device.compute_capability not in RTX_CAPABILITIES:
        pytest.skip(f"tensorrt-rtx builds no engines for compute capability {device.compute_capability}")
    onnx: Path = request.getfixturevalue("onnx")
    output = bundles / f"engines-{flavour}"
    assert main(["--from", str(onnx), "--engine", flavour, "--target", "auto", "-o", str(output)]) == 0
    return output


def ask(scene: Scene) -> list[Result]:
    return [
        scene.refer("the ironing man"),
        scene.refer("the ironing man", answer="append"),
        scene.categories(["car"], ["road"], answer="append"),
        scene.regions(boxes=[(1, 1, 50, 50)], answer="append"),
        scene.refer("the ironing man", answer="append"),  # captured
        scene.refer("the ironing man", answer="append"),  # replayed
    ]


def agree(found: list[Result], expected: list[Result]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.text == other.text
        assert len(one.segments) == len(other.segments)
        union = (one.masks | other.masks).sum()
        assert not union or (one.masks & other.masks).sum() / union > 0.95


def test_memory_goes_there_and_back(cuda: Cuda) -> None:
    values = np.arange(1000, dtype=np.float32)
    back = np.empty_like(values)
    stream, event = cuda.stream(), cuda.event()
    first, second = cuda.allocate(values.nbytes), cuda.allocate(values.nbytes)
    cuda.upload(first, values.ctypes.data, values.nbytes, stream)
    cuda.synchronise(stream)
    executable = cuda.capture(stream, lambda: cuda.copy(second, first, values.nbytes, stream))
    assert executable is not None
    cuda.launch(executable, stream)
    other = cuda.stream()
    cuda.wait(other, event, stream)
    cuda.download(back.ctypes.data, second, values.nbytes, other)
    cuda.synchronise(other)
    np.testing.assert_array_equal(back, values)
    assert first % 256 == second % 256 == 0
    cuda.destroy(executable)
    cuda.free(first)
    cuda.free(second)


def test_rows_at_equal_distances_are_copied_and_cleared(cuda: Cuda) -> None:
    values = (np.arange(1024) % 251).astype(np.uint8).reshape(4, 256)
    back = np.empty_like(values)
    stream = cuda.stream()
    source, target = cuda.allocate(values.nbytes), cuda.allocate(values.nbytes)
    cuda.upload(source, values.ctypes.data, values.nbytes, stream)
    cuda.clear(target, values.nbytes, stream)
    cuda.copy_2d(target + 8, 256, source, 128, 100, 4, stream)
    cuda.clear_2d(target + 50, 256, 10, 3, stream)
    cuda.download(back.ctypes.data, target, values.nbytes, stream)
    cuda.synchronise(stream)
    expected = np.zeros_like(values)
    expected[:, 8:108] = values.reshape(8, 128)[:4, :100]
    expected[:3, 50:60] = 0
    np.testing.assert_array_equal(back, expected)
    cuda.free(source)
    cuda.free(target)


@pytest.mark.parametrize("name", ["cuda", "tensorrt-rtx"])
def test_onnxruntime_gives_the_same(onnx: Path, name: str) -> None:
    try:
        model = XSam.load(onnx, device=name)
    except BackendError as error:
        pytest.skip(str(error))
    assert model.pipeline.backend.name == f"onnxruntime-{name}"
    agree(ask(model.look(IMAGE)), ask(XSam.load(onnx).look(IMAGE)))


def test_onnxruntime_captures(onnx: Path) -> None:
    try:
        backend = GpuBackend(CUDA, capture=True)
    except BackendError as error:
        pytest.skip(str(error))
    agree(ask(XSam.load(onnx, backend=backend).look(IMAGE)), ask(XSam.load(onnx).look(IMAGE)))


def test_engines_give_the_same(engines: Path, onnx: Path) -> None:
    model = XSam.load(engines)
    manifest = read_manifest(engines)
    assert manifest.engine is not None and model.pipeline.backend.name == manifest.engine.flavour
    agree(ask(model.look(IMAGE)), ask(XSam.load(onnx).look(IMAGE)))


@pytest.mark.skipif("XSAM_BUNDLE" in os.environ, reason="the recording is of the bundle that is exported here")
def test_engines_verify_against_the_recording(
    engines: Path, phi3_reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from xsam_edge.calibration.cli.verify import main

    assert main([str(engines), "--reference", str(phi3_reference)]) == 0, capsys.readouterr().out
