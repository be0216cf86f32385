from __future__ import annotations

import pytest

from xsam_edge.export.cli import main, parser
from xsam_edge.export.quantize_options import quantize_options

RANDOM = ["--random-weights", "--variant", "phi3", "--precision", "fp16", "-o", "bundle"]


@pytest.mark.parametrize(
    ("options", "checked", "min_iou"),
    [([], 4, 0.0), (["--check-samples", "0"], 0, 0.0), (["--check-samples", "9", "--min-iou", "0.9"], 9, 0.9)],
)
def test_ranges_are_checked_where_masks_are_not_compared(options: list[str], checked: int, min_iou: float) -> None:
    chosen = quantize_options(parser().parse_args([*RANDOM, *options]), "fp16")
    assert chosen is not None and (chosen.checked, chosen.min_iou) == (checked, min_iou)


def test_wrong_numbers_of_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RANDOM, "--check-samples", "-1"]) == 2
    assert "argument --check-samples: '-1' is not a whole number from 0 on" in capsys.readouterr().err
