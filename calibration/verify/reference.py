"""Reading a folder of recorded outputs of the official code.

A folder holds ``image.png``, region masks ``vpmaskN.png``, ``config.json`` and one ``<task>.npz`` per recorded prompt
(``aaai_<task>.npz`` of the AAAI26 line), whose keys begin with the mode: ``tensor/`` (answer appended, one forward)
or ``predict/`` (greedy decoding). ``<mode>/meta`` is JSON: the prompt, the answer, sizes and results.
``image_features.npz`` holds what depends on the image only. Any key and any task may be absent. A file may be called
``<task>_<anything>.npz``: ``official_task`` and ``postprocess`` of its meta say which task it is.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile

from xsam_edge.runtime.bundle.typed_json import from_json, parse_json, read_json
from xsam_edge.runtime.errors import InputError

FEATURES = "image_features"
MODES = ("tensor", "predict")
_MASKS = "decoder.masks_lowres."
_AGAIN = "record it again"
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Meta:
    """What every meta has; the rest is as the task left it."""

    extra_keys: ClassVar[bool] = True

    input_text: str


@dataclass(frozen=True, eq=False)
class Recording:
    """The arrays of one mode of one file, read when they are asked for. ``prefix`` is "tensor/", or "" for features."""

    file: str
    mode: str
    prefix: str
    archive: NpzFile
    meta: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return self.prefix + key in self.archive.files

    def __getitem__(self, key: str) -> Array:
        """One array.

        Raises:
            InputError: the array is damaged.
        """
        try:
            return self.archive[self.prefix + key]
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.file}: {self.prefix}{key} cannot be read ({error}); record it again") from None

    def keys(self) -> list[str]:
        """Every key but ``meta``, without the mode."""
        names = [name[len(self.prefix) :] for name in self.archive.files if name.startswith(self.prefix)]
        return [name for name in names if name != "meta"]

    def count(self, key: str) -> int:
        """How many values an array has, from its header.

        Raises:
            InputError: the header is damaged.
        """
        try:
            opened = self.archive.zip
            if opened is None:
                raise OSError("the file was closed")
            with opened.open(f"{self.prefix}{key}.npy") as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                return prod(read(stream)[0])
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.file}: {self.prefix}{key} cannot be read ({error}); record it again") from None

    def numbered(self, key: str) -> list[Array]:
        """``key.0``, ``key.1``... as far as they go."""
        arrays: list[Array] = []
        while f"{key}.{len(arrays)}" in self:
            arrays.append(self[f"{key}.{len(arrays)}"])
        return arrays

    def text(self, key: str) -> str:
        """A text of the meta; "" where there is none.

        Raises:
            InputError: it is no text.
        """
        value = self.meta.get(key) or ""
        if not isinstance(value, str):
            raise InputError(f"{self.file}: {key} of {self.prefix}meta is {value!r}; a text was expected")
        return value

    def size(self, key: str) -> tuple[int, int] | None:
        """A (height, width) of the meta; None where there is none."""
        value = self.meta.get(key)
        return (int(value[0]), int(value[1])) if isinstance(value, list) and len(value) == 2 else None


@dataclass(frozen=True, eq=False)
class Reference:
    """A folder, of one line of the model."""

    folder: Path
    config: Mapping[str, Any]
    features: Recording | None
    tasks: tuple[Path, ...]

    @property
    def image(self) -> Path:
        """The image that was segmented."""
        return self.folder / "image.png"

    @cached_property
    def last_masks(self) -> str:
        """The key of the mask logits that the decoder ends with; those of earlier layers never leave the graph.

        Layers are counted in ``config.json``; without it, the highest that any file has is the last.
        """
        sizes = self.config.get("tiny", self.config.get("real"))
        part = sizes.get("m2f") if isinstance(sizes, dict) else None
        layers = part.get("decoder_layers") if isinstance(part, dict) else None
        if isinstance(layers, int):
            return f"{_MASKS}{layers - 1}"  # the configuration counts the masks that are drawn before the first layer
        names = (name for path in self.tasks for name in _open(path).archive.files)
        layer_numbers = [
            int(name.rsplit(".", 1)[1]) for name in names if re.fullmatch(rf"\w+/{re.escape(_MASKS)}\d+", name)
        ]
        return f"{_MASKS}{max(layer_numbers, default=0)}"

    def task_config(self, name: str) -> Mapping[str, Any]:
        """What ``config.json`` says of a task's file; a file "x_more" that it does not know is "x" asked otherwise."""
        tasks = self.config.get("tasks") or {}
        stem = name.removeprefix("aaai_")
        while stem and not isinstance(tasks.get(stem), Mapping):
            stem = stem.rpartition("_")[0]
        task: Mapping[str, Any] = tasks[stem] if stem else {}
        return task

    def region_masks(self, name: str, count: int) -> list[Path]:
        """The files of the regions that a task was asked with."""
        order = self.task_config(name).get("vp")
        indices = order if isinstance(order, list) and len(order) == count else range(count)
        return [self.folder / f"vpmask{index}.png" for index in indices]


def open_reference(folder: Path, line: str) -> Reference:
    """List a folder; ``line`` is "main" or "aaai26".

    Raises:
        InputError: not a folder of recordings, or none of this line.
    """
    config = folder / "config.json"
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of a recorded reference")
    for needed in (config, folder / "image.png"):
        if not needed.is_file():
            raise InputError(f"{folder} is not a recorded reference: it has no {needed.name}")
    facts = read_json(config, dict[str, Any], advice=_AGAIN)
    prefix = "aaai_" if line == "aaai26" else ""
    every = sorted(folder.glob("*.npz"))
    ours = [path for path in every if path.stem.startswith("aaai_") == bool(prefix)]
    features = [path for path in ours if path.stem == prefix + FEATURES]
    tasks = tuple(path for path in ours if path not in features)
    if not ours:
        raise InputError(f"{folder} has no {prefix}<task>.npz, which a bundle of the {line} line is compared with")
    return Reference(folder, facts, _open(features[0]) if features else None, tasks)


def read_task(path: Path) -> Iterator[Recording]:
    """The modes that a task's file records, in order.

    Raises:
        InputError: the file or a mode's meta is damaged.
    """
    recording = _open(path)
    for mode in MODES:
        name = f"{mode}/meta"
        if name not in recording:
            continue
        where = f"{path}: {name}"
        content = parse_json(recording[name].astype(np.uint8).tobytes(), where, advice=_AGAIN)
        from_json(_Meta, content, where, advice=_AGAIN)
        meta = from_json(dict[str, Any], content, where, advice=_AGAIN)
        yield Recording(path.stem, mode, f"{mode}/", recording.archive, meta)


def unread(path: Path) -> dict[str, int]:
    """Keys of a task's file that belong to no mode with a meta, and their sizes: what cannot be compared."""
    recording = _open(path)
    read = tuple(f"{mode}/" for mode in MODES if f"{mode}/meta" in recording)
    return {name: recording.count(name) for name in recording.keys() if not name.startswith(read)}  # noqa: SIM118


def _open(path: Path) -> Recording:
    try:
        archive = np.load(path, allow_pickle=False)
        names = archive.files
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an .npz file ({error}); record it again") from None
    if not names:
        raise InputError(f"{path} is empty; record it again")
    return Recording(path.stem, "", "", archive, {})
