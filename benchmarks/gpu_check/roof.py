"""What the GPU can do at best, through torch: matrix products, copies, and the largest layer at the rows it meets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from xsam_edge.benchmarks.gpu_check.records import Recorder
from xsam_edge.benchmarks.gpu_check.steps import Setting
from xsam_edge.benchmarks.gpu_check.timing import timed
from xsam_edge.benchmarks.peaks import Peaks
from xsam_edge.export.config.variants import VARIANTS


@dataclass(frozen=True)
class _Sizes:
    side: int  # of square matrices
    copied: int  # bytes
    repeat: int
    variant: str
    rows: tuple[int, ...]  # a step's, a suffix's and a prefill's


_FULL = _Sizes(8192, 1 << 30, 10, "phi3", (1, 8, 24, 64, 256, 1849))
_SMALL = _Sizes(128, 1 << 20, 2, "shapes", (1, 24))


def run(setting: Setting, say: Recorder) -> None:
    """The step."""
    sizes = _SMALL if setting.small else _FULL
    for name, dtype, tf32 in (
        ("fp16", torch.float16, False),
        ("tf32", torch.float32, True),
        ("fp32", torch.float32, False),
    ):
        rate = _gemm(setting.device, dtype, tf32, sizes)
        say(f"{name} matrix product", rate / 1e12, "TFLOP/s", f"{sizes.side} x {sizes.side}, random values")
    say("copy", _copy(setting.device, sizes) / 1e9, "GB/s", f"{sizes.copied >> 20} MiB, read and written")
    _layers(setting, sizes, say)


def measured(setting: Setting) -> Peaks:
    """The roof of FP16 graphs, measured now; takes about a second on a GPU."""
    sizes = _SMALL if setting.small else _FULL
    return Peaks(
        precision="fp16",
        flops_per_second=_gemm(setting.device, torch.float16, False, sizes),
        bytes_per_second=_copy(setting.device, sizes),
        gemm=f"fp16 product of {sizes.side} x {sizes.side} through torch",
        copy=f"copy of {sizes.copied >> 20} MiB through torch",
    )


def _gemm(device: str, dtype: torch.dtype, tf32: bool, sizes: _Sizes) -> float:
    """Operations per second."""
    a, b = (torch.randn(sizes.side, sizes.side, device=device).to(dtype) for _ in range(2))
    with _tf32(tf32):
        time = timed(lambda: a @ b, device, sizes.repeat, replay=False)
    return 2e3 * sizes.side**3 / time.eager_ms


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _copy(device: str, sizes: _Sizes) -> float:
    """Bytes per second."""
    source = torch.ones(sizes.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2e3 * sizes.copied / timed(lambda: target.copy_(source), device, sizes.repeat, replay=False).eager_ms


def _layers(setting: Setting, sizes: _Sizes, say: Recorder) -> None:
    """The first product of the feed-forward module: a step is bound by its weights, a prefill by products."""
    config = VARIANTS[sizes.variant].config.llm
    inputs, outputs = config.hidden_size, 2 * config.intermediate_size
    weight = torch.randn(outputs, inputs, device=setting.device).half()
    for rows in sizes.rows:
        x = torch.randn(rows, inputs, device=setting.device).half()
        time = timed(partial(torch.nn.functional.linear, x, weight), setting.device, 3 * sizes.repeat)
        rate = 2e3 * rows * inputs * outputs / time.best_ms
        note = f"{rate / 1e12:.3g} TFLOP/s, {2e3 * weight.numel() / time.best_ms / 1e9:.3g} GB/s of weights"
        say(f"layer {inputs} x {outputs}, {rows} rows", 1e3 * time.best_ms, "us", note)
