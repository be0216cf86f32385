"""The backend on stand-ins of CUDA and TensorRT whose engines compute what the ONNX graphs do."""

from __future__ import annotations

import gc
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.recorded import DATA
from tests.runtime.backends.tensorrt.fake_cuda import FakeCudart
from tests.runtime.backends.tensorrt.fake_tensorrt import (
    ACTIVATIONS,
    FakeTensorRT,
    engine_bundle,
    fake_backend,
)
from xsam_edge.runtime.backends.tensorrt.backend import TensorRTBackend
from xsam_edge.runtime.backends.tensorrt.plan import PAST_STEP
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.language.answer import Request
from xsam_edge.runtime.language.prompts import Prompt
from xsam_edge.runtime.model import XSam

IMAGE = DATA / "golden-phi3" / "image.png"


def test_answers_are_those_of_the_onnx_graphs(model: XSam, phi3_bundle: Path) -> None:
    onnx = XSam.load(phi3_bundle, threads=1, verify="none")
    for ask in (
        lambda scene: scene.refer("a car"),
        lambda scene: scene.refer("a car", answer="append"),
        lambda scene: scene.categories(["car"], ["road"], answer="append"),
        lambda scene: scene.regions(boxes=[(1, 1, 50, 50)], similar=True, answer="append"),
        lambda scene: scene.refer("a car", answer="append"),
        lambda scene: scene.refer("a car", answer="append"),
    ):
        for image in (IMAGE, np.zeros((60, 70, 3), np.uint8)):
            found, expected = ask(model.look(image)), ask(onnx.look(image))
            assert found.text == expected.text and found.token_ids == expected.token_ids
            np.testing.assert_array_equal(found.masks, expected.masks)
            assert found.scores == pytest.approx(expected.scores)


def test_a_step_moves_its_own_rows_only(model: XSam, backend: Any) -> None:
    pipeline = model.pipeline
    width = model.manifest.settings.model.hidden_size
    pipeline.forward(np.zeros((1, 9, width), np.float32), np.zeros(0, np.int64))
    cudart, trt = backend.fake_cudart, backend.fake_trt
    cudart.copies.clear()
    cudart.calls.clear()
    trt.runs.clear()
    done = pipeline.forward(np.zeros((1, 1, width), np.float32), np.zeros(1, np.int64))
    assert trt.runs == [("llm", 1)]
    settings = model.manifest.settings.model
    row = pipeline.cache.nbytes // pipeline.cache.capacity  # of all layers
    sizes = {kind: [nbytes for found, *_, nbytes in cudart.copies if found == kind] for kind in ("upload", "copy")}
    assert sizes["upload"] == [4 * width, 8, 8]
    results = [4 * settings.vocab_size, 8, 4 * settings.embed_size]
    assert sizes["copy"] == [*sizes["upload"], *results, row], "what the step takes and gives, one row of every layer"
    assert cudart.calls.count("cudaMemcpy2DAsync") == 1
    done.hidden()
    downloads = [nbytes for kind, *_, nbytes in cudart.copies if kind == "download"]
    assert downloads == [8, 4 * settings.embed_size], "the next token and a pooled row"
    assert done.logits().argmax(1) == done.next_ids
    context = trt.engines["llm"].contexts[1]
    key = pipeline.cache.past()[contract.past_key(0)]
    assert context.addresses[contract.past_key(0)] == key.address
    assert context.shapes[contract.past_key(0)][1] == PAST_STEP


@pytest.mark.parametrize("first", [PAST_STEP - 3, 9])
def test_steps_are_captured_within_a_length(model: XSam, backend: Any, phi3_bundle: Path, first: int) -> None:
    pipeline, plain = model.pipeline, XSam.load(phi3_bundle, threads=1, verify="none", context=512).pipeline
    cudart, trt = backend.fake_cudart, backend.fake_trt
    width = model.manifest.settings.model.hidden_size
    rows = np.random.default_rng(0).standard_normal((1, first + 7, width), np.float32)
    steps = []
    for question in range(2):  # the second one finds what the first one captured
        for one in (pipeline, plain):
            one.cache.truncate(0)
            one.forward(rows[:, :first], np.zeros(0, np.int64))
        for place in range(first, first + 7):
            trt.runs.clear()
            cudart.calls.clear()
            step = rows[:, place : place + 1] + question
            found, expected = (one.forward(step, np.zeros(1, np.int64)) for one in (pipeline, plain))
            np.testing.assert_array_equal(found.next_ids, expected.next_ids)
            np.testing.assert_allclose(found.logits(), expected.logits(), atol=1e-5)
            np.testing.assert_allclose(found.hidden(), expected.hidden(), atol=1e-5)
            launched, enqueued = cudart.calls.count("cudaGraphLaunch"), len(trt.runs)
            steps.append("run" if not launched else "capture" if enqueued else "replay")
    new = ["run", "capture", *["replay"] * 5]
    if first == 9:
        assert steps == new + ["replay"] * 7
    else:  # pasts of 253 to 256 rows, then the next length, of which 3 are left
        assert steps == (new[:4] + new[:3]) * 2
    for a, b in zip(pipeline.cache.past().values(), plain.cache.past().values(), strict=True):
        np.testing.assert_allclose(backend.download(a), np.asarray(b.owner)[:, : first + 7], atol=1e-5)


