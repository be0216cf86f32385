import math

import pytest
import torch

from xsam_edge.export.models.position_encoding import sine_position_encoding


@pytest.mark.parametrize(("height", "width", "channels"), [(3, 5, 8), (1, 1, 4), (16, 16, 64)])
def test_every_value(height, width, channels):
    encoding = sine_position_encoding(height, width, torch.zeros(channels))
    assert encoding.shape == (height * width, channels)
    half = channels // 2
    for row in range(0, height, 5):
        for column in range(0, width, 3):
            for channel in range(channels):
                at, size = (row, height) if channel < half else (column, width)
                index = channel % half
                angle = (at + 1) / (size + 1e-6) * 2 * math.pi / 10000 ** (2 * (index // 2) / half)
                expected = math.cos(angle) if index % 2 else math.sin(angle)
                assert encoding[row * width + column, channel].item() == pytest.approx(expected, abs=1e-6)


def test_takes_the_dtype_but_computes_in_float32():
    single = sine_position_encoding(64, 64, torch.zeros(32))
    half = sine_position_encoding(64, 64, torch.zeros(32, dtype=torch.float16))
    assert torch.equal(half, single.half())
