"""``xsam-verify``: recorded outputs of the official code against those of a bundle, stage by stage."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from xsam_edge.calibration.verify import report
from xsam_edge.calibration.verify.reference import open_reference
from xsam_edge.calibration.verify.stages import verify
from xsam_edge.runtime.backends.onnxruntime import DEVICES
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.cli.common import Parser, command, file_path, load_bundle, package_version, threads
from xsam_edge.runtime.cli.idle import refuse_idle
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.progress import Step

_DETAILS = """\
DIR holds image.png, config.json, one <task>.npz per recorded prompt (aaai_<task>.npz of the AAAI26 line) and
image_features.npz. Prompts and the points of regions are taken from the recording, everything else is computed from
the image. What a file lacks and what no graph gives (hidden states) is not compared, and counted.

bounds: FP32 bundles: pixels 1e-3, numbers 1e-4, token ids and text equal, mask IoU 0.9999. Lower precisions: mask IoU
0.99 and, of maps, 99 % of the pixels, for each task's own options; the rest is reported.

exit codes: 0 all within bounds, 1 a bound is exceeded, 2 wrong input.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(
        "xsam-verify",
        usage="xsam-verify BUNDLE --reference DIR [options]",
        description=__doc__,
        epilog=_DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("bundle", type=file_path, metavar="BUNDLE", help="folder that xsam-export wrote")
    options.add_argument("--reference", type=file_path, required=True, metavar="DIR", help="folder of recorded outputs")
    options.add_argument("--device", default="cpu", choices=DEVICES, help="default: %(default)s")
    options.add_argument("--threads", type=threads, default=0, metavar="N", help="of the CPU (default: every core)")
    options.add_argument("--all", action="store_true", help="list every comparison, the worst first")
    options.add_argument("--json", action="store_true", help="print one JSON object with every comparison")
    options.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command("xsam-verify", parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Verify; returns the exit code."""
    refuse_idle(options, parser(), ("all",) if options.json else (), "is of the table; --json has every comparison")
    with ProgressPrinter(sys.stderr, plain=not options.json) as progress:
        progress(Step("load"))
        reference = open_reference(options.reference, read_manifest(options.bundle).source.line)
        model = load_bundle(options.bundle, progress, device=options.device, threads=options.threads)
        outcome = verify(model, reference, progress)
    manifest = model.manifest
    if options.json:
        facts = {"bundle": str(options.bundle), "variant": manifest.variant, "precision": manifest.precision}
        facts |= {"reference": str(options.reference), "backend": model.pipeline.backend.name}
        print(json.dumps({**facts, **report.as_json(outcome)}, allow_nan=False))
    else:
        print(f"{options.bundle} ({manifest.variant}, {manifest.precision}) against {options.reference}\n")
        print(report.table(outcome, every=options.all))
    return 0 if outcome.ok else 1
