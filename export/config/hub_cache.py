"""The cache of the Hugging Face hub's client: blobs by their hash, and snapshots, which are links to them by name.

Its layout is documented: https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xsam_edge.export.checkpoint.checkpoint import index_shards
from xsam_edge.export.config.weight_forms import WeightForm, weight_forms


@dataclass(frozen=True)
class HubCache:
    """The cache of one repository, ``owner/name``, in the folder ``root``."""

    root: Path
    repository: str

    @property
    def folder(self) -> Path:
        """Where blobs and snapshots of the repository are."""
        return self.root / f"models--{self.repository.replace('/', '--')}"

    @property
    def commit(self) -> str | None:
        """The commit of the last download, None without one."""
        try:
            return (self.folder / "refs" / "main").read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def snapshot(self, commit: str) -> Path:
        """The folder of a commit's files."""
        return self.folder / "snapshots" / commit

    def blob(self, sha256: str) -> Path:
        """Where a file of LFS is, by its hash."""
        return self.folder / "blobs" / sha256


def whole_form(folder: Path, names: Iterable[str]) -> WeightForm | None:
    """The best form of which all files are in a folder, among the given names; None where each lacks some."""
    present = [name for name in names if (folder / name).is_file()]  # behind a link, too
    found = weight_forms(present, lambda index: index_shards(folder / index))
    return next((form for form in found if all((folder / name).is_file() for name in form.files)), None)


def blob_sha256(path: Path) -> str | None:
    """The hash that a file must have because it is a blob of the cache, or a link to one; None for any other file."""
    blob = path.resolve()
    return blob.name if blob.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", blob.name) else None
