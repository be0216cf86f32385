from __future__ import annotations

import json
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest

from tests.samples import MANIFEST, SETTINGS, write_files
from xsam_edge.runtime.bundle import manifest as m
from xsam_edge.runtime.bundle.typed_json import from_json
from xsam_edge.runtime.errors import BundleError
from xsam_edge.runtime.progress import Step, Tally


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_files(tmp_path, MANIFEST, b"graph")
    return tmp_path


def edit(bundle: Path, change) -> None:
    path = bundle / m.MANIFEST_FILE
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_manifest_survives_json(bundle: Path) -> None:
    manifest = m.read_manifest(bundle)
    assert manifest.settings == SETTINGS
    assert manifest.graphs["llm"].input("inputs_embeds").shape == ("batch", "sequence", 8)
    assert from_json(m.Manifest, json.loads(manifest.to_json()), "manifest") == manifest


def test_what_is_known_of_the_range_of_fp16_is_optional(bundle: Path) -> None:
    assert m.read_manifest(bundle).half_range is None
    edit(bundle, lambda data: data.pop("half_range"))  # as exports of before have it
    assert m.read_manifest(bundle).half_range is None
    edit(bundle, lambda data: data.update(half_range={"pictures": 0}))
    assert m.read_manifest(bundle).half_range == m.HalfRange(0)
    known = {"pictures": 4, "largest": 9.5, "value": "llm: logits", "raised": 2}
    edit(bundle, lambda data: data.update(half_range=known))
    assert m.read_manifest(bundle).half_range == m.HalfRange(4, 9.5, "llm: logits", 2)
    edit(bundle, lambda data: data["half_range"].update(largest=-1.0))
    with pytest.raises(BundleError, match=r"half_range\.largest"):
        m.read_manifest(bundle)


def test_files_and_licence_of_a_checkpoint_are_optional(bundle: Path) -> None:
    hashes = ["a" * 64, "b" * 64]
    edit(bundle, lambda data: [data["source"].pop(name) for name in ("files", "licence")])  # as bundles of before
    assert m.read_manifest(bundle).source == m.Provenance("a.bin", "", "main")
    files = dict(zip(("1.safetensors", "2.safetensors"), hashes, strict=True))
    edit(bundle, lambda data: data["source"].update(sha256="+".join(hashes), files=files, licence="apache-2.0"))
    source = m.read_manifest(bundle).source
    assert (source.files, source.licence) == (files, "apache-2.0")
    edit(bundle, lambda data: data["source"].update(sha256="+".join(reversed(hashes))))
    with pytest.raises(BundleError, match=r"source\.files has other hashes than sha256"):
        m.read_manifest(bundle)


def test_retired_fields_are_ignored_in_their_class_only(bundle: Path) -> None:
    edit(bundle, lambda data: data["settings"]["prompt"].update(separator="\n"))
    assert m.read_manifest(bundle).settings == SETTINGS
    edit(bundle, lambda data: data["settings"].update(separator="\n"))
    with pytest.raises(BundleError, match=r"settings has the unknown key .separator."):
        m.read_manifest(bundle)


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 250])
def test_a_file_is_described_by_one_reading(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m, "CHUNK_BYTES", 100)
    content = bytes(value % 251 for value in range(size))
    (tmp_path / "file").write_bytes(content)
    steps: list[Step] = []
    entry = m.FileEntry.of(tmp_path / "file", Tally(steps.append, "hash", size, "bytes"))
    assert (entry.bytes, entry.sha256) == (size, sha256(content).hexdigest())
    assert entry.sha256 == m.hash_file(tmp_path / "file")
    runs = [content[start : start + 100] for start in range(0, size, 100)]
    assert entry.chunks == (m.Chunks(100, tuple(sha256(run).hexdigest() for run in runs)) if size > 100 else None)
    assert sum(after.done - before.done for before, after in pairwise([Step("hash"), *steps])) == size


def test_chunks_are_optional_and_cover_the_file(bundle: Path) -> None:
    entry = {"bytes": 250, "sha256": "0" * 64, "chunks": {"bytes": 100, "sha256": ["1" * 64] * 3}}
    edit(bundle, lambda data: data["files"].update(more=entry))
    assert m.read_manifest(bundle).files["more"].chunks == m.Chunks(100, ("1" * 64,) * 3)
    entry["chunks"]["sha256"].pop()
    edit(bundle, lambda data: data["files"].update(more=entry))
    with pytest.raises(BundleError, match=r"files\.more\.chunks\.sha256 has 2 values; expected 3 for 250 bytes in"):
        m.read_manifest(bundle)
    entry.pop("chunks")  # as exports of before have it
    edit(bundle, lambda data: data["files"].update(more=entry))
    assert m.read_manifest(bundle).files["more"] == m.FileEntry(250, "0" * 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=99), "schema version 99"),
        (lambda d: d.update(schema=1), "schema version 1, this runtime reads 2; export the bundle again"),
        (lambda d: d.pop("schema"), "schema version null"),
        (lambda d: d.pop("variant"), "has no 'variant'; expected text"),
        (lambda d: d.update(surprise=1), "has the unknown key 'surprise'; expected only variant, precision"),
        (lambda d: d["settings"].update(promt=1), r"settings has the unknown key 'promt' \(did you mean 'prompt'\?\)"),
        (lambda d: d["settings"]["model"].update(hidden_size="8"), r"settings\.model\.hidden_size is '8'; expected a"),
        (lambda d: d["settings"]["vision_input"].update(mean=[0.5]), r"mean has 1 values; expected 3"),
        (lambda d: d["settings"].update(interactive_match="ear"), "interactive_match is 'ear'; expected one of box, m"),
        (lambda d: d.update(graphs=[]), r"graphs is \[\]; expected an object"),
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
