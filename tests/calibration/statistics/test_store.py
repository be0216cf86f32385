import errno
import os
from pathlib import Path

import numpy as np
import pytest

from xsam_edge.calibration.statistics import store
from xsam_edge.calibration.statistics.stats import TensorStats
from xsam_edge.calibration.statistics.store import Saved, Watched, load, prepare_folder, save
from xsam_edge.runtime.errors import XSamError


def state() -> Saved:
    watched = {"llm.onnx:/a/b": Watched(3, 2, True), "llm.onnx:c": Watched(2, 1, False)}
    tensors = {name: TensorStats.empty(item.channels, item.per_channel) for name, item in watched.items()}
    rows = np.float32([[1, -2, 3]])
    tensors["llm.onnx:/a/b"].add(rows[0], rows[0], rows[0] ** 2, rows, 1)
    return Saved(watched, 10, tensors, 4, ["a picture, with 'signs'.jpg", "été.png"])


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = state()
    save(tmp_path / "s.npz", saved)
    found = load(tmp_path / "s.npz")
    assert found is not None and not found.is_whole
    assert (found.watched, found.total, found.done, found.unreadable) == (saved.watched, 10, 4, saved.unreadable)
    assert list(found.tensors) == list(saved.tensors)
    for name, stats in saved.tensors.items():
        for part in ("lowest", "highest", "squares", "counts", "size"):
            one, other = np.asarray(getattr(found.tensors[name], part)), np.asarray(getattr(stats, part))
            np.testing.assert_array_equal(one, other)
            assert part == "size" or one.dtype == other.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_damaged_files_count_as_none(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "s.npz"
    assert load(path) is None
    save(path, state())
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    assert load(path) is None
    np.savez(path, facts=np.array("[1]"))
    Path(f"{path}.npz").unlink(missing_ok=True)
    assert load(path) is None


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "s.npz", state())
    before = (tmp_path / "s.npz").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(XSamError, match=r"s\.npz \(No space left on device\); free some space") as caught:
        save(tmp_path / "s.npz", state())
    assert "\n" not in str(caught.value)
    assert (tmp_path / "s.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_device_that_is_full(tmp_path: Path) -> None:
    (tmp_path / f".s.npz.{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(XSamError, match="No space left on device"):
        save(tmp_path / "s.npz", state())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(XSamError, match="set XSAM_EDGE_CACHE"):
        prepare_folder(tmp_path / "file" / "cache")
    prepare_folder(tmp_path / "new" / "cache")
    assert (tmp_path / "new" / "cache").is_dir()
