"""Writing a bundle beside its place: it appears there when it is whole. Needs no package.

What a run writes beside an output has a name of its own, ``.NAME.PID-HEX`` and a suffix. As long as the run lives it
holds the kernel's lock of ``.NAME.PID-HEX.lock``, which no process that was killed does: by that the next run to the
same output tells what dead ones left, and removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, FileEntry
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.progress import Progress, Step, Tally, silent
from xsam_edge.runtime.units import size

_PARTIAL, _OLD, _LOCK = ".partial", ".old", ".lock"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_output(output: Path, overwrite: bool) -> None:
    """Raise InputError if a bundle cannot be put at ``output``."""
    if not output.exists():
        return
    if not overwrite:
        raise InputError(f"{output} exists; choose another output, or replace the bundle with --overwrite")
    if not output.is_dir() or (any(output.iterdir()) and not (output / MANIFEST_FILE).is_file()):
        raise InputError(f"{output} exists and is not a bundle; it is left alone, choose another output")


@contextlib.contextmanager
def staged(
    output: Path,
    overwrite: bool,
    progress: Progress = silent,
    check: Callable[[Path, bool], None] = check_output,
) -> Iterator[Path]:
    """A folder to write into that takes the place of ``output`` when the block ends without an error.

    What runs to ``output`` left that were killed is removed first, and ``progress`` told. ``check`` is given ``output``
    and ``overwrite``, and raises where something else is there.

    Raises:
        InputError: ``output`` cannot be replaced, or another process is writing it.
        XSamError: the disk fills up.
    """
    output = Path(os.path.realpath(output))  # behind a link, its target is replaced and the link stays
    check(output, overwrite)
    output.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(output):
        clear_up(output, progress)
        check(output, overwrite)
        with _run(output) as run:
            yield from _staged(output, lambda: check(output, overwrite), run)


def _staged(output: Path, check: Callable[[], None], run: str) -> Iterator[Path]:
    folder, old = output.with_name(run + _PARTIAL), output.with_name(run + _OLD)
    try:
        folder.mkdir()
        with told_when_full(folder):
            yield folder
        check()
        if output.exists():
            output.rename(old)
        folder.rename(output)
    except BaseException:
        if old.exists() and not output.exists():
            old.rename(output)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def beside(output: Path, suffix: str, progress: Progress = silent) -> Iterator[Path]:
    """A folder on the disk of ``output``, where large files fit, that is removed when the block ends.

    ``suffix``, such as ".fp32", tells people what is in it. Clears up after killed runs as :func:`staged` does.
    """
    output = Path(os.path.realpath(output))
    output.parent.mkdir(parents=True, exist_ok=True)
    clear_up(output, progress)
    with _run(output) as run:
        folder = output.with_name(run + suffix)
        try:
            folder.mkdir()
            with told_when_full(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _run(output: Path) -> Iterator[str]:
    """What the names begin with that a run writes beside an output; its lock is held."""
    while True:
        name = f".{output.name}.{os.getpid()}-{secrets.token_hex(3)}"
        lock = output.with_name(name + _LOCK)
        with lock.open("x") as file:
            try:
                if _locked(file, lock):
                    yield name
                    return
            finally:
                lock.unlink(missing_ok=True)
            # A run that cleared up took the file for that of a dead one, in the moment before it was locked.


def clear_up(output: Path, progress: Progress) -> None:
    """Remove what killed runs left beside an output; an old bundle that one had moved away goes back to its place."""
    output = Path(os.path.realpath(output))
    if not output.parent.is_dir():
        return
    name = re.compile(rf"\.{re.escape(output.name)}\.\d+-[0-9a-f]{{6}}{re.escape(_LOCK)}")
    for lock in sorted(path for path in output.parent.iterdir() if name.fullmatch(path.name)):
        try:
            file = lock.open("r+")
        except OSError:  # its run has just ended, or was somebody else's
            continue
        with file:
            if _locked(file, lock) and _removed(output, lock.stem, progress):
                lock.unlink(missing_ok=True)


def _removed(output: Path, run: str, progress: Progress) -> bool:
    """Remove the folders that one run left; false where some of it resists."""
    left = [path for path in output.parent.iterdir() if path.name.startswith(f"{run}.") and path.is_dir()]
    for path in left:
        if path.suffix == _OLD and not output.exists():
            path.rename(output)
            progress(Step(f"{output} is back, which an export that was killed had moved away", note=True))
            continue
        amount = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            return False
        progress(Step(f"removed {path}, {size(amount)} that an export left which was killed", note=True))
    return True


def _locked(file: IO[Any], path: Path) -> bool:
    """Take the kernel's lock of an open file; false where another process has it, or the file is gone.

    Raises:
        InputError: the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        path.unlink(missing_ok=True)
        raise InputError(
            f"the file system of {path.parent} has no locks ({error.strerror}); choose an output on another"
        ) from None
    try:
        # Not the file of one that has just ended, which nobody else would find.
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _only_one(output: Path) -> Iterator[None]:
    """Hold the lock of an output. It is the kernel's, so that a process that was killed holds none."""
    path = output.with_name(f".{output.name}.lock")
    with path.open("a") as file:
        if not _locked(file, path):
            raise InputError(f"another export is writing {output}; wait for it, or choose another output")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def check_space(folder: Path, needed: int) -> None:
    """Raise XSamError if the file system of ``folder`` has less than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise XSamError(f"{folder} has {size(free)} free, {size(needed)} are needed; free some space")


@contextlib.contextmanager
def told_when_full(folder: Path, needed: int | None = None) -> Iterator[None]:
    """Say what is free and needed where the disk of ``folder`` fills up within the block.

    ``needed`` are the bytes that the block writes; None tells those that ``folder`` holds by then.

    Raises:
        XSamError: in the place of the OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        if needed is None:
            needed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            wanted = f"more than the {size(needed)} that were written are needed"
        else:
            wanted = f"{size(needed)} are needed"
        free = size(shutil.disk_usage(folder).free)
        raise XSamError(f"the disk of {folder.parent} filled up: {free} are free, {wanted}; free some space") from error


def hash_files(folder: Path, progress: Progress) -> dict[str, FileEntry]:
    """Size and hashes of every file of a folder."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    tally = Tally(progress, "hash", sum(path.stat().st_size for path in paths), "bytes")
    return {path.name: FileEntry.of(path, tally) for path in paths}
