"""The options of ``xsam-export`` that say how precise a bundle is, and what shows that it is precise enough."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import get_args

from xsam_edge.export.precision.plan import CachePrecision, Plan, Precision, read_plan
from xsam_edge.export.precision.presets import PRECISIONS
from xsam_edge.export.quantize_plan import (
    DEFAULT_CHECKED,
    DEFAULT_HELD_OUT,
    DEFAULT_MIN_IOU,
    DEFAULT_SAMPLES,
    LARGE_GATE_MINUTES,
    LARGE_HELD_OUT,
    LARGE_SAMPLES,
    QuantizeOptions,
)
from xsam_edge.runtime.cli.common import count, file_path, named_path
from xsam_edge.runtime.cli.idle import refuse_idle
from xsam_edge.runtime.errors import InputError

AUTO = "auto"
_OF_ACTIVATIONS = ("ranges", "no_smoothing")
_OF_LOWER_PRECISIONS = (
    *_OF_ACTIVATIONS,
    "calibration_data",
    "calibration_samples",
    "calibration_cache",
    "calibration_device",
    "check_samples",
    "gate_samples",
    "gate_minutes",
    "allow_degraded",
)
#: Why an option is refused with --precision fp32.
OF_LOWER_ONLY = "is of fp16, int8, int4 and fp8; give one as --precision, or leave it out"
#: What changes a bundle, and not the sizes that a memory plan is made of.
BEYOND_SIZES = ("encoder_precision", "float_precision", "precision_plan", *_OF_LOWER_PRECISIONS, "min_iou")
#: What a bundle has decided that is there already.
OF_AN_EXPORT = ("precision", "kv_cache_precision", *BEYOND_SIZES)


def add_precision_options(options: argparse.ArgumentParser) -> None:
    """Add them to the command."""
    group = options.add_argument_group("precision")
    group.add_argument(
        "--precision",
        choices=[*PRECISIONS, AUTO],
        help="fp32, fp16, int8 or fp8 (weights and activations), int4 (weights of the language model), or auto, what "
        "is fastest on --target and fits; default: fp32, or with --engine auto",
    )
    group.add_argument(
        "--encoder-precision",
        choices=["fp32", "fp16", "int8", "fp8"],
        help="of everything before the language model (default: int8 with int8, fp8 with fp8, else that of the floats)",
    )
    group.add_argument(
        "--float-precision",
        choices=["fp32", "fp16"],
        default="fp16",
        help="around what is quantised: fp16 for GPUs, fp32 for speed on a CPU (default: %(default)s)",
    )
    group.add_argument(
        "--kv-cache-precision",
        choices=get_args(CachePrecision),
        help="of the language model's cache, with a scale for each head: half of the memory of fp16 (default: as the "
        "floats)",
    )
    group.add_argument("--precision-plan", type=file_path, metavar="FILE", help="JSON plan in place of the presets")
    group.add_argument(
        "--ranges", metavar="METHOD", help="of activations: minmax, percentile-99.999 (default), entropy, mse"
    )
    group.add_argument("--no-smoothing", action="store_true", help="leave SmoothQuant out")
    group = options.add_argument_group("calibration and gate")
    group.add_argument(
        "--calibration-data",
        type=named_path,
        default="shapes",
        metavar="DATA",
        help='"shapes", a folder of images, or a JSONL file of image, task, prompt (default: %(default)s)',
    )
    group.add_argument(
        "--calibration-samples",
        type=count,
        metavar="N",
        help=f"images that ranges come from (default: {DEFAULT_SAMPLES}, or {LARGE_SAMPLES} for more than a billion "
        "parameters)",
    )
    group.add_argument("--calibration-cache", type=file_path, metavar="DIR", help="where statistics are kept")
    group.add_argument(
        "--calibration-device",
        choices=["cpu", "cuda"],
        default="cpu",
        help="cuda: statistics come from a GPU, through onnxruntime-gpu (default: %(default)s)",
    )
    group.add_argument(
        "--check-samples",
        type=count,
        default=DEFAULT_CHECKED,
        metavar="N",
        help="of these, images that show whether values fit into FP16; 0 checks nothing (default: %(default)s)",
    )
    group.add_argument(
        "--gate-samples",
        type=count,
        metavar="N",
        help=f"further images on which masks are compared with FP32 (default: {DEFAULT_HELD_OUT}, or {LARGE_HELD_OUT} "
        "for more than a billion parameters)",
    )
    group.add_argument(
        "--gate-minutes",
        type=_minutes,
        metavar="N",
        help="what that comparison may take: fewer images are compared, and no block is looked for after it (default: "
        f"no bound, or {LARGE_GATE_MINUTES:.0f} for more than a billion parameters)",
    )
    group.add_argument(
        "--min-iou",
        type=_share,
        metavar="IOU",
        help=f"least mean mask IoU with FP32; 0 compares nothing (default: {DEFAULT_MIN_IOU}, of random weights 0)",
    )
    group.add_argument("--allow-degraded", action="store_true", help="write a bundle below that bound, marked so")


def quantize_options(options: argparse.Namespace, precision: Precision) -> QuantizeOptions | None:
    """What was asked for at a precision; None where that is a plain FP32 bundle.

    Raises:
        InputError: options that exclude each other, or a plan that cannot be read.
    """
    plan: Plan | None = None
    if options.precision_plan is not None:
        if options.precision or options.encoder_precision:
            raise InputError("--precision-plan takes the place of --precision and --encoder-precision; give one")
        plan = read_plan(options.precision_plan)
    elif precision == "fp32":
        if options.encoder_precision not in (None, "fp32"):
            raise InputError("--encoder-precision lowers the encoders of other precisions; give one as --precision")
        _refuse_idle(
            options,
            ("kv_cache_precision", *_OF_LOWER_PRECISIONS),
            OF_LOWER_ONLY,
        )
        if options.min_iou:
            raise InputError("--min-iou compares masks with those of FP32, and this is FP32; leave it out")
        return None
    elif precision == "fp16" and options.encoder_precision in (None, "fp16", "fp32"):
        why = "is of quantised activations, and --precision fp16 has none; leave it out"
        _refuse_idle(options, _OF_ACTIVATIONS, why)
    min_iou = options.min_iou
    if min_iou is None:
        # Masks of weights that were never trained flip with any rounding and say nothing.
        min_iou = 0.0 if options.random_weights else DEFAULT_MIN_IOU
    if not min_iou:
        why = "is of the gate, and --min-iou 0, the default of random weights, compares no masks; leave it out"
        _refuse_idle(options, ("gate_samples", "gate_minutes", "allow_degraded"), why)
    return QuantizeOptions(
        precision=precision,
        float_type=options.float_precision,
        encoders=options.encoder_precision,
        kv_cache=options.kv_cache_precision,
        plan=plan,
        data=options.calibration_data,
        samples=options.calibration_samples,
        held_out=options.gate_samples,
        ranges=options.ranges,
        smoothing=False if options.no_smoothing else None,
        min_iou=min_iou,
        gate_minutes=options.gate_minutes,
        checked=options.check_samples,
        allow_degraded=options.allow_degraded,
        cache=options.calibration_cache,
        device=options.calibration_device,
    )


def _minutes(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of minutes above 0")
    return value


def _refuse_idle(options: argparse.Namespace, names: Sequence[str], why: str) -> None:
    parser = argparse.ArgumentParser()
    add_precision_options(parser)
    refuse_idle(options, parser, names, why)


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return value


def _number(text: str) -> float:
    """A number, or NaN of what is none, which lies in no range."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
