"""Engines with a profile for a first prompt, what follows it, steps and batches: each run finds its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.recorded import DATA
from tests.runtime.backends.tensorrt import fake_tensorrt
from tests.runtime.backends.tensorrt.fake_tensorrt import engine_bundle, fake_backend
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.engine_info import DECODE, FIRST, PROMPTS, SUFFIX, EngineProfile
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.model import XSam

IMAGE = DATA / "golden-phi3" / "image.png"
MOST = {FIRST: 300, SUFFIX: 64, DECODE: 16, PROMPTS: 64}
NAMES = (FIRST, SUFFIX, DECODE, PROMPTS)


def profiles(name: str, spec: GraphSpec, context: int) -> tuple[EngineProfile, ...]:
    if name != contract.LLM:
        largest = {contract.CONDITIONS: 64, contract.BATCH: 8}
        return (EngineProfile("all", {axis: (1, 1, largest[axis]) for axis in spec.axes}),)
    return tuple(
        EngineProfile(
            profile,
            {
                contract.BATCH: (2, 8, 8) if profile == PROMPTS else (1, 1, 1),
                contract.SEQUENCE: (1, 1, MOST[profile]),
                contract.PAST: (0, 0, 0 if profile == FIRST else context),
                contract.ROWS: (0, 1, 512),
            },
        )
        for profile in NAMES
    )


@pytest.fixture
def model(phi3_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> XSam:
    monkeypatch.setattr(fake_tensorrt, "_profiles", profiles)
    folder = engine_bundle(phi3_bundle, tmp_path / "engines")
    return XSam.load(folder, backend=fake_backend(folder))


def forward(model: XSam, count: int) -> Any:
    width = model.manifest.settings.model.hidden_size
    rows = np.random.default_rng(count).standard_normal((1, count, width), np.float32)
    return model.pipeline.forward(rows, np.array([count - 1]))


def test_every_run_has_its_profile(model: XSam) -> None:
    trt: Any = model.pipeline.backend.fake_trt  # type: ignore[attr-defined]
    model.pipeline.cache.truncate(0)
    used = []
    for count in (200, 30, 1, 3, 100, 1):
        trt.runs.clear()
        forward(model, count)
        used.append([NAMES[profile] for _, profile in trt.runs])
    assert used == [[FIRST], [SUFFIX], [DECODE], [DECODE], [SUFFIX, SUFFIX], [DECODE]]
    context = trt.engines["llm"].contexts[NAMES.index(SUFFIX)]
    assert context.shapes[contract.INPUTS_EMBEDS][1] == 64, "fifty rows"
    assert context.shapes[contract.past_key(0)][1] == 512, "a past of 284 rows"


def test_suffixes_are_replayed_wherever_they_stand(model: XSam, phi3_bundle: Path) -> None:
    plain = XSam.load(phi3_bundle, threads=1, verify="none", context=512)
    backend: Any = model.pipeline.backend
    for one in (model, plain):
        one.pipeline.cache.truncate(0)
        forward(one, 90)
    kinds = []
    for past, count in ((90, 20), (90, 30), (85, 31), (80, 17)):
        for one in (model, plain):
            one.pipeline.cache.truncate(past)
        backend.fake_cudart.calls.clear()
        found, expected = forward(model, count), forward(plain, count)
        np.testing.assert_allclose(found.logits(), expected.logits(), atol=1e-4)
        np.testing.assert_allclose(found.hidden(), expected.hidden(), atol=1e-4)
        kinds.append("replay" if "cudaGraphLaunch" in backend.fake_cudart.calls else "run")
    assert kinds == ["run", "replay", "replay", "replay"]


def test_answers_are_those_of_the_onnx_graphs(model: XSam, phi3_bundle: Path) -> None:
    onnx = XSam.load(phi3_bundle, threads=1, verify="none")
    for ask in (
        lambda scene: [scene.refer("a car")],
        lambda scene: [scene.refer("a car", answer="append")],
        lambda scene: scene.refer(["a car", "the road", "a tree"], answer="append"),
        lambda scene: [scene.regions(boxes=[(1, 1, 50, 50)], similar=True, answer="append")],
    ):
        for found, expected in zip(ask(model.look(IMAGE)), ask(onnx.look(IMAGE)), strict=True):
            assert found.text == expected.text and found.token_ids == expected.token_ids
            np.testing.assert_array_equal(found.masks, expected.masks)
