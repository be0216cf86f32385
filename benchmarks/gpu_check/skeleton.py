"""A bundle without its large weights, and the same filled with random ones: megabytes travel, gigabytes do not.

Of each file of weights a skeleton keeps what is small or counts (biases, norms, indices), compressed; of what it leaves
out, mean and spread. What is filled in has those, so that activations stay where they were; the answers are noise.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from xsam_edge.runtime.bundle.manifest import EMBEDDINGS_FILE, MANIFEST_FILE, bundle_path, read_manifest
from xsam_edge.runtime.bundle.typed_json import read_json
from xsam_edge.runtime.errors import BundleError

SKELETON_FILE = "skeleton.json"
_KEPT = ".kept"
_SMALL = 64 << 10  # bytes up to which values are kept
_SAMPLE = 1 << 18  # values that mean and spread are told from
_BLOCK = 1 << 22  # random values that are drawn; weights are runs of them, each from another place on
# Types whose values may be made up: floats, and the codes of quantised weights. Indices may not.
_FLOATS = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.FLOAT16: "float16"}
_CODES = {
    onnx.TensorProto.INT8: "int8", onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT4: "int4", onnx.TensorProto.UINT4: "uint4",
}  # fmt: skip
_TYPES = _FLOATS | _CODES


@dataclass(frozen=True)
class Left:
    """A run of bytes that was left out, of values of numpy's ``dtype``; of codes mean and spread are not told."""

    offset: int
    length: int
    dtype: str
    mean: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True)
class Weights:
    """A file of weights: its size, and what was left out, in ascending order."""

    bytes: int
    left: tuple[Left, ...]


@dataclass(frozen=True)
class Skeleton:
    """What a skeleton's file says."""

    files: Mapping[str, Weights]


def strip(bundle: Path, output: Path) -> Skeleton:
    """Write the skeleton of a bundle of graphs into a new folder.

    Raises:
        BundleError: no bundle, or one of engines.
    """
    manifest = read_manifest(bundle)
    if manifest.engine is not None:
        raise BundleError(f"{bundle} holds engines, of which there are no skeletons; give a bundle of graphs")
    output.mkdir(parents=True)
    files: dict[str, Weights] = {}
    for spec in manifest.graphs.values():
        graph = bundle_path(bundle, spec.file)
        for file, left in _left_out(graph).items():
            files[file] = _strip_file(bundle / file, left, output)
    table = manifest.embeddings
    rows = Left(0, table.nbytes, table.dtype)
    files[EMBEDDINGS_FILE] = _strip_file(bundle / EMBEDDINGS_FILE, [rows], output)
    for path in bundle.iterdir():
        if path.is_file() and path.name not in files:
            shutil.copy(path, output)
    skeleton = Skeleton(files)
    (output / SKELETON_FILE).write_text(json.dumps(asdict(skeleton), indent=1) + "\n", encoding="utf-8")
    return skeleton


def _left_out(graph: Path) -> dict[str, list[Left]]:
    """What a graph has in files beside it and is left out, by file and in ascending order."""
    found: dict[str, list[Left]] = {}
    for tensor in onnx.load(graph, load_external_data=False).graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        left = found.setdefault(facts["location"], [])
        length = int(facts["length"])
        if length > _SMALL and tensor.data_type in _TYPES:
            left.append(Left(int(facts.get("offset", 0)), length, _TYPES[tensor.data_type]))
    return {file: sorted(left, key=lambda item: item.offset) for file, left in found.items()}


def _strip_file(path: Path, left: list[Left], output: Path) -> Weights:
    total = path.stat().st_size
    measured = tuple(_measured(path, item) for item in left)
    pack = zlib.compressobj(9)
    with path.open("rb") as source, (output / f"{path.name}{_KEPT}").open("wb") as kept:
        for start, stop in _between(total, measured):
            source.seek(start)
            kept.write(pack.compress(source.read(stop - start)))
        kept.write(pack.flush())
    return Weights(total, measured)


def _measured(path: Path, left: Left) -> Left:
    if left.dtype in _CODES.values():
        return left
    count = min(_SAMPLE, left.length // np.dtype(left.dtype).itemsize)
    values = np.fromfile(path, left.dtype, count, offset=left.offset).astype(np.float64)
    return Left(left.offset, left.length, left.dtype, float(values.mean()), float(values.std()))


def _between(total: int, left: tuple[Left, ...]) -> Iterator[tuple[int, int]]:
    """Runs of a file that are kept."""
    start = 0
    for item in left:
        yield start, item.offset
        start = item.offset + item.length
    yield start, total


def filled_bytes(skeleton: Path) -> int:
    """Bytes of the weights that :func:`fill` writes; raises as it does."""
    return sum(weights.bytes for weights in _read(skeleton).files.values())


def _read(skeleton: Path) -> Skeleton:
    if not (skeleton / SKELETON_FILE).is_file():
        raise BundleError(f"{skeleton} is no skeleton: it has no {SKELETON_FILE}; make one with `gpu_check pack`")
    return read_json(skeleton / SKELETON_FILE, Skeleton, BundleError, advice="make the skeleton again")


def fill(skeleton: Path, output: Path, seed: int = 0) -> None:
    """Write a bundle of a skeleton into a new folder; the hashes of its manifest do not hold.

    Raises:
        BundleError: no skeleton.
    """
    described = _read(skeleton)
    output.mkdir(parents=True)
    for path in skeleton.iterdir():
        if path.is_file() and not path.name.endswith(_KEPT) and path.name != SKELETON_FILE:
            shutil.copy(path, output)
    random = np.random.default_rng(seed)
    normal = random.standard_normal(_BLOCK, np.float32)
    codes = random.integers(0, 256, _BLOCK, np.uint8)
    for name, weights in described.files.items():
        kept = memoryview(zlib.decompress((skeleton / f"{name}{_KEPT}").read_bytes()))
        with (output / name).open("wb") as file:
            os.truncate(file.fileno(), weights.bytes)
            for start, stop in _between(weights.bytes, weights.left):
                file.seek(start)
                file.write(kept[: stop - start])
                kept = kept[stop - start :]
            for left in weights.left:
                _write(file.fileno(), left, codes if left.dtype in _CODES.values() else _values(left, normal), random)


def _values(left: Left, normal: npt.NDArray[np.float32]) -> npt.NDArray[np.float32 | np.float16]:
    values = (left.mean + left.spread * normal).astype(left.dtype)
    return values


def _write(file: int, left: Left, block: npt.NDArray[np.generic], random: np.random.Generator) -> None:
    """Repeat a block over a run of bytes, from a place of its own on."""
    data = block.data.cast("B")
    start = int(random.integers(block.size)) * block.itemsize
    offset, end = left.offset, left.offset + left.length
    while offset < end:
        offset += os.pwrite(file, data[start : start + end - offset], offset)
        start = 0


def is_skeleton(folder: Path) -> bool:
    """Whether a folder holds one."""
    return (folder / SKELETON_FILE).is_file() and (folder / MANIFEST_FILE).is_file()
