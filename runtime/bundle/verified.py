"""Which files of a bundle were found whole, kept in the user's cache: what has not changed since need not be read.

A record is only as good as who may write it. It is read where it is this user's own file, which nobody else may read or
write; whatever else is found there counts as no record, and so does one of another manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from xsam_edge.runtime.bundle.constraints import FileName, Sha256
from xsam_edge.runtime.bundle.manifest import Manifest
from xsam_edge.runtime.bundle.typed_json import from_json, parse_json
from xsam_edge.runtime.errors import XSamError
from xsam_edge.runtime.user_cache import user_cache

# A file that is written twice within a tick of its file system's clock has one time for both, and ticks last up to two
# seconds (FAT): a younger file may still change behind its times.
_RACY = 3_000_000_000  # ns
_OTHERS = 0o077


class Stamp(NamedTuple):
    """What tells whether a file is still the one that it was; times in ns. Links are followed."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file as it is now."""
        found = path.stat()
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def settled(self, now: int) -> bool:
        """Whether a change of the file from ``now`` on, in ns, must change the stamp."""
        return max(self.modified, self.changed) < now - _RACY

    def __str__(self) -> str:
        return " ".join(map(str, self))  # inodes may have more bits than JSON's numbers


@dataclass(frozen=True)
class _Record:
    """A manifest by its SHA-256, and the stamps of files that are as it says."""

    manifest: Sha256
    files: Mapping[FileName, str]


def recall(bundle: Path, manifest: Manifest) -> Mapping[str, str]:
    """Name -> stamp, as text, of the files that were found whole; empty where nothing is known for certain."""
    try:
        content = _read_own(_record_file(bundle))
        record = from_json(_Record, parse_json(content, "the record"), "the record")
    except (OSError, RuntimeError, XSamError):
        return {}
    return record.files if record.manifest == _identity(manifest) else {}


def remember(bundle: Path, manifest: Manifest, files: Mapping[str, str]) -> None:
    """Keep the stamps of files that are whole, in place of what was kept of the bundle before.

    Raises:
        OSError, RuntimeError: the cache cannot be written, or this user has no home.
    """
    if not hasattr(os, "geteuid"):  # whose file it is could not be told
        return
    path = _record_file(bundle)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # of mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(_Record(_identity(manifest), files)), file)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _record_file(bundle: Path) -> Path:
    place = hashlib.sha256(os.fsencode(os.path.realpath(bundle)))
    return user_cache() / "verified" / f"{place.hexdigest()}.json"


def _identity(manifest: Manifest) -> str:
    """SHA-256 of what was read of a manifest, not of its file, which may be another one by now."""
    return hashlib.sha256(manifest.to_json().encode()).hexdigest()


def _read_own(path: Path) -> bytes:
    """The content of a regular file that is this user's alone. Raises OSError for any other."""
    # A link, or a pipe that nobody writes to, is none.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        found = os.fstat(handle)
        own = hasattr(os, "geteuid") and found.st_uid == os.geteuid()
        if not (own and stat.S_ISREG(found.st_mode) and not found.st_mode & _OTHERS):
            raise PermissionError(f"{path} is not this user's alone")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)
