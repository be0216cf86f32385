from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.recorded import DATA
from tests.runtime.backends.tensorrt.fake_tensorrt import engine_bundle, fake_backend
from xsam_edge.benchmarks import chain
from xsam_edge.benchmarks.chain import RuntimeSide, open_bundle
from xsam_edge.benchmarks.watch import EXTRAS, WatchedBackend
from xsam_edge.runtime.backends.base import Backend
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import load_image
from xsam_edge.runtime.model import XSam

PICTURE = DATA / "golden-phi3" / "image.png"


@pytest.fixture(scope="module")
def engines(phi3_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engine_bundle(phi3_bundle, tmp_path_factory.mktemp("engines") / "bundle")


def members(protocol: type) -> set[str]:
    return {name for name in {**vars(protocol), **protocol.__annotations__} if not name.startswith("_")}


def test_every_protocol_is_passed_on_and_nothing_else(phi3_bundle: Path, engines: Path) -> None:
    assert {protocol: set(names) for protocol, names in EXTRAS.items()} == {
        protocol: members(protocol) for protocol in EXTRAS
    }
    device: Any = fake_backend(engines)
    watched = WatchedBackend(device, read_manifest(engines))
    for protocol in EXTRAS:
        assert isinstance(device, protocol) and isinstance(watched, protocol)
        for name in members(protocol):  # as Python 3.12 and later look for them
            inspect.getattr_static(watched, name)
    on_cpu = WatchedBackend(OnnxRuntimeBackend("cpu", 1), read_manifest(phi3_bundle))
    assert not any(isinstance(on_cpu, protocol) for protocol in EXTRAS)


@pytest.mark.parametrize("name", sorted(members(Backend)))
def test_everything_of_a_backend_is_there(phi3_bundle: Path, name: str) -> None:
    backend = OnnxRuntimeBackend("cpu", 1)
    watched = WatchedBackend(backend, read_manifest(phi3_bundle))
    inspect.getattr_static(watched, name)
    if not callable(getattr(backend, name)):
        assert getattr(watched, name) == getattr(backend, name)


def open_engines(engines: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> RuntimeSide:
    monkeypatch.setattr(chain, "choose_backend", lambda *_: fake_backend(engines))
    given = {"answering": None, "device": "cpu", "threads": 1, "context": 512, "verify": "full", **options}
    with ProgressPrinter(sys.stderr, plain=True) as progress:
        return open_bundle(engines, progress, **given)


def test_engines_are_measured_on_the_path_that_they_take(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = open_engines(engines, monkeypatch)
    assert (side.device, side.answering) == ("cuda", "greedy")
    picture = np.asarray(load_image(PICTURE))
    first, following = side.first(picture, "a car"), side.next("a star")
    plain = XSam.load(engines, backend=fake_backend(engines), context=512)
    with plain.look(picture) as scene:
        assert first.tokens == scene.refer("a car", threshold="official").token_ids
        assert following.tokens == scene.refer("a star", threshold="official").token_ids
    stages = [call.stage for call in first.calls]
    assert stages[:2] == ["image_encoder", "llm_prefill"] and stages[-1] == "mask_decoder"
    pasts = {call.axes["past"] for call in (*first.calls, *following.calls) if call.stage == "llm_decode"}
    assert pasts and all(past % 256 == 0 for past in pasts)  # padded, as steps that are replayed are


def test_a_script_for_engines_is_refused(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"needs ONNX graphs on --device cpu, and .* runs on cuda"):
        open_engines(engines, monkeypatch, answering="scripted")
