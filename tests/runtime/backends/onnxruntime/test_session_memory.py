"""What loading has freed goes back to the system."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

import pytest

from xsam_edge.runtime.backends.onnxruntime import backend
from xsam_edge.runtime.backends.onnxruntime.backend import OnnxRuntimeBackend
from xsam_edge.runtime.backends.onnxruntime.session import release_heap
from xsam_edge.runtime.bundle.manifest import read_manifest

CHUNK, CHUNKS = 100 << 10, 1000  # below the size from which glibc maps a chunk of its own


def resident() -> int:
    """Bytes of this process that are in no file."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_freed_chunks_below_one_in_use_are_given_back() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_size_t],
        [ctypes.c_void_p],
    )
    chunks = [libc.malloc(CHUNK) for _ in range(CHUNKS)]
    for chunk in chunks:
        ctypes.memset(chunk, 1, CHUNK)
    for chunk in chunks[:-1]:
        libc.free(chunk)
    before = resident()
    release_heap()
    assert resident() < before - CHUNK * CHUNKS // 2
    libc.free(chunks[-1])


def test_every_graph_that_is_opened_gives_back(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr(backend, "release_heap", lambda: calls.append(None))
    spec = read_manifest(phi3_bundle).graphs["mask_decoder"]
    OnnxRuntimeBackend().open(phi3_bundle / spec.file, spec)
    assert len(calls) == 1
