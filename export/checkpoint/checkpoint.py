"""Open a checkpoint of any supported form as a mapping of tensor names that reads rows on demand.

Forms: a ``torch.save`` file, a safetensors file, either kind in shards with an index, or a folder that holds one of
them. Opening reads names and shapes only; no code in a file is ever run and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, ClassVar

import numpy as np

from xsam_edge.export.checkpoint.safetensors_file import safetensors_refs
from xsam_edge.export.checkpoint.tensor_ref import TensorRef, read, read_rows
from xsam_edge.export.checkpoint.torch_file import legacy_refs, zip_refs
from xsam_edge.export.checkpoint.unsupported import check_file, check_sizes
from xsam_edge.export.checkpoint.wrappers import unwrap
from xsam_edge.runtime.bundle.constraints import NOT_EMPTY
from xsam_edge.runtime.bundle.manifest import hash_file
from xsam_edge.runtime.bundle.typed_json import read_json
from xsam_edge.runtime.errors import CheckpointError
from xsam_edge.runtime.progress import Progress, Tally, silent

#: File names that are looked for in a folder, before any other file with a suffix of ``CHECKPOINT_SUFFIXES``.
CHECKPOINT_NAMES = (
    "pytorch_model.bin",
    "model.safetensors",
    "state_dict.safetensors",
    "pytorch_model.bin.index.json",
    "model.safetensors.index.json",
)
CHECKPOINT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
INDEX_SUFFIX = ".index.json"
_SEARCH_DEPTH = 2  # the official repository keeps checkpoints two folders deep


@dataclass(frozen=True)
class _Index:
    extra_keys: ClassVar[bool] = True

    weight_map: Annotated[Mapping[str, str], NOT_EMPTY]  # tensor -> file


class Checkpoint(Mapping[str, TensorRef]):
    """Tensor names -> ``TensorRef``. ``files`` are those it was read from; ``inits`` the parts' folder, if found."""

    def __init__(self, refs: Mapping[str, TensorRef], files: tuple[Path, ...], inits: Path | None = None) -> None:
        self._refs = dict(refs)
        self.files = files
        self.inits = inits

    def __getitem__(self, name: str) -> TensorRef:
        return self._refs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor."""
        return {name: ref.shape for name, ref in self._refs.items()}

    def read(self, name: str) -> np.ndarray:
        """Read one tensor; bfloat16 comes back as float32, other types as stored. Raises as ``tensor_ref.read``."""
        return read(self._refs[name])

    def dtype(self, name: str) -> str:
        """The type that a tensor is stored in, such as "bfloat16"."""
        return self._refs[name].dtype

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Read ``tensor[start:stop]`` without reading the rest. Raises as ``tensor_ref.read_rows``."""
        return read_rows(self._refs[name], start, stop)

    def renamed(self, rename: Callable[[str], str]) -> Checkpoint:
        """Give the same tensors other names. Raises CheckpointError when two get the same one."""
        refs: dict[str, TensorRef] = {}
        names: dict[str, str] = {}  # new -> old
        for name, ref in self._refs.items():
            new = rename(name)
            if (other := names.setdefault(new, name)) != name:
                raise CheckpointError(
                    f"{self.files[0]} has {other} and {name}, which are both {new}: the checkpoint mixes two models or "
                    "formats; save the state_dict of one"
                )
            refs[new] = replace(ref, name=new)
        return Checkpoint(refs, self.files, self.inits)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a file or a folder.

    Args:
        path: a file of any supported form, or a folder with exactly one of them at the shallowest level that has any.

    Raises:
        CheckpointError: nothing there, several candidates, empty, truncated, of an unknown format, with code in it,
            an index that names a missing or foreign file, or something other than whole weights, such as shards of
            a framework, adapters or quantised weights.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; expected a checkpoint file or a folder with one")
    file = _find_in_folder(path) if path.is_dir() else path
    check_file(file)
    files: Mapping[Path, set[str] | None] = _shards(file) if file.suffix == ".json" else {file: None}
    refs: dict[str, TensorRef] = {}
    for shard, names in files.items():
        shard_refs = _file_refs(shard)
        if names is not None and names != shard_refs.keys():
            odd = sorted(names ^ shard_refs.keys())
            raise CheckpointError(
                f"{file} and {shard} disagree on {odd[0]} ({len(odd)} names in all): download both again"
            )
        refs.update(shard_refs)
    if not refs:
        raise CheckpointError(f"{file} holds no tensors; expected the state_dict of an X-SAM model")
    checkpoint = Checkpoint(refs, tuple(files), _find_inits(path, file))
    check_sizes(file, checkpoint.shapes)
    return checkpoint.renamed(unwrap(checkpoint).__getitem__)