def test_what_overflowed_before_spoils_no_step(model: XSam) -> None:
    pipeline, width = model.pipeline, model.manifest.settings.model.hidden_size
    rows = np.random.default_rng(0).standard_normal((1, 12, width), np.float32)

    def step() -> np.ndarray:
        pipeline.cache.truncate(0)
        pipeline.forward(rows[:, :4], np.zeros(0, np.int64))
        return pipeline.forward(rows[:, 4:5], np.zeros(1, np.int64)).logits()

    expected = step()
    pipeline.cache.truncate(4)
    broken = pipeline.forward(np.full_like(rows, np.nan), np.zeros(1, np.int64))
    assert np.isnan(broken.logits()).all()
    np.testing.assert_array_equal(step(), expected)


def test_a_cache_begins_with_zeros(backend: Any, model: XSam) -> None:
    cache = model.pipeline.make_cache()
    cache.advance(cache.capacity)
    views = list(cache.past().values())
    assert not any(backend.download(view).any() for view in views)
    assert len({b.address - a.address for a, b in pairwise(views)}) == 1
    assert all(view.address % 256 == 0 for view in views)


def test_work_in_order(model: XSam, backend: Any) -> None:
    cudart = backend.fake_cudart
    width = model.manifest.settings.model.hidden_size
    model.pipeline.cache.truncate(0)
    model.pipeline.forward(np.zeros((1, 3, width), np.float32), np.zeros(1, np.int64))
    model.pipeline.cache.truncate(0)
    cudart.calls.clear()
    model.pipeline.forward(np.zeros((1, 3, width), np.float32), np.zeros(1, np.int64))
    wait = cudart.calls.index("cudaStreamWaitEvent")
    assert cudart.calls[: wait - 1] == ["cudaMemcpyAsync"] * 3, "uploads, and no new memory"
    assert cudart.calls[wait - 1 :] == [
        "cudaEventRecord",  # behind the uploads
        "cudaStreamWaitEvent",
        "cudaStreamSynchronize",  # the run
        "cudaStreamSynchronize",  # the uploads, whose pinned memory is free now
        *["cudaMemcpyAsync", "cudaStreamSynchronize"],  # the next token
    ]


def test_the_image_stays_on_the_device(model: XSam, backend: Any) -> None:
    cudart = backend.fake_cudart
    scene = model.look(IMAGE)
    assert [kind for kind, *_ in cudart.copies] == ["upload"] * 2
    cudart.copies.clear()
    given = scene.refer("a car", answer="append")
    embeds = scene.features.embeds
    copies = [copy for copy in cudart.copies if copy[0] == "copy"]
    assert [(source, nbytes) for _, _, source, nbytes in copies] == [(embeds.address, embeds.nbytes)]
    settings = model.manifest.settings.model
    downloads = [nbytes for kind, *_, nbytes in cudart.copies if kind == "download"]
    request = Request(Prompt("refseg", given.prompt, "It is <SEG>."), append=True)
    sequence = model.language.lay_out(request, model.language.tokenizer.encode_prompt(given.prompt))
    behind = len(sequence) - model.language.image_rows(sequence)
    assert downloads == [
        4 * settings.embed_size * behind,  # pooled rows behind the image
        4 * settings.num_queries * 2,
        4 * np.prod(settings.mask_grid),  # of one query
    ]
    assert embeds.nbytes not in [nbytes for kind, *_, nbytes in cudart.copies if kind != "copy"]


def test_profiles_have_contexts_and_share_activations(model: XSam, backend: Any) -> None:
    trt = backend.fake_trt
    model.look(IMAGE).refer("a car")
    assert [context.profile for context in trt.engines["llm"].contexts] == [0, 1]
    used = {context.activations for engine in trt.engines.values() for context in engine.contexts}
    assert len(used) == 1
    _, size = used.pop()
    assert size >= max(ACTIVATIONS.values())


def test_streams_that_overlap_have_their_own_activations(engine_folder: Path) -> None:
    cudart = FakeCudart()
    trt = FakeTensorRT(cudart)
    backend: Any = TensorRTBackend(read_manifest(engine_folder), overlap=True, cudart=cudart, trt=trt)
    XSam.load(engine_folder, backend=backend).look(IMAGE).refer("a car", answer="append")
    at = {name: engine.contexts[0].activations[0] for name, engine in trt.engines.items()}
    assert at["llm"] == at["mask_decoder"] != at["image_encoder"]


