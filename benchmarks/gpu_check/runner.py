"""Steps one after the other, each in a process of its own that is ended when its time is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from xsam_edge.benchmarks.gpu_check.records import DONE, NO_GPU, OUTCOME, RESULTS, STARTED, Recorder, read
from xsam_edge.benchmarks.gpu_check.steps import BY_NAME, SITE, Setting, Step
from xsam_edge.runtime.device.cuda_device import find_device
from xsam_edge.runtime.errors import InputError, NoDeviceError

_CHILD = f"{__package__}.child"
_LEAST = 3.0  # seconds in which a step may still find something
_GRACE = 5.0  # seconds that a process has to end in once it was told to


@dataclass(frozen=True)
class Outcome:
    """How a step ended: ``DONE``, ``NO_GPU``, or what went wrong; it took ``seconds``."""

    step: str
    value: str
    seconds: float


def chosen(names: str | None) -> list[Step]:
    """Steps of a comma-separated list, in the order of the check; all for None.

    Raises:
        InputError: a name that is none, or none at all.
    """
    wanted = set(BY_NAME) if names is None else {name.strip() for name in names.split(",") if name.strip()}
    if unknown := sorted(wanted - set(BY_NAME)):
        raise InputError(f"--steps names {', '.join(unknown)}; the steps are {', '.join(BY_NAME)}")
    if not wanted:
        raise InputError(f"--steps names none; the steps are {', '.join(BY_NAME)}")
    return [step for step in BY_NAME.values() if step.name in wanted]


def no_device() -> str:
    """Why there is no GPU; "" where there is one."""
    try:
        find_device()
    except NoDeviceError as error:
        return str(error)
    return ""


def run(
    steps: Sequence[Step],
    setting: Setting,
    out: Path,
    budget: float,
    *,
    missing: Callable[[], str] = no_device,
    clock: Callable[[], float] = time.monotonic,
) -> list[Outcome]:
    """Run steps within ``budget`` seconds in all; results are appended to a file in ``out``.

    ``missing`` tells why there is no GPU, ``clock`` the time.
    """
    reason = missing() if setting.device == "cuda" else "the device is a CPU"
    end = clock() + budget
    outcomes = []
    for step in steps:
        say = Recorder(out / RESULTS, step.name)
        start = clock()
        if reason and (step.gpu_only or (setting.device == "cuda" and not step.anywhere)):
            value = NO_GPU
            say(OUTCOME, value, note=reason)
        elif end - start < _LEAST:
            value = "no time left"
            say(OUTCOME, value, note=f"the budget of {budget:.0f} s is spent")
        else:
            value = _run_one(step, setting, out / RESULTS, min(step.budget, end - start), say)
        outcomes.append(Outcome(step.name, value, clock() - start))
        say("took", clock() - start, "s", f"of {step.budget}")
    return outcomes


def _run_one(step: Step, setting: Setting, results: Path, limit: float, say: Recorder) -> str:
    command = [sys.executable, "-m", _CHILD, step.name, setting.device]
    say(OUTCOME, STARTED)
    # A session of its own, so that what a step started ends with it; what it prints is no result.
    process = subprocess.Popen(
        [*command, str(setting.payload), str(results)],
        stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
        env=_environment(setting),
        start_new_session=True,
    )
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        value = f"timed out after {limit:.0f} s"
        say(OUTCOME, value)
        return value
    finally:
        _end(process)
    if code < 0:
        value = f"crashed ({signal.Signals(-code).name})"
        say(OUTCOME, value)
        return value
    (outcome,) = [r.value for r in read([results]) if (r.step, r.name) == (step.name, OUTCOME)]
    if outcome == STARTED:  # it ended without a word
        outcome = f"ended with exit code {code}"
        say(OUTCOME, outcome)
    return str(outcome)


def _has_file(stream: TextIO) -> bool:
    try:
        return int(stream.fileno()) >= 0
    except (AttributeError, OSError, ValueError):
        return False


def _environment(setting: Setting) -> dict[str, str]:
    """Variables of a step's process: where this package is, and what was brought for a GPU before it."""
    paths = [str(setting.payload / SITE)] if setting.device == "cuda" else []
    here = str(Path(__file__).parents[3])
    paths += [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def exit_code(outcomes: Sequence[Outcome], setting: Setting) -> int:
    """0: all steps were done; 1: one was not; 2: one needs a GPU, which was wanted and is not there."""
    values = {outcome.value for outcome in outcomes}
    if setting.device == "cuda" and NO_GPU in values:
        return 2
    return 0 if values <= {DONE, NO_GPU} else 1
