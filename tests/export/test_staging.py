"""What is written beside an output: whole or nothing, also where a run is killed, and the next run clears up."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xsam_edge.export.staging import beside, staged, told_when_full
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, read_manifest
from xsam_edge.runtime.bundle.verification import check_files
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.progress import Step, silent

# For each line of its input: a process that writes a bundle and a folder beside it, and kills itself at that change of
# the disk. Tells its exit code, which of one that was not killed is how many changes there were.
WRITER = """
import os, signal, sys
from pathlib import Path
from xsam_edge.export.staging import beside, staged

output, changes = Path(sys.argv[1]), 0

def write(last):
    def strike(event, arguments):
        global changes
        ours = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
        if ours or (event == "open" and str(arguments[0]).startswith(str(output.parent))):
            changes += 1
            if changes == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(strike)
    with staged(output, True) as folder, beside(output, ".fp32") as base:
        for file in (folder / "llm.onnx", base / "llm.onnx", folder / "manifest.json"):
            file.write_text("new")

for line in sys.stdin:
    child = os.fork()
    if not child:
        write(int(line))
        os._exit(changes)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[[int], int]]:
    """Writes ``bundle`` and is killed at a change; gives the exit code."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path / "bundle"], stdin=-1, stdout=-1, text=True
    ) as process:

        def write(last: int) -> int:
            assert process.stdin is not None and process.stdout is not None
            print(last, file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield write


def write(output: Path, content: str) -> list[str]:
    """Write a bundle; returns the notes."""
    notes: list[Step] = []
    with staged(output, True, notes.append) as folder:
        (folder / MANIFEST_FILE).write_text(content)
    return [step.what for step in notes if step.note]


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"bundle"}


def check_killed(output: Path, writer: Callable[[int], int], last: int) -> bool:
    """Kill a run at its nth change and let another follow; whether the old bundle had to be put back."""
    write(output, "old")
    assert writer(last) == -signal.SIGKILL
    left = {name for name in hidden(output.parent) if not name.endswith(".lock")}
    moved = not output.exists()
    notes: list[str] = []
    with staged(output, True, lambda step: notes.append(step.what)) as folder:
        assert (output / MANIFEST_FILE).read_text() in ("old", "new")
        (folder / MANIFEST_FILE).write_text("next")
    assert (output / MANIFEST_FILE).read_text() == "next"
    assert hidden(output.parent) == set()
    assert len(notes) == len(left)
    assert all(any(name in note for note in notes) for name in left if not (moved and name.endswith(".old")))
    return moved


def test_a_run_killed_anywhere_loses_no_bundle_and_the_next_clears_up(
    tmp_path: Path, writer: Callable[[int], int]
) -> None:
    """Between the two renames, too, where the place of the old bundle is empty."""
    write(tmp_path / "bundle", "old")
    changes = writer(0)
    assert changes > 15
    moved = [check_killed(tmp_path / "bundle", writer, last) for last in range(1, changes + 1)]
    assert sum(moved) == 1


def test_what_living_runs_write_stays(tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    program = "import sys; from pathlib import Path; from xsam_edge.export.staging import beside\n"
    program += "with beside(Path(sys.argv[1]), '.fp32') as folder: print(folder, flush=True); sys.stdin.read()"
    with (
        subprocess.Popen([sys.executable, "-c", program, output], stdin=-1, stdout=-1, text=True) as process,
        beside(output, ".fp32") as own,
    ):
        assert process.stdout is not None
        other = Path(process.stdout.readline().strip())
        assert write(output, "new") == []
        assert own.is_dir() and other.is_dir() and own != other
        process.kill()
        process.wait()
        (note,) = write(output, "newer")
        assert str(other) in note and "killed" in note
        assert own.is_dir() and not other.exists()
    assert hidden(tmp_path) == set()


def test_what_no_run_made_stays(tmp_path: Path) -> None:
    names = {
        ".bundle.12-abcdef.partial",
        ".bundle.notes.partial",
        ".bundle.old",
        ".other.1-abcdef.fp32",
        ".bundle.x.lock",
    }
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("precious")
    (tmp_path / ".other.1-abcdef.lock").touch()
    assert write(tmp_path / "bundle", "new") == []
    assert hidden(tmp_path) == names | {".other.1-abcdef.lock"}
    assert all((tmp_path / name / "thesis.tex").is_file() for name in names)


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    message = r"has no locks \(No locks available\); choose an output on another"
    for context in (staged(tmp_path / "bundle", False), beside(tmp_path / "bundle", ".fp32")):
        with pytest.raises(InputError, match=message), context:
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_beside_is_removed_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), beside(tmp_path / "deep" / "bundle", ".fp32") as folder:  # noqa: PT012
        (folder / "llm.onnx.data").write_bytes(bytes(100))
        assert folder.parent == tmp_path / "deep"
        assert folder.name.startswith(".bundle.") and folder.name.endswith(".fp32")
        raise KeyboardInterrupt
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_told_with_what_is_free_and_needed(tmp_path: Path, code: int) -> None:
    def fill(folder: Path, needed: int | None) -> None:
        (folder / "llm.onnx.data").write_bytes(bytes(2000))
        with told_when_full(folder, needed):
            raise OSError(code, os.strerror(code))

    with pytest.raises(
        XSamError, match=r"filled up: \S+ GB are free, more than the 2.0 kB that were written are needed"
    ):
        fill(tmp_path, None)
    with pytest.raises(XSamError, match=r"filled up: \S+ GB are free, 5\.00 GB are needed; free some space"):
        fill(tmp_path, 5 * 10**9)
    with pytest.raises(XSamError, match="filled up"), staged(tmp_path / "bundle", False):
        raise OSError(code, os.strerror(code))
    with pytest.raises(OSError, match="bad disk"), told_when_full(tmp_path):
        raise OSError(errno.EIO, "bad disk")


@pytest.mark.slow
def test_exports_killed_at_random_times(tmp_path: Path) -> None:
    """Ten of them; a bundle that is there survives each, and the next export clears up."""
    output = tmp_path / "bundle"
    program = "import sys; from xsam_edge.export.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "--checkpoint", "shapes", "-o", str(output), "--overwrite"]
    start = time.monotonic()
    subprocess.run(command, check=True)
    whole = time.monotonic() - start
    chance = random.Random(1)
    for _ in range(10):
        process = subprocess.Popen(command)
        time.sleep(chance.uniform(0, whole))
        process.kill()
        process.wait()
        check_files(output, read_manifest(output))
    subprocess.run(command, check=True)
    check_files(output, read_manifest(output), progress=silent)
    assert hidden(tmp_path) == set()
