"""How probes see a machine: its files under a root, and commands. Absent things are None, never an exception."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PATIENCE = 60.0  # seconds; importing TensorRT on a board that starts up takes several


@dataclass(frozen=True)
class Output:
    """What a command printed. ``code`` is negative where a signal ended it, None where it could not be run."""

    code: int | None
    out: str
    err: str = ""


def run_command(command: Sequence[str]) -> Output:
    """Run a command with a limit of a minute; never raises."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return Output(None, "", f"no answer within {_PATIENCE:.0f} s")
    except (OSError, ValueError) as error:
        return Output(None, "", str(error))
    return Output(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Host:
    """A machine: ``root`` stands for "/", ``run`` for running a command."""

    root: Path = Path("/")
    run: Callable[[Sequence[str]], Output] = field(default=run_command)

    def read(self, path: str) -> str | None:
        """The text of a file, without the NULs and blanks around it."""
        try:
            text = (self.root / path.lstrip("/")).read_text(errors="replace")
        except OSError:
            return None
        return text.strip("\0 \n\t") or None

    def glob(self, pattern: str) -> list[str]:
        """Paths that match, in order."""
        try:
            return [f"/{path.relative_to(self.root)}" for path in sorted(self.root.glob(pattern.lstrip("/")))]
        except OSError:
            return []

    def output(self, *command: str) -> str | None:
        """What a command printed; None if it is absent, fails or prints nothing."""
        done = self.run(command)
        return done.out.strip() or None if done.code == 0 else None


@dataclass(frozen=True)
class Fact:
    """One line of a report. ``value`` is JSON, None where there is none; ``note`` says why, or what to do."""

    name: str
    value: Any
    note: str = ""


@dataclass(frozen=True)
class Section:
    """Facts that belong together."""

    title: str
    facts: tuple[Fact, ...]

    def values(self) -> dict[str, Any]:
        """Fact -> value."""
        return {fact.name: fact.value for fact in self.facts}
