"""What TensorRT-RTX compiles is found by the next start."""

from __future__ import annotations

import gc
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import DATA
from tests.runtime.backends.tensorrt.fake_tensorrt import engine_bundle, fake_backend
from xsam_edge.runtime.backends.tensorrt.kernels import KernelCache, kernel_file
from xsam_edge.runtime.model import XSam

IMAGE = DATA / "golden-phi3" / "image.png"
PARTS = {"version": "1.7.1.116", "gpu": "NVIDIA GeForce RTX 4090 8.9", "driver": "580.65.06"}
NAME = "kernels-1.7.1.116-NVIDIA_GeForce_RTX_4090_8.9-580.65.06.rtxcache"


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    onnx: Path = request.getfixturevalue("phi3_bundle")
    return engine_bundle(onnx, tmp_path_factory.mktemp("rtx") / "bundle", "tensorrt-rtx")


def start(folder: Path, kernels: KernelCache) -> tuple[XSam, Any]:
    backend = fake_backend(folder, kernels=kernels)
    return XSam.load(folder, backend=backend), backend


def test_the_second_start_finds_what_the_first_compiled(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "cache" / NAME
    kernels = KernelCache(file)
    model, backend = start(folder, kernels)
    assert kernels.found == 0 and kernels.summary().startswith("kernels: none of an earlier start; this one compiles")
    model.look(IMAGE).refer("a car", answer="append")
    caches = {id(c.config.kernels) for engine in backend.fake_trt.engines.values() for c in engine.contexts}
    assert len(caches) == 1, "one for all engines and profiles"
    del model, backend, kernels
    gc.collect()
    assert file.is_file() and not list(file.parent.glob(".*"))
    again = KernelCache(file)
    _, second = start(folder, again)
    assert again.found == file.stat().st_size
    assert str(file) in again.summary() and "of an earlier start" in again.summary()
    (cache, *_) = [c.config.kernels for engine in second.fake_trt.engines.values() for c in engine.contexts]
    assert any(name.startswith("llm") for name in cache.compiled)


def test_kernels_are_written_while_it_runs(folder: Path, tmp_path: Path) -> None:
    """A process may be killed."""
    now = [0.0]
    kernels = KernelCache(tmp_path / NAME, clock=lambda: now[0])
    model, _ = start(folder, kernels)
    model.look(IMAGE)
    assert not (tmp_path / NAME).exists(), "not at once: loading should not wait for it"
    now[0] = 11.0
    model.look(IMAGE)
    written = (tmp_path / NAME).stat().st_mtime_ns
    now[0] = 30.0
    model.look(IMAGE).refer("a car", answer="append")
    assert (tmp_path / NAME).stat().st_mtime_ns == written, "each wait is twice as long"
    now[0] = 32.0
    model.look(IMAGE)
    assert (tmp_path / NAME).stat().st_mtime_ns > written


@pytest.mark.parametrize("content", [b'["another machine", ["llm"]]', b"\0 nothing", b""])
def test_kernels_of_another_machine_are_compiled_anew(
    folder: Path, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / NAME).write_bytes(content)
    kernels = KernelCache(tmp_path / NAME)
    model, _ = start(folder, kernels)
    assert kernels.found == 0
    assert ("is refused by TensorRT-RTX" in caplog.text) == bool(content)
    model.look(IMAGE)
    kernels.save()
    again = KernelCache(tmp_path / NAME)
    start(folder, again)
    assert again.found > 0


def test_a_file_that_others_may_write_is_not_read(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kernels = KernelCache(tmp_path / NAME)
    model, _ = start(folder, kernels)
    model.look(IMAGE)
    kernels.save()
    (tmp_path / NAME).chmod(0o666)
    again = KernelCache(tmp_path / NAME)
    start(folder, again)
    assert again.found == 0 and "is not read, as others may write it" in caplog.text


def test_a_folder_that_cannot_be_written(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    kernels = KernelCache(tmp_path / "file" / NAME)
    model, _ = start(folder, kernels)
    model.look(IMAGE)
    kernels.save()
    assert "cannot be written" in caplog.text and model.look(IMAGE) is not None


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_file(tmp_path, "abc", PARTS) == tmp_path / NAME
    monkeypatch.setattr(os, "access", lambda *_: False)
    home = tmp_path / "home"
    assert kernel_file(tmp_path, "0123456789abcdef99", PARTS, home) == home / "xsam-edge/0123456789abcdef" / NAME
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    assert kernel_file(tmp_path, "0", PARTS).is_relative_to(home)
    assert kernel_file(tmp_path, "0", {**PARTS, "driver": ""}).name.endswith("-unknown.rtxcache")


def test_runs_that_are_not_captured_are_told_once(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    backend = fake_backend(folder)
    backend.fake_trt.uncapturable.add("mask_decoder")
    scene = XSam.load(folder, backend=backend).look(IMAGE)
    for _ in range(3):
        scene.refer("a car", answer="append")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1 and told[0].startswith("runs of mask_decoder.engine (all) are not captured")
