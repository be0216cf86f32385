"""Turn a checkpoint's name into local files: shipped with the package, or downloaded from the Hugging Face hub.

Only this module and :mod:`xsam_edge.export.config.hub_download` may use the network, and only when asked by id.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from importlib.resources import files
from pathlib import Path, PurePosixPath

from xsam_edge.export.checkpoint.checkpoint import (
    CHECKPOINT_NAMES,
    CHECKPOINT_SUFFIXES,
    INDEX_SUFFIX,
    index_shards,
)
from xsam_edge.export.config.hub_bars import silent_bars
from xsam_edge.export.config.hub_cache import HubCache, whole_form
from xsam_edge.export.config.hub_download import Listing, RemoteFile, has_blob, link, list_repository, receive, received
from xsam_edge.export.config.licence import LICENCE_FILES, MODEL_CARD
from xsam_edge.export.config.variants import VARIANTS, Variant
from xsam_edge.export.config.weight_forms import WeightForm, weight_forms
from xsam_edge.export.staging import check_space
from xsam_edge.runtime.errors import CheckpointError, XSamError
from xsam_edge.runtime.progress import Progress, Step, Tally, silent
from xsam_edge.runtime.units import size

_HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?::(?P<folder>[\w./-]+))?")
_EMBEDDED = ("shapes",)  # folders of demo/
_LISTED = 4  # files or folders that a message names


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
    place = (folder or _released_folder(repository)).strip("/")
    return _fetch(HubCache(Path(cache) if cache else _default_cache(), repository), place, progress)


def download_tokenizer(variant: Variant, progress: Progress = silent) -> Path:
    """Download the tokenizer of a variant's language model. Raises CheckpointError when that fails."""
    repository = variant.hub.llm
    try:
        from huggingface_hub import snapshot_download

        bars = silent_bars(progress, f"download {repository}")
        return Path(snapshot_download(repository, allow_patterns=["tokenizer*"], tqdm_class=bars))
    except Exception as error:  # as above
        name = repository.rpartition("/")[2]
        raise CheckpointError(
            f"cannot download the tokenizer of {repository}: {_reason(error)}; check the network, or give the model's "
            f"inits with --inits DIR, where DIR/{name} holds its config.json, tokenizer.json and tokenizer_config.json"
        ) from error


def _released_folder(repository: str) -> str:
    released = [v.hub.checkpoint for v in VARIANTS.values() if v.hub.checkpoint is not None]
    return next((name.partition(":")[2] for name in released if name.partition(":")[0] == repository), "")


def _default_cache() -> Path:
    try:
        from huggingface_hub import constants
    except ImportError:
        raise CheckpointError(
            "names of the hub need huggingface_hub: install xsam-edge[export], or give a local path"
        ) from None
    return Path(constants.HF_HUB_CACHE)


def _fetch(cache: HubCache, place: str, progress: Progress) -> Path:
    """The file to open of the weights in ``place``, a folder of a repository or a file in one."""
    try:
        listing = list_repository(cache.repository)
    except Exception as error:  # the client lets errors of several network libraries through
        return _cached(cache, place, error, progress)
    folder, named = _split(place)
    try:
        form = _choose(cache, listing, folder, named)
        if form is None:
            raise CheckpointError(
                f"{cache.repository} on the hub has no weights in {place or 'its root'}{_hint(listing)}"
            )
        _fetch_files(cache, listing, [str(folder / name) for name in form.files], progress)
    except XSamError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:  # of this machine's disk, not of the network
            raise
        raise CheckpointError(
            f"cannot download {cache.repository}: {_reason(error)}; run the same again, which goes on where this ended"
        ) from error
    return cache.snapshot(listing.commit) / folder / form.head


def _split(place: str) -> tuple[PurePosixPath, str]:
    """The folder that is meant, and the file that is named in it, "" where none is."""
    path = PurePosixPath(place)
    is_file = place.endswith((*CHECKPOINT_SUFFIXES, INDEX_SUFFIX))
    return (path.parent, path.name) if is_file else (path, "")


