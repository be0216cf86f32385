"""``xsam-label``: folders of pictures become data sets, by names, phrases or everything that there is a list of."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xsam_edge.runtime.cli.common import (
    Parser,
    add_running_options,
    check_threads,
    command,
    file_path,
    load_bundle,
    named_path,
    package_version,
    positive,
)
from xsam_edge.runtime.cli.everything import EVERYTHING_HELP
from xsam_edge.runtime.cli.messages import LOGGER, add_message_options, is_quiet
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.cli.tasks import category_names, read_threshold
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.label.asks import Ask, Asks, Each, Same
from xsam_edge.runtime.label.assemble import DAMAGED, FORMATS, Summary, assemble
from xsam_edge.runtime.label.categories import everything, read_lines, things_and_stuff
from xsam_edge.runtime.label.formats.parquet import check_parquet
from xsam_edge.runtime.label.formats.writer import DataSet
from xsam_edge.runtime.label.journal import JOURNAL, Journal, holds_no_record
from xsam_edge.runtime.label.labeller import Labeller, Options
from xsam_edge.runtime.label.mapping import mapped, read_map
from xsam_edge.runtime.label.pictures import Pictures, find_pictures
from xsam_edge.runtime.label.ray_workers import LOCAL, Cluster, ray_records
from xsam_edge.runtime.label.run import Counts, bundle_hash, check_asks, fill, header, jobs, missing
from xsam_edge.runtime.progress import Step

PROGRAM = "xsam-label"
OUTPUT = Path("xsam-labels")
LOG = "label.log"
_EXAMPLES = """\
examples:
  xsam-label bundle photos/ --things person,car --stuff road -o labels
  xsam-label bundle photos/ --everything --format coco --format yolo -o labels
  xsam-label bundle @list.txt --refer-file phrases.txt -o labels
  xsam-label bundle photos/ --things car,van --map vehicles.txt --ray --workers 2 --threads 4 -o labels

