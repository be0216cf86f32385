"""Every axis of a bundle's graphs at zero: the graph gives what it should, or nothing above ever asks it to.

ONNX Runtime's versions differ here, so that these tests matter on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.recorded import DATA
from tests.runtime.loaded import load
from tests.runtime.test_scene import QUESTIONS
from xsam_edge.runtime.backends.base import Buffer, output_shapes
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.contract import BATCH, CONDITIONS, LLM, MASK_DECODER, PAST, ROWS, SEQUENCE
from xsam_edge.runtime.chain.pipeline import Pipeline
from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.scene import Scene

IMAGE = DATA / "golden-phi3" / "image.png"
BUNDLES = ("phi3_bundle", "phi3_fp16_bundle", "qwen3_bundle", "aaai26_bundle", "shapes_bundle")
SIZES = {BATCH: 2, SEQUENCE: 3, PAST: 4, ROWS: 2, CONDITIONS: 3}


def run(pipeline: Pipeline, graph: str, start: int | None = None, **sizes: int) -> dict[str, np.ndarray]:
    """Run a graph with axes of ``SIZES`` or ``sizes`` on fixed values, of which smaller axes take the first.

    ``start`` is the first position; by default no row of the past is padding.
    """
    spec, backend, axes = pipeline.manifest.graphs[graph], pipeline.backend, {**SIZES, **sizes}
    start, inputs = axes[PAST] if start is None else start, {}
    for number, tensor in enumerate(spec.inputs):
        shape = tuple(SIZES.get(axis, axis) for axis in tensor.shape)
        values = np.random.default_rng(number).standard_normal(shape).astype(tensor.dtype)
        if tensor.name == contract.POSITION_IDS:
            values = np.arange(start, start + SIZES[SEQUENCE], dtype=np.int64)[None]
        elif tensor.name == contract.LOGITS_POSITIONS:
            values = np.arange(SIZES[ROWS], dtype=np.int64)
        some = tuple(slice(axes[axis] if isinstance(axis, str) else None) for axis in tensor.shape)
        inputs[tensor.name] = backend.upload(values[some])
    shapes = output_shapes(spec, {name: buffer.shape for name, buffer in inputs.items()})
    outputs = {name: backend.allocate(shape, spec.output(name).dtype) for name, shape in shapes.items()}
    pipeline._graphs[graph].run(inputs, outputs)
    return {name: backend.download(buffer).copy() for name, buffer in outputs.items()}


def same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], but: tuple[str, ...] = ()) -> None:
    for name in expected.keys() - {*but}:
        assert found[name].shape == expected[name].shape, name
        tolerance = 2e-2 if expected[name].dtype == np.float16 else 1e-4
        np.testing.assert_allclose(found[name], expected[name], atol=tolerance, rtol=tolerance, err_msg=name)


def no_past(pipeline: Pipeline) -> None:
    """A past of padding alone, which nobody sees, is no past."""
    for batch in (1, 2):
        same(run(pipeline, LLM, past=0, batch=batch), run(pipeline, LLM, 0, batch=batch))


def no_rows(pipeline: Pipeline) -> None:
    """All but logits is as it is with some; where the backend says that it cannot do this, it cannot."""
    if not pipeline.backend.runs_without_logits:
        with pytest.raises(BackendError):
            run(pipeline, LLM, rows=0)
        return
    found = run(pipeline, LLM, rows=0)
    assert found[contract.LOGITS].shape == (0, pipeline.manifest.settings.model.vocab_size)
    assert found[contract.NEXT_IDS].shape == (0,)
    same(found, run(pipeline, LLM), but=(contract.LOGITS, contract.NEXT_IDS))


def no_conditions(pipeline: Pipeline) -> None:
    """Of the classes the background is left, whose logit and whose masks depend on no condition."""
    found, some = run(pipeline, MASK_DECODER, conditions=0), run(pipeline, MASK_DECODER)
    same(found, {**some, contract.CLASS_LOGITS: some[contract.CLASS_LOGITS][..., -1:]})


RUNS: dict[tuple[str, str], Callable[[Pipeline], None]] = {
    (LLM, PAST): no_past,
    (LLM, ROWS): no_rows,
    (MASK_DECODER, CONDITIONS): no_conditions,
}
# No version of ONNX Runtime runs the language model without a token, and those before 1.32 neither graph without a
# prompt: of rows of all prompts they divide by their number.
NEVER = {(LLM, BATCH), (LLM, SEQUENCE), (MASK_DECODER, BATCH)}
# What of these the chain makes use of: a first forward, and one that nobody wants logits of where that may be.
USED = {(LLM, PAST), (LLM, ROWS)}


@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_axis_has_a_case(request: pytest.FixtureRequest, bundle: str) -> None:
    graphs = load(request.getfixturevalue(bundle)).manifest.graphs
    chain = {name: graph for name, graph in graphs.items() if name != contract.PIXELS}  # a picture has some pixels
    assert {(name, axis) for name, graph in chain.items() for axis in graph.axes} == RUNS.keys() | NEVER


@pytest.mark.parametrize("case", RUNS, ids="-".join)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_graph_with_nothing_on_an_axis(request: pytest.FixtureRequest, bundle: str, case: tuple[str, str]) -> None:
    RUNS[case](load(request.getfixturevalue(bundle)).pipeline)


@contextmanager
def least(model: XSam) -> Iterator[dict[tuple[str, str], int]]:
    """The smallest size that each axis of each graph has in any run of a block."""
    sizes: dict[tuple[str, str], int] = {}

    class Spy:
        def __init__(self, name: str) -> None:
            self.name, self.graph = name, model.pipeline._graphs[name]

        def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
            for tensor in self.graph.spec.inputs:
                for axis, size in zip(tensor.shape, inputs[tensor.name].shape, strict=True):
                    if isinstance(axis, str):
                        sizes[self.name, axis] = min(size, sizes.get((self.name, axis), size))
            self.graph.run(inputs, outputs)

    with pytest.MonkeyPatch.context() as patch:
        for name in model.pipeline._graphs:
            patch.setitem(model.pipeline._graphs, name, Spy(name))
        yield sizes


def ask_everything(scene: Scene) -> None:
    for answer in ("append", "greedy"):
        for ask in QUESTIONS.values():
            ask(scene, answer=answer)
        assert scene.refer([], answer=answer) == [] and scene.reason((), answer=answer) == []
        scene.refer(["a car"], answer=answer)
        scene.reason(["What can one drive?", "What is far away?"], answer=answer)
    scene.describe(max_new_tokens=1)
    scene.chat("Hi?", max_new_tokens=3)


@pytest.mark.parametrize("speculative", [True, False])
@pytest.mark.parametrize("bundle", ["phi3_bundle", "shapes_bundle"])
def test_no_question_leaves_another_axis_empty(
    request: pytest.FixtureRequest, bundle: str, speculative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = XSam.load(request.getfixturevalue(bundle), threads=1, verify="none", speculative=speculative)
    assert model.pipeline.backend.prefill_rows == 512
    used = USED if model.pipeline.backend.runs_without_logits else USED - {(LLM, ROWS)}
    with least(model) as sizes:
        for at_once in (512, 20):
            monkeypatch.setattr(model.pipeline.backend, "prefill_rows", at_once)
            with model.look(IMAGE) as scene:
                ask_everything(scene)
            with model.look(IMAGE) as scene:
                scene.refer(["a car", "a tall tree"], answer="append")  # a batch before anything knows the image
    assert sizes.keys() == RUNS.keys() | NEVER
    assert {case for case, size in sizes.items() if size == 0} == used


def test_more_tokens_than_are_prefilled_at_once(shapes_bundle: Path) -> None:
    """A prompt of several parts, all but the last of which want no logits, and behind it an answer."""
    model = XSam.load(shapes_bundle, threads=1, verify="none")
    text = "the " * 600 + "circle"
    with model.look(IMAGE) as scene, least(model) as sizes:
        given = scene.refer(text, answer="append")
        decoded = scene.chat(text, max_new_tokens=2)
    assert given.answered and len(decoded.token_ids) == 2
    assert model.pipeline.cache.length > 600
    assert sizes[LLM, ROWS] == (0 if model.pipeline.backend.runs_without_logits else 1)


def test_a_prompt_and_an_answer_without_conditions(phi3_bundle: Path) -> None:
    """The mask decoder is not asked; the result says why there is no mask."""
    model = load(phi3_bundle)
    with model.look(IMAGE) as scene, least(model) as sizes:
        said = scene.describe(max_new_tokens=1)
    assert not said.answered and said.segments == ()
    assert sizes and not any(graph == MASK_DECODER for graph, _ in sizes)
