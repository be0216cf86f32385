"""``xsam-bench``: how fast a bundle answers on this machine, and how far that is from what the machine could do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xsam_edge.runtime.cli.common import (
    Parser,
    add_running_options,
    check_threads,
    command,
    count,
    file_path,
    package_version,
)
from xsam_edge.runtime.cli.idle import refuse_idle
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.progress import Progress, Step

if TYPE_CHECKING:
    from xsam_edge.benchmarks.chain import RuntimeSide
    from xsam_edge.benchmarks.measure import Side
    from xsam_edge.benchmarks.peaks import Peaks

PROGRAM = "xsam-bench"
TORCH = ("torch", "torch-compile")
_DETAILS = """\
Each round takes a picture that was not seen before, asks about it (first answer), and asks something else about it
(next answer). Sides that are compared alternate in one process. Beside each stage stands what it has to compute and
move, and the share of this machine's own peaks that it reaches: a matrix product and a copy, of the same run.

examples:
  xsam-bench BUNDLE --against torch --against torch-compile --stages
  xsam-bench xsam-fp16 --against xsam-fp32 --html page.html
  xsam-bench BUNDLE --prompts "the cup" "the man ironing" --image street.jpg --json

--against torch builds the torch reference from the bundle's own weights; it needs `pip install 'xsam-edge[export]'`.

