"""How much room on the disk an export takes, told and checked before it begins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod
from pathlib import Path

from xsam_edge.export.bundle import bundle_bytes, expected_tensors
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.engines.footprint import config_footprint
from xsam_edge.export.precision.plan import Precision
from xsam_edge.export.quantize_plan import LARGE, QuantizeOptions, precision_of
from xsam_edge.export.staging import check_space

# Of a large model: a stage's weights in FP32, and the activations of some pictures.
_STAGES = 8 * 10**9
_MOST_SPARE = 10**9  # bytes for graphs, tokenizer, report and what file systems keep for themselves
_LEAST_SPARE = 1 << 24


def needed_bytes(
    config: ModelConfig, quantization: QuantizeOptions | None, narrow: frozenset[str] = frozenset()
) -> int:
    """Bytes that an export takes at the most: the bundle, what is beside it meanwhile, and up to 1 GB.

    Beside a bundle of lower precision lie the bundle that it is made from, with the weights of ``narrow`` in 16 bits,
    and weights as they are tried where masks are compared: all in FP32, or of a large model those of a stage and what
    waits between stages. ``quantization`` is None for a plain FP32 bundle.
    """
    shapes = expected_tensors(config)
    if quantization is None:
        needed = bundle_bytes(config, shapes, "fp32")
    elif quantization.is_plain_half:
        needed = bundle_bytes(config, shapes, "fp16")
    else:
        precision = precision_of(quantization.plan) if quantization.plan else quantization.precision
        needed = bundle_bytes(config, shapes, "fp32", narrow) + _result_bytes(config, shapes, precision)
        if sum(map(prod, shapes.values())) > LARGE:
            needed += _STAGES
        elif quantization.min_iou > 0:
            needed += bundle_bytes(config, shapes, "fp32")
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
