"""The manifest of a bundle: what its files are, what its graphs take and give, and the hash of every file.

A bundle is one directory, the contract between export and runtime. ``manifest.json`` describes it completely; the
runtime trusts nothing else and opens no file before it was checked (a graph or an engine is code), as
:mod:`xsam_edge.runtime.bundle.verification` does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Annotated, Literal

from xsam_edge.runtime.bundle import contract, signatures
from xsam_edge.runtime.bundle.activation_sizes import ActivationSizes
from xsam_edge.runtime.bundle.constraints import (
    Count,
    FileName,
    Name,
    PositiveInt,
    Sha256,
    at_least,
    is_inside,
    matching,
    one_of,
)
from xsam_edge.runtime.bundle.conversion import shown
from xsam_edge.runtime.bundle.dtypes import ITEM_SIZES
from xsam_edge.runtime.bundle.engine_info import EngineInfo
from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.bundle.signatures import Signatures
from xsam_edge.runtime.bundle.typed_json import from_json, load_json
from xsam_edge.runtime.bundle.work import GraphWork
from xsam_edge.runtime.errors import BundleError
from xsam_edge.runtime.progress import Tally

MANIFEST_FILE = "manifest.json"
# Of the manifest and of what graphs do with their inputs (``contract``): 2 since pasts may be padded and the language
# model names the next tokens itself.
SCHEMA_VERSION = 2

_AGAIN = "export the bundle again"

# Files that every bundle has; graphs name their own.
TOKENIZER_FILE = "tokenizer.json"
EMBEDDINGS_FILE = "token_embeddings.bin"

Codes = Literal["int8", "int4", "fp8"]

# Files that are larger have a hash of each run of so many bytes, which threads check side by side. Shorter runs would
# make a longer manifest, longer ones leave threads without work at the end.
CHUNK_BYTES = 16 << 20
# Values of a tensor: TensorRT counts them in 31 bits.
_MOST_VALUES = (1 << 31) - 1


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph. A dimension is a size or the name of an axis (``sequence``, ``past``...)."""

    name: Name
    dtype: Annotated[str, one_of(*ITEM_SIZES)]  # numpy's name, where it has one
    shape: tuple[PositiveInt | Annotated[str, one_of(*contract.AXES)], ...]

    def check(self) -> None:
        """Raise ValueError for a tensor that is too large for any backend."""
        if prod(size for size in self.shape if isinstance(size, int)) > _MOST_VALUES:
            raise ValueError(f"shape is {list(self.shape)}; expected at most {_MOST_VALUES} values")


@dataclass(frozen=True)
class GraphSpec:
    """One graph: its file inside the bundle and its inputs and outputs in order.

    ``quantized`` is the floating-point type around its quantised products and its quantised cache, None where it has
    neither; ``codes`` are the types that they are quantised to, of weights, of activations and of keys and values.
    """

    file: FileName
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    quantized: Literal["float32", "float16"] | None = None
    codes: tuple[Codes, ...] = ()

    def input(self, name: str) -> TensorSpec:
        """The input called ``name``; KeyError if there is none."""
        return _by_name(self.inputs, name)

    def output(self, name: str) -> TensorSpec:
        """The output called ``name``; KeyError if there is none."""
        return _by_name(self.outputs, name)

    @property
    def axes(self) -> frozenset[str]:
        """Names of the axes of its inputs."""
        return frozenset(axis for tensor in self.inputs for axis in tensor.shape if isinstance(axis, str))

    @property
    def signatures(self) -> tuple[Signatures, Signatures]:
        """Dtype and shape of inputs and outputs by their names."""
        return _signatures(self.inputs), _signatures(self.outputs)

    def check(self) -> None:
        """Raise ValueError where two tensors have one name."""
        names = [tensor.name for tensor in (*self.inputs, *self.outputs)]
        if twice := _twice(names):
            raise ValueError(f"inputs and outputs have {twice!r} twice; expected a name for each tensor")


@dataclass(frozen=True)
class Chunks:
    """SHA-256 of each run of ``bytes`` bytes of a file in turn; the last run is what is left."""

    bytes: PositiveInt
    sha256: tuple[Sha256, ...]


