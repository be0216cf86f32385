"""Runs whose rows and pasts are rounded up give what exact ones give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.runtime.chain.padding import Padding
from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.backends.onnxruntime.library import is_since
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.chain.pipeline import Pipeline
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.versions import Version

CONTEXT = 30


class Spy:
    """Keeps rows, past and logits of every run."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.runs: list[tuple[int, int, int]] = []

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        rows = inputs[contract.INPUTS_EMBEDS].shape[1], inputs[contract.past_key(0)].shape[1]
        self.runs.append((*rows, inputs[contract.LOGITS_POSITIONS].shape[0]))
        self.graph.run(inputs, outputs)


@pytest.fixture(params=["phi3_bundle", "phi3_fp16_bundle", "phi3_kv_bundle", "qwen3_bundle"])
def pipelines(request: pytest.FixtureRequest) -> tuple[Pipeline, Pipeline, Spy]:
    if request.param == "phi3_kv_bundle" and not is_since(onnxruntime, Version(1, 30)):
        pytest.skip("before 1.30 ONNX Runtime quantises no float16 rightly")
    bundle: Path = request.getfixturevalue(request.param)
    exact = XSam.load(bundle, threads=1, verify="none", context=CONTEXT).pipeline
    padding = XSam.load(bundle, backend=Padding("cpu", 1), verify="none", context=CONTEXT).pipeline
    exact.backend.prefill_rows = None
    padding.backend.prefill_rows = 16
    spy = padding._graphs[contract.LLM] = Spy(padding._graphs[contract.LLM])
    return exact, padding, spy


def agree(exact: Pipeline, padding: Pipeline, rows: np.ndarray, positions: list[int]) -> None:
    expected, found = (one.forward(rows, np.array(positions, np.int64)) for one in (exact, padding))
    atol = 1e-4
    if rows.dtype == np.float32:  # a value between two codes may become either of them
        atol = {4: 1e-4, 2: 3e-2, 1: 6e-2}[exact.cache._keys[0].dtype.itemsize]
    np.testing.assert_array_equal(found.next_ids, expected.next_ids)
    assert found.logits().shape == expected.logits().shape and found.hidden().shape == expected.hidden().shape
    np.testing.assert_allclose(found.logits(), expected.logits(), atol=atol)
    np.testing.assert_allclose(found.hidden(), expected.hidden(), atol=atol)
    assert exact.cache.length == padding.cache.length


def drawn(pipeline: Pipeline, count: int) -> np.ndarray:
    width = pipeline.manifest.settings.model.hidden_size
    return np.random.default_rng(count).standard_normal((1, count, width), np.float32)


def test_rounded_runs_equal_exact_ones(pipelines: tuple[Pipeline, Pipeline, Spy]) -> None:
    exact, padding, spy = pipelines
    for one in (exact, padding):
        one.cache.truncate(0)
    for count, positions in ((9, [8]), (1, [0]), (3, [1, 2]), (2, []), (6, [0, 1, 2, 3, 4, 5]), (1, [0])):
        agree(exact, padding, drawn(exact, count), positions)
    for one in (exact, padding):
        one.cache.truncate(10)  # what was there is padding now
    agree(exact, padding, drawn(exact, 3), [2])
    agree(exact, padding, drawn(exact, 1), [0])
    logits = 1 if not padding.backend.runs_without_logits else 0
    assert spy.runs == [
        (9, 0, 1),
        (1, 12, 1),
        (4, 12, 16),
        (4, 16, logits),
        (8, 16, 16),
        (1, 24, 1),
        (4, 12, 1),
        (1, 16, 1),
    ]


def test_long_prompts_go_on_behind_what_they_began_with(pipelines: tuple[Pipeline, Pipeline, Spy]) -> None:
    exact, padding, spy = pipelines
    for one in (exact, padding):
        one.cache.truncate(0)
    agree(exact, padding, drawn(exact, 29), [26, 28])
    assert [run[:2] for run in spy.runs] == [(16, 0), (8, 16), (8, 24)]
    spy.runs.clear()
    for one in (exact, padding):
        one.cache.truncate(23)
    agree(exact, padding, drawn(exact, 7), [6])
    assert [run[:2] for run in spy.runs] == [(7, 24)], "there is no room for an eighth"
    spy.runs.clear()
    for one in (exact, padding):
        one.cache.truncate(3)
    agree(exact, padding, drawn(exact, 20), list(range(13, 20)))
    assert [run[:2] for run in spy.runs] == [(8, 4), (8, 12), (8, 16)]
    spy.runs.clear()
    for one in (exact, padding):
        one.cache.truncate(0)
    agree(exact, padding, drawn(exact, 18), list(range(13, 18)))
    assert [run[:2] for run in spy.runs] == [(13, 0), (8, 16)], "what is wanted lies in the last part"
