import numpy as np
import pytest

from tests.runtime.postprocess.recorded_outputs import Case, cases
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.postprocess.interactive import interactive_mask
from xsam_edge.runtime.postprocess.selection import topk_order

FRAME = Frame((32, 32), (32, 32), (32, 32))


@pytest.mark.parametrize("case", cases("img_intseg"), ids=lambda case: case.name)
def test_recorded(case: Case) -> None:
    np.testing.assert_array_equal(case.prompt_mask, case.arrays["vprompt_masks"][0] > 0)
    match = "box" if case.aaai else "mask"
    found = interactive_mask(*case.inputs, case.prompt_mask, match, case.option("t", 0.5))
    assert found.score == pytest.approx(case.facts["segments_info"]["score"], abs=2e-6)
    np.testing.assert_array_equal(found.mask, case.arrays["segmentation"] == 1)


def quadrants(scores: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Four queries, one per quadrant, clockwise from the top left, with these foreground probabilities."""
    masks = np.full((4, 8, 8), -9, np.float32)
    masks[0, :4, :4] = masks[1, :4, 4:] = masks[2, 4:, 4:] = masks[3, 4:, :4] = 9
    p = np.array(scores)
    return np.stack([np.log(p), np.log(1 - p)], 1).astype(np.float32), masks


@pytest.mark.parametrize("match", ["box", "mask"])
def test_overlap_decides_among_the_kept(match: str) -> None:
    prompt = np.zeros((32, 32), bool)
    prompt[20:30, 20:30] = True
    assert interactive_mask(*quadrants([0.9, 0.8, 0.7, 0.6]), FRAME, prompt, match).query == 2
    assert interactive_mask(*quadrants([0.9, 0.8, 0.4, 0.6]), FRAME, prompt, match).query != 2, "below the threshold"
    assert interactive_mask(*quadrants([0.4, 0.3, 0.2, 0.1]), FRAME, prompt, match).query == 0, "the best alone is left"


def test_prompt_of_another_size() -> None:
    with pytest.raises(InputError, match="prompt mask"):
        interactive_mask(*quadrants([0.9, 0.8, 0.7, 0.6]), FRAME, np.ones((8, 8), bool), "mask")


def test_a_prompt_lost_in_resizing() -> None:
    empty = np.zeros((32, 32), bool)
    masks = np.full((2, 8, 8), -9, np.float32)
    masks[1, :4] = 9  # the first query's mask is as empty as the prompt, which is no match
    class_logits = np.array([[9, 0], [9.1, 0]], np.float32)
    assert interactive_mask(class_logits, masks, FRAME, empty, "mask", threshold=0).query == 1


@pytest.mark.parametrize(
    ("values", "order"),
    [  # as torch.topk(values, k=len(values), sorted=False) answered on a CPU, PyTorch 2.13
        ([0.5], [0]),
        ([0.2, 0.7, 0.7, 0.1], [1, 2, 0, 3]),
        ([1.0] * 6, [3, 5, 4, 0, 2, 1]),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], [4, 8, 7, 6, 5, 2, 3, 1, 0]),
        ([0.3, 0.9, 0.3, 0.9, 0.3, 0.9, 0.3, 0.9], [1, 7, 5, 2, 0, 3, 6, 4]),
    ],
)
def test_topk_order(values: list[float], order: list[int]) -> None:
    assert topk_order(np.array(values, np.float32)) == order


def test_topk_order_is_a_permutation() -> None:
    values = np.random.default_rng(0).integers(0, 9, 200).astype(np.float32)
    order = topk_order(values)
    assert sorted(order) == list(range(200))
    assert values[order[-1]] == values.min()