@dataclass(frozen=True)
class FileEntry:
    """Size and SHA-256 of one file, and of a large one the hashes of its chunks.

    Where there are chunks, they alone are checked. That is as strong as the hash of the whole: each is a SHA-256 at its
    place, together they cover every byte, and the size is checked too, so that a file which passes is the one that was
    described, or somebody found two runs of bytes with one hash. Whoever could write other chunks into the manifest
    could write another hash of the whole.
    """

    bytes: Count
    sha256: Sha256
    chunks: Chunks | None = None  # None: it is one chunk, or an export of before there were chunks

    @classmethod
    def of(cls, path: Path, tally: Tally | None = None) -> FileEntry:
        """Describe a file, which is read once; its bytes are added to ``tally``."""
        size = path.stat().st_size
        if size <= CHUNK_BYTES:
            return cls(size, hash_file(path, tally))
        whole, chunks = hashlib.sha256(), []
        with path.open("rb") as file, ThreadPoolExecutor(1) as beside:
            while chunk := file.read(CHUNK_BYTES):
                hashing = beside.submit(hashlib.sha256, chunk)
                whole.update(chunk)
                chunks.append(hashing.result().hexdigest())
                if tally:
                    tally.add(len(chunk))
        return cls(size, whole.hexdigest(), Chunks(CHUNK_BYTES, tuple(chunks)))

    @property
    def identity(self) -> str:
        """A SHA-256 that differs between files which pass the check of different entries.

        That is not ``sha256`` where chunks are what is checked.
        """
        if self.chunks is None:
            return self.sha256
        return hashlib.sha256(" ".join([str(self.chunks.bytes), *self.chunks.sha256]).encode()).hexdigest()

    def check(self) -> None:
        """Raise ValueError where chunks do not cover the file."""
        if self.chunks is None:
            return
        expected = -(-self.bytes // self.chunks.bytes)
        if (count := len(self.chunks.sha256)) != expected:
            raise ValueError(
                f"chunks.sha256 has {count} values; expected {expected} for {self.bytes} bytes in chunks of "
                f"{self.chunks.bytes}"
            )


@dataclass(frozen=True)
class Provenance:
    """Where the weights came from. ``sha256`` is that of the checkpoint's files, "" for random weights.

    ``files`` are the same by their names, in that order. ``licence`` is what lies with the checkpoint: an SPDX id of
    a model card, or the name of a file; "" where nothing does. Bundles of before have neither.
    """

    checkpoint: str
    sha256: Annotated[str, matching("([0-9a-f]{64}([+][0-9a-f]{64})*)?", "64 hexadecimal digits of each file")]
    line: Annotated[str, one_of("main", "aaai26")]  # the branch of the official code that the variant follows
    files: Mapping[str, Sha256] = field(default_factory=dict)
    licence: str = ""

    def check(self) -> None:
        """Raise ValueError where ``files`` and ``sha256`` are not of the same files."""
        if self.files and "+".join(self.files.values()) != self.sha256:
            raise ValueError("files has other hashes than sha256; expected the same in the same order")


@dataclass(frozen=True)
class EmbeddingTable:
    """The memory-mapped token embeddings: row-major [rows, columns]."""

    dtype: Annotated[str, one_of("float32", "float16")]
    rows: PositiveInt
    columns: PositiveInt

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return self.rows * self.columns * ITEM_SIZES[self.dtype]


@dataclass(frozen=True)
class HalfRange:
    """What export saw of the range of a bundle's FP16 values, which ends at 65,504.

    ``largest`` is the greatest magnitude that one of them has in FP32, over ``pictures`` pictures, and ``value`` its
    name. ``raised`` nodes were given FP32 because of larger ones. Of 0 pictures nothing was checked.
    """

    pictures: Count
    largest: Annotated[float, at_least(0)] = 0.0
    value: str = ""
    raised: Count = 0


@dataclass(frozen=True)
class Manifest:
    """Everything a runtime knows about a bundle. ``files`` holds every file but the manifest itself."""

    variant: Name
    precision: Name
    source: Provenance
    settings: Settings
    embeddings: EmbeddingTable
    graphs: Mapping[str, GraphSpec]
    files: Mapping[FileName, FileEntry]
    producer: Mapping[str, str]  # versions of the packages that wrote the bundle
    degraded: bool = False  # shipped although its masks agree less with FP32 than was asked for
    engine: EngineInfo | None = None  # how its graphs were compiled; None: they are ONNX files
    activations: ActivationSizes | None = None  # for memory plans
    half_range: HalfRange | None = None  # None: no value is FP16, or an export of before that was checked
    dialect: contract.Dialect = "cpu"  # the only one that there once was
    precision_why: str = ""  # why this precision, where it was chosen for a target
    # Of graphs, for benchmarks, also where they were compiled since; an export of before has none.
    work: Mapping[str, GraphWork] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The manifest as indented JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    def check(self) -> None:
        """Raise ValueError where graphs, embeddings or engines are not those of the contract at the settings' sizes."""
        signatures.check({name: graph.signatures for name, graph in self.graphs.items()}, self.settings)
        if file := _twice([graph.file for graph in self.graphs.values()]):
            raise ValueError(f"graphs has two of the file {file!r}; expected a file for each")
        _check_embeddings(self)
        if self.engine is not None:
            _check_profiles(self.graphs, self.engine)
        _check_work(self.graphs, self.work)


def _check_embeddings(manifest: Manifest) -> None:
    table, model = manifest.embeddings, manifest.settings.model
    if (table.rows, table.columns) != (model.vocab_size, model.hidden_size):
        raise ValueError(
            f"embeddings has {table.rows} rows of {table.columns}; expected vocab_size and hidden_size of "
            f"settings.model, {model.vocab_size} and {model.hidden_size}"
        )
    entry = manifest.files.get(EMBEDDINGS_FILE)
    if entry is not None and entry.bytes != table.nbytes:
        raise ValueError(
            f"files[{EMBEDDINGS_FILE!r}].bytes is {entry.bytes}; expected {table.nbytes} for {table.rows} rows of "
            f"{table.columns} in {table.dtype}"
        )


def _check_profiles(graphs: Mapping[str, GraphSpec], engine: EngineInfo) -> None:
    for name, graph in graphs.items():
        if not engine.profiles.get(name):
            raise ValueError(f"engine.profiles has none of {name!r}; expected at least one")
        for index, profile in enumerate(engine.profiles[name]):
            if profile.axes.keys() != graph.axes:
                raise ValueError(
                    f"engine.profiles.{name}[{index}].axes has {', '.join(profile.axes) or 'no axis'}; expected "
                    f"{', '.join(sorted(graph.axes)) or 'none'}, as the inputs of {name} have"
                )


def _check_work(graphs: Mapping[str, GraphSpec], work: Mapping[str, GraphWork]) -> None:
    for name, found in work.items():
        if name not in graphs:
            raise ValueError(f"work has a graph {name!r}; expected those of graphs, {', '.join(graphs)}")
        if unknown := sorted(found.axes - graphs[name].axes):
            raise ValueError(
                f"work.{name} has the axis {unknown[0]!r}; expected {', '.join(sorted(graphs[name].axes)) or 'none'}, "
                f"as the inputs of {name} have"
            )


def _signatures(tensors: Iterable[TensorSpec]) -> Signatures:
    return {tensor.name: ((tensor.dtype,), tensor.shape) for tensor in tensors}


def _twice(names: Sequence[str]) -> str | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)


