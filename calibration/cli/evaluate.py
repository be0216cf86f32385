"""``xsam-eval``: how good a bundle's masks and answers are on annotated data, and how close to another bundle's."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xsam_edge.calibration.data.samples import TASKS, Ask, DataSet, Task
from xsam_edge.calibration.evaluation import rejection_rule, report
from xsam_edge.calibration.evaluation.agreement import Agreement, Recorder
from xsam_edge.calibration.evaluation.paired import PictureCounts, differences
from xsam_edge.calibration.evaluation.rejection import OperatingPoint
from xsam_edge.calibration.evaluation.run import REFERRING, AskOptions, Evaluation, Watch, choose_tasks, evaluate
from xsam_edge.calibration.open_data import open_data
from xsam_edge.runtime.asking import AnswerMode
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, Manifest, read_manifest
from xsam_edge.runtime.bundle.settings import Referring, RejectionRule
from xsam_edge.runtime.cli.common import (
    Parser,
    add_running_options,
    command,
    file_path,
    load_bundle,
    named_path,
    package_version,
    positive,
)
from xsam_edge.runtime.cli.extras import remedy
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Step
from xsam_edge.runtime.results.result import Result

PROGRAM = "xsam-eval"
_DETAILS = """\
data: "shapes" (drawn scenes; "shapes:val", "shapes:1000-1299" for a split or seeds of your own), or a folder of
COCO      annotations/panoptic_*.json, annotations/instances_*.json   panoptic, semantic, instances, regions
RefCOCO   refs*.p, refs*.json or grefs*.json with instances.json      refer
ReasonSeg val/NAME.jpg with val/NAME.json                             reason
GranD-f   *_gcg_coco_mask_gt.json with *_gcg_coco_caption_gt.json,
          or *_GCG_*.json, a list of captions with "groundings"       captions

--against runs the same asks through a second bundle and says how far masks and texts agree.

