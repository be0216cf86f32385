"""The README of a repository names every tensor."""

from __future__ import annotations

from xsam_edge.export.triton.page import page
from xsam_edge.runtime.triton.signature import INPUTS, OUTPUTS


def test_every_tensor_has_a_row() -> None:
    text = page()
    for tensor in (*INPUTS, *OUTPUTS):
        assert f"| `{tensor.name}` | {tensor.dtype} |" in text
    assert "| `BOXES` | FP32 | [any, 4] | x0, y0, x1, y1 in pixels of the image | regions |" in text
