"""``xsam-eval``: how good a bundle's masks and answers are on annotated data, and how close to another bundle's."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xsam_edge.calibration.data.samples import TASKS, DataSet, Task
from xsam_edge.calibration.evaluation import report
from xsam_edge.calibration.evaluation.agreement import Agreement, Recorder
from xsam_edge.calibration.evaluation.run import AskOptions, Evaluation, Watch, choose_tasks, evaluate
from xsam_edge.calibration.open_data import open_data
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.cli.common import (
    Parser,
    add_running_options,
    command,
    count,
    load_bundle,
    package_version,
)
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.progress import Step

PROGRAM = "xsam-eval"
_DETAILS = """\
data: "shapes" (drawn scenes; "shapes:val", "shapes:1000-1299" for a split or seeds of your own), or a folder of
COCO      annotations/panoptic_*.json, annotations/instances_*.json   panoptic, semantic, instances, regions
RefCOCO   refs*.json or grefs*.json with instances.json               refer
ReasonSeg val/NAME.jpg with val/NAME.json                             reason
GranD-f   a JSON list of captions with "groundings"                   captions

--against runs the same asks through a second bundle and says how far masks and texts agree.

exit codes: 0 done, 2 wrong input.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(
        PROGRAM,
        usage=f"{PROGRAM} BUNDLE --data NAME_OR_FOLDER [options]",
        description=__doc__,
        epilog=_DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that xsam-export wrote")
    options.add_argument("--data", required=True, metavar="NAME_OR_FOLDER", help="annotated data, see below")
    options.add_argument("--split", metavar="S", help="of the data (default: val of a folder, or its only one)")
    options.add_argument("--task", action="append", choices=TASKS, help="repeatable (default: all that the data have)")
    options.add_argument("--limit", type=count, metavar="N", help="look at the first N pictures only")
    options.add_argument("--against", type=Path, metavar="OTHER", help="a second bundle to compare with")
    options.add_argument("--json", action="store_true", help="print one JSON object, its metrics by task")
    ask = options.add_argument_group("how to ask")
    ask.add_argument(
        "--answer",
        default="greedy",
        choices=["greedy", "append"],
        help="decode answers, or take each task's own as given, as the official benchmarks do (default: %(default)s)",
    )
    ask.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        metavar="P",
        help="score to keep a panoptic segment, 0 to 1 (default: %(default)s, as the official benchmarks)",
    )
    add_running_options(options)
    options.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(PROGRAM, parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Evaluate; returns the exit code."""
    with ProgressPrinter(sys.stderr, plain=not options.json) as progress:
        progress(Step("open data"))
        data = open_data(options.data, split=options.split)
        tasks = choose_tasks(data, options.task or ())
        for bundle in filter(None, (options.bundle, options.against)):
            read_manifest(bundle)  # a wrong second bundle should not be found after the first has run
        recorder = Recorder() if options.against else None
        facts, first = _evaluate(options, options.bundle, data, tasks, progress, recorder.watch if recorder else None)
        against: dict[str, Any] | None = None
        if recorder:
            agreement = Agreement(recorder)
            other_facts, second = _evaluate(options, options.against, data, tasks, progress, agreement.watch)
            against = {**other_facts, "metrics": second.tasks, "agreement": agreement.result()}
    if options.json:
        described = {"name": data.name, **data.describe()}
        settings = {"answer": options.answer, "threshold": options.threshold, "pictures": first.pictures}
        facts = {**facts, "data": described, **settings, "unreadable": first.unreadable, "against": against}
        print(json.dumps({"version": package_version(), **facts, **first.tasks}, allow_nan=False))
        return 0
    print(f"{_title(facts)} on {data.name}" + (f" against {_title(against)}" if against else "") + "\n")
    print(report.comparison_table(first, second, against["agreement"]) if against else report.table(first))
    return 0


def _evaluate(
    options: argparse.Namespace,
    bundle: Path,
    data: DataSet,
    tasks: Sequence[Task],
    progress: ProgressPrinter,
    watch: Watch | None,
) -> tuple[dict[str, Any], Evaluation]:
    """Load one bundle, run it and let go of it; returns what it is, and what was found."""
    model = load_bundle(
        bundle,
        progress,
        verify=not options.no_verify,
        device=options.device,
        threads=options.threads,
        context=options.context,
    )
    evaluation = evaluate(
        model,
        data,
        tasks,
        limit=options.limit,
        options=AskOptions(options.answer, options.threshold),
        progress=lambda step: progress(replace(step, detail=bundle.name)),
        watch=watch,
    )
    manifest = model.manifest
    facts = {"bundle": str(bundle), "variant": manifest.variant, "precision": manifest.precision}
    return {**facts, "backend": model.pipeline.backend.name, "seconds": evaluation.seconds}, evaluation


def _title(facts: dict[str, Any]) -> str:
    return f"{facts['bundle']} ({facts['variant']}, {facts['precision']})"
