import pytest
import torch

from xsam_edge.export.models.masking import hide


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_hidden_keys_get_exactly_nothing(dtype):
    scores = torch.tensor([0.0, 5000.0, -5000.0], dtype=dtype)
    weights = torch.softmax(scores + hide(torch.tensor([False, True, True]), dtype), -1)
    assert weights.tolist() == [1.0, 0.0, 0.0]


def test_a_row_that_is_hidden_altogether_stays_finite():
    bias = hide(torch.ones(4, dtype=torch.bool), torch.float16)
    assert torch.softmax(torch.full((4,), -100.0, dtype=torch.float16) + bias, -1).isfinite().all()
