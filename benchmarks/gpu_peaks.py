"""What GPUs can do at best, by what their vendor publishes: products a clock, clocks, memory. Nothing here is measured.

Dense rates of the tensor cores with sums in FP32, from units x operations a clock x clock; the last column of the table
says where each number can be looked up. Boards are those whose memory the presets of ``--target`` have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class GpuPeaks:
    """One board. ``fp16_per_clock`` are operations a clock of one multiprocessor; of 8 bits, as many times as many."""

    board: str
    multiprocessors: int
    clock_ghz: float
    fp16_per_clock: int
    int8_ratio: float
    fp8_ratio: float  # 0 where there are no products of FP8
    bytes_per_second: float
    source: str

    def flops_per_second(self, precision: str) -> float:
        """Of products of "fp16", "int8" or "fp8"; 0 where it has none."""
        ratio = {"fp16": 1.0, "int8": self.int8_ratio, "fp8": self.fp8_ratio}[precision]
        return self.multiprocessors * self.clock_ghz * 1e9 * self.fp16_per_clock * ratio


_ORIN = "Jetson Orin data sheets: INT8 TOPS of the GPU, halved, since they count sparsity"
_ADA = "NVIDIA Ada GPU architecture, white paper, appendix A"

#: Target -> the board that stands for it.
GPU_PEAKS: Mapping[str, GpuPeaks] = {
    "orin-nano": GpuPeaks("Jetson Orin Nano 8 GB (Super)", 8, 1.02, 2048, 2, 0, 102e9, _ORIN),
    "orin-nx": GpuPeaks("Jetson Orin NX 16 GB", 8, 0.918, 2048, 2, 0, 102.4e9, _ORIN),
    "agx-orin": GpuPeaks("Jetson AGX Orin 64 GB", 16, 1.3, 2048, 2, 0, 204.8e9, _ORIN),
    "thor": GpuPeaks("Jetson T5000 (Thor)", 20, 1.575, 8192, 2, 2, 273e9, "Jetson Thor data sheet: FP8 dense"),
    "rtx-30": GpuPeaks("GeForce RTX 3060", 28, 1.777, 512, 4, 0, 360e9, "NVIDIA Ampere GA102 white paper"),
    "rtx-40": GpuPeaks("GeForce RTX 4080", 76, 2.505, 512, 4, 2, 716.8e9, _ADA),
    "rtx-50": GpuPeaks("GeForce RTX 5080", 84, 2.617, 512, 4, 2, 960e9, "RTX Blackwell architecture, white paper"),
    "h100": GpuPeaks("H100 SXM", 132, 1.83, 4096, 2, 2, 3.35e12, "H100 data sheet: dense is half of what it prints"),
}