def _choose(cache: HubCache, listing: Listing, folder: PurePosixPath, named: str) -> WeightForm | None:
    """One form of the weights: what is there already, else the best; never two."""
    paths = [PurePosixPath(file) for file in listing.files]
    present = {path.name for path in paths if path.parent == folder}
    names = present & {named} if named else present

    def shards(index: str) -> Collection[str]:
        found = index_shards(link(cache, listing.commit, [str(folder / index)]) / folder / index)
        if absent := sorted(found.keys() - present):
            raise CheckpointError(f"{cache.repository} on the hub has no {folder / absent[0]}, which {index} names")
        return found.keys()

    if there := whole_form(cache.snapshot(listing.commit) / folder, names):
        return there
    forms = weight_forms(names, shards)
    best = next(forms, None)
    if best is not None and best.head not in CHECKPOINT_NAMES and (other := next(forms, None)) is not None:
        raise CheckpointError(
            f"{folder} of {cache.repository} has several files of weights, such as {best.head} and {other.head}: name "
            f"one, as {cache.repository}:{folder / best.head}"
        )
    return best


def _fetch_files(cache: HubCache, listing: Listing, wanted: Sequence[str], progress: Progress) -> None:
    """Download what the cache lacks, once all of it is known to fit."""
    notices = [name for name in (MODEL_CARD, *LICENCE_FILES) if name in listing.files]
    remote = [listing.files[name] for name in (*wanted, *notices)]
    snapshot = cache.snapshot(listing.commit)
    for file in remote:
        _check_size(snapshot / file.path, file)
    absent = [file for file in remote if not (snapshot / file.path).is_file()]
    missing = [file for file in absent if file.path in wanted and not has_blob(cache, file)]
    if missing:
        total, there = sum(file.bytes for file in missing), sum(received(cache, file) for file in missing)
        told = f"{size(total)}, of which {size(there)} are there" if there else size(total)
        names = ", ".join(file.path for file in missing)
        progress(Step(f"downloading {names} of {cache.repository}, {told}, into {cache.folder}", note=True))
        check_space(next(folder for folder in (cache.root, *cache.root.parents) if folder.is_dir()), total - there)
        tally = Tally(progress, f"download {cache.repository}", total, "bytes")
        for file in missing:
            receive(cache, listing.commit, file, tally)
    if absent:
        link(cache, listing.commit, [file.path for file in remote])


def _check_size(path: Path, file: RemoteFile) -> None:
    if path.is_file() and path.stat().st_size != file.bytes:
        raise CheckpointError(
            f"{path} has {path.stat().st_size} bytes, the hub's file has {file.bytes}; remove {path.resolve()} and run "
            "the same again"
        )


def _cached(cache: HubCache, place: str, error: Exception, progress: Progress) -> Path:
    """The same without a network, of what earlier downloads left or somebody copied into the cache."""
    place_in, named = _split(place)
    folder = cache.snapshot(cache.commit or "main") / place_in
    names = [named] if named else [file.name for file in folder.iterdir()] if folder.is_dir() else []
    form = whole_form(folder, names)
    if form is not None:
        progress(Step(f"the hub cannot be reached ({_reason(error)}); taken as it is: {folder / form.head}", note=True))
        return folder / form.head
    lacks = f"{_lacking(folder, named)} of {place or cache.repository}"
    if folder.is_dir():
        where = f"put it into {folder}"
    else:
        where = (
            f"copy {cache.folder} from a machine where `hf download {cache.repository} --include '{place}*'` was run"
        )
    raise CheckpointError(
        f"cannot download {cache.repository}: {_reason(error)}; the cache has no {lacks}: check the id and the "
        f"network, {where}, or give the weights' own path with --checkpoint"
    ) from error


def _lacking(folder: Path, named: str) -> str:
    """What a folder of the cache has too little of."""
    indexes = [folder / name for name in CHECKPOINT_NAMES if name.endswith(INDEX_SUFFIX)]
    for index in (index for index in indexes if index.is_file()):
        if absent := [name for name in sorted(index_shards(index)) if not (folder / name).is_file()]:
            more = f" and {len(absent) - _LISTED} more" if len(absent) > _LISTED else ""
            return ", ".join(absent[:_LISTED]) + more
    return named or f"{', '.join(CHECKPOINT_NAMES[:2])} or shards"


def _hint(listing: Listing) -> str:
    parents = {str(PurePosixPath(file).parent) for file in listing.files if file.endswith(CHECKPOINT_SUFFIXES)}
    folders = sorted(parents - {"."})
    return f"; it has some in {', '.join(folders[:_LISTED])}" if folders else ": check the id"


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
