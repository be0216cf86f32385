"""Keys and values are written once, where they stay; a decoding step allocates nothing that grows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.recorded import DATA
from tests.runtime.language.one import generate
from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from xsam_edge.runtime.chain.kv_cache import KVCache
from xsam_edge.runtime.model import XSam

STEPS = 40


class CountingBackend(OnnxRuntimeBackend):
    """Counts what is allocated on the device."""

    def __init__(self) -> None:
        super().__init__("cpu", 1)
        self.allocations = 0

    def allocate(self, shape, dtype):
        self.allocations += 1
        return super().allocate(shape, dtype)


class Spy:
    """The language model's graph, which notes of every run where it read and wrote, and what was allocated by then."""

    def __init__(self, model: XSam, backend: CountingBackend) -> None:
        self.graph, self.backend, self.cache = model.pipeline._graphs["llm"], backend, model.pipeline.cache
        self.runs: list[tuple[int, int, int, int]] = []
        self.host = np.zeros((STEPS + 1, 2), np.int64)  # bytes in use at every run, and at most since the one before

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        key, past = outputs["new_key.0"], inputs["past_key.0"]
        self.runs.append((past.address, past.shape[1], key.address, self.backend.allocations))
        if tracemalloc.is_tracing():
            self.host[len(self.runs) - 1] = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
        self.graph.run(inputs, outputs)


@pytest.fixture
def spied(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[XSam, Spy]:
    backend = CountingBackend()
    model = XSam.load(phi3_bundle, backend=backend, verify="none", speculative=False, context=256)
    spy = Spy(model, backend)
    monkeypatch.setitem(model.pipeline._graphs, "llm", spy)
    monkeypatch.setattr(model.language, "stops", lambda ids: False)
    return model, spy


def decode(model: XSam, steps: int) -> None:
    form = model.manifest.settings.prompt
    text = form.instruction.replace("{input}", f"{form.image_token}Where is <p>a car</p>?")
    with model.look(DATA / "golden-phi3" / "image.png") as scene:
        generate(model.language, text, scene.features, None, steps + 1)


def row_bytes(cache: KVCache) -> int:
    return cache._keys[0].nbytes // cache.capacity


def test_rows_are_written_where_they_stay(spied: tuple[XSam, Spy]) -> None:
    model, spy = spied
    decode(model, STEPS)
    base, row = spy.cache._keys[0].address, row_bytes(spy.cache)
    assert len(spy.runs) == STEPS + 1
    assert {address for address, *_ in spy.runs} == {base}
    lengths = [past for _, past, *_ in spy.runs]
    assert lengths[0] == 0 and lengths[1:] == list(range(lengths[1], lengths[1] + STEPS))
    assert [written for _, _, written, _ in spy.runs] == [base + row * length for length in lengths]


def test_no_step_allocates(spied: tuple[XSam, Spy]) -> None:
    """Neither on the device, nor more and more on the host, where a token leaves a row of pooled states."""
    model, spy = spied
    decode(model, 2)
    spy.runs.clear()
    tracemalloc.start()
    try:
        decode(model, STEPS)
    finally:
        tracemalloc.stop()
    prefill, *steps = [allocations for *_, allocations in spy.runs]
    assert set(steps) == {prefill}
    in_use, peak = spy.host[6:].T
    facts = model.manifest.settings.model
    cached = 2 * 4 * facts.num_layers * facts.num_kv_heads * facts.head_dim  # bytes of a token in the cache
    pooled = 4 * facts.embed_size
    assert np.diff(in_use).mean() < pooled + cached, "what a step leaves"
    growth = (peak - in_use)[-8:].mean() - (peak - in_use)[:8].mean()
    assert growth < cached * len(in_use) / 4, "what a step needs besides does not grow with the past"


def test_rows_that_were_written_do_not_change(spied: tuple[XSam, Spy]) -> None:
    model, spy = spied
    decode(model, 3)
    keys, length = np.asarray(spy.cache._keys[0].owner), spy.cache.length
    keys[:, length:] = 0  # memory is not initialised, and what is not a number does not equal itself
    before = keys.copy()
    token = np.ones((1, 1, model.manifest.settings.model.hidden_size), np.float32)
    model.pipeline.forward(token, np.zeros(1, np.int64))
    changed = np.flatnonzero((keys != before).any(axis=(0, 2, 3)))
    assert changed.tolist() == [length]


def test_a_draft_is_rolled_back_without_a_copy(spied: tuple[XSam, Spy]) -> None:
    model, spy = spied
    form = model.manifest.settings.prompt
    text = form.instruction.replace("{input}", f"{form.image_token}Where is <p>a car</p>?")
    with model.look(DATA / "golden-phi3" / "image.png") as scene:
        plain = generate(model.language, text, scene.features, None, 6)
        keys = np.asarray(spy.cache._keys[0].owner)
        expected, length = keys[:, : spy.cache.length].copy(), spy.cache.length
        spy.runs.clear()
        draft = plain.ids.copy()
        draft[2] += 1
        generate(model.language, text, scene.features, None, 6, draft)
    assert spy.cache.length == length
    np.testing.assert_allclose(keys[:, :length], expected, atol=1e-5)
    base, row = spy.cache._keys[0].address, row_bytes(spy.cache)
    assert [written for _, _, written, _ in spy.runs] == [base + row * past for _, past, *_ in spy.runs]


def test_several_prompts_write_behind_the_past_and_leave_it(spied: tuple[XSam, Spy]) -> None:
    model, spy = spied
    decode(model, 3)
    hidden = model.manifest.settings.model.hidden_size
    keys = np.asarray(spy.cache._keys[0].owner)
    before, length, allocated = keys.copy(), spy.cache.length, spy.cache.nbytes
    values = np.random.default_rng(0).standard_normal((3, 4, hidden), np.float32)
    together = model.pipeline.forward(values, np.zeros(0, np.int64)).hidden().copy()
    assert (spy.cache.length, spy.cache.nbytes) == (length, allocated)
    np.testing.assert_array_equal(keys[:, :length], before[:, :length])
    np.testing.assert_array_equal(keys[:, length + 12 :], before[:, length + 12 :])
    for index in range(3):
        spy.cache.truncate(length)
        alone = model.pipeline.forward(values[index : index + 1], np.zeros(0, np.int64)).hidden()
        np.testing.assert_allclose(alone[0], together[index], atol=1e-5)