--write-threshold RATE chooses, for each of refer and reason, the least score below which things count as absent so
that at most RATE of the absent things of these data are found, and writes it into the manifest of BUNDLE, whose refer
and reason keep to it from then on. Data must ask for 1 / RATE absent things at least: shapes and gRefCOCO do, and so
do records of your own with "no_target": true, of RefCOCO or ReasonSeg.

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
    options.add_argument("bundle", type=file_path, metavar="BUNDLE", help="folder that xsam-export wrote")
    options.add_argument(
        "--data", type=named_path, required=True, metavar="NAME_OR_FOLDER", help="annotated data, see below"
    )
    options.add_argument("--split", metavar="S", help="of the data (default: val of a folder, or its only one)")
    options.add_argument("--task", action="append", choices=TASKS, help="repeatable (default: all that the data have)")
    options.add_argument("--limit", type=positive, metavar="N", help="look at the first N pictures only")
    options.add_argument("--against", type=file_path, metavar="OTHER", help="a second bundle to compare with")
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
        type=_threshold,
        default="official",
        metavar="P",
        help="score below which a thing is absent, 0 to 1; 'official': the best mask of a phrase or region, whatever "
        "it scores, and every panoptic segment; 'bundle': the bundle's own, of refer and reason (default: %(default)s)",
    )
    ask.add_argument(
        "--write-threshold",
        type=_rate,
        metavar="RATE",
        help="write into BUNDLE the threshold at which at most this share of absent things is found, see below "
        "(default of --task: refer and reason)",
    )
    add_running_options(options)
    options.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(PROGRAM, parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Evaluate; returns the exit code."""
    rate = options.write_threshold
    with ProgressPrinter(sys.stderr, plain=not options.json) as progress:
        progress(Step("open data"))
        data = open_data(options.data, split=options.split)
        if data.notes:
            progress.clear()
            print(*(f"note: {note}" for note in data.notes), sep="\n", file=sys.stderr)
        wanted = options.task or ([task for task in data.tasks if task in REFERRING] if rate else ())
        tasks = choose_tasks(data, wanted)
        if options.answer == "append" and list(tasks) == ["captions"]:
            raise InputError("--answer append is of tasks whose answer is known; captions are decoded; leave it out")
        left_out = [] if wanted else [task for task in data.tasks if task not in tasks]
        if left_out:
            progress.clear()
            print(f"note: {' and '.join(left_out)} were left out: {remedy('pycocotools')}", file=sys.stderr)
        manifest = read_manifest(options.bundle)
        if options.against:
            read_manifest(options.against)  # a wrong second bundle should not be found after the first has run
        if rate:
            rejection_rule.check_data(data, tasks, options.limit, rate)
            rejection_rule.check_writable(options.bundle)
        recorder = Recorder() if options.against else None
        counts = PictureCounts(), PictureCounts()
        watch = _both(recorder.watch, counts[0].watch) if recorder else None
        facts, first = _evaluate(options, options.bundle, data, tasks, progress, watch)
        against: dict[str, Any] | None = None
        if recorder:
            agreement = Agreement(recorder)
            watch = _both(agreement.watch, counts[1].watch)
            other_facts, second = _evaluate(options, options.against, data, tasks, progress, watch)
            compared = {"agreement": agreement.result(), "differences": differences(*counts)}
            against = {**other_facts, "metrics": second.tasks, **compared}
    if unasked := [task for task in tasks if task not in first.tasks]:
        pictures = f"the first {first.pictures} pictures ask" if options.limit else "the pictures ask"
        print(f"note: {pictures} nothing of {' and '.join(unasked)}", file=sys.stderr)
    if options.json:
        written = _write(options, manifest, first, data.name)
        described = {"name": data.name, **data.describe()}
        settings = {"answer": options.answer, "threshold": options.threshold, "pictures": first.pictures}
        facts = {**facts, "data": described, **settings, "unreadable": first.unreadable, "against": against}
        facts |= {"left_out": left_out, "unasked": unasked}
        facts["written"] = {method: point.to_json() for method, point in written.items()} or None
        print(json.dumps({"version": package_version(), **facts, **first.tasks}, allow_nan=False))
        return 0
    print(f"{_title(facts)} on {data.name}" + (f" against {_title(against)}" if against else "") + "\n")
    print(
        report.comparison_table(first, second, against["agreement"], against["differences"])
        if against
        else report.table(first)
    )
    # What was measured is seen, also where no threshold can be chosen by it.
    if written := _write(options, manifest, first, data.name):
        print("\n" + report.written_rules(options.bundle / MANIFEST_FILE, written))
    return 0


def _write(
    options: argparse.Namespace, manifest: Manifest, evaluation: Evaluation, name: str
) -> dict[Referring, OperatingPoint]:
    """Choose a bundle's rules and write them, where that is wanted; returns what they do on the same data."""
    if options.write_threshold is None:
        return {}
    rules = rejection_rule.choose_rules(evaluation.scores, name, options.write_threshold)
    rejection_rule.write_rules(options.bundle, manifest, rules)
    return {method: evaluation.scores[method].at(rule.threshold) for method, rule in rules.items()}


def _threshold(text: str) -> float | str:
    """The type of ``--threshold``."""
    if text in ("official", "bundle"):
        return text
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) <= 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 0 to 1 nor 'official' nor 'bundle'")


def _rate(text: str) -> float:
    """The type of ``--write-threshold``."""
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) < 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1, such as 0.05")


def _ask_options(answer: AnswerMode, threshold: float | str, rules: Mapping[Referring, RejectionRule]) -> AskOptions:
    if isinstance(threshold, float):
        return AskOptions(answer, threshold, threshold)
    if threshold == "bundle":
        return AskOptions(answer, rejection={method: rule.threshold for method, rule in rules.items()})
    return AskOptions(answer)


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
        verify=options.verify,
        device=options.device,
        threads=options.threads,
        context=options.context,
    )
    manifest = model.manifest
    evaluation = evaluate(
        model,
        data,
        tasks,
        limit=options.limit,
        options=_ask_options(options.answer, options.threshold, manifest.settings.rejection or {}),
        progress=lambda step: progress(replace(step, detail=bundle.name)),
        watch=watch,
    )
    facts = {"bundle": str(bundle), "variant": manifest.variant, "precision": manifest.precision}
    return {**facts, "backend": model.pipeline.backend.name, "seconds": evaluation.seconds}, evaluation


def _both(one: Watch, other: Watch) -> Watch:
    def watch(picture: str, number: int, ask: Ask, result: Result) -> None:
        one(picture, number, ask, result)
        other(picture, number, ask, result)

    return watch


def _title(facts: dict[str, Any]) -> str:
    return f"{facts['bundle']} ({facts['variant']}, {facts['precision']})"
