"""Shared fixtures: recorded references of the official code and the bundles that are exported from their weights."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from tests.recorded import DATA

# Exports load configurations through Hugging Face libraries; nothing may reach for the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


# Where a runtime is tested without what exports: the folder that `python -m tests.versions` exported bundles into.
EXPORTED = Path(os.environ["XSAM_TEST_BUNDLES"]) if "XSAM_TEST_BUNDLES" in os.environ else None

# A shell's background jobs ignore Ctrl-C, and so would everything that is started from here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_spinning() -> Iterator[None]:
    """Threads of ONNX Runtime wait asleep: tests are many small runs, in which they would spin for longer than work."""
    from xsam_edge.runtime.backends.onnxruntime import THREAD_ENTRIES

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(THREAD_ENTRIES, "session.intra_op.allow_spinning", "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def own_records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of bundles that were found whole is not kept among the user's own."""
    from xsam_edge.runtime.bundle import verified

    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verified, "user_cache", lambda: cache)
        yield


@pytest.fixture(scope="session")
def phi3_reference() -> Path:
    """Folder of the recorded Phi-3 reference (both naming lines)."""
    return DATA / "golden-phi3"


@pytest.fixture(scope="session")
def qwen3_reference() -> Path:
    """Folder of the recorded Qwen3 reference."""
    return DATA / "golden-qwen3"


@pytest.fixture(scope="session")
def llama_reference(tmp_path_factory: pytest.TempPathFactory, qwen3_reference: Path) -> Path:
    """A Llama with random weights in place of the recorded Qwen3, as an official checkpoint with its inits."""
    from tests.llama_checkpoint import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("llama"), qwen3_reference)


@pytest.fixture(scope="session")
def shared_traces() -> Iterator[None]:
    """Exports trace what is new in this session, and no module twice."""
    if EXPORTED is not None:
        yield
        return
    from tests.traced import shared

    with shared():
        yield


def _of_all_workers(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder that processes of one session have in common."""
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / name
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Within, no other process is within for the same path."""
    with path.with_name(f"{path.name}.test-lock").open("w") as file:
        flock(file, LOCK_EX)
        yield


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, shared_traces: None) -> Path:
    """Folder that the session's bundles are exported into, or were exported into before."""
    if "XSAM_EXPORT_BUNDLES" in os.environ:
        return Path(os.environ["XSAM_EXPORT_BUNDLES"])
    return _of_all_workers(tmp_path_factory, "bundles") if EXPORTED is None else EXPORTED


def _export(checkpoint: Path | str, output: Path, precision: str = "fp32", *options: str) -> Path:
    if EXPORTED is not None:
        assert output.is_dir(), f"{output.name} is not among the bundles that were exported before"
        return output
    from xsam_edge.export.cli import main

    with _alone(output):
        if not output.exists():  # else another process exported it
            # Masks of random weights are not compared with FP32's.
            given = ["--checkpoint", str(checkpoint), "--precision", precision, "--min-iou", "0", *options]
            assert main([*given, "-o", str(output)]) == 0
    return output


@pytest.fixture(scope="session")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the session's calibration statistics."""
    return _of_all_workers(tmp_path_factory, "statistics")


def _quantise(checkpoint: Path, output: Path, precision: str, statistics: Path) -> Path:
    encoders = "fp8" if precision == "fp8" else "int8"
    options = ["--calibration-samples", "2", "--calibration-cache", str(statistics), "--encoder-precision", encoders]
    return _export(checkpoint, output, precision, *options)


@pytest.fixture(scope="session")
def phi3_bundle(bundles: Path, phi3_reference: Path) -> Path:
    """FP32 bundle of the main line; read only."""
    return _export(phi3_reference, bundles / "phi3")


@pytest.fixture(scope="session")
def phi3_gpu_bundle(bundles: Path, phi3_reference: Path) -> Path:
    """FP32 bundle of the main line in the dialect for GPUs; read only."""
    return _export(phi3_reference, bundles / "phi3-gpu", "fp32", "--for", "gpu")


@pytest.fixture(scope="session")
def phi3_pixels_bundle(bundles: Path, phi3_reference: Path, phi3_bundle: Path) -> Path:
    """The main line's FP32 graphs with the one that resizes pictures on a GPU; read only."""
    from tests.pixels_bundle import write

    output = bundles / "phi3-pixels"
    if EXPORTED is None:
        with _alone(output):
            if not output.exists():
                write(phi3_reference, phi3_bundle, output)
    return output


