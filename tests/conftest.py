"""Shared fixtures: recorded references of the official code and the bundles that are exported from their weights."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from recorded import DATA

# Exports load configurations through Hugging Face libraries; nothing may reach for the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def phi3_reference() -> Path:
    """Folder of the recorded Phi-3 reference (both naming lines)."""
    return DATA / "golden-phi3"


@pytest.fixture(scope="session")
def qwen3_reference() -> Path:
    """Folder of the recorded Qwen3 reference."""
    return DATA / "golden-qwen3"


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that the session's bundles are exported into."""
    return tmp_path_factory.mktemp("bundles")


def _export(checkpoint: Path, output: Path, precision: str = "fp32") -> Path:
    from xsam_edge.export.cli import main

    with _traced_once():
        code = main(["--checkpoint", str(checkpoint), "--precision", precision, "-o", str(output)])
    assert code == 0
    return output


_traces: dict[tuple[object, ...], Any] = {}


@contextlib.contextmanager
def _traced_once() -> Iterator[None]:
    """Bundles whose graphs are equal but for weights and precision share their traces, which take most of the time."""
    from xsam_edge.export import bundle

    build_graph = bundle.build_graph

    def build(model: Any, name: str, precision: Any) -> Any:
        config = model.config
        if name == "llm":
            key: tuple[object, ...] = (name, config.llm, config.mask_decoder.hidden_dim)
        elif name == "image_encoder":  # knows nothing of the language model but its width, nor of logits
            decoder = replace(config.mask_decoder, logit_clamp=0.0)
            key = (name, replace(config, llm=config.llm.hidden_size, mask_decoder=decoder))
        else:
            key = (name, config.mask_decoder, config.mask_encoder.grid)

        def traced(request: Any) -> Any:
            if key not in _traces:
                _traces[key] = trace(request)
            return _traces[key].clone()

        trace = bundle.trace
        with mock.patch.object(bundle, "trace", traced):
            return build_graph(model, name, precision)

    with mock.patch.object(bundle, "build_graph", build):
        yield


@pytest.fixture(scope="session")
def phi3_bundle(bundles: Path, phi3_reference: Path) -> Path:
    """FP32 bundle of the main line; read only."""
    return _export(phi3_reference, bundles / "phi3")


@pytest.fixture(scope="session")
def phi3_fp16_bundle(bundles: Path, phi3_reference: Path) -> Path:
    """FP16 bundle of the main line; read only."""
    return _export(phi3_reference, bundles / "phi3-fp16", "fp16")


@pytest.fixture(scope="session")
def qwen3_bundle(bundles: Path, qwen3_reference: Path) -> Path:
    """FP32 bundle of a Qwen3 model; read only."""
    return _export(qwen3_reference, bundles / "qwen3")


@pytest.fixture(scope="session")
def qwen3_fp16_bundle(bundles: Path, qwen3_reference: Path) -> Path:
    """FP16 bundle of a Qwen3 model; read only."""
    return _export(qwen3_reference, bundles / "qwen3-fp16", "fp16")


@pytest.fixture(scope="session")
def aaai26_checkpoint(tmp_path_factory: pytest.TempPathFactory, phi3_reference: Path) -> Path:
    """The Phi-3 weights as the AAAI26 line saves them: ``pytorch_model.bin`` with that line's names, beside inits."""
    import torch
    from safetensors.torch import load_file

    from xsam_edge.export.naming import aaai26_name

    folder = tmp_path_factory.mktemp("aaai26")
    tensors = load_file(phi3_reference / "state_dict.safetensors")
    torch.save({aaai26_name(name): tensor for name, tensor in tensors.items()}, folder / "pytorch_model.bin")
    (folder / "inits").symlink_to(phi3_reference / "inits")
    return folder


@pytest.fixture(scope="session")
def aaai26_bundle(bundles: Path, aaai26_checkpoint: Path) -> Path:
    """FP32 bundle of the AAAI26 line; read only."""
    return _export(aaai26_checkpoint, bundles / "aaai26")
