import numpy as np
import pytest

from tests.runtime.postprocess.recorded_outputs import CATEGORY_TASKS, Case, cases
from xsam_edge.runtime.image import resize
from xsam_edge.runtime.image.resize import Frame
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
