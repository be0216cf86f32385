"""What the commands share: their options, how they load a bundle, and how they end.

Exit codes: 0 done, 1 a comparison failed, 2 anything that the user can mend, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

from xsam_edge.runtime.backends.onnxruntime import DEVICES, thread_count
from xsam_edge.runtime.bundle.verification import VERIFY, Verify
from xsam_edge.runtime.cli.completion import add_completion_option
from xsam_edge.runtime.cli.extras import remedy
from xsam_edge.runtime.cli.messages import is_quiet, logged
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.device import memory_plan
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.versions import UntestedVersionWarning


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are the short usage and one line."""

    def error(self, message: str) -> NoReturn:
        """Print the usage's first line and the message, exit with 2."""
        usage = self.format_usage().splitlines()[0]
        self.exit(2, f"{usage}\n{self.prog}: error: {message}; see {self.prog} --help\n")


def count(text: str) -> int:
    """The type of an option that takes a whole number from 0 on."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return value


def positive(text: str) -> int:
    """The type of an option that takes a whole number from 1 on."""
    if (value := count(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return value


def file_path(text: str) -> Path:
    """The type of an option that takes the path of a file or folder.

    An empty one, which a shell makes of a variable that is not set, would be the current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; is a variable of the shell not set?")
    return Path(text)


def named_path(text: str) -> str:
    """As :func:`file_path`, where a name may stand in place of a path: the text itself."""
    file_path(text)
    return text


def threads(text: str) -> int:
    """The type of an option that takes threads of the CPU."""
    try:
        return thread_count(count(text))
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).partition("; ")[2] + f", not {text}") from None


def command(
    program: str,
    parser: argparse.ArgumentParser,
    body: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse ``arguments`` (default: those of the process) and run ``body``; returns the exit code.

    Errors that a user can mend become one line on stderr, a package of an extra that is not installed among them, and
    so do warnings of versions that were not tested.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold bytes that are not text
            stream.reconfigure(errors="backslashreplace")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)  # clean up as after Ctrl-C
    if program.startswith("xsam-"):  # what a shell finds by its name
        add_completion_option(parser, (file_path, named_path))
    try:
        options = parser.parse_args(arguments)
    except SystemExit as stop:  # --help, --version and wrong arguments
        return stop.code if isinstance(stop.code, int) else 2
    try:
        with _notes(is_quiet(options)), logged(options):
            code = body(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away (`| head`). What is left in the buffer must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (XSamError, OSError, MemoryError) as error:
        report_error(program, error)
        return 2
    except ModuleNotFoundError as error:
        if (advice := remedy((error.name or "").partition(".")[0])) is None:
            raise
        report_error(program, InputError(advice))
        return 2
    return code


@contextmanager
def _notes(quiet: bool) -> Iterator[None]:
    """Print warnings of untested versions as a line each, without the place in the code, or not at all."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, UntestedVersionWarning):
            if not quiet:
                print(f"note: {message}", file=sys.stderr)
        else:
            others(message, category, *place, **options)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = others


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def report_error(program: str, error: BaseException) -> None:
    """One line on stderr."""
    print(f"{program}: error: {describe_error(error)}", file=sys.stderr)


def describe_error(error: BaseException) -> str:
    """An error as one line of text."""
    if isinstance(error, MemoryError):
        return "not enough memory; use a smaller --context, a smaller image or a bundle of lower precision"
    if isinstance(error, OSError) and error.strerror:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def package_version() -> str:
    """The installed version of xsam-edge; "unknown" in a source tree that is not installed."""
    try:
        return version("xsam-edge")
    except PackageNotFoundError:
        return "unknown"


def add_verify_option(options: argparse._ActionsContainer) -> None:
    """Add ``--verify``."""
    options.add_argument(
        "--verify",
        default="full",
        choices=VERIFY,
        help="whose hashes are checked before a file is opened: full, of every file; changed, of those that changed "
        "since they were last found whole; none. Of engines always full (default: %(default)s)",
    )


def add_running_options(options: argparse.ArgumentParser) -> None:
    """Add what ``load_bundle`` is told of the machine: device, threads, context, and whose hashes are checked."""
    run_on = options.add_argument_group("running")
    run_on.add_argument("--device", default="cpu", choices=DEVICES, help="default: %(default)s")
    run_on.add_argument("--threads", type=threads, default=0, metavar="N", help="of the CPU (default: every core)")
    run_on.add_argument("--context", type=positive, metavar="N", help="tokens that prompt and answer may have")
    add_verify_option(run_on)


@contextmanager
def _warnings_after(progress: ProgressPrinter) -> Iterator[None]:
    """Show the warnings of a block when it ends, also by an error, where no line of progress is in the way."""
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield
    finally:
        if caught:
            progress.clear()
        for warning in caught:
            warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)


def check_threads(device: str, threads: int) -> None:
    """Raise InputError for threads of a device that is not the CPU."""
    if threads and device != "cpu":
        raise InputError(f"--threads is of the CPU, and --device {device} has none; leave it out")


def load_bundle(bundle: Path, progress: ProgressPrinter, *, verify: Verify = "full", **options: Any) -> XSam:
    """``XSam.load``; memory plans of engines, and warnings, go to stderr.

    Raises:
        InputError: ``threads`` of a ``device`` that is not the CPU; and what ``XSam.load`` does.
    """
    check_threads(options.get("device", "cpu"), options.get("threads", 0))
    with _warnings_after(progress):
        model = XSam.load(bundle, verify=verify, progress=progress, **options)
    if model.manifest.engine is not None and not progress.quiet:
        progress.clear()
        wanted = memory_plan.plan(memory_plan.footprint(model.manifest), model.pipeline.cache.capacity)
        print(memory_plan.line(wanted), file=sys.stderr)
        if (kernels := getattr(model.pipeline.backend, "kernels", None)) is not None:
            print(kernels.summary(), file=sys.stderr)
    if model.manifest.degraded and not progress.quiet:
        progress.clear()
        print(f"note: {bundle} was exported although its masks agree too little with FP32", file=sys.stderr)
    return model