def _by_name(specs: Iterable[TensorSpec], name: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise KeyError(name)


def read_manifest(bundle: Path) -> Manifest:
    """Read ``bundle/manifest.json``.

    Raises:
        BundleError: no such folder or manifest, not JSON, another schema version, or a field that is missing,
            unknown or not what the runtime relies on.
    """
    path = bundle / MANIFEST_FILE
    missing = f"{bundle} is not a bundle: it has no {MANIFEST_FILE}; make one with `xsam-export -o {bundle}`"
    data = load_json(path, BundleError, advice=_AGAIN, missing=missing)
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {shown(schema)}, this runtime reads {SCHEMA_VERSION}; "
            "export the bundle again with this version of xsam-edge, or install the one that wrote it"
        )
    return from_json(Manifest, data, str(path), BundleError, advice=_AGAIN)


def hash_file(path: Path, tally: Tally | None = None) -> str:
    """SHA-256 of a file, read in 4 MiB blocks, whose bytes are added to ``tally``."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
            if tally:
                tally.add(len(block))
    return digest.hexdigest()


def bundle_path(bundle: Path, name: str) -> Path:
    """The path of a file of the bundle.

    Raises:
        BundleError: the name leads outside of the bundle.
    """
    path = bundle / name
    if not is_inside(name):
        raise BundleError(f"{bundle / MANIFEST_FILE} names a file outside of the bundle: {name!r}")
    return path
