"""How much room on the disk an export takes, told and checked before it begins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from xsam_edge.export.bundle import bundle_bytes, expected_tensors
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.engines.footprint import config_footprint
from xsam_edge.export.precision.plan import Precision
from xsam_edge.export.quantize_plan import QuantizeOptions, precision_of
from xsam_edge.export.staging import check_space

_MOST_SPARE = 10**9  # bytes for graphs, tokenizer, report and what file systems keep for themselves
_LEAST_SPARE = 1 << 24


def needed_bytes(config: ModelConfig, quantization: QuantizeOptions | None) -> int:
    """Bytes that an export takes at the most: the bundle, what is beside it meanwhile, and up to 1 GB.

    Beside a bundle of lower precision lie the FP32 bundle that it is made from and, where masks are compared, its
    weights once more as they are tried. ``quantization`` is None for a plain FP32 bundle.
    """
    shapes = expected_tensors(config)
    fp32 = bundle_bytes(config, shapes, "fp32")
    if quantization is None:
        needed = fp32
    else:
        precision = precision_of(quantization.plan) if quantization.plan else quantization.precision
        needed = fp32 + (fp32 if quantization.min_iou > 0 else 0) + _result_bytes(config, shapes, precision)
    return needed + min(_MOST_SPARE, _LEAST_SPARE + needed // 8)


def _result_bytes(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], precision: Precision) -> int:
    if precision in ("fp32", "fp16"):
        return bundle_bytes(config, shapes, precision)
    facts = config_footprint(config, "", precision)
    return sum(facts.weights.values()) + facts.embeddings


def check_room(output: Path, needed: int) -> None:
    """Raise XSamError if the disk that ``output`` will be on has less than ``needed`` bytes free."""
    parents = Path(os.path.realpath(output)).parents
    check_space(next(folder for folder in parents if folder.is_dir()), needed)
