import numpy as np
import pytest
from numpy.typing import NDArray

from tests.runtime.postprocess.recorded_outputs import CATEGORY_TASKS, Case, cases
from xsam_edge.runtime.image import resize
from xsam_edge.runtime.image.resize import Frame, image_resizer, input_resizer, scaled_resizer
from xsam_edge.runtime.postprocess import semantic
from xsam_edge.runtime.postprocess.common import Floats, class_scores, sigmoid
from xsam_edge.runtime.postprocess.semantic import semantic_map

RECORDED = [*cases(*CATEGORY_TASKS, variant="sem"), *cases("img_genseg_sem", variant="")]


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.name)
def test_recorded(case: Case) -> None:
    found = semantic_map(*case.inputs, resized="evidence" if case.aaai else "logits")
    np.testing.assert_array_equal(found.label_map, case.arrays["segmentation"])


@pytest.mark.parametrize("image_size", [(61, 37), (5, 4), (1, 1)])
@pytest.mark.parametrize("resized", ["logits", "evidence"])
def test_bands_do_not_show(resized: str, image_size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    class_logits = rng.normal(0, 2, (6, 4)).astype(np.float32)
    mask_logits = rng.normal(0, 2, (6, 8, 8)).astype(np.float32)
    frame = Frame(image_size, (32, 20), (32, 32))
    whole = semantic_map(class_logits, mask_logits, frame, resized)
    assert whole.label_map.shape == image_size
    monkeypatch.setattr(resize.Resizer.plan, "__defaults__", (None, 1))
    monkeypatch.setattr(resize, "BAND_ROWS", 2)
    banded = semantic_map(class_logits, mask_logits, frame, resized)
    np.testing.assert_array_equal(banded.label_map, whole.label_map)
    np.testing.assert_array_equal(banded.scores, whole.scores)


def test_a_class_scores_what_its_best_query_does() -> None:
    class_logits = np.log(np.array([[0.6, 0.2, 0.2], [0.5, 0.1, 0.4]], np.float32))
    found = semantic_map(class_logits, np.zeros((2, 4, 4), np.float32), Frame((8, 8), (8, 8), (8, 8)))
    assert (found.label_map == 0).all()
    np.testing.assert_allclose(found.scores, [0.6, 0.2], atol=1e-6)


def test_a_threshold_leaves_classes_and_pixels_out() -> None:
    """The first query is sure of class 0 on the left, the second thinks of class 1 everywhere."""
    class_logits = np.log(np.array([[0.9, 0.05, 0.05], [0.02, 0.68, 0.3]], np.float32))
    mask_logits = np.full((2, 4, 4), 9, np.float32)
    mask_logits[0, :, 2:] = -9
    frame = Frame((8, 8), (8, 8), (8, 8))
    left, right = np.s_[:, :3], np.s_[:, 5:]
    expected = {0.0: (0, 1), 0.6: (0, 1), 0.7: (0, -1), 0.95: (-1, -1)}
    for threshold, (at_left, at_right) in expected.items():
        found = semantic_map(class_logits, mask_logits, frame, threshold=threshold)
        assert (found.label_map[left] == at_left).all() and (found.label_map[right] == at_right).all(), threshold
        np.testing.assert_allclose(found.scores, [0.9, 0.68], atol=1e-6)


def plainly(class_logits: Floats, mask_logits: Floats, frame: Frame, resized: str, threshold: float) -> NDArray:
    """The map by its definition: every class and every query at every pixel."""
    scores = class_scores(class_logits)
    scores[scores < np.float32(threshold)] = 0
    to_image = image_resizer(mask_logits.shape[1:], frame)
    if resized == "logits":
        evidence = np.tensordot(scores.T, sigmoid(to_image.resize(mask_logits)), 1)
    else:
        shown = sigmoid(input_resizer(mask_logits.shape[1:], frame).resize(mask_logits))
        evidence = scaled_resizer(frame).resize(np.tensordot(scores.T, shown, 1))
    labels = evidence.argmax(0)
    labels[evidence.max(0) < np.float32(threshold / 2)] = -1
    return labels


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("kind", ["noise", "steep", "level", "blobs"])
@pytest.mark.parametrize("resized", ["logits", "evidence"])
@pytest.mark.parametrize("image_size", [(190, 300), (61, 37), (5, 4)])
def test_what_is_told_by_bounds_is_what_is_computed(
    image_size: tuple[int, int], resized: str, kind: str, threshold: float
) -> None:
    rng = np.random.default_rng(2)
    class_logits = rng.normal(0, 3, (30, 9)).astype(np.float32)
    y, x = np.mgrid[:16, :16][..., None] / 16
    centres, radii = rng.uniform(0, 1, (2, 30)), rng.uniform(0.05, 0.3, 30)
    mask_logits = {
        "noise": rng.normal(-2, 2, (30, 16, 16)),
        "steep": rng.normal(-2, 60, (30, 16, 16)),
        "level": np.full((30, 16, 16), -3) + rng.normal(0, 1e-6, (30, 1, 1)),
        "blobs": np.moveaxis(8 - 8 * np.hypot(y - centres[0], x - centres[1]) / radii, 2, 0).clip(-12),
    }[kind].astype(np.float32)
    frame = Frame(image_size, (62, 96), (96, 96))
    found = semantic_map(class_logits, mask_logits, frame, resized, threshold)
    np.testing.assert_array_equal(found.label_map, plainly(class_logits, mask_logits, frame, resized, threshold))


def test_queries_that_do_not_differ_in_a_window_are_not_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vertical edge between two queries, among many that are nowhere."""
    resized: list[int] = []
    evidence = semantic._evidence
    monkeypatch.setattr(
        semantic, "_evidence", lambda scores, logits: resized.append(logits.size) or evidence(scores, logits)
    )
    class_logits = np.zeros((50, 51), np.float32)
    class_logits[np.arange(50), np.arange(50)] = 9
    mask_logits = np.full((50, 16, 16), -20, np.float32)
    mask_logits[0, :, :8] = mask_logits[1, :, 8:] = 9
    found = semantic_map(class_logits, mask_logits, Frame((320, 320), (96, 96), (96, 96)))
    assert (found.label_map[:, :150] == 0).all() and (found.label_map[:, 170:] == 1).all()
    assert 0 < sum(resized) < 50 * 320 * 320 / 50
