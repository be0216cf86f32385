import numpy as np
import pytest

from tests.runtime.postprocess.recorded_outputs import Case, cases
from xsam_edge.runtime.postprocess.refer import grounded_masks


@pytest.mark.parametrize("case", cases("img_gcgseg"), ids=lambda case: case.name)
def test_recorded(case: Case) -> None:
    found = grounded_masks(*case.inputs)
    recorded = case.facts["segments_info"]
    assert [item.label_id for item in found] == [item["category_id"] for item in recorded]
    np.testing.assert_allclose([item.score for item in found], [item["score"] for item in recorded], atol=2e-6)
    painted = np.full(case.frame.image_size, 255)
    for item in found:
        painted[item.mask] = item.label_id + 1
    np.testing.assert_array_equal(painted, case.arrays["segmentation"])
