import numpy as np
import pytest

from tests.runtime.postprocess.recorded_outputs import Case, cases
from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.postprocess.refer import generalised_mask, referred_mask

FRAME = Frame(image_size=(40, 40), scaled_size=(32, 32), input_size=(32, 32))


@pytest.mark.parametrize("case", cases("img_refseg", "img_reaseg"), ids=lambda case: case.name)
def test_recorded(case: Case) -> None:
    found = (generalised_mask if case.variant == "grefseg" else referred_mask)(*case.inputs)
    assert found.score == pytest.approx(case.facts["segments_info"]["score"], abs=2e-6)
    np.testing.assert_array_equal(found.mask, case.arrays["segmentation"] == 1)


def logits(*scores: float) -> np.ndarray:
    """Class logits whose foreground probabilities are ``scores``."""
    p = np.array(scores)
    return np.stack([np.log(p), np.log(1 - p)], 1).astype(np.float32)


def half_masks() -> np.ndarray:
    """Three queries: left half, right half, nothing."""
    masks = np.full((3, 8, 8), -9, np.float32)
    masks[0, :, :4] = 9
    masks[1, :, 4:] = 9
    return masks


def test_of_several_phrases_the_first_counts() -> None:
    first, second = logits(0.2, 0.8, 0.3), logits(0.9, 0.1, 0.3)
    both = np.stack([first[:, 0], second[:, 0], np.zeros(3, np.float32)], axis=1)
    found = referred_mask(both, half_masks(), FRAME)
    assert found.query == 1
    np.testing.assert_array_equal(found.mask, referred_mask(first, half_masks(), FRAME).mask)


def test_generalised_takes_every_query_above_the_threshold() -> None:
    found = generalised_mask(logits(0.7, 0.9, 0.1), half_masks(), FRAME)
    assert found.mask.all()
    assert found.query == 1
    assert found.score == pytest.approx(0.8, abs=1e-6)


def test_generalised_falls_back_on_the_best() -> None:
    found = generalised_mask(logits(0.3, 0.2, 0.1), half_masks(), FRAME)
    assert found.mask[:, :19].all()
    assert not found.mask[:, 21:].any()


def test_mask_threshold_shrinks_the_mask() -> None:
    ramp = np.broadcast_to(np.linspace(-4, 4, 8, dtype=np.float32), (3, 8, 8))
    areas = [referred_mask(logits(0.9, 0.1, 0.1), ramp, FRAME, t).mask.sum() for t in (0, 0.2, 0.5, 0.9, 1)]
    assert areas[0] == 1600
    expected = referred_mask(logits(0.9, 0.1, 0.1), ramp - np.float32(np.log(9)), FRAME).mask
    np.testing.assert_array_equal(referred_mask(logits(0.9, 0.1, 0.1), ramp, FRAME, 0.9).mask, expected)
    assert areas[1] > areas[2] > areas[3] > areas[4] == 0


def test_an_empty_mask_is_an_answer() -> None:
    found = referred_mask(logits(0.1, 0.2, 0.9), half_masks(), FRAME)
    assert found.query == 2
    assert not found.mask.any()


def test_overflow_is_reported() -> None:
    broken = logits(0.5, 0.5, 0.5)
    broken[1, 0] = np.nan
    with pytest.raises(BackendError, match="not finite"):
        referred_mask(broken, half_masks(), FRAME)


def test_option_out_of_range() -> None:
    with pytest.raises(InputError, match=r"mask_threshold is 1\.5"):
        referred_mask(logits(0.5, 0.5, 0.5), half_masks(), FRAME, 1.5)
