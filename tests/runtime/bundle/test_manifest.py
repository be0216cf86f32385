from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.samples import SETTINGS
from xsam_edge.runtime.bundle import manifest as m
from xsam_edge.runtime.errors import BundleError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    files = {m.TOKENIZER_FILE: b"{}", m.EMBEDDINGS_FILE: b"\0" * 32, "llm.onnx": b"graph"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    spec = m.GraphSpec(
        "llm.onnx", (m.TensorSpec("x", "float32", (1, "sequence", 8)),), (m.TensorSpec("y", "float32", (1,)),)
    )
    entries = {name: m.FileEntry(len(content), m.hash_file(tmp_path / name)) for name, content in files.items()}
    manifest = m.Manifest(
        "phi3", "fp32", m.Provenance("a.bin", "", "main"), SETTINGS, m.EmbeddingTable("float32", 1, 8), {"llm": spec},
        entries, {},
    )  # fmt: skip
    (tmp_path / m.MANIFEST_FILE).write_text(manifest.to_json())
    return tmp_path


def edit(bundle: Path, change) -> None:
    path = bundle / m.MANIFEST_FILE
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_manifest_survives_json(bundle: Path) -> None:
    manifest = m.read_manifest(bundle)
    assert manifest.settings == SETTINGS
    assert manifest.graphs["llm"].input("x").shape == (1, "sequence", 8)
    assert m.from_json(m.Manifest, json.loads(manifest.to_json())) == manifest
    m.check_files(bundle, manifest)


def test_one_changed_byte_is_refused(bundle: Path) -> None:
    (bundle / "llm.onnx").write_bytes(b"grapH")
    manifest = m.read_manifest(bundle)
    with pytest.raises(BundleError, match=r"llm\.onnx was altered"):
        m.check_files(bundle, manifest)
    m.check_files(bundle, manifest, hashes=False)


def test_missing_and_resized_files_are_refused_without_hashing(bundle: Path) -> None:
    manifest = m.read_manifest(bundle)
    (bundle / "llm.onnx").write_bytes(b"graph and more")
    with pytest.raises(BundleError, match="has 14 bytes, its manifest says 5"):
        m.check_files(bundle, manifest, hashes=False)
    (bundle / "llm.onnx").unlink()
    with pytest.raises(BundleError, match="is missing"):
        m.check_files(bundle, manifest, hashes=False)


def test_a_graph_without_a_hash_is_refused(bundle: Path) -> None:
    edit(bundle, lambda data: data["files"].pop("llm.onnx"))
    with pytest.raises(BundleError, match=r"no hash of llm\.onnx"):
        m.check_files(bundle, m.read_manifest(bundle))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=99), "schema version 99"),
        (lambda d: d.update(schema=1), "schema version 1, this runtime reads 2; export the bundle again"),
        (lambda d: d.pop("schema"), "schema version None"),
        (lambda d: d.pop("variant"), "lacks variant"),
        (lambda d: d.update(surprise=1), "unknown fields surprise"),
        (lambda d: d["settings"]["model"].update(hidden_size="8"), "hidden_size is '8'"),
        (lambda d: d["settings"]["vision_input"].update(mean=[0.5]), r"mean has 1 values instead of 3"),
        (lambda d: d["settings"].update(interactive_match="ear"), "interactive_match is 'ear'"),
        (lambda d: d.update(graphs=[]), "graphs is not an object"),
    ],
)
def test_damaged_manifests_are_named(bundle: Path, change, message: str) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=message):
        m.read_manifest(bundle)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        m.read_manifest(tmp_path / "nothing")
    (tmp_path / m.MANIFEST_FILE).write_text("{")
    with pytest.raises(BundleError, match="cannot be read as JSON"):
        m.read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../llm.onnx", "/etc/passwd", "a/../../b"])
def test_names_cannot_leave_the_bundle(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="outside of the bundle"):
        m.bundle_path(tmp_path, name)
