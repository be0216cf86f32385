"""``python -m xsam_edge.benchmarks.gpu_check``: check a GPU, gather what that takes, or write its page."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from xsam_edge.benchmarks.gpu_check import goals, parcel, report, runner
from xsam_edge.benchmarks.gpu_check.records import RESULTS, read
from xsam_edge.benchmarks.gpu_check.steps import STEPS, UNPACKED, Setting
from xsam_edge.runtime.cli.common import Parser, command, count
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import InputError

PROGRAM = "gpu_check"
_MODULE = "python3 -m xsam_edge.benchmarks.gpu_check"
_KEEP = Path(tempfile.gettempdir()) / "xsam-gpu-check"
_DETAILS = """\
exit codes: 0 all steps were done; 1 a step failed, or its time was over; 2 wrong input, or no GPU for a step that
needs one. Goals that are not met are said and change no exit code.

steps (seconds):
""" + "\n".join(f"  {step.name:<14} {step.budget:>4}  {step.about}" for step in STEPS)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(f"{PROGRAM}", description=__doc__)
    verbs = options.add_subparsers(dest="verb", required=True, metavar="run|pack|report")
    run = verbs.add_parser(
        "run", help="run the steps here", epilog=_DETAILS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    run.add_argument("--steps", metavar="NAME,NAME", help="default: all")
    run.add_argument("--budget", type=count, default=900, metavar="SECONDS", help="of all steps (default: %(default)s)")
    run.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: small forms, to try the check")
    run.add_argument(
        "--payload", type=Path, default=Path(".gpu") / parcel.PAYLOAD, metavar="DIR", help="what was packed"
    )
    run.add_argument("--parts", type=Path, metavar="DIR", help="a part of it that was brought, such as .gpu/1")
    run.add_argument("--out", type=Path, default=Path(".gpu") / "out", metavar="DIR", help="default: %(default)s")
    run.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    pack = verbs.add_parser("pack", help="gather what a machine without network is brought")
    pack.add_argument("-o", "--output", type=Path, default=Path(".gpu"), metavar="DIR", help="default: %(default)s")
    pack.add_argument("--variant", default="phi3", help="of the full-size model (default: %(default)s)")
    pack.add_argument("--onnxruntime", type=Path, metavar="WHEEL|DIR", help="onnxruntime-gpu, to bring along")
    pack.add_argument(
        "--sm", type=count, default=90, metavar="N", help="whose kernels of it are kept; 0: all (default: %(default)s)"
    )
    pack.add_argument("--part", type=count, default=44, metavar="MIB", help="of a part (default: %(default)s)")
    page = verbs.add_parser("report", help="print a page of results, as Markdown")
    page.add_argument("results", type=Path, nargs="+", metavar="FILE", help=f"{RESULTS} of one machine")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    verbs = {"run": _run, "pack": _pack, "report": _report}
    return command(PROGRAM, parser(), lambda options: verbs[options.verb](options), arguments)


def _run(options: argparse.Namespace) -> int:
    steps = runner.chosen(options.steps)
    payload = options.payload
    if options.parts is not None:
        payload, missing = parcel.collect(options.parts, _KEEP)
        if missing:
            print(f"note: parts {', '.join(map(str, missing))} of the payload are still to come", file=sys.stderr)
    setting = Setting(options.device, payload.absolute())
    outcomes = runner.run(steps, setting, options.out.absolute(), options.budget)
    records = read([options.out / RESULTS])
    if options.json:
        judged = [{**asdict(goal), "verdict": goal.verdict} for goal in goals.goals(records)]
        found = {"outcomes": [asdict(outcome) for outcome in outcomes], "goals": judged}
        print(json.dumps({**found, "records": [asdict(record) for record in records]}))
    else:
        print(report.terminal(records))
    return runner.exit_code(outcomes, setting)


def _pack(options: argparse.Namespace) -> int:
    try:
        from xsam_edge.benchmarks.gpu_check.pack import pack
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; run `pip install 'xsam-edge[cpu,export]'`") from None
    if not options.part:
        raise InputError("--part is 0 MiB; a part has at least 1")
    with ProgressPrinter(sys.stderr) as progress:
        folders = pack(
            options.output,
            variant=options.variant,
            onnxruntime=options.onnxruntime,
            capability=options.sm,
            limit=options.part << 20,
            progress=progress,
        )
    print("\n".join(instructions(folders)))
    return 0


def instructions(folders: Sequence[Path]) -> list[str]:
    """What to bring and to run there, a transfer after the other."""
    packed = [step.name for step in STEPS if step.name not in UNPACKED]
    lines = []
    for number, folder in enumerate(folders, 1):
        steps = [name for name in UNPACKED if number == 1] + [name for name in packed if number == len(folders)]
        size = sum(path.stat().st_size for path in folder.iterdir()) / (1 << 20)
        lines.append(f"# {number}. bring the tree and {folder} ({size:.1f} MiB), and run there, in the tree:")
        chosen = ["--steps", ",".join(steps or ["facts"])]
        lines.append(f"PYTHONPATH=.src {_MODULE} run {shlex.join(['--parts', str(folder), *chosen, '--out', 'OUT'])}")
    return lines


def _report(options: argparse.Namespace) -> int:
    print(report.markdown(read(options.results)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
