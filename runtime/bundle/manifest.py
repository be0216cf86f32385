"""The manifest of a bundle: what its files are, what its graphs take and give, and the hash of every file.

A bundle is one directory, the contract between export and runtime. ``manifest.json`` describes it completely;
the runtime trusts nothing else and opens no file before its SHA-256 was checked (a graph or an engine is code).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from xsam_edge.runtime.bundle.activation_sizes import ActivationSizes
from xsam_edge.runtime.bundle.engine_info import EngineInfo
from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.errors import AlteredFileError, BundleError
from xsam_edge.runtime.progress import Progress, Tally, silent

MANIFEST_FILE = "manifest.json"
# Of the manifest and of what graphs do with their inputs (``contract``): 2 since pasts may be padded and the language
# model names the next tokens itself.
SCHEMA_VERSION = 2

# Files that every bundle has; graphs name their own.
TOKENIZER_FILE = "tokenizer.json"
EMBEDDINGS_FILE = "token_embeddings.bin"

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph. A dimension is a size or the name of an axis (``sequence``, ``past``...)."""

    name: str
    dtype: str  # numpy name: float32, float16, int64
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphSpec:
    """One graph: its file inside the bundle and its inputs and outputs in order.

    ``quantized`` is the floating-point type around its quantised products, None where it has none.
    """

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    quantized: Literal["float32", "float16"] | None = None

    def input(self, name: str) -> TensorSpec:
        """The input called ``name``; KeyError if there is none."""
        return _by_name(self.inputs, name)

    def output(self, name: str) -> TensorSpec:
        """The output called ``name``; KeyError if there is none."""
        return _by_name(self.outputs, name)


@dataclass(frozen=True)
class FileEntry:
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Where the weights came from. ``sha256`` is that of the checkpoint's files, "" for random weights."""

    checkpoint: str
    sha256: str
    line: str  # "main" or "aaai26": the branch of the official code that the variant follows


@dataclass(frozen=True)
class EmbeddingTable:
    """The memory-mapped token embeddings: row-major [rows, columns]."""

    dtype: str
    rows: int
    columns: int


@dataclass(frozen=True)
class Manifest:
    """Everything a runtime knows about a bundle. ``files`` holds every file but the manifest itself."""

    variant: str
    precision: str
    source: Provenance
    settings: Settings
    embeddings: EmbeddingTable
    graphs: Mapping[str, GraphSpec]
    files: Mapping[str, FileEntry]
    producer: Mapping[str, str]  # versions of the packages that wrote the bundle
    degraded: bool = False  # shipped although its masks agree less with FP32 than was asked for
    engine: EngineInfo | None = None  # how its graphs were compiled; None: they are ONNX files
    activations: ActivationSizes | None = None  # for memory plans
    schema: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The manifest as indented JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def _by_name(specs: Iterable[TensorSpec], name: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise KeyError(name)


def read_manifest(bundle: Path) -> Manifest:
    """Read ``bundle/manifest.json``.

    Raises:
        BundleError: no such folder or manifest, not JSON, another schema version, or a field missing or of
            another type.
    """
    path = bundle / MANIFEST_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{bundle} is not a bundle: it has no {MANIFEST_FILE}; make one with `xsam-export -o {bundle}`"
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read as JSON ({error}); export the bundle again") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {schema!r}, this runtime reads {SCHEMA_VERSION}; "
            "export the bundle again with this version of xsam-edge, or install the one that wrote it"
        )
    try:
        return from_json(Manifest, data)
    except (TypeError, ValueError, KeyError) as error:
        raise BundleError(f"{path} is damaged ({error}); export the bundle again") from None


def from_json(kind: type[T], value: Any) -> T:
    """Build the dataclass ``kind`` from decoded JSON, checking every field's type.

    Raises:
        TypeError, ValueError, KeyError: a field is missing, unknown or of another type.
    """
    built: T = _convert(kind, value, kind.__name__)
    return built


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _convert_dataclass(kind, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"{where} is {value!r}, not one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return _convert(option, value, where)
            except (TypeError, ValueError):
                continue
        raise TypeError(f"{where} has type {type(value).__name__}")
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{where} is not a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise ValueError(f"{where} has {len(value)} values instead of {len(kinds)}")
        return tuple(_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise TypeError(f"{where} is not an object")
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    return _convert_scalar(kind, value, where)


def _convert_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} is not an object")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(set(value) - set(fields)):
        raise ValueError(f"{where} has unknown fields {', '.join(unknown)}")
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if missing := sorted(required - set(value)):
        raise KeyError(f"{where} lacks {', '.join(missing)}")
    return kind(**{name: _convert(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _convert_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is type(None):
        kind = types.NoneType
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{where} is {value!r}, expected {kind.__name__}")
    return value


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
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise BundleError(f"{bundle / MANIFEST_FILE} names a file outside of the bundle: {name!r}")
    return path


def check_files(bundle: Path, manifest: Manifest, *, hashes: bool = True, progress: Progress = silent) -> None:
    """Check that every file of the manifest is there, has its size and, with ``hashes``, its SHA-256.

    Raises:
        BundleError: names the first file that is missing or altered.
    """
    again = "export the bundle again" if manifest.engine is None else "build it again with `xsam-export --from`"
    named = {TOKENIZER_FILE, EMBEDDINGS_FILE} | {graph.file for graph in manifest.graphs.values()}
    if unlisted := sorted(named - set(manifest.files)):
        raise BundleError(f"{bundle / MANIFEST_FILE} has no hash of {', '.join(unlisted)}; {again}")
    for name, entry in manifest.files.items():
        path = bundle_path(bundle, name)
        if not path.is_file():
            raise BundleError(f"{path} is missing; {again}")
        if (size := path.stat().st_size) != entry.bytes:
            raise AlteredFileError(f"{path} has {size} bytes, its manifest says {entry.bytes}; {again}")
    if not hashes:
        return
    tally = Tally(progress, "check", sum(entry.bytes for entry in manifest.files.values()), "bytes")
    for name, entry in manifest.files.items():
        path = bundle_path(bundle, name)
        if (found := hash_file(path, tally)) != entry.sha256:
            raise AlteredFileError(
                f"{path} was altered: its SHA-256 is {found[:12]}..., its manifest says {entry.sha256[:12]}...; {again}"
            )
