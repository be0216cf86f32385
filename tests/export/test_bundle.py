from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from xsam_edge.export import bundle as b
from xsam_edge.export.config.variants import get_variant
from xsam_edge.export.prepare import from_checkpoint
from xsam_edge.export.staging import staged
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, read_manifest
from xsam_edge.runtime.bundle.verification import check_files
from xsam_edge.runtime.errors import CheckpointError, InputError, XSamError
from xsam_edge.runtime.progress import silent


def write(output: Path, content: str, overwrite: bool = False) -> None:
    with staged(output, overwrite) as folder:
        (folder / MANIFEST_FILE).write_text(content)


def test_a_second_export_to_the_same_place_is_refused(tmp_path: Path) -> None:
    with staged(tmp_path / "bundle", False) as folder:
        (folder / "manifest.json").write_text("{}")
        with pytest.raises(InputError, match="another export is writing"), staged(tmp_path / "bundle", True):
            pass
        with staged(tmp_path / "other", False) as other:
            (other / "file").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "other"]
    with staged(tmp_path / "bundle", True) as folder:
        (folder / "manifest.json").write_text("[]")
    assert (tmp_path / "bundle/manifest.json").read_text() == "[]"


def test_a_bundle_appears_when_it_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "er" / "bundle"
    with staged(output, False) as folder:
        (folder / "a").write_text("a")
        assert folder.parent == output.parent and not output.exists()
        assert folder.name.startswith(".bundle.") and folder.name.endswith(".partial")
    assert [path.name for path in output.parent.iterdir()] == ["bundle"]
    assert (output / "a").read_text() == "a"


def interrupted(output: Path, error: type[BaseException]) -> None:
    with staged(output, True) as folder:
        (folder / "half").write_text("...")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("existing", [False, True])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: type[BaseException], existing: bool) -> None:
    output = tmp_path / "bundle"
    if existing:
        write(output, "old")
    with pytest.raises(error):
        interrupted(output, error)
    assert [path.name for path in tmp_path.iterdir()] == (["bundle"] if existing else [])
    assert not existing or (output / MANIFEST_FILE).read_text() == "old"


