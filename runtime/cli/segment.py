"""``xsam-segment``: say what to look for in images, get masks."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xsam_edge.runtime.cli.common import (
    Parser,
    add_running_options,
    command,
    describe_error,
    file_path,
    load_bundle,
    named_path,
    package_version,
    positive,
)
from xsam_edge.runtime.cli.everything import EVERYTHING_HELP
from xsam_edge.runtime.cli.messages import add_message_options, is_quiet
from xsam_edge.runtime.cli.output import check_output, folder_names, part_names
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.cli.stream import add_stream_options, check_stream_options, run_stream
from xsam_edge.runtime.cli.tasks import Question, question
from xsam_edge.runtime.errors import XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import Step
from xsam_edge.runtime.results.files import write_result
from xsam_edge.runtime.results.result import Result

PROGRAM = "xsam-segment"
OUTPUT = Path("xsam-output")
_EXAMPLES = """\
examples:
  xsam-segment bundle street.jpg --refer "the man ironing"
  xsam-segment bundle street.jpg --things person,car --stuff road,sky
  xsam-segment bundle *.jpg --box 40,60,200,310 --similar -o found
  xsam-segment bundle --source 0 --refer "the cup" --json --deadline 500

exit codes: 0 done, also where the model finds nothing; 2 an image failed or the input is wrong.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(
        PROGRAM,
        usage=f"{PROGRAM} BUNDLE (IMAGE... | --source FROM) TASK [options]",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("bundle", type=file_path, metavar="BUNDLE", help="folder that xsam-export wrote")
    images = options.add_argument(
        "images", type=file_path, nargs="+", metavar="IMAGE", help="any image that Pillow reads"
    )
    images.required = False  # nargs="*" would take none as soon as an option stands before them
    add_stream_options(options)
    task = options.add_argument_group(
        "task (exactly one, whose options add up; regions can be mixed, things and stuff given together)"
    )
    task.add_argument("--refer", action="append", metavar="TEXT", help="the one thing that a phrase names; repeatable")
    task.add_argument(
        "--reason", action="append", metavar="TEXT", help="what answers a question or fits a sentence; repeatable"
    )
    task.add_argument(
        "--things", action="append", metavar="A,B", help="categories to count one by one, or @FILE with one a line"
    )
    task.add_argument("--stuff", action="append", metavar="C,D", help="categories that are one region each, likewise")
    task.add_argument("--everything", type=named_path, nargs="?", const="coco", metavar="LIST", help=EVERYTHING_HELP)
    task.add_argument(
        "--box", action="append", default=[], metavar="X0,Y0,X1,Y1", help="a region in pixels; repeatable"
    )
    task.add_argument("--point", action="append", default=[], metavar="X,Y", help="a region in pixels; repeatable")
    task.add_argument(
        "--mask",
        type=file_path,
        action="append",
        default=[],
        metavar="FILE[:ID]",
        help="a region as an image, or an id of one such as ids.png; repeatable",
    )
    task.add_argument("--describe", action="store_true", help="a caption with a mask for each phrase")
    task.add_argument("--chat", action="append", metavar="TEXT", help="ask anything; the answer is text; repeatable")
    form = options.add_argument_group("how")
    forms = form.add_mutually_exclusive_group()
    forms.add_argument("--panoptic", dest="form", action="store_const", const="panoptic", help="of categories")
    forms.add_argument("--instances", dest="form", action="store_const", const="instances", help="of categories")
    forms.add_argument("--semantic", dest="form", action="store_const", const="semantic", help="of categories")
    form.add_argument("--similar", action="store_true", help="of regions: everything that resembles them")
    form.add_argument("--several", action="store_true", help="of --refer and --reason: everything that scores enough")
    form.add_argument(
        "--threshold",
        metavar="P",
        help="score below which a thing is absent, 0 to 1, or 'official': the best mask of a phrase or region, "
        "whatever it scores (default: the bundle's, where it has one, of --refer and --reason; else official)",
    )
    form.add_argument("--append-answer", action="store_true", help="take the task's answer as given: one forward")
    form.add_argument("--max-new-tokens", type=positive, metavar="N", help="of --describe and --chat")
    out = options.add_argument_group("output")
    out.add_argument(
        "-o",
        "--output",
        type=file_path,
        metavar="DIR",
        help=f"default: {OUTPUT}; of --source: nothing is written, and FILE.mcap is one file, a bag of ROS 2",
    )
    out.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty, or over a file")
    out.add_argument("--json", action="store_true", help="print one JSON object, of --source one a frame; masks as RLE")
    add_message_options(out)
    add_running_options(options)
    options.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(PROGRAM, parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Segment; returns the exit code."""
    check_stream_options(options)
    if options.source is not None:
        return run_stream(options)
    with ProgressPrinter(sys.stderr, plain=not options.json, quiet=is_quiet(options)) as progress:
        progress(Step("load"))
        task, output = question(options), options.output or OUTPUT
        if task.segments:
            check_output(output, options.overwrite)
        start = time.perf_counter()
        model = load_bundle(
            options.bundle,
            progress,
            verify=options.verify,
            device=options.device,
            threads=options.threads,
            context=options.context,
        )
        load = 1e3 * (time.perf_counter() - start)
        entries: list[dict[str, Any]] = []
        failed = False
        total = len(options.images) if len(options.images) > 1 else None
        for done, (image, name) in enumerate(zip(options.images, folder_names(options.images), strict=True)):
            progress(Step("segment", done, total, "images", image.name))
            try:
                answers = _answers(model, task, image, output / name, options.overwrite)
            except (XSamError, OSError, MemoryError) as error:
                failed = True
                text = describe_error(error)
                answers = [({"image": str(image), "error": text}, [])]
                progress.clear()
                prefix = "" if str(image) in text or len(options.images) == 1 else f"{image}: "
                print(f"{PROGRAM}: error: {prefix}{text}", file=sys.stderr)
            for entry, lines in answers:
                entries.append(entry)
                if lines and not options.json:
                    progress.clear()
                    print("\n".join(lines), flush=True)
    if options.json:
        manifest = model.manifest
        facts: dict[str, Any] = {
            "version": package_version(),
            "bundle": str(options.bundle),
            "variant": manifest.variant,
        }
        facts |= {"precision": manifest.precision, "backend": model.pipeline.backend.name, "load_ms": load}
        print(json.dumps({**facts, "images": entries}, allow_nan=False))
    elif not failed or len(entries) > 1:
        print(f"loaded in {_seconds(load)}")
    return 2 if failed else 0


def _answers(
    model: XSam, task: Question, image: Path, folder: Path, overwrite: bool
) -> list[tuple[dict[str, Any], list[str]]]:
    """Of each text that was asked, what ``--json`` prints and the lines of the table."""
    with model.look(image) as scene:
        answer, parts = task.ask(scene), task.parts(scene)
    results = [answer] if isinstance(answer, Result) else answer
    folders = [folder.with_name(name) for name in part_names(folder.name, task.texts)]
    answers = []
    for result, text, place in zip(results, task.texts, folders, strict=True):
        facts: dict[str, Any] = {"image": str(image), "asked": text, "error": None}
        facts |= {"approximate": True, "parts": parts} if parts > 1 else {}
        files = write_result(result, place, facts, overwrite) if task.segments else None
        title = f"{image}  {text}" if len(results) > 1 else str(image)
        entry = {**facts, **result.to_json(), "files": files}
        lines = _lines(result, title, place if files else None)
        if parts > 1:
            lines.insert(1, f"  approximate: the names were asked in {parts} parts")
        answers.append((entry, lines))
    return answers


def _lines(result: Result, title: str, folder: Path | None) -> list[str]:
    height, width = result.image_size
    lines = [f"{title}  {width} x {height}"]
    if result.text:
        lines.append(f"  answer: {' '.join(result.text.split())}")
    if result.task == "gcgseg" and result.caption:
        lines.append(f"  caption: {result.caption}")
    if not result.answered:
        lines.append(f"  nothing was segmented: {result.reason}")
    elif folder is not None and not result.found:
        lines.append("  nothing was found" + (f": {result.reason}" if result.reason else ""))
    rows = [("", "label", "score", "area", "box")] if result.segments else []
    for number, segment in enumerate(result.segments, 1):
        box = ",".join(f"{value:g}" for value in segment.box)
        rows.append((str(number), segment.label or "-", f"{segment.score:.3f}", str(segment.area), box))
    lines += [f"  {line}" for line in _align(rows)]
    lines.append("  " + ", ".join(f"{stage} {_seconds(value)}" for stage, value in result.timings.items()))
    if folder is not None:
        count = len(result.segments)
        lines.append(f"  written to {folder}" + (f": overlay.png and {count} mask{'s'[: count != 1]}" if count else ""))
    return lines


def _align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"{number:>{widths[0]}}  {label:<{widths[1]}}  {score:>{widths[2]}}  {area:>{widths[3]}}  {box}"
        for number, label, score, area, box in rows
    ]


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 1e4 else f"{milliseconds / 1e3:.1f} s"
