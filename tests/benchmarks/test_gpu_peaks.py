from __future__ import annotations

import pytest

from xsam_edge.benchmarks.gpu_peaks import GPU_PEAKS
from xsam_edge.export.engines.flavours import eight_bits
from xsam_edge.export.engines.targets import AUTO, TARGETS


# Dense rates as their vendor prints them, in 10^12 a second.
@pytest.mark.parametrize(
    ("target", "precision", "published"),
    [
        ("agx-orin", "int8", 85),  # 170 with sparsity
        ("orin-nx", "int8", 30),  # 60 with sparsity
        ("thor", "fp8", 517),
        ("rtx-30", "int8", 102),
        ("rtx-40", "fp16", 97.5),
        ("rtx-40", "fp8", 195),
        ("rtx-50", "fp16", 112.6),
        ("h100", "fp16", 989),
        ("h100", "int8", 1979),
    ],
)
def test_published_rates(target: str, precision: str, published: float) -> None:
    assert GPU_PEAKS[target].flops_per_second(precision) == pytest.approx(1e12 * published, rel=0.01)


def test_every_target_has_a_board() -> None:
    assert list(GPU_PEAKS) == [name for name in TARGETS if name != AUTO]
    for name, peaks in GPU_PEAKS.items():
        has_fp8 = eight_bits(TARGETS[name].compute_capability) == "fp8"
        assert bool(peaks.flops_per_second("fp8")) == has_fp8, name
