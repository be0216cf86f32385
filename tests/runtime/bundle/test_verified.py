from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.samples import MANIFEST
from xsam_edge.runtime.bundle import verified
from xsam_edge.runtime.bundle.verified import Stamp, recall, remember

FILES = {"llm.onnx": "1 2 3 4 5", "weights": "1 18446744073709551615 3 4 5"}


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(verified, "user_cache", lambda: tmp_path / "cache")
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


@pytest.fixture
def record(bundle: Path) -> Path:
    """The file of a record that is good."""
    remember(bundle, MANIFEST, FILES)
    (path,) = (bundle.parent / "cache" / "verified").iterdir()
    return path


def test_a_record_is_read_as_it_was_written(bundle: Path, record: Path) -> None:
    assert recall(bundle, MANIFEST) == FILES
    remember(bundle, MANIFEST, {"weights": "new"})
    assert recall(bundle, MANIFEST) == {"weights": "new"}
    assert list(record.parent.iterdir()) == [record]


def test_it_is_this_users_alone(bundle: Path) -> None:
    folder = bundle.parent / "cache" / "verified"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    remember(bundle, MANIFEST, FILES)
    (record,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, record.stat().st_mode & 0o777) == (0o700, 0o600)


def test_it_is_of_one_place_and_one_manifest(bundle: Path, record: Path) -> None:
    assert recall(bundle, replace(MANIFEST, degraded=True)) == {}
    assert recall(bundle.parent, MANIFEST) == {}
    (bundle.parent / "link").symlink_to(bundle)
    assert recall(bundle.parent / "link", MANIFEST) == FILES


def test_without_a_record_nothing_is_known(bundle: Path) -> None:
    assert recall(bundle, MANIFEST) == {}


def test_without_a_home_nothing_is_known(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("could not determine home directory")

    monkeypatch.setattr(verified, "user_cache", homeless)
    assert recall(bundle, MANIFEST) == {}
    with pytest.raises(RuntimeError):
        remember(bundle, MANIFEST, FILES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"manifest": "MANIFEST"}',
        b'{"manifest": "MANIFEST", "files": []}',
        b'{"manifest": "MANIFEST", "files": {"weights": 3}}',
        b'{"manifest": "MANIFEST", "files": {}, "more": 1}',
        b'{"manifest": 3, "files": {}}',
    ],
)
def test_a_damaged_record_is_none(bundle: Path, record: Path, content: bytes) -> None:
    identity = json.loads(record.read_bytes())["manifest"].encode()
    record.write_bytes(content.replace(b"MANIFEST", identity))
    assert recall(bundle, MANIFEST) == {}


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o644, 0o666])
def test_a_record_that_others_may_touch_is_none(bundle: Path, record: Path, mode: int) -> None:
    record.chmod(mode)
    assert recall(bundle, MANIFEST) == {}
    record.chmod(0o600)
    assert recall(bundle, MANIFEST) == FILES


def test_a_record_of_another_user_is_none(bundle: Path, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified.os, "geteuid", lambda: record.stat().st_uid + 1)
    assert recall(bundle, MANIFEST) == {}


def test_a_link_a_pipe_and_a_folder_are_none(bundle: Path, record: Path) -> None:
    own = record.rename(record.with_name("own"))
    record.symlink_to(own)
    assert recall(bundle, MANIFEST) == {}
    record.unlink()
    os.mkfifo(record, 0o600)
    assert recall(bundle, MANIFEST) == {}
    record.unlink()
    record.mkdir()
    assert recall(bundle, MANIFEST) == {}


def test_a_record_is_written_whole_or_not_at_all(bundle: Path, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(verified.json, "dump", full)
    with pytest.raises(OSError, match="no space"):
        remember(bundle, MANIFEST, {})
    assert recall(bundle, MANIFEST) == FILES and list(record.parent.iterdir()) == [record]


def test_where_owners_are_not_told_nothing_is_kept(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(verified.os, "geteuid")
    remember(bundle, MANIFEST, FILES)
    assert not (bundle.parent / "cache").exists()


def test_stamps(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    stamp = Stamp.of(path)
    assert stamp.size == 3 and str(stamp).split() == [str(value) for value in stamp]
    (tmp_path / "link").symlink_to(path)
    assert Stamp.of(tmp_path / "link") == stamp
    newest = max(stamp.modified, stamp.changed)
    assert stamp.settled(newest + 4_000_000_000) and not stamp.settled(newest + 2_000_000_000)
    assert not stamp._replace(changed=newest + 10**10).settled(newest + 10**10)