@pytest.fixture(scope="session")
def phi3_fp16_bundle(bundles: Path, phi3_reference: Path) -> Path:
    """FP16 bundle of the main line; read only."""
    return _export(phi3_reference, bundles / "phi3-fp16", "fp16")


@pytest.fixture(scope="session")
def phi3_kv_bundle(bundles: Path, phi3_reference: Path, statistics: Path) -> Path:
    """FP16 bundle of the main line, its key-value cache INT8; read only."""
    options = ["--kv-cache-precision", "int8", "--calibration-samples", "2", "--calibration-cache", str(statistics)]
    return _export(phi3_reference, bundles / "phi3-kv", "fp16", *options)


@pytest.fixture(scope="session")
def phi3_fp16_cpu_bundle(bundles: Path, phi3_reference: Path) -> Path:
    """FP16 bundle of the main line in the dialect for CPUs; read only."""
    return _export(phi3_reference, bundles / "phi3-fp16-cpu", "fp16", "--for", "cpu")


@pytest.fixture(scope="session")
def qwen3_bundle(bundles: Path, qwen3_reference: Path) -> Path:
    """FP32 bundle of a Qwen3 model; read only."""
    return _export(qwen3_reference, bundles / "qwen3")


@pytest.fixture(scope="session")
def llama_bundle(bundles: Path, llama_reference: Path) -> Path:
    """FP32 bundle of a Llama model; read only."""
    return _export(llama_reference, bundles / "llama")


@pytest.fixture(scope="session")
def qwen3_fp16_bundle(bundles: Path, qwen3_reference: Path) -> Path:
    """FP16 bundle of a Qwen3 model; read only."""
    return _export(qwen3_reference, bundles / "qwen3-fp16", "fp16")


@pytest.fixture(scope="session")
def phi3_int8_bundle(bundles: Path, phi3_reference: Path, statistics: Path) -> Path:
    """INT8 bundle of the main line; read only."""
    return _quantise(phi3_reference, bundles / "phi3-int8", "int8", statistics)


@pytest.fixture(scope="session")
def phi3_int4_bundle(bundles: Path, phi3_reference: Path, statistics: Path) -> Path:
    """INT4 bundle of the main line, its encoders INT8; read only."""
    return _quantise(phi3_reference, bundles / "phi3-int4", "int4", statistics)


@pytest.fixture(scope="session")
def phi3_fp8_bundle(bundles: Path, phi3_reference: Path, statistics: Path) -> Path:
    """FP8 bundle of the main line; read only."""
    return _quantise(phi3_reference, bundles / "phi3-fp8", "fp8", statistics)


@pytest.fixture(scope="session")
def qwen3_int8_bundle(bundles: Path, qwen3_reference: Path, statistics: Path) -> Path:
    """INT8 bundle of a Qwen3 model; read only."""
    return _quantise(qwen3_reference, bundles / "qwen3-int8", "int8", statistics)


@pytest.fixture(scope="session")
def shapes_bundle(bundles: Path) -> Path:
    """FP32 bundle of the demo model; read only."""
    return _export("shapes", bundles / "shapes")


@pytest.fixture(scope="session")
def shapes_gpu_bundle(bundles: Path) -> Path:
    """FP32 bundle of the demo model in the dialect for GPUs; read only."""
    return _export("shapes", bundles / "shapes-gpu", "fp32", "--for", "gpu")


@pytest.fixture(scope="session")
def aaai26_checkpoint(tmp_path_factory: pytest.TempPathFactory, phi3_reference: Path) -> Path:
    """The Phi-3 weights as the AAAI26 line saves them: ``pytorch_model.bin`` with that line's names, beside inits."""
    if EXPORTED is not None:
        return EXPORTED / "no checkpoint"
    import torch
    from safetensors.torch import load_file

    from xsam_edge.export.config.naming import aaai26_name

    folder = tmp_path_factory.mktemp("aaai26")
    tensors = load_file(phi3_reference / "state_dict.safetensors")
    torch.save({aaai26_name(name): tensor for name, tensor in tensors.items()}, folder / "pytorch_model.bin")
    (folder / "inits").symlink_to(phi3_reference / "inits")
    return folder


@pytest.fixture(scope="session")
def aaai26_bundle(bundles: Path, aaai26_checkpoint: Path) -> Path:
    """FP32 bundle of the AAAI26 line; read only."""
    return _export(aaai26_checkpoint, bundles / "aaai26")


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads change places every 10 microseconds, so that what they share is seen in the middle of a change."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)
