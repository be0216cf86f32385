"""Download files of a repository on the Hugging Face hub into the cache of its client, going on where a try ended.

The client itself begins a file anew after it was killed, which of 9 GB is a pity: files of LFS are received here, by
their hash, and linked by the client.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from xsam_edge.export.config.hub_bars import silent_bars
from xsam_edge.export.config.hub_cache import HubCache
from xsam_edge.export.staging import told_when_full
from xsam_edge.runtime.bundle.manifest import hash_file
from xsam_edge.runtime.errors import CheckpointError
from xsam_edge.runtime.progress import Tally, silent

_TIMEOUT = 30.0  # seconds without an answer
_PARTIAL = ".xsam-edge.incomplete"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository. ``sha256`` is told of files of LFS, which is every large one."""

    path: str
    bytes: int
    sha256: str | None


@dataclass(frozen=True)
class Listing:
    """All files of a repository at its newest commit, by their paths."""

    commit: str
    files: Mapping[str, RemoteFile]


def list_repository(repository: str) -> Listing:
    """Ask the hub for a repository's files. Lets the errors of the client through."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(repository, files_metadata=True, timeout=_TIMEOUT)
    files = {
        item.rfilename: RemoteFile(item.rfilename, item.size or 0, item.lfs.sha256 if item.lfs else None)
        for item in info.siblings or ()
    }
    # Both become names of files.
    hashes = [(info.sha, 40), *((file.sha256, 64) for file in files.values() if file.sha256 is not None)]
    if odd := next((text for text, digits in hashes if not re.fullmatch(f"[0-9a-f]{{{digits}}}", text or "")), None):
        raise CheckpointError(f"{repository} on the hub has {odd!r} in the place of a hash; check HF_ENDPOINT")
    return Listing(str(info.sha), files)


def has_blob(cache: HubCache, file: RemoteFile) -> bool:
    """Whether a file of LFS is in the cache, perhaps as that of another commit."""
    return file.sha256 is not None and cache.blob(file.sha256).is_file()


def received(cache: HubCache, file: RemoteFile) -> int:
    """Bytes of a file that an earlier try left."""
    if file.sha256 is None:
        return 0
    partial = _partial(cache, file.sha256)
    return partial.stat().st_size if partial.is_file() else 0


def receive(cache: HubCache, commit: str, file: RemoteFile, tally: Tally) -> None:
    """Receive a file of LFS as a blob of the cache; any other is left to :func:`link`.

    Raises:
        CheckpointError: another process is receiving it, or it is not what the hub said.
        XSamError: the disk fills up.
        Exception: what the client raises.
    """
    if file.sha256 is None:
        return
    partial = _partial(cache, file.sha256)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("ab") as content:
        _hold(content, file.path)
        with told_when_full(partial, file.bytes):
            _append(cache.repository, commit, file, content, tally)
            content.flush()
        _verify(partial, file)
        partial.rename(cache.blob(file.sha256))


def link(cache: HubCache, commit: str, paths: Sequence[str]) -> Path:
    """Let the client put files into the snapshot of a commit: blobs that are there are linked, others downloaded.

    Returns:
        The snapshot.

    Raises:
        CheckpointError: the repository has a newer commit by now.
        Exception: what the client raises.
    """
    from huggingface_hub import snapshot_download

    bars = silent_bars(silent, "")
    snapshot = snapshot_download(cache.repository, cache_dir=cache.root, allow_patterns=list(paths), tqdm_class=bars)
    if Path(snapshot).name != commit:
        raise CheckpointError(f"{cache.repository} changed on the hub in the meantime; run the same again")
    return cache.snapshot(commit)


def _partial(cache: HubCache, sha256: str) -> Path:
    return cache.blob(sha256 + _PARTIAL)


def _hold(content: BinaryIO, name: str) -> None:
    try:
        fcntl.flock(content, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CheckpointError(f"another process is downloading {name}; wait for it, then run the same again") from None


def _append(repository: str, commit: str, file: RemoteFile, content: BinaryIO, tally: Tally) -> None:
    """Append what is missing; a connection that breaks is taken up again as long as bytes come."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    url = hf_hub_url(repository, file.path, revision=commit)
    told = 0  # to the tally
    while (have := content.seek(0, os.SEEK_END)) < file.bytes:
        tally.add(have - told)
        told = have
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        failure: Exception | None = None
        try:
            with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=True) as response:
                hf_raise_for_status(response)
                if have and response.status_code != 206:  # a server that knows no ranges
                    content.truncate(0)
                for chunk in response.iter_bytes():
                    content.write(chunk)
                    tally.add(content.tell() - told)
                    told = content.tell()
        except OSError:
            raise
        except Exception as error:  # of whichever network library the client has
            failure = error
        if content.seek(0, os.SEEK_END) <= have:
            raise failure or CheckpointError(f"the hub sends nothing of {file.path}; run the same again")


def _verify(partial: Path, file: RemoteFile) -> None:
    size = partial.stat().st_size
    if size == file.bytes and hash_file(partial) == file.sha256:
        return
    partial.unlink()
    what = f"{size} bytes of {file.bytes}" if size != file.bytes else "bytes of another SHA-256 than the hub tells"
    raise CheckpointError(f"{file.path} came with {what}; it was removed, run the same again")
