"""Writing a bundle beside its place: it appears there when it is whole. Needs no package."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, FileEntry
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.progress import Progress, Tally
from xsam_edge.runtime.units import size


@contextlib.contextmanager
def staged(output: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to write into that takes the place of ``output`` when the block ends without an error.

    Raises:
        InputError: ``output`` cannot be replaced, or another process is writing it.
    """
    output = Path(os.path.realpath(output))  # behind a link, its target is replaced and the link stays
    check_output(output, overwrite)
    output.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(output):
        yield from _staged(output, overwrite)


def _staged(output: Path, overwrite: bool) -> Iterator[Path]:
    unique = f"{os.getpid()}-{secrets.token_hex(3)}"
    folder = output.with_name(f".{output.name}.{unique}.partial")
    old = output.with_name(f".{output.name}.{unique}.old")
    try:
        folder.mkdir()
        yield folder
        check_output(output, overwrite)
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
def _only_one(output: Path) -> Iterator[None]:
    """Hold the lock of an output. It is the kernel's, so that a process that was killed holds none."""
    path = output.with_name(f".{output.name}.lock")
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Not the file of one that has just ended, which nobody else would find.
            held = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except OSError:
            held = False
        if not held:
            raise InputError(f"another export is writing {output}; wait for it, or choose another output")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def check_output(output: Path, overwrite: bool) -> None:
    """Raise InputError if a bundle cannot be put at ``output``."""
    if not output.exists():
        return
    if not overwrite:
        raise InputError(f"{output} exists; choose another output, or replace the bundle with --overwrite")
    if not output.is_dir() or (any(output.iterdir()) and not (output / MANIFEST_FILE).is_file()):
        raise InputError(f"{output} exists and is not a bundle; it is left alone, choose another output")


def check_space(folder: Path, needed: int) -> None:
    """Raise XSamError if the file system of ``folder`` has less than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise XSamError(f"{folder} has {size(free)} free, {size(needed)} are needed; free some space")


def hash_files(folder: Path, progress: Progress) -> dict[str, FileEntry]:
    """Size and hashes of every file of a folder."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    tally = Tally(progress, "hash", sum(path.stat().st_size for path in paths), "bytes")
    return {path.name: FileEntry.of(path, tally) for path in paths}
