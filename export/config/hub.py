"""Turn a checkpoint's name into local files: shipped with the package, or downloaded from the Hugging Face hub.

The only module that may use the network, and only when asked by id.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from xsam_edge.export.config.hub_bars import silent_bars
from xsam_edge.export.config.variants import VARIANTS, Variant
from xsam_edge.runtime.errors import CheckpointError
from xsam_edge.runtime.progress import Progress, silent

_HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?::(?P<folder>[\w./-]+))?")
_EMBEDDED = ("shapes",)  # folders of demo/
_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json")


def resolve(path_or_id: str | Path, cache: str | Path | None = None, progress: Progress = silent) -> Path:
    """Give a local path for a checkpoint.

    Args:
        path_or_id: the name of a model that is shipped with the package ("shapes"), an existing file or folder (one
            of that very name as ``./shapes``), or ``owner/name[:folder]``, whose weights are downloaded. Without a
            folder, that of the registered variant with this repository is taken.
        cache: where downloads are kept; None is the cache of ``huggingface_hub``.
        progress: told what was downloaded.

    Raises:
        CheckpointError: neither exists, or the download fails, as it does offline.
    """
    if path_or_id in _EMBEDDED:
        return Path(str(files("xsam_edge.export") / "demo" / str(path_or_id)))
    if Path(path_or_id).exists():
        return Path(path_or_id)
    hub_id = _HUB_ID.fullmatch(str(path_or_id))
    folder = hub_id["folder"] if hub_id else None
    if hub_id is None or ".." in (folder or "").split("/"):
        raise CheckpointError(
            f"{path_or_id} does not exist, nor is it a hub id of the form owner/name[:folder], "
            f"nor one of the models that come with xsam-edge ({', '.join(_EMBEDDED)})"
        )
    repository = hub_id["repository"]
    folder = (folder or _released_folder(repository)).strip("/")
    prefix = f"{folder}/" if folder else ""
    # A folder, or one file of it.
    patterns = [folder] if folder.endswith((".bin", ".safetensors")) else [prefix + pattern for pattern in _WEIGHTS]
    local = _download(repository, patterns, progress, cache_dir=cache) / folder
    if not local.exists():
        raise CheckpointError(f"{repository} on the hub has no weights in {folder or 'its root'}: check the id")
    return local


def download_tokenizer(variant: Variant, progress: Progress = silent) -> Path:
    """Download the tokenizer of a variant's language model. Raises CheckpointError when that fails."""
    return _download(variant.hub.llm, ["tokenizer*"], progress)


def _released_folder(repository: str) -> str:
    released = [v.hub.checkpoint for v in VARIANTS.values() if v.hub.checkpoint is not None]
    return next((name.partition(":")[2] for name in released if name.partition(":")[0] == repository), "")


def _download(repository: str, patterns: list[str], progress: Progress, **where: Any) -> Path:
    try:
        from huggingface_hub import snapshot_download

        bars = silent_bars(progress, f"download {repository}")
        return Path(snapshot_download(repository, allow_patterns=patterns, tqdm_class=bars, **where))
    except Exception as error:  # the client lets errors of several network libraries through
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            f"cannot download {repository}: {reason}; check the id and the network, or give a local path"
        ) from error