The same command goes on where it was ended. exit codes: 0 done, also where pictures are damaged; 2 the input is wrong.
"""
_log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(
        PROGRAM,
        usage=f"{PROGRAM} BUNDLE PICTURES... NAMES [options]",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("bundle", type=file_path, metavar="BUNDLE", help="folder that xsam-export wrote")
    options.add_argument(
        "pictures",
        type=named_path,
        nargs="+",
        metavar="PICTURES",
        help="folders, with those inside; pictures; @LIST: a file with a path a line, from its own folder on",
    )
    names = options.add_argument_group("names (one kind; things and stuff can be given together)")
    names.add_argument(
        "--things", action="append", metavar="A,B", help="categories to count one by one, or @FILE with one a line"
    )
    names.add_argument("--stuff", action="append", metavar="C,D", help="categories that are one region each, likewise")
    names.add_argument(
        "--refer-file", type=file_path, metavar="FILE", help="phrases, one a line, all asked of each picture"
    )
    names.add_argument(
        "--prompts", type=file_path, metavar="FILE", help="JSON lines that say what to ask of each picture"
    )
    names.add_argument("--everything", type=named_path, nargs="?", const="coco", metavar="LIST", help=EVERYTHING_HELP)
    names.add_argument(
        "--map", type=file_path, metavar="FILE", help="lines such as car,van -> vehicle, or JSON: names in the output"
    )
    form = options.add_argument_group("how")
    form.add_argument(
        "--instances", action="store_true", help="of categories: masks may overlap, and stuff is left out"
    )
    form.add_argument("--several", action="store_true", help="of phrases: everything that scores enough, as one mask")
    form.add_argument("--threshold", metavar="P", help="score below which a thing is absent, 0 to 1, or 'official'")
    form.add_argument("--strict", action="store_true", help="end with the first picture that cannot be labelled")
    out = options.add_argument_group("output")
    out.add_argument("-o", "--output", type=file_path, metavar="DIR", default=OUTPUT, help="default: %(default)s")
    out.add_argument("--format", action="append", choices=FORMATS, help="of the data set; repeatable (default: coco)")
    out.add_argument("--polygons", action="store_true", help="of coco: outlines in place of run lengths")
    out.add_argument("--json", action="store_true", help="print one JSON object")
    add_message_options(out)
    spread = options.add_argument_group("several workers, by Ray")
    spread.add_argument(
        "--ray", nargs="?", const=LOCAL, metavar="ADDRESS", help="of a cluster; without one, processes on this machine"
    )
    spread.add_argument(
        "--workers", type=positive, metavar="N", help="default: one a GPU, or one for each --threads of the cores"
    )
    add_running_options(options)
    options.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(PROGRAM, parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Label; returns the exit code."""
    _check(options)
    formats = options.format or ["coco"]
    if "parquet" in formats:
        check_parquet()
    hashed = bundle_hash(options.bundle)
    pictures = find_pictures(options.pictures, options.output)
    asks = _asks(options, pictures)
    mapping = read_map(options.map) if options.map else {}
    categories, becomes = mapped(asks.categories, mapping)
    how = _how(options)
    with (
        _taken_back(options.output),
        Journal(options.output, header(hashed, asks, how), pictures) as journal,
        _logged_to(options.output / LOG),
        ProgressPrinter(sys.stderr, plain=not options.json, quiet=is_quiet(options)) as progress,
    ):
        start, before = time.monotonic(), journal.done
        counts = _label(options, how, journal, pictures, asks, progress)
        seconds = time.monotonic() - start
        data = DataSet(categories, hashed, options.polygons)
        summary = assemble(options.output, journal, pictures, data, becomes, formats, progress)
        left_over = journal.left_over
        facts = summary.pictures, summary.damaged, ", ".join(summary.files)
        _log.info("%d pictures are labelled, %d could not be; written: %s", *facts)
    _tell(options, summary, counts, before, left_over, seconds)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raise InputError for options that are missing, or do nothing together."""
    kinds = {
        "--things/--stuff": options.things is not None or options.stuff is not None,
        "--refer-file": options.refer_file is not None,
        "--prompts": options.prompts is not None,
        "--everything": options.everything is not None,
    }
    chosen = [name for name, is_chosen in kinds.items() if is_chosen]
    if len(chosen) != 1:
        fault = f"{' and '.join(chosen)} were given together" if chosen else "nothing says what to label"
        raise InputError(f"{fault}; choose one of {', '.join(kinds)}")
    if options.several and chosen[0] not in ("--refer-file", "--prompts"):
        raise InputError(f"--several does not apply to {chosen[0]}, only to phrases")
    if options.instances and chosen[0] == "--refer-file":
        raise InputError("--instances does not apply to --refer-file, only to categories")
    if options.instances and options.things is None and options.stuff is not None:
        raise InputError("--instances leaves stuff out, and only --stuff was given; give --things, or leave it out")
    if options.polygons and "coco" not in (options.format or ["coco"]):
        raise InputError("--polygons does not apply to these formats, only to --format coco")
    check_threads(options.device, options.threads)
    if options.workers is not None and options.ray is None:
        raise InputError("--workers does not apply without --ray")


def _asks(options: argparse.Namespace, pictures: Pictures) -> Asks:
    if options.prompts is not None:
        return Each(options.prompts, pictures)
    if options.refer_file is not None:
        return Same(Ask(phrases=tuple(read_lines(options.refer_file))))
    if options.everything is not None:
        categories = everything(options.everything)
        return Same(Ask(*things_and_stuff(categories)), categories)
    named = (category_names(getattr(options, kind), f"--{kind}") for kind in ("things", "stuff"))
    return Same(Ask(*map(tuple, named)))


def _how(options: argparse.Namespace) -> Options:
    threshold = None if options.threshold is None else read_threshold(options.threshold)
    return Options(threshold, options.several, True if options.instances else None)


def _label(
    options: argparse.Namespace,
    how: Options,
    journal: Journal,
    pictures: Pictures,
    asks: Asks,
    progress: ProgressPrinter,
) -> Counts:
    places = missing(journal, pictures)
    if not places:
        return Counts(0, 0)
    _log.info("%d of %d pictures are to be labelled in %s", len(places), len(pictures), pictures.root)
    loading = {"device": options.device, "threads": options.threads, "context": options.context}
    loading["verify"] = options.verify
    todo = jobs(places, pictures, asks)
    if options.ray is not None:
        cluster = Cluster(options.ray, options.workers, options.bundle, how, loading)
        return fill(journal, pictures, ray_records(todo, cluster), len(places), progress, strict=options.strict)
    progress(Step("load"))
    with load_bundle(options.bundle, progress, **loading) as model:
        labeller = Labeller(model, how)
        check_asks(labeller, places, asks)
        records = labeller.records(todo)
        return fill(journal, pictures, records, len(places), progress, strict=options.strict)


@contextmanager
def _taken_back(folder: Path) -> Iterator[None]:
    """A folder, made where it is absent; what an error leaves in it that came before any answer is removed."""
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except XSamError:
        if {path.name for path in folder.iterdir()} <= {JOURNAL, LOG} and holds_no_record(folder):
            for name in (JOURNAL, LOG):
                (folder / name).unlink(missing_ok=True)
            if made:
                folder.rmdir()
        raise


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Append what the runtime says to a file, with the time."""
    logger, handler = logging.getLogger(LOGGER), logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


def _tell(
    options: argparse.Namespace, summary: Summary, counts: Counts, before: int, left_over: int, seconds: float
) -> None:
    notes = []
    if summary.damaged:
        notes.append(f"{summary.damaged} pictures could not be labelled; {options.output / DAMAGED} says why")
    if left_over:
        notes.append(f"labels of {left_over} pictures that are no longer given were left out")
    if summary.approximate:
        notes.append(
            f"labels of {summary.approximate} pictures are approximate: there were more names than a prompt holds"
        )
    if options.json:
        facts: dict[str, Any] = {"version": package_version(), "bundle": str(options.bundle)}
        facts |= {"output": str(options.output), "pictures": summary.pictures, "damaged": summary.damaged}
        facts |= {"labelled_now": counts.labelled, "labelled_before": before, "seconds": seconds}
        facts |= {"segments": dict(summary.segments), "approximate": summary.approximate, "left_over": left_over}
        print(json.dumps({**facts, "files": list(summary.files)}))
    else:
        total = sum(summary.segments.values())
        print(
            f"{summary.pictures:,} pictures with {total:,} segments are in {options.output}: {', '.join(summary.files)}"
        )
    if not is_quiet(options):
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