def sha256(path: str | Path, progress: Progress = silent) -> str:
    """Hash one file in blocks: 64 hexadecimal digits."""
    path = Path(path)
    try:
        return hash_file(path, Tally(progress, "checkpoint: hash", path.stat().st_size, "bytes"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def _file_refs(path: Path) -> dict[str, TensorRef]:
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if size == 0:
        raise CheckpointError(f"{path} is empty; download it again")
    if start.startswith(b"version https://"[:9]):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`")
    if start.startswith(b"PK\x03\x04"):
        return zip_refs(path)
    if start.startswith(b"\x80"):
        return legacy_refs(path)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return safetensors_refs(path)
    raise CheckpointError(f"{path} is not a checkpoint: neither torch.save nor safetensors wrote it")


def index_shards(index: Path) -> dict[str, set[str]]:
    """File name -> tensor names, of an index in the Hugging Face form; whether the files are there is not looked at.

    Raises CheckpointError when it is no index, or names a file of another folder.
    """
    advice = "it is not the index of a sharded checkpoint, which is a weight_map of file names"
    shards: dict[str, set[str]] = {}
    for name, shard in read_json(index, _Index, CheckpointError, advice=advice).weight_map.items():
        # An index may name only its neighbours: anything else could make the reader open any file of this machine.
        if (
            PurePosixPath(shard).name != shard
            or PureWindowsPath(shard).name != shard
            or not shard.endswith(CHECKPOINT_SUFFIXES)
        ):
            raise CheckpointError(f"{index} names {shard!r}; expected checkpoint files in its own folder only")
        shards.setdefault(shard, set()).add(name)
    return shards


def _shards(index: Path) -> dict[Path, set[str] | None]:
    """File -> tensor names, of an index whose files are all there."""
    shards = index_shards(index)
    for shard in shards:
        if not (index.parent / shard).is_file():
            raise CheckpointError(f"{index} names {shard}, which is missing: download it into {index.parent}")
    return {index.parent / shard: names for shard, names in shards.items()}


def _find_in_folder(folder: Path) -> Path:
    level = [folder]
    for _ in range(_SEARCH_DEPTH + 1):
        candidates = [file for directory in level for file in _candidates(directory)]
        for file in candidates or (shard for directory in level for shard in sorted(directory.glob("*.distcp"))):
            check_file(file)
        if len(candidates) > 1:
            listed = ", ".join(str(file.relative_to(folder)) for file in candidates[:6])
            raise CheckpointError(f"{folder} holds {len(candidates)} checkpoints ({listed}): name one of them")
        if candidates:
            return candidates[0]
        level = [sub for directory in level for sub in _subfolders(directory)]
    raise CheckpointError(f"{folder} holds no checkpoint; expected one of {', '.join(CHECKPOINT_NAMES)}")


def _candidates(folder: Path) -> list[Path]:
    if _is_part(folder):
        return []
    named = [folder / name for name in CHECKPOINT_NAMES if (folder / name).is_file()]
    indexes = [file for file in named if file.suffix == ".json"]
    if indexes:
        sharded = {shard for index in indexes for shard in _shards(index)}
        return [file for file in named if file not in sharded]
    return named or sorted(file for file in folder.iterdir() if file.suffix in CHECKPOINT_SUFFIXES and file.is_file())


def _is_part(folder: Path) -> bool:
    # A folder under inits/ may hold the weights that one part was initialised from, which are not X-SAM's.
    return folder.name == "inits" or (folder.parent.name == "inits" and (folder / "config.json").is_file())


def _subfolders(folder: Path) -> list[Path]:
    return sorted(sub for sub in folder.iterdir() if sub.is_dir() and sub.name != "inits" and sub.name[0] != ".")


def _find_inits(opened: Path, file: Path) -> Path | None:
    """``inits/`` inside or beside the opened path, or between it and the file; or one that holds the file itself."""
    root = opened if opened.is_dir() else file.parent
    between = [parent for parent in file.absolute().parents if parent.is_relative_to(root.absolute())]
    places = [parent / "inits" for parent in [*between, root.absolute().parent]]
    places += [parent for parent in file.absolute().parents[:4] if parent.name == "inits"]
    return next((place for place in places if place.is_dir() and any(place.glob("*/config.json"))), None)
