from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.recorded import DATA, load_reference
from tests.runtime.loaded import load
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.chain.pipeline import Pipeline, parts
from xsam_edge.runtime.errors import BackendError, BundleError, ContextLengthError
from xsam_edge.runtime.model import XSam


@pytest.fixture
def pipeline(phi3_bundle: Path) -> Pipeline:
    pipeline = load(phi3_bundle).pipeline
    pipeline.cache.truncate(0)
    return pipeline


def embeds(pipeline: Pipeline, count: int) -> np.ndarray:
    shape = (1, count, pipeline.manifest.settings.model.hidden_size)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def forward(pipeline: Pipeline, values: np.ndarray, rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    done = pipeline.forward(values, np.array(rows, np.int64))
    logits = done.logits().copy()
    np.testing.assert_array_equal(done.next_ids, logits.argmax(1))
    return logits, done.hidden().copy()


def test_image_features_are_the_recorded_ones(phi3_bundle: Path) -> None:
    recorded = load_reference("golden-phi3", "image_features")
    model = load(phi3_bundle)
    features = model.encode(recorded["pixel_values"], recorded["extra_pixel_values"])
    tokens = np.concatenate([recorded["visual_projector"][0], recorded["seg_projector"][0]])
    np.testing.assert_allclose(features.image_embeds, tokens, atol=1e-4)
    for name, key in {
        "mask_features": "pixel_decoder.mask_features",
        **{f"multi_scale.{level}": f"pixel_decoder.multi_scale.{level}" for level in range(3)},
    }.items():
        np.testing.assert_allclose(model.pipeline.backend.download(features.buffers[name]), recorded[key], atol=1e-4)


def test_logits_and_hidden_states_are_the_recorded_ones(pipeline: Pipeline) -> None:
    recorded = load_reference("golden-phi3", "img_refseg")
    values = recorded["tensor/expanded.inputs_embeds"]
    logits, hidden = forward(pipeline, values, list(range(values.shape[1])))
    np.testing.assert_allclose(logits, recorded["tensor/llm.logits"][0], atol=1e-4)
    np.testing.assert_allclose(hidden, recorded["tensor/llm_projector.0"], atol=1e-4)


@pytest.mark.parametrize(("fixture", "folder"), [("phi3_bundle", "golden-phi3"), ("qwen3_bundle", "golden-qwen3")])
def test_masks_are_the_recorded_ones(request: pytest.FixtureRequest, fixture: str, folder: str) -> None:
    model = load(request.getfixturevalue(fixture))
    scene = model.look(DATA / folder / "image.png")
    for task in ("img_refseg", "img_genseg", "img_vgdseg"):
        recorded = load_reference(folder, task)
        conditions, seg = recorded["tensor/segmentor.in.cond_embeds"], recorded["tensor/segmentor.in.seg_embeds"]
        classes, masks = model.pipeline.decode_masks(scene.features, seg[0, 0], conditions[0, :-1])
        np.testing.assert_allclose(classes, recorded["tensor/class_queries_logits"][0], atol=1e-4)
        np.testing.assert_allclose(masks, recorded["tensor/decoder.masks_lowres.3"][0], atol=1e-4)


def test_rows_are_read_from_where_they_are_wanted(pipeline: Pipeline) -> None:
    done = pipeline.forward(embeds(pipeline, 5), np.zeros(0, np.int64))
    assert done.next_ids.shape == (0,) and done.next_ids.dtype == np.int64
    for first in (0, 2, 5):
        np.testing.assert_array_equal(done.hidden(first), done.hidden()[:, first:])
    assert np.shares_memory(done.hidden(2), done.hidden())


@pytest.mark.parametrize("counts", [(3, 9), (11, 1), (1, 1, 10), (4, 4, 4)])
def test_parts_equal_the_whole(pipeline: Pipeline, counts: tuple[int, ...]) -> None:
    values = embeds(pipeline, 12)
    logits, hidden = forward(pipeline, values, list(range(12)))
    pipeline.cache.truncate(0)
    start = 0
    for count in counts:
        some_logits, some_hidden = forward(pipeline, values[:, start : start + count], list(range(count)))
        np.testing.assert_allclose(some_hidden, hidden[:, start : start + count], atol=1e-4)
        np.testing.assert_allclose(some_logits, logits[start : start + count], atol=1e-4)
        start += count
    assert pipeline.cache.length == 12


@pytest.mark.parametrize("at_once", [4, 5, 7, 1])
def test_a_prefill_in_parts_equals_the_whole(pipeline: Pipeline, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = embeds(pipeline, 12)
    forward(pipeline, values[:, :3], [])
    expected = forward(pipeline, values, [11])
    further = forward(pipeline, values[:, :1], [0])
    pipeline.cache.truncate(3)
    monkeypatch.setattr(pipeline.backend, "prefill_rows", at_once)
    found = forward(pipeline, values, [11])
    assert pipeline.cache.length == 15
    for a, b in zip((*found, *forward(pipeline, values[:, :1], [0])), (*expected, *further), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_parts_are_equal_and_the_last_holds_what_is_wanted() -> None:
    def divide(count: int, at_once: int | None, *wanted: int) -> list[tuple[int, int]]:
        return parts(count, at_once, np.array(wanted, np.int64))

    assert divide(12, None) == divide(12, 12) == [(0, 12)]
    assert divide(13, 12) == [(0, 6), (6, 13)]
    assert divide(1030, 512, 1025, 1029) == [(0, 343), (343, 686), (686, 1030)]
    assert divide(13, 12, 5, 12) == [(0, 5), (5, 13)]
    assert divide(13, 12, 0, 12) == [(0, 13)]
    assert divide(40, 12, 20, 39) == [(0, 40)]
    assert divide(40, 12, 29, 39) == [(0, 9), (9, 19), (19, 29), (29, 40)]
    assert divide(13, 12, 6) == [(0, 6), (6, 13)]


def test_a_prefill_in_parts_that_does_not_fit_leaves_the_cache(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.backend, "prefill_rows", 4)
    forward(pipeline, embeds(pipeline, 3), [])
    with pytest.raises(ContextLengthError):
        pipeline.forward(embeds(pipeline, pipeline.cache.capacity - 2), np.zeros(0, np.int64))
    assert pipeline.cache.length == 3


def test_a_rolled_back_cache_is_as_good_as_new(pipeline: Pipeline) -> None:
    values = embeds(pipeline, 12)
    forward(pipeline, values[:, :5], [])
    expected = forward(pipeline, values[:, 5:9], [3])
    forward(pipeline, values[:, 9:], [2])
    pipeline.cache.truncate(5)
    found = forward(pipeline, values[:, 5:9], [3])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_logits_are_computed_where_asked(pipeline: Pipeline) -> None:
    values = embeds(pipeline, 4)
    logits, _ = forward(pipeline, values, [0, 1, 2, 3])
    for rows in ([3], [2, 0], []):
        pipeline.cache.truncate(0)
        some, hidden = forward(pipeline, values, rows)
        assert some.shape == (len(rows), pipeline.manifest.settings.model.vocab_size)
        assert hidden.shape[1] == 4
        np.testing.assert_allclose(some, logits[rows], atol=1e-5)


@pytest.mark.parametrize(("at_once", "rows"), [(None, []), (5, []), (5, [11])])
def test_no_run_is_without_a_row_of_logits(
    pipeline: Pipeline, at_once: int | None, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the backend cannot do without: ONNX Runtime before 1.32 gives ArgMax over no rows a wrong shape."""
    counts: list[int] = []
    graph = pipeline._graphs["llm"]

    class Spy:
        def run(self, inputs, outputs) -> None:
            counts.append(inputs["logits_positions"].shape[0])
            graph.run(inputs, outputs)

    monkeypatch.setitem(pipeline._graphs, "llm", Spy())
    monkeypatch.setattr(pipeline.backend, "prefill_rows", at_once)
    monkeypatch.setattr(pipeline.backend, "runs_without_logits", False)
    logits, hidden = forward(pipeline, embeds(pipeline, 12), rows)
    assert counts == [1] * (1 if at_once is None else 3)
    assert len(logits) == len(rows) and hidden.shape[1] == 12


def test_a_full_cache_stays_as_it_is(phi3_bundle: Path) -> None:
    pipeline = load(phi3_bundle, context=8).pipeline
    pipeline.cache.truncate(0)
    values = embeds(pipeline, 9)
    first = forward(pipeline, values[:, :8], [7])
    with pytest.raises(ContextLengthError, match="9 tokens do not fit the context of 8"):
        pipeline.forward(values[:, 8:], np.zeros(1, np.int64))
    assert pipeline.cache.length == 8
    pipeline.cache.truncate(7)
    np.testing.assert_allclose(forward(pipeline, values[:, 7:8], [0])[0], first[0], atol=1e-4)


def test_output_buffers_do_not_pile_up(pipeline: Pipeline) -> None:
    for count in range(1, 30):
        pipeline.cache.truncate(0)
        forward(pipeline, embeds(pipeline, count), [0])
    assert {len(kept) for (graph, _), kept in pipeline._kept.items() if graph == "llm"} == {9}


def test_features_of_two_images_are_apart(pipeline: Pipeline) -> None:
    recorded = load_reference("golden-phi3", "image_features")
    pixels, mask_pixels = recorded["pixel_values"], recorded["extra_pixel_values"]
    first = pipeline.encode_image(pixels, mask_pixels)
    before = {name: pipeline.backend.download(buffer).copy() for name, buffer in first.buffers.items()}
    second = pipeline.encode_image(-pixels, -mask_pixels)
    for name, buffer in first.buffers.items():
        np.testing.assert_array_equal(pipeline.backend.download(buffer), before[name])
        assert not np.allclose(pipeline.backend.download(second.buffers[name]), before[name], atol=1e-3)


def test_a_graph_of_another_bundle_is_refused(tmp_path: Path, phi3_bundle: Path, qwen3_bundle: Path) -> None:
    for file in phi3_bundle.iterdir():
        (tmp_path / file.name).symlink_to(file)
    for name in ("llm.onnx", "llm.onnx.data"):
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to(qwen3_bundle / name)
    with pytest.raises(BundleError, match=r"llm\.onnx.* bytes, its manifest says"):
        XSam.load(tmp_path)
    spec = read_manifest(phi3_bundle).graphs["mask_decoder"]
    with pytest.raises(BackendError, match="other inputs than its manifest says"):
        OnnxRuntimeBackend().open(qwen3_bundle / "llm.onnx", spec)