def test_an_error_while_places_are_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "bundle"
    write(output, "old")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(errno.EIO, "bad disk")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="bad disk"):
        write(output, "new", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (output / MANIFEST_FILE).read_text() == "old"


def test_a_bundle_is_replaced_when_asked(tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    write(output, "old")
    (output / "leftover").write_text("")
    with pytest.raises(InputError, match=r"bundle exists; .*--overwrite"):
        write(output, "new")
    write(output, "new", overwrite=True)
    assert (output / MANIFEST_FILE).read_text() == "new"
    assert [path.name for path in output.iterdir()] == [MANIFEST_FILE]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_is_not_a_bundle_is_left_alone(tmp_path: Path) -> None:
    folder, file, empty = tmp_path / "folder", tmp_path / "file", tmp_path / "empty"
    folder.mkdir()
    (folder / "thesis.tex").write_text("precious")
    file.write_text("precious")
    for output in (folder, file):
        with pytest.raises(InputError, match="not a bundle; it is left alone"):
            write(output, "new", overwrite=True)
    assert (folder / "thesis.tex").read_text() == file.read_text() == "precious"
    empty.mkdir()
    write(empty, "new", overwrite=True)
    assert (empty / MANIFEST_FILE).exists()


def test_what_appears_in_the_meantime_is_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "bundle"

    def overtaken() -> None:
        with staged(output, False):
            output.mkdir()
            (output / MANIFEST_FILE).write_text("the other export")

    with pytest.raises(InputError, match="exists"):
        overtaken()
    assert (output / MANIFEST_FILE).read_text() == "the other export"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    write(tmp_path / "v1", "old")
    (tmp_path / "current").symlink_to("v1")
    write(tmp_path / "current", "new", overwrite=True)
    assert (tmp_path / "current").is_symlink()
    assert (tmp_path / "v1" / MANIFEST_FILE).read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "v1"]


def test_the_manifest_lists_every_file(phi3_bundle: Path, qwen3_fp16_bundle: Path) -> None:
    for path in (phi3_bundle, qwen3_fp16_bundle):
        manifest = read_manifest(path)
        assert set(manifest.files) == {file.name for file in path.iterdir()} - {MANIFEST_FILE}
        check_files(path, manifest)
        assert {"xsam-edge", "torch", "onnx"} <= set(manifest.producer)
        assert list(manifest.source.files.values()) == [manifest.source.sha256]


def test_embeddings_are_the_checkpoint_rows(phi3_bundle: Path, phi3_fp16_bundle: Path, phi3_reference: Path) -> None:
    rows = load_file(phi3_reference / "state_dict.safetensors")["llm.model.embed_tokens.weight"]
    for path, dtype in ((phi3_bundle, np.float32), (phi3_fp16_bundle, np.float16)):
        table = read_manifest(path).embeddings
        assert (table.rows, table.columns, table.dtype) == (*rows.shape, np.dtype(dtype).name)
        found = np.fromfile(path / "token_embeddings.bin", dtype).reshape(rows.shape)
        np.testing.assert_array_equal(found, rows.astype(dtype))


@pytest.fixture
def request_(phi3_reference: Path) -> b.BundleRequest:
    return from_checkpoint(str(phi3_reference), progress=silent)


def stub_graph(writes: Callable[[Path], None]) -> Callable[..., object]:
    def build(_request: b.BundleRequest, _model: object, name: str, folder: Path, *_: object) -> object:
        writes(folder / f"{name}.onnx")
        return read_spec(name)

    return build


def read_spec(name: str) -> b.GraphSpec:
    return b.GraphSpec(f"{name}.onnx", (), ())


def test_a_bundle_without_its_graphs_is_quick(
    request_: b.BundleRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the following tests break is whole otherwise."""
    monkeypatch.setattr(b, "_build_and_write", stub_graph(lambda path: path.touch()))
    steps: list[str] = []
    manifest = b.write_bundle(request_, tmp_path / "bundle", progress=lambda step: steps.append(step.what))
    assert (tmp_path / "bundle" / MANIFEST_FILE).read_text() == manifest.to_json()
    assert {"llm: trace", "token embeddings", "hash"} <= set(steps)


def test_a_disk_that_fills_up_leaves_nothing(
    request_: b.BundleRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        path.write_bytes(b"half a graph")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(b, "_build_and_write", stub_graph(full))
    with pytest.raises(XSamError, match=r"filled up: .* are free, more than the .* that were written are needed"):
        b.write_bundle(request_, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_foreseen(
    request_: b.BundleRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    monkeypatch.setattr(b, "_build_and_write", stub_graph(lambda path: pytest.fail("started")))
    with pytest.raises(XSamError, match="free some space"):
        b.write_bundle(request_, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_weight_leaves_the_old_bundle(
    request_: b.BundleRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(b, "_build_and_write", stub_graph(lambda path: path.touch()))
    b.write_bundle(request_, tmp_path / "bundle")
    before = {path.name: path.read_bytes() for path in (tmp_path / "bundle").iterdir()}

    class Damaged:
        shapes = request_.weights.shapes

        def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
            return request_.weights.read_rows(name, start, stop) * np.nan

    with pytest.raises(CheckpointError, match=r"embed_tokens\.weight holds NaN"):
        b.write_bundle(replace(request_, weights=Damaged()), tmp_path / "bundle", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "bundle").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_expected_tensors_take_no_memory() -> None:
    """The largest registered model, 5 billion parameters."""
    shapes = b.expected_tensors(get_variant("qwen3-4b").config)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) > 4.5e9
    assert shapes[b.EMBEDDINGS] == (151672, 2560)