exit codes: 0 done, 2 wrong input.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(
        PROGRAM,
        usage=f"{PROGRAM} BUNDLE [options]",
        description=__doc__,
        epilog=_DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("bundle", type=file_path, metavar="BUNDLE", help="folder that xsam-export wrote")
    options.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="torch|torch-compile|BUNDLE",
        help="what to compare with, in the same run; repeatable",
    )
    options.add_argument(
        "--prompts",
        nargs="+",
        action="extend",
        metavar="TEXT|FILE",
        help="phrases to refer with, or files with one per line",
    )
    options.add_argument(
        "--graphs",
        type=file_path,
        metavar="BUNDLE",
        help="of engines that do not say what they have to do: the ONNX graphs that they were compiled from",
    )
    options.add_argument("--image", type=file_path, metavar="FILE", help="picture to ask about (default: drawn scenes)")
    options.add_argument("--repeat", type=count, default=10, metavar="N", help="counted rounds (default: %(default)s)")
    options.add_argument(
        "--warmup", type=count, default=2, metavar="N", help="rounds before them (default: %(default)s)"
    )
    options.add_argument(
        "--together",
        type=count,
        default=8,
        metavar="N",
        help="prompts that are asked at once, against one by one; 0 leaves it out (default: %(default)s)",
    )
    options.add_argument(
        "--answer",
        choices=["greedy", "append", "scripted"],
        help="decode answers; give the known one; or decode, but have every side say the known one "
        "(default: greedy, scripted where weights are random)",
    )
    show = options.add_argument_group("output")
    show.add_argument("--stages", action="store_true", help="show each stage and its share of the machine's peak")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--markdown", action="store_true", help="print Markdown, the default, with every section")
    show.add_argument("--html", type=file_path, metavar="FILE", help="write a page with plots, too")
    add_running_options(options)
    options.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(PROGRAM, parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    _check(options)
    with ProgressPrinter(sys.stderr, plain=not options.json) as progress:
        progress(Step("load"))
        result = benchmark(options, progress)
    from xsam_edge.benchmarks import markdown, page

    if options.html is not None:
        options.html.write_text(page.html(result), encoding="utf-8")
    if options.json:
        print(json.dumps(result, allow_nan=False))
    else:
        print(markdown.markdown(result, stages=options.stages or options.markdown, facts=options.markdown))
    return 0


def _check(options: argparse.Namespace) -> None:
    """What can be told before anything is loaded."""
    from xsam_edge.runtime.bundle.manifest import read_manifest

    check_threads(options.device, options.threads)
    if options.json or options.markdown:
        form = "--json" if options.json else "--markdown"
        refuse_idle(options, parser(), ("stages",), f"is of the short form, and {form} has every stage; leave it out")
    if options.repeat < 1:
        raise InputError(f"--repeat is {options.repeat}; at least 1 round must be counted")
    if options.html is not None and not options.html.absolute().parent.is_dir():
        raise InputError(f"{options.html.parent} is not a folder; --html names a file to write")
    if len(set(options.against)) < len(options.against):
        raise InputError(f"--against names {max(options.against, key=options.against.count)} twice; give each once")
    for bundle in (Path(other) for other in options.against if other not in TORCH):
        read_manifest(bundle)
    engine = read_manifest(options.bundle).engine
    if engine is not None and set(options.against) & set(TORCH):
        raise InputError(f"{options.bundle} holds engines, whose weights torch cannot read; leave --against torch out")
    if options.graphs is not None:
        from xsam_edge.benchmarks.report import compiled_from

        if engine is None or not compiled_from(engine, read_manifest(options.graphs)):
            raise InputError(f"--graphs {options.graphs} is not what {options.bundle} was compiled from; leave it out")


def benchmark(options: argparse.Namespace, progress: ProgressPrinter) -> dict[str, Any]:
    """The object that ``--json`` prints."""
    # Here, not at the top: they take a moment, and a wrong option should not.
    from xsam_edge.benchmarks import batch, energy, environment, flops, fusion, inputs, measure, memory, report
    from xsam_edge.benchmarks.chain import INCLUDED, RuntimeSide

    phrases = inputs.phrases(options.prompts)
    picture, pictures = inputs.pictures(options.image)
    own = _open(options, options.bundle, options.answer, progress)
    sides: list[Side] = [own, *(_peer(options, other, own, progress) for other in options.against)]
    facts = environment.describe(own.threads)
    peaks = {side: _peaks(side, own, progress) for side in {precision_of(side) for side in sides}}
    known = {name: peak for name, peak in peaks.items() if not isinstance(peak, str)}
    rounds, warming = measure.alternate(
        sides, picture, phrases, repeat=options.repeat, warmup=options.warmup, progress=progress
    )
    reports = []
    for side, done, warm in zip(sides, rounds, warming, strict=True):
        # A peer does the work of the bundle whose weights it has.
        runtime = side if isinstance(side, RuntimeSide) else own
        bundle, manifest = Path(runtime.name), runtime.xsam.manifest
        costs = report.counted(bundle, manifest, options.graphs)
        entry = report.side_report(done, costs, known.get(precision_of(side)), progress)
        entry |= {"setup": side.setup, "warmup_rounds": options.warmup, "warmup_seconds": round(warm, 3)}
        entry["unread"] = costs.missing
        if runtime is side:
            progress(Step("memory"))
            used = memory.measure(
                bundle, device=runtime.device, threads=options.threads, context=options.context, phrase=phrases[0]
            )
            largest = costs.largest_activations()
            entry["memory"] = used if largest is None else memory.judge(used, largest)
            entry = {"bundle": report.describe_bundle(bundle, manifest)} | entry
            if runtime.device == "cpu":
                progress(Step("count integer products"))
                quantized = any(graph.quantized for graph in manifest.graphs.values())
                uncounted = flops.unavailable() if quantized else None
                entry["products"] = {} if uncounted else fusion.integer_products(bundle, manifest)
                entry["products_unread"] = uncounted
        else:
            entry["memory"] = {"host_peak_bytes": None, "reason": "shares this process with the runtime"}
        reports.append({"name": side.name, **entry})
    together = None
    if options.together:
        repeat = min(options.repeat, 5)
        together = batch.measure(own, picture, phrases, prompts=options.together, repeat=repeat, progress=progress)
    progress(Step("energy"))
    fresh = iter(range(options.warmup + options.repeat, 1 << 31))
    used = energy.measure(lambda: own.first(picture(next(fresh)), phrases[0]), min(options.repeat, 5), own.device)
    against = [
        {
            **other,
            "energy": {"joules_per_answer": None, "reason": "only the bundle's own is measured"},
            "ratio": report.compare(reports[0], other),
            **report.agreement(rounds[0], done),
        }
        for other, done in zip(reports[1:], rounds[1:], strict=True)
    ]
    return {
        "version": package_version(),
        **reports[0],
        "energy": used,
        "together": together,
        "against": against[0] if against else None,
        "others": against[1:],
        "peaks": {
            name: {"flops_per_second": None, "reason": peak} if isinstance(peak, str) else peak.to_json()
            for name, peak in peaks.items()
        },
        "settings": {
            "repeat": options.repeat,
            "warmup": options.warmup,
            "pictures": pictures,
            "prompts": phrases,
            "task": "refer",
            "answering": own.setup["answering"],
            "device": own.device,
            "order": "sides alternate within each round, and the order turns from round to round",
            "pause_between_sides_seconds": measure.SETTLE_SECONDS,
        },
        "included": INCLUDED,
        "explained": report.EXPLAINED,
        "environment": facts,
    }


def precision_of(side: Side) -> str:
    """What a side computes in."""
    return str(side.setup["precision"])


def _open(options: argparse.Namespace, bundle: Path, answering: Any, progress: ProgressPrinter) -> RuntimeSide:
    from xsam_edge.benchmarks.chain import open_bundle

    return open_bundle(
        bundle,
        progress,
        answering=answering,
        device=options.device,
        threads=options.threads,
        context=options.context,
        verify=options.verify,
    )


def _peer(options: argparse.Namespace, name: str, own: RuntimeSide, progress: ProgressPrinter) -> Side:
    if name not in TORCH:
        return _open(options, Path(name), own.answering, progress)
    progress(Step("build the torch model"))
    from xsam_edge.benchmarks.peers import TorchSide
    from xsam_edge.benchmarks.restore import torch_model

    model = torch_model(options.bundle, own.xsam.manifest)
    compiled = name == "torch-compile"
    return TorchSide(model, own.xsam, own.answering, own.threads, compiled=compiled, device=options.device)


def _peaks(precision: str, own: RuntimeSide, progress: Progress) -> Peaks | str:
    """The machine's peaks, or why they are not known: engines run where ONNX Runtime may have no GPU."""
    from xsam_edge.benchmarks import peaks
    from xsam_edge.runtime.backends.onnxruntime import open_device

    progress(Step(f"measure the peaks of {precision}"))
    try:
        backend = open_device(own.device, own.threads)
    except BackendError as error:
        return str(error)
    return peaks.measure(backend, precision, own.threads, own.device)


if __name__ == "__main__":
    sys.exit(main())