def test_repeated_runs_are_replayed(model: XSam, backend: Any, engine_folder: Path) -> None:
    cudart, trt = backend.fake_cudart, backend.fake_trt
    first = model.look(IMAGE)
    answers = [first.refer("a car", answer="append") for _ in range(4)]
    assert all(answer == answers[0] for answer in answers)
    assert cudart.calls.count("cudaGraphLaunch") == 3
    assert [name for name, _ in trt.runs].count("mask_decoder") == 2, "run, capture, and two replays of it"
    first.refer("a car", answer="append")
    several = first.categories(["car", "tree"], ["road"], answer="append")
    assert several.answered and "cudaGraphExecDestroy" in cudart.calls, "other shapes end the capture"


def test_an_engine_that_cannot_be_captured_runs(engine_folder: Path) -> None:
    backend = fake_backend(engine_folder)
    backend.fake_trt.uncapturable.add("mask_decoder")
    scene = XSam.load(engine_folder, backend=backend).look(IMAGE)
    answers = [scene.refer("a car", answer="append") for _ in range(4)]
    assert all(answer == answers[0] for answer in answers)
    assert "cudaGraphLaunch" not in backend.fake_cudart.calls
    assert backend.fake_cudart.calls.count("cudaStreamBeginCapture") == 1


def test_tensorrt_rtx_captures_by_itself(phi3_bundle: Path, tmp_path: Path) -> None:
    folder = engine_bundle(phi3_bundle, tmp_path / "rtx", "tensorrt-rtx")
    backend = fake_backend(folder)
    scene = XSam.load(folder, backend=backend).look(IMAGE)
    assert scene.refer("a car", answer="append") == scene.refer("a car", answer="append")
    scene.refer("a car", answer="append")
    assert backend.name == "tensorrt-rtx"
    assert "cudaStreamBeginCapture" not in backend.fake_cudart.calls
    configs = {name: engine.contexts[0].config for name, engine in backend.fake_trt.engines.items()}
    assert [configs[name].cuda_graph_strategy for name in contract.GRAPHS] == [1, 0, 1]
    decode = backend.fake_trt.engines["llm"].contexts[1].config
    assert decode.cuda_graph_strategy == 1
    every = [context.config for engine in backend.fake_trt.engines.values() for context in engine.contexts]
    lazy = FakeTensorRT.DynamicShapesKernelSpecializationStrategy.LAZY
    assert all(config.dynamic_shapes_kernel_specialization_strategy == lazy for config in every)


def test_memory_does_not_pile_up(model: XSam, backend: Any) -> None:
    for _ in range(3):
        model.look(IMAGE).refer("a car", answer="append")
    gc.collect()
    before = backend.fake_cudart.nbytes()
    for _ in range(3):
        model.look(IMAGE).refer("a car", answer="append")
    gc.collect()
    assert backend.fake_cudart.nbytes() == before


def test_memory_that_is_given_back_breaks_no_capture(engine_folder: Path) -> None:
    """The garbage collector runs where it likes, also while a step is captured."""
    backend = fake_backend(engine_folder)
    cudart, freed = backend.fake_cudart, []

    def collect() -> None:
        if cudart.capturing is not None:
            before = cudart.nbytes()
            backend._cuda.free(blocks.pop())
            freed.append(before - cudart.nbytes())

    model = XSam.load(engine_folder, backend=backend)
    blocks = [backend._cuda.allocate(1024) for _ in range(9)]
    backend.fake_trt.while_enqueued = collect
    scene = model.look(IMAGE)
    answers = [scene.refer("a car", answer="append") for _ in range(4)]
    assert all(answer == answers[0] for answer in answers)
    assert freed and not any(freed), "later"
    assert cudart.calls.count("cudaGraphLaunch") == 3
    assert cudart.calls.count("cudaFree") == len(freed)


def test_an_interrupt_leaves_no_capture_open(engine_folder: Path) -> None:
    backend = fake_backend(engine_folder)
    scene = XSam.load(engine_folder, backend=backend).look(IMAGE)
    expected = scene.refer("a car", answer="append")

    def interrupt() -> None:
        if backend.fake_cudart.capturing is not None:
            raise KeyboardInterrupt

    backend.fake_trt.while_enqueued = interrupt
    with pytest.raises(KeyboardInterrupt):
        scene.refer("a car", answer="append")
    assert backend.fake_cudart.capturing is None
    backend.fake_trt.while_enqueued = None
    assert [scene.refer("a car", answer="append") for _ in range(3)] == [expected] * 3


def test_threads_use_the_device_that_the_model_was_loaded_on(engine_folder: Path) -> None:
    cudart = FakeCudart(devices=2)
    cudart.cudaSetDevice(1)
    backend: Any = TensorRTBackend(read_manifest(engine_folder), cudart=cudart, trt=FakeTensorRT(cudart))
    model = XSam.load(engine_folder, backend=backend)
    expected = model.look(IMAGE).refer("a car", answer="append")
    answers: list[Any] = []

    def ask() -> None:
        answers.append([model.look(IMAGE).refer("a car", answer="append") for _ in range(3)])
        answers.append(cudart.current)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert answers == [[expected] * 3, 0], "and leave the thread its own"
    assert cudart.used(0) == 0
