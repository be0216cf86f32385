"""``xsam-doctor``: what this machine is and what of a bundle it can run; paste it into a bug report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from xsam_edge.runtime.cli.common import Parser, add_verify_option, command, file_path, package_version
from xsam_edge.runtime.cli.idle import refuse_idle
from xsam_edge.runtime.cli.messages import add_message_options
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.doctor import bundle, machine, software
from xsam_edge.runtime.doctor.bundle import Verdict
from xsam_edge.runtime.doctor.host import Host, Section
from xsam_edge.runtime.doctor.software import show
from xsam_edge.runtime.progress import Step

_DETAILS = """\
Everything is asked, nothing is changed; what is absent is said. Libraries of the GPU are loaded in processes of their
own, so that one that crashes is named. It ends with 0 whatever it finds: "runs" says whether a bundle does.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(
        "xsam-doctor",
        usage="xsam-doctor [BUNDLE] [options]",
        description=__doc__,
        epilog=_DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("bundle", type=file_path, nargs="?", metavar="BUNDLE", help="say what of it can run here")
    add_verify_option(options)
    options.add_argument("--json", action="store_true", help="print one JSON object")
    add_message_options(options)
    options.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command("xsam-doctor", parser(), run, arguments)


def run(options: argparse.Namespace, host: Host | None = None) -> int:
    """Probe and print; returns 0. ``host`` stands in for this machine. Raises InputError for an option of a bundle."""
    if options.bundle is None:
        refuse_idle(options, parser(), ("verify",), "is of a bundle; give one, or leave it out")
    host = host or Host()
    verdicts: tuple[Verdict, ...] | None = None
    with ProgressPrinter(sys.stderr, plain=not options.json, quiet=options.quiet) as progress:
        progress(Step("board"))
        memory = machine.memory(host)
        sections = [machine.board(host), machine.power(host), machine.processor(host), memory]
        progress(Step("libraries"))
        gpu, environment = software.gpu(host)
        onnxruntime, found = software.onnxruntime(host)
        sections += [gpu, onnxruntime, software.python(host)]
        if options.bundle is not None:
            available = memory.values().get("available")
            section, verdicts = bundle.examine(
                options.bundle, environment, found, available, verify=options.verify, progress=progress
            )
            sections.append(section)
    print(json.dumps(as_json(sections, verdicts)) if options.json else as_text(sections, verdicts))
    return 0


def as_json(sections: Sequence[Section], verdicts: Sequence[Verdict] | None) -> dict[str, Any]:
    """``{section: {fact: value}}``; ``notes`` by "section.fact", and of a bundle ``runs``."""
    result: dict[str, Any] = {"version": package_version()}
    result |= {section.title: section.values() for section in sections}
    notes = {f"{section.title}.{fact.name}": fact.note for section in sections for fact in section.facts if fact.note}
    result["notes"] = notes
    if verdicts is not None:
        result["runs"] = {item.way: {"runs": item.runs, "reason": item.reason} for item in verdicts}
    return result


def as_text(sections: Sequence[Section], verdicts: Sequence[Verdict] | None) -> str:
    """The report as text, one fact a line."""
    width = max(len(fact.name) for section in sections for fact in section.facts)
    lines = [f"xsam-edge {package_version()}"]
    for section in sections:
        lines += ["", section.title]
        for fact in section.facts:
            note = f" ({fact.note})" if fact.note else ""
            lines.append(f"  {fact.name:<{width}}  {show(fact.name, fact.value)}{note}")
    for item in verdicts or ():
        reason = f": {item.reason}" if item.reason else ""
        verb = ("ok" if item.runs else "damaged") if item.way == "files" else ("runs" if item.runs else "does not run")
        lines.append(f"  {item.way:<{width}}  {verb}{reason}")
    return "\n".join(lines)
