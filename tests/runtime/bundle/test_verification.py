from __future__ import annotations

import json
import logging
import os
import threading
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.runtime.device.test_compatibility import ENGINE
from tests.samples import MANIFEST, graph_specs, write_files
from xsam_edge.runtime.bundle import manifest as m
from xsam_edge.runtime.bundle import verification, verified
from xsam_edge.runtime.bundle.verification import Checked, check_files
from xsam_edge.runtime.errors import AlteredFileError, BundleError, InputError
from xsam_edge.runtime.progress import Step

CHUNK = 100
WEIGHTS = bytes(value % 251 for value in range(350))
ENGINES = replace(MANIFEST, graphs=graph_specs("engine"), engine=ENGINE)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache; files are as old as they have to be, and large."""
    monkeypatch.setattr(verified, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(m, "CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(verification, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + 10_000_000_000))
    return tmp_path / "cache"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_files(folder, MANIFEST, b"graph", llm__onnx__data=WEIGHTS, weights=WEIGHTS)
    return folder


def check(bundle: Path, verify: verification.Verify = "full") -> Checked:
    return check_files(bundle, m.read_manifest(bundle), verify=verify)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def total(bundle: Path) -> int:
    return sum(path.stat().st_size for path in bundle.iterdir() if path.name != m.MANIFEST_FILE)


def test_files_that_are_as_they_were_described_pass(bundle: Path) -> None:
    checked = check(bundle)
    assert checked.paths == {name: bundle / name for name in m.read_manifest(bundle).files}
    assert checked.hashed == checked.total == total(bundle) and checked.note == ""


def test_every_byte_is_covered(bundle: Path) -> None:
    for name, entry in m.read_manifest(bundle).files.items():
        for place in range(0, entry.bytes, 7 if entry.bytes > CHUNK else 1):
            flip(bundle / name, place)
            with pytest.raises(AlteredFileError, match=f"{name} was altered"):
                check(bundle)
            flip(bundle / name, place)
    check(bundle)


def test_every_byte_is_read_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Counting:
        def __init__(self) -> None:
            self.digest = sha256()

        def update(self, block: memoryview) -> None:
            read.append(len(block))
            self.digest.update(block)

        def hexdigest(self) -> str:
            return self.digest.hexdigest()

    monkeypatch.setattr(verification, "_BLOCK", 30)
    monkeypatch.setattr(verification, "hashlib", SimpleNamespace(sha256=Counting))
    check(bundle)
    assert sum(read) == total(bundle) and max(read) == 30


@pytest.mark.parametrize(("place", "told"), [(0, "0 to 99"), (99, "0 to 99"), (100, "100 to 199"), (349, "300 to 349")])
def test_the_altered_bytes_are_told(bundle: Path, place: int, told: str) -> None:
    flip(bundle / "weights", place)
    described = m.read_manifest(bundle).files["weights"].chunks
    assert described is not None
    start, stop = map(int, told.split(" to "))
    actual = sha256((bundle / "weights").read_bytes()[start : stop + 1]).hexdigest()
    with pytest.raises(AlteredFileError) as error:
        check(bundle)
    assert str(error.value) == (
        f"{bundle / 'weights'} was altered: the SHA-256 of its bytes {told} is {actual[:12]}..., its manifest says "
        f"{described.sha256[place // CHUNK][:12]}...; export the bundle again"
    )


def test_runs_of_bytes_that_changed_places_are_refused(bundle: Path) -> None:
    (bundle / "weights").write_bytes(WEIGHTS[100:200] + WEIGHTS[:100] + WEIGHTS[200:])
    with pytest.raises(AlteredFileError, match="bytes 0 to 99"):
        check(bundle)


def test_the_first_altered_run_is_told_whichever_is_hashed_first(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(bundle / "llm.onnx.data", 210)
    flip(bundle / "weights", 0)
    hashed, later = verification._hash, threading.Event()

    def slowly(tally, stop, piece):
        if piece.path.name == "weights":
            later.set()
        elif piece.start == 200:
            assert later.wait(60)
        return hashed(tally, stop, piece)

    monkeypatch.setattr(verification, "_hash", slowly)
    with pytest.raises(AlteredFileError, match=r"llm\.onnx\.data was altered: the SHA-256 of its bytes 200 to 299"):
        check(bundle)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("../.dvc/cache/files/md5/01/23", "fetch what it stands for with `dvc pull`, or copy the bundle with it"),
        ("../.git/annex/objects/Xx/Yy/KEY/KEY", "fetch what it stands for with `git annex get`, or"),
        ("../../blobs/0123", "fetch what it stands for with `hf download`, or"),
        ("elsewhere", "fetch what it stands for, or copy the bundle with it"),
    ],
)
def test_a_link_to_nothing_is_no_missing_file(bundle: Path, target: str, said: str) -> None:
    (bundle / "weights").unlink()
    (bundle / "weights").symlink_to(target)
    with pytest.raises(BundleError) as error:
        check(bundle)
    assert str(error.value).startswith(f"{bundle / 'weights'} is a link to {target}, where nothing is; {said}")


@pytest.mark.parametrize(
    ("content", "command"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:01\nsize 350\n", "git lfs pull"),
        (b"/annex/objects/SHA256E-s350--01.data\n", "git annex get"),
    ],
)
def test_what_stands_for_a_file_is_told(bundle: Path, content: bytes, command: str) -> None:
    (bundle / "weights").write_bytes(content)
    with pytest.raises(BundleError, match=f"weights only stands for a file that is not there; .* `{command}`"):
        check(bundle)


def test_a_manifest_without_chunks_is_checked_by_the_whole(bundle: Path) -> None:
    """As exports of before wrote it."""
    path = bundle / m.MANIFEST_FILE
    data = json.loads(path.read_text())
    for entry in data["files"].values():
        entry.pop("chunks")
    path.write_text(json.dumps(data))
    check(bundle)
    flip(bundle / "weights", 349)
    with pytest.raises(AlteredFileError, match="weights was altered: its SHA-256 is"):
        check(bundle)


def test_missing_and_resized_files_are_refused_without_hashing(bundle: Path) -> None:
    (bundle / "llm.onnx").write_bytes(b"graph and more")
    with pytest.raises(AlteredFileError, match="has 14 bytes, its manifest says 5"):
        check(bundle, "none")
    (bundle / "llm.onnx").unlink()
    with pytest.raises(BundleError, match="is missing"):
        check(bundle, "none")


def test_a_graph_without_a_hash_is_refused(bundle: Path) -> None:
    manifest = m.read_manifest(bundle)
    files = {name: entry for name, entry in manifest.files.items() if name != "llm.onnx"}
    with pytest.raises(BundleError, match=r"no hash of llm\.onnx"):
        check_files(bundle, replace(manifest, files=files))


def test_nothing_is_hashed_where_that_is_wanted(bundle: Path, cache: Path) -> None:
    flip(bundle / "weights", 0)
    checked = check(bundle, "none")
    assert checked.hashed == 0 and checked.note == "sizes only; hashes were not checked"
    assert not cache.exists()


@pytest.mark.parametrize("verify", [True, False, None, "quick", "", ["full"], 1])
def test_anything_else_is_refused(bundle: Path, verify: object) -> None:
    with pytest.raises(InputError, match=r"verify is .*; write 'full' \(which True was\), 'changed' or 'none'"):
        check(bundle, verify)  # type: ignore[arg-type]


@pytest.mark.parametrize("first", ["full", "changed"])
def test_what_was_whole_and_has_not_changed_is_not_read_again(bundle: Path, first: verification.Verify) -> None:
    assert check(bundle, first).note == ""
    steps: list[Step] = []
    checked = check_files(bundle, m.read_manifest(bundle), verify="changed", progress=steps.append)
    assert checked.hashed == 0 and checked.note == "unchanged since all hashes were checked"
    assert steps == [Step("check", detail="unchanged")]
    assert check(bundle).hashed == total(bundle)  # full is full


def test_only_what_changed_is_read_again(bundle: Path) -> None:
    check(bundle)
    os.utime(bundle / "weights", ns=(0, 0))
    checked = check(bundle, "changed")
    assert checked.hashed == len(WEIGHTS)
    assert checked.note == f"350 B of {total(bundle) / 1e3:.1f} kB were hashed; the rest is unchanged since it was"
    assert check(bundle, "changed").hashed == 0


def test_a_change_is_found_whatever_its_time_says(bundle: Path) -> None:
    check(bundle)
    before = (bundle / "weights").stat()
    flip(bundle / "weights", 200)
    os.utime(bundle / "weights", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(AlteredFileError, match="bytes 200 to 299"):
        check(bundle, "changed")


def test_another_file_in_its_place_is_read(bundle: Path) -> None:
    check(bundle)
    (bundle / "other").write_bytes(WEIGHTS)
    (bundle / "other").replace(bundle / "weights")
    assert check(bundle, "changed").hashed == len(WEIGHTS)


def test_another_manifest_or_place_is_checked_in_full(bundle: Path) -> None:
    check(bundle)
    manifest = m.read_manifest(bundle)
    (bundle / m.MANIFEST_FILE).write_text(replace(manifest, degraded=True).to_json())
    assert check(bundle, "changed").hashed == total(bundle)
    moved = bundle.rename(bundle.with_name("moved"))
    assert check(moved, "changed").hashed == total(moved)


def test_what_may_change_within_a_tick_is_not_remembered(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "time", time)
    check(bundle)
    assert check(bundle, "changed").hashed == total(bundle)


def test_what_changed_while_it_was_read_is_not_remembered(bundle: Path) -> None:
    def touch(step: Step) -> None:
        if step.done == step.total:
            os.utime(bundle / "weights", ns=(0, 0))

    check_files(bundle, m.read_manifest(bundle), progress=touch)
    assert check(bundle, "changed").hashed == len(WEIGHTS)


def test_engines_are_always_checked_in_full(tmp_path: Path, cache: Path) -> None:
    manifest = write_files(tmp_path, ENGINES, b"engine")
    for verify in verification.VERIFY:
        assert check_files(tmp_path, manifest, verify=verify).note == ""
    assert not cache.exists()
    flip(tmp_path / "llm.engine", 0)
    for verify in verification.VERIFY:
        with pytest.raises(AlteredFileError, match=r"llm\.engine was altered: .*; build it again with"):
            check_files(tmp_path, manifest, verify=verify)


@pytest.mark.parametrize(("verify", "level"), [("full", logging.INFO), ("changed", logging.WARNING)])
def test_a_cache_that_cannot_be_written_is_logged(
    bundle: Path, cache: Path, verify: verification.Verify, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file")
    caplog.set_level(logging.INFO, "xsam_edge")
    assert check(bundle, verify).hashed == total(bundle)
    (record,) = caplog.records
    assert record.levelno == level and "cannot be remembered" in record.getMessage()


def test_what_progress_raises_ends_the_check(bundle: Path) -> None:
    def enough(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_files(bundle, m.read_manifest(bundle), progress=enough)
    assert check(bundle, "changed").hashed == total(bundle)
