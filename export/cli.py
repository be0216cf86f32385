"""``xsam-export``: a checkpoint becomes a bundle of graphs, or of engines."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xsam_edge.export.config.overrides import Overrides, read_overrides
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.export.dialect import DIALECTS, dialect_of
from xsam_edge.export.engines import command as engines
from xsam_edge.export.engines.options import OF_ENGINES, OF_TARGETS, add_engine_options
from xsam_edge.export.engines.precision_choice import PrecisionChoice
from xsam_edge.export.memory import MemoryWatch, PeakMemory, peak_memory
from xsam_edge.export.quantize_options import (
    AUTO,
    BEYOND_SIZES,
    OF_AN_EXPORT,
    OF_LOWER_ONLY,
    add_precision_options,
    quantize_options,
)
from xsam_edge.export.report.facts import Report
from xsam_edge.export.report.summary import summary_lines
from xsam_edge.export.staging import check_output, clear_up
from xsam_edge.export.triton import command as triton
from xsam_edge.export.triton.options import OF_TRITON, add_triton_options
from xsam_edge.runtime.bundle.manifest import Manifest
from xsam_edge.runtime.bundle.typed_json import read_json
from xsam_edge.runtime.cli.common import Parser, command, file_path, named_path, package_version
from xsam_edge.runtime.cli.idle import refuse_idle
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Progress, Step
from xsam_edge.runtime.units import duration

_EXAMPLES = """\
examples:
  xsam-export --checkpoint hao9610/X-SAM --precision fp16 -o xsam-fp16
  xsam-export --checkpoint pytorch_model.bin --inits inits/ --precision int8 --calibration-data photos/ -o bundle
  xsam-export --random-weights --variant qwen3-1.7b --precision fp16 -o bundle
  xsam-export --from bundle --engine tensorrt --target orin-nx -o engines
  xsam-export --from bundle --triton models --instances 2
  xsam-export --random-weights --variant phi3 --precision int8 --target orin-nano --plan
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(
        "xsam-export", description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    weights = options.add_mutually_exclusive_group(required=True)
    weights.add_argument(
        "--checkpoint", type=named_path, metavar="PATH_OR_HUB_ID", help="a file, a folder, or owner/name on the hub"
    )
    weights.add_argument("--random-weights", action="store_true", help="a model that was never trained, for latency")
    weights.add_argument(
        "--from", dest="bundle", type=file_path, metavar="BUNDLE", help="a bundle, to compile or to serve"
    )
    options.add_argument(
        "--inits", type=file_path, metavar="DIR", help="folder with the configurations of the four parts"
    )
    options.add_argument(
        "--variant", default="auto", choices=["auto", *VARIANTS], help="default: told by the checkpoint"
    )
    options.add_argument(
        "--config", type=file_path, metavar="FILE", help="JSON object of sizes, such as llm.num_layers"
    )
    options.add_argument("--seed", type=_seed, default=0, help="of --random-weights (default: %(default)s)")
    options.add_argument("-o", "--output", type=file_path, metavar="BUNDLE", help="folder to write")
    options.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    options.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    add_precision_options(options)
    options.add_argument(
        "--for",
        dest="dialect",
        choices=DIALECTS,
        help="cpu: the forms that are fastest there; gpu: those that TensorRT makes engines of; cuda: with ONNX "
        "Runtime's own operators for GPUs (default: gpu, but cpu with --precision fp32 or --float-precision fp32)",
    )
    add_engine_options(options)
    add_triton_options(options)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command("xsam-export", parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Export; returns the exit code."""
    start = time.perf_counter()
    _refuse_idle_options(options)
    if options.triton is not None:
        return triton.run(options)
    if options.output is None and not options.plan:
        raise InputError("give the folder to write with -o")
    if options.random_weights and options.variant == "auto":
        raise InputError(f"--random-weights needs --variant, one of {', '.join(VARIANTS)}")
    if options.inits is not None and not options.inits.is_dir():
        raise InputError(f"{options.inits} is not a folder; --inits takes the folder of the four parts")
    overrides = read_overrides(_read_config(options.config))

    def export(output: Path, choice: PrecisionChoice, progress: Progress) -> tuple[Manifest, Report | None]:
        return _export(options, overrides, output, choice, progress)

    if engines.wanted(options):
        return engines.run(options, overrides, export)
    with ProgressPrinter(sys.stderr, plain=not options.json) as progress, MemoryWatch() as memory:
        choice = PrecisionChoice(options.precision or "fp32")
        if options.precision == AUTO:
            choice = engines.choice(options, overrides, progress)
        manifest, report = export(options.output, choice, progress)
    _print_result(options, manifest, report, time.perf_counter() - start, memory.peak())
    return 0


def _refuse_idle_options(options: argparse.Namespace) -> None:
    own = parser()
    if options.triton is None:
        refuse_idle(options, own, OF_TRITON, "is of --triton; give it, or leave this out")
    else:
        if options.bundle is None:
            raise InputError("--triton serves a bundle; name it with --from in place of a checkpoint")
        refuse_idle(options, own, ("engine", "plan", "output", *OF_ENGINES), "is not of --triton; leave it out")
    if options.bundle is not None:
        decided = ("inits", "variant", "config", "seed", "dialect", *OF_AN_EXPORT)
        refuse_idle(options, own, decided, "is of an export; with --from the bundle has decided it")
    elif not options.random_weights:
        refuse_idle(options, own, ("seed",), "is of --random-weights; leave it out")
    if options.plan:
        names = ("output", "overwrite", "optimization_level", "no_parity", "seed", "dialect", *BEYOND_SIZES)
        refuse_idle(options, own, names, "is of what is written, and --plan writes nothing; leave it out")
        if options.random_weights:
            refuse_idle(options, own, ("inits",), "is of the tokenizer here, and --plan needs none; leave it out")
    if options.precision == "fp32":  # here, as --plan exports nothing that would refuse it
        refuse_idle(options, own, ("kv_cache_precision",), OF_LOWER_ONLY)
    if options.triton is None and not engines.wanted(options):
        idle = [name for name in OF_ENGINES if options.precision != AUTO or name not in OF_TARGETS]
        refuse_idle(options, own, idle, "is of --engine and --plan; give one of these, or leave it out")


def _export(
    options: argparse.Namespace,
    overrides: Overrides,
    output: Path,
    choice: PrecisionChoice,
    progress: Progress,
) -> tuple[Manifest, Report | None]:
    quantization = quantize_options(options, choice.precision)
    progress(Step("load torch"))
    # Here, not at the top: they take seconds, and a wrong option should not.
    from xsam_edge.export.bundle import narrow_names, write_bundle
    from xsam_edge.export.disk import check_room, needed_bytes
    from xsam_edge.export.prepare import from_checkpoint, from_random

    clear_up(output, progress)  # before the disk is looked at, which may be full of it
    check_output(output, options.overwrite)

    def accept(config: ModelConfig, weights: Any) -> None:
        check_room(output, needed_bytes(config, quantization, narrow_names(weights)))

    dialect = dialect_of(options, choice.precision)
    common = {"inits": options.inits, "overrides": overrides, "dialect": dialect, "accept": accept}
    if options.random_weights:
        request = from_random(options.variant, options.seed, **common)
    else:
        request = from_checkpoint(options.checkpoint, variant=options.variant, progress=progress, **common)
    request = replace(request, precision_why=choice.why)
    if quantization is None:
        return write_bundle(request, output, overwrite=options.overwrite, progress=progress), None
    from xsam_edge.export.quantize import quantize_bundle

    return quantize_bundle(request, output, quantization, overwrite=options.overwrite, progress=progress)


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


def _read_config(path: Path | None) -> dict[str, Any]:
    return {} if path is None else read_json(path, dict[str, Any], advice="--config takes a JSON object")


def _print_result(
    options: argparse.Namespace, manifest: Manifest, report: Report | None, seconds: float, peak: PeakMemory
) -> None:
    sizes = {name: entry.bytes for name, entry in manifest.files.items()}
    if options.json:
        result = {
            "bundle": str(options.output),
            "variant": manifest.variant,
            "precision": manifest.precision,
            "precision_why": manifest.precision_why,
            "source": manifest.source.checkpoint,
            "bytes": sizes,
            "seconds": round(seconds, 3),
            "peak_memory_bytes": peak.own,
            "peak_resident_bytes": peak.resident,
        }
        if report is not None:
            result["report"] = json.loads(report.to_json())
        print(json.dumps(result))
        return
    print(f"{options.output}: {manifest.variant}, {manifest.precision}, from {manifest.source.checkpoint}")
    if manifest.precision_why:
        print(f"chosen: {manifest.precision_why}")
    if report is not None:
        print(*summary_lines(report), sep="\n")
        print(f"see {options.output / 'report.html'}")
        return
    for name, size in sizes.items():
        print(f"  {name:<28} {size / 1e6:>10.1f} MB")
    print(f"  {'in all':<28} {sum(sizes.values()) / 1e6:>10.1f} MB")
    print(f"took {duration(seconds)}, {peak_memory(peak)}")
