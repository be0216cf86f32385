from pathlib import Path

import numpy as np
import pytest

from xsam_edge.benchmarks.gpu_check.parcel import collect, write_parts
from xsam_edge.runtime.errors import InputError


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    folder = tmp_path / "payload"
    (folder / "bundles").mkdir(parents=True)
    (folder / "bundles" / "noise").write_bytes(np.random.default_rng(0).bytes(50_000))
    (folder / "text").write_text("some" * 10_000)
    return folder


def test_parts_are_small_and_become_the_payload_again(payload: Path, tmp_path: Path) -> None:
    folders = write_parts(payload, tmp_path, 20_000)
    assert [folder.name for folder in folders] == ["1", "2", "3"]
    assert all(sum(path.stat().st_size for path in folder.iterdir()) <= 20_000 for folder in folders)
    keep = tmp_path / "there"
    assert collect(folders[2], keep)[1] == [1, 2]
    assert collect(folders[0], keep)[1] == [2] and not (keep / "payload").exists()
    found, missing = collect(folders[1], keep)
    assert not missing
    for name in ("bundles/noise", "text"):
        assert (found / name).read_bytes() == (payload / name).read_bytes()


def test_parts_of_before_are_gone(payload: Path, tmp_path: Path) -> None:
    write_parts(payload, tmp_path, 10_000)
    assert len(write_parts(payload, tmp_path, 1 << 20)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "payload"]


def test_other_parts_are_refused(payload: Path, tmp_path: Path) -> None:
    keep, empty = tmp_path / "there", tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="holds no part of a payload"):
        collect(empty, keep)
    collect(write_parts(payload, tmp_path, 20_000)[0], keep)
    with pytest.raises(InputError, match="parts of another payload"):
        collect(write_parts(payload, tmp_path, 30_000)[0], keep)


def test_damaged_parts_are_said(payload: Path, tmp_path: Path) -> None:
    (folder,) = write_parts(payload, tmp_path, 1 << 20)
    (part,) = folder.iterdir()
    part.write_bytes(part.read_bytes()[:30_000])
    with pytest.raises(InputError, match="cannot be unpacked"):
        collect(folder, tmp_path / "there")
