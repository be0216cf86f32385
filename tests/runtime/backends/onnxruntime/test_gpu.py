"""The backend of GPUs on stand-ins of CUDA and of onnxruntime, whose sessions compute what the graphs do."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.recorded import DATA
from tests.runtime.backends.onnxruntime.fake_gpu import FakeOrt
from tests.runtime.backends.tensorrt.fake_cuda import FakeCudart
from xsam_edge.runtime.backends.base import ReadsViews
from xsam_edge.runtime.backends.onnxruntime.gpu import GpuBackend
from xsam_edge.runtime.backends.onnxruntime.providers import CUDA
from xsam_edge.runtime.backends.tensorrt.plan import PAST_STEP
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.chain.kv_cache import PadsPasts, PadsRows
from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.language.sequence import JoinsRows
from xsam_edge.runtime.model import XSam

IMAGE = DATA / "golden-phi3" / "image.png"


def open_backend(devices: int = 1, *, capture: bool = False) -> tuple[Any, FakeOrt, FakeCudart]:
    cudart = FakeCudart(devices)
    ort = FakeOrt(cudart)
    return GpuBackend(CUDA, capture=capture, ort=ort, driver=cudart, cudart=cudart), ort, cudart


def sessions_of(ort: FakeOrt) -> dict[str, Any]:
    return dict(zip(("image_encoder", "llm", "mask_decoder"), ort.sessions[1:], strict=True))


@pytest.mark.parametrize("capture", [False, True])
def test_answers_are_those_of_a_cpu(phi3_bundle: Path, capture: bool) -> None:
    backend, ort, _ = open_backend(capture=capture)
    gpu, cpu = XSam.load(phi3_bundle, backend=backend), XSam.load(phi3_bundle, threads=1, verify="none")
    for ask in (
        lambda scene: scene.refer("a car"),
        lambda scene: scene.refer(["a car", "the road"], answer="append"),
        lambda scene: scene.categories(["car"], ["road"], answer="append"),
        lambda scene: scene.regions(boxes=[(1, 1, 50, 50)], similar=True, answer="append"),
    ):
        for image in (IMAGE, np.zeros((60, 70, 3), np.uint8)):
            found, expected = ask(gpu.look(image)), ask(cpu.look(image))
            for one, other in zip(*(x if isinstance(x, list) else [x] for x in (found, expected)), strict=True):
                assert one.text == other.text and one.token_ids == other.token_ids
                np.testing.assert_array_equal(one.masks, other.masks)
    assert all(session.providers[0] == CUDA.name for session in ort.sessions)


def test_what_it_can_do() -> None:
    backend, _, _ = open_backend()
    assert isinstance(backend, ReadsViews) and isinstance(backend, JoinsRows)
    assert isinstance(backend, PadsPasts) and isinstance(backend, PadsRows)


def test_the_image_stays_on_the_device(phi3_bundle: Path) -> None:
    backend, _, cudart = open_backend()
    model = XSam.load(phi3_bundle, backend=backend)
    scene = model.look(IMAGE)
    assert [kind for kind, *_ in cudart.copies if kind != "copy"] == ["upload"] * 2
    cudart.copies.clear()
    scene.refer("a car", answer="append")
    embeds = scene.features.embeds
    assert ("copy", embeds.address, embeds.nbytes) in [(kind, *rest[1:]) for kind, *rest in cudart.copies]
    downloads = [nbytes for kind, *_, nbytes in cudart.copies if kind == "download"]
    settings = model.manifest.settings.model
    assert downloads[1:] == [4 * settings.num_queries * 2, 4 * np.prod(settings.mask_grid)], "of one query"
    assert embeds.nbytes not in [nbytes for kind, *_, nbytes in cudart.copies if kind != "copy"]


@pytest.mark.parametrize("first", [PAST_STEP - 3, 9])
def test_steps_are_captured_within_a_length(phi3_bundle: Path, first: int) -> None:
    backend, ort, _ = open_backend(capture=True)
    gpu = XSam.load(phi3_bundle, backend=backend, context=512).pipeline
    cpu = XSam.load(phi3_bundle, threads=1, verify="none", context=512).pipeline
    session = sessions_of(ort)["llm"]
    width = gpu.manifest.settings.model.hidden_size
    rows = np.random.default_rng(0).standard_normal((1, first + 7, width), np.float32)
    steps: list[str] = []
    for question in range(2):
        for one in (gpu, cpu):
            one.cache.truncate(0)
            one.forward(rows[:, :first], np.zeros(0, np.int64))
        session.runs.clear()
        for place in range(first, first + 7):
            step = rows[:, place : place + 1] + question
            found, expected = (one.forward(step, np.zeros(1, np.int64)) for one in (gpu, cpu))
            np.testing.assert_array_equal(found.next_ids, expected.next_ids)
            np.testing.assert_allclose(found.logits(), expected.logits(), atol=1e-5)
            np.testing.assert_allclose(found.hidden(), expected.hidden(), atol=1e-5)
        steps += session.runs
    # A length's first run is not worth an id; the second warms ONNX Runtime up, the third is captured.
    new = ["run", "run", "capture", "replay"]
    if first == 9:
        assert steps == [*new, *["replay"] * 10]
    else:
        assert steps == [*new, *new[:3], *["replay"] * 7]


def test_captures_are_few(phi3_bundle: Path) -> None:
    """ONNX Runtime keeps each of them."""
    backend, ort, _ = open_backend(capture=True)
    model = XSam.load(phi3_bundle, backend=backend)
    scene = model.look(IMAGE)
    for count in range(1, 20):
        for _ in range(2):
            scene.categories([f"thing {number}" for number in range(count)], answer="append")
    decoder = sessions_of(ort)["mask_decoder"]
    assert len(decoder._warm) <= 16


def test_a_graph_with_nodes_on_the_cpu_runs_uncaptured(phi3_bundle: Path) -> None:
    """As the mask decoder before ONNX Runtime 1.27."""
    backend, ort, _ = open_backend(capture=True)
    ort.uncapturable.add("mask_decoder.onnx")
    scene = XSam.load(phi3_bundle, backend=backend).look(IMAGE)
    answers = [scene.refer("a car", answer="append") for _ in range(4)]
    assert all(answer == answers[0] for answer in answers)
    decoder = sessions_of(ort)["mask_decoder"]
    assert decoder.runs == ["run"] * 4 and decoder.settings["enable_cuda_graph"] == "0"


def test_threads_use_the_device_that_the_model_was_loaded_on(phi3_bundle: Path) -> None:
    cudart = FakeCudart(devices=2)
    ort = FakeOrt(cudart)
    cudart.cudaSetDevice(1)
    backend = GpuBackend(CUDA, ort=ort, driver=cudart, cudart=cudart)
    model = XSam.load(phi3_bundle, backend=backend)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(model.look(IMAGE).refer("a car", answer="append")))
    thread.start()
    thread.join()
    assert answers and cudart.used(0) == 0
    assert {session.settings["device_id"] for session in ort.sessions[1:]} == {"1"}


def test_errors(phi3_bundle: Path, tmp_path: Path) -> None:
    backend, ort, _ = open_backend()
    spec = read_manifest(phi3_bundle).graphs["llm"]
    (tmp_path / "llm.onnx").write_bytes(b"nothing")
    with pytest.raises(BackendError, match=r"llm\.onnx cannot be loaded by ONNX Runtime: "):
        backend.open(tmp_path / "llm.onnx", spec)
    with pytest.raises(BackendError, match="other inputs than its manifest says"):
        backend.open(phi3_bundle / "mask_decoder.onnx", spec)
    model = XSam.load(phi3_bundle, backend=backend)
    ort.breaks = "CUDA failure 700: an illegal memory access was encountered"
    with pytest.raises(BackendError, match=r"image_encoder\.onnx failed in ONNX Runtime: CUDA failure 700"):
        model.look(IMAGE)


def test_libraries_that_go_missing(phi3_bundle: Path) -> None:
    backend, ort, _ = open_backend()
    ort.missing = ["libcudnn.so.9"]
    with pytest.raises(BackendError, match="it runs on CPUExecutionProvider in place of CUDAExecutionProvider"):
        XSam.load(phi3_bundle, backend=backend)
