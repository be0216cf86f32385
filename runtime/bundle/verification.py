"""Whether the files of a bundle are those that its manifest describes, which is asked before one of them is opened.

``full`` reads every byte once, in about as many threads as there are cores. ``changed`` reads the files that are not as
they were when they were last found whole, by a record outside of the bundle
(:mod:`xsam_edge.runtime.bundle.verified`). ``none`` looks at sizes only. Engines are native code and always checked in
full.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from xsam_edge.runtime.arguments import found
from xsam_edge.runtime.bundle import verified
from xsam_edge.runtime.bundle.manifest import (
    EMBEDDINGS_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    FileEntry,
    Manifest,
    bundle_path,
)
from xsam_edge.runtime.bundle.verified import Stamp
from xsam_edge.runtime.cores import usable_cores
from xsam_edge.runtime.errors import AlteredFileError, BundleError, InputError
from xsam_edge.runtime.progress import Progress, Step, Tally, silent
from xsam_edge.runtime.units import size

_log = logging.getLogger(__name__)

Verify = Literal["full", "changed", "none"]
VERIFY: tuple[Verify, ...] = get_args(Verify)

_BLOCK = 1 << 20  # bytes that a thread reads at once, and holds
_POINTER = 1024  # bytes that a text which stands for a file has at most
_READING = 2  # threads beyond one a core, which wait for the disk while the others hash


@dataclass(frozen=True)
class Checked:
    """What was checked: the path of every file by its name, and how many of all bytes were hashed."""

    paths: Mapping[str, Path]
    hashed: int
    total: int
    unread: Literal["unchanged", "unknown"] = "unchanged"  # what the rest is

    @property
    def note(self) -> str:
        """What was not hashed, as a clause; empty where everything was."""
        if self.hashed == self.total:
            return ""
        if self.unread == "unknown":
            return "sizes only; hashes were not checked"
        if self.hashed:
            return f"{size(self.hashed)} of {size(self.total)} were hashed; the rest is unchanged since it was"
        return "unchanged since all hashes were checked"


def check_files(bundle: Path, manifest: Manifest, *, verify: Verify = "full", progress: Progress = silent) -> Checked:
    """Check that every file of the manifest is there and has its size and, as ``verify`` says, its hashes.

    Args:
        bundle: its folder.
        manifest: what was read there.
        verify: "full": hashes of every file; "changed": of those that changed since they were last found whole; "none".
            Engines are always checked in full.
        progress: told of the bytes that were hashed.

    Raises:
        BundleError: names the first file, in the order of the manifest, that is missing or altered.
        InputError: ``verify`` is something else.
    """
    if not isinstance(verify, str) or verify not in VERIFY:
        raise InputError(
            f"verify is {found(verify)}; write 'full' (which True was), 'changed' or 'none' (which False was)"
        )
    again = "export the bundle again" if manifest.engine is None else "build it again with `xsam-export --from`"
    paths = _present(bundle, manifest, again)
    total = sum(entry.bytes for entry in manifest.files.values())
    if manifest.engine is not None:
        verify = "full"
    if verify == "none":
        return Checked(paths, 0, total, "unknown")
    began = time.time_ns()
    stamps = {name: Stamp.of(path) for name, path in paths.items()}
    known = verified.recall(bundle, manifest) if verify == "changed" else {}
    left = [name for name, stamp in stamps.items() if known.get(name) != str(stamp)]
    hashed = sum(manifest.files[name].bytes for name in left)
    if not left:
        progress(Step("check", detail="unchanged"))
        return Checked(paths, 0, total)
    pieces = [piece for name in left for piece in _pieces(paths[name], manifest.files[name])]
    _check_hashes(pieces, again, Tally(progress, "check", hashed, "bytes"))
    if manifest.engine is None:
        settled = {name: stamp for name, stamp in stamps.items() if stamp.settled(began)}
        same = {name: str(stamp) for name, stamp in settled.items() if stamp == Stamp.of(paths[name])}
        _remember(bundle, manifest, same, verify)
    return Checked(paths, hashed, total)


def _present(bundle: Path, manifest: Manifest, again: str) -> dict[str, Path]:
    """The path of every file of the manifest, all of which are there and have their sizes."""
    named = {TOKENIZER_FILE, EMBEDDINGS_FILE} | {graph.file for graph in manifest.graphs.values()}
    if unlisted := sorted(named - set(manifest.files)):
        raise BundleError(f"{bundle / MANIFEST_FILE} has no hash of {', '.join(unlisted)}; {again}")
    paths = {}
    for name, entry in manifest.files.items():
        path = paths[name] = bundle_path(bundle, name)
        if not path.is_file():
            raise BundleError(f"{path} is missing; {again}" if not path.is_symlink() else _dangling(path))
        if (found := path.stat().st_size) != entry.bytes:
            if fetch := _stands_for(path, found):
                raise BundleError(f"{path} only stands for a file that is not there; fetch it with `{fetch}`")
            raise AlteredFileError(f"{path} has {found} bytes, its manifest says {entry.bytes}; {again}")
    return paths


def _dangling(path: Path) -> str:
    """What is to be said of a link to nothing, as there are where files are kept elsewhere and were not fetched."""
    target = path.readlink()
    tools = {".dvc": "dvc pull", "annex": "git annex get", "blobs": "hf download"}
    fetch = next((tool for part, tool in tools.items() if part in target.parts), "")
    how = f" with `{fetch}`" if fetch else ""
    return f"{path} is a link to {target}, where nothing is; fetch what it stands for{how}, or copy the bundle with it"


def _stands_for(path: Path, size: int) -> str:
    """The command that fetches what a small text stands for, as Git LFS and git-annex leave it; "" for other files."""
    if size > _POINTER:
        return ""
    content = path.read_bytes()
    if content.startswith(b"version https://git-lfs."):
        return "git lfs pull"
    return "git annex get" if content.startswith(b"/annex/objects/") else ""


def _remember(bundle: Path, manifest: Manifest, files: Mapping[str, str], verify: Verify) -> None:
    try:
        verified.remember(bundle, manifest, files)
    except (OSError, RuntimeError) as error:
        level = logging.WARNING if verify == "changed" else logging.INFO
        _log.log(level, "that %s is whole cannot be remembered (%s): it is read again next time", bundle, error)


@dataclass(frozen=True)
class _Piece:
    """A run of bytes of a file that has a hash of its own."""

    path: Path
    start: int
    length: int
    sha256: str
    subject: str = "its SHA-256"  # of a message


def _pieces(path: Path, entry: FileEntry) -> Iterator[_Piece]:
    """What of a file is hashed on its own; together that is every byte."""
    if entry.chunks is None:
        yield _Piece(path, 0, entry.bytes, entry.sha256)
        return
    for index, sha256 in enumerate(entry.chunks.sha256):
        start = index * entry.chunks.bytes
        stop = min(start + entry.chunks.bytes, entry.bytes)
        yield _Piece(path, start, stop - start, sha256, f"the SHA-256 of its bytes {start} to {stop - 1}")


def _check_hashes(pieces: Sequence[_Piece], again: str, tally: Tally) -> None:
    """Raise AlteredFileError for the first piece that has another hash."""
    stop = threading.Event()
    with ThreadPoolExecutor(min(max(1, len(pieces)), usable_cores() + _READING)) as pool:
        try:
            # In order: of several that were altered, always the same one is told.
            for piece, actual in zip(pieces, pool.map(partial(_hash, tally, stop), pieces), strict=True):
                if actual != piece.sha256:
                    raise AlteredFileError(
                        f"{piece.path} was altered: {piece.subject} is {actual[:12]}..., its manifest says "
                        f"{piece.sha256[:12]}...; {again}"
                    )
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _hash(tally: Tally, stop: threading.Event, piece: _Piece) -> str:
    """SHA-256 of a piece; of less than that once nobody wants it any more."""
    digest, left = hashlib.sha256(), piece.length
    block = memoryview(bytearray(min(_BLOCK, left)))
    with piece.path.open("rb", buffering=0) as file:
        file.seek(piece.start)
        while left and not stop.is_set():
            count = file.readinto(block[:left])
            if not count:  # the file has just become shorter
                break
            digest.update(block[:count])
            left -= count
            tally.add(count)
    return digest.hexdigest()
