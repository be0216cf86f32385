"""The CUDA layer of the engines' backend, without an engine: what its calls cost, and what a capture survives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from xsam_edge.benchmarks.gpu_check.records import Recorder
from xsam_edge.benchmarks.gpu_check.steps import Setting
from xsam_edge.runtime.backends.cuda.calls import Cuda, import_cudart


@dataclass(frozen=True)
class Sizes:
    """Bytes that are moved, and how often."""

    image: int = 3 * 4 * (1024 * 1024 + 384 * 384)  # both pictures of an image, in FP32
    row: int = 32 * 96 * 2  # one token's keys of one layer of the full-size model
    layers: int = 64  # keys and values of each
    distance: int = 4096 * 32 * 96 * 2  # between two layers' rows
    waited: int = 512 << 20
    waits: int = 200
    repeat: int = 200


def run(_setting: Setting, say: Recorder) -> None:
    """The step."""
    cudart = import_cudart()
    say("module", cudart.__name__)
    measure(Cuda(cudart), say, Sizes())


def measure(cuda: Cuda, say: Recorder, sizes: Sizes) -> None:
    """Everything that is asked of the layer."""
    say("devices", cuda.call("cudaGetDeviceCount"))
    addresses = [cuda.allocate(count) for count in (1, 100, 5000, 1 << 20)]
    say("addresses are aligned to 256 bytes", not any(address % 256 for address in addresses))
    for address in addresses:
        cuda.free(address)
    _transfers(cuda, say, sizes)
    _small_calls(cuda, say, sizes)
    _rows(cuda, say, sizes)
    _captures(cuda, say)
    _waiting(cuda, say, sizes)


def _microseconds(run: Callable[[], object], repeat: int) -> float:
    run()
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    return 1e6 * (time.perf_counter() - start) / repeat


def _transfers(cuda: Cuda, say: Recorder, sizes: Sizes) -> None:
    stream = cuda.stream()
    host, device = cuda.allocate_pinned(sizes.image), cuda.allocate(sizes.image)

    def upload() -> None:
        cuda.upload(device, host, sizes.image, stream)
        cuda.synchronise(stream)

    def download() -> None:
        cuda.download(host, device, sizes.image, stream)
        cuda.synchronise(stream)

    for name, move in (("upload", upload), ("download", download)):
        spent = _microseconds(move, max(1, sizes.repeat // 10))
        note = f"{sizes.image / 1e6:.1f} MB of pinned memory, {sizes.image / spent / 1e3:.1f} GB/s"
        say(f"{name} of both pictures", spent / 1e3, "ms", note)
    cuda.free(device)
    cuda.free_pinned(host)


def _small_calls(cuda: Cuda, say: Recorder, sizes: Sizes) -> None:
    stream, other, event = cuda.stream(), cuda.stream(), cuda.event()
    device = cuda.allocate(8192)

    def copy() -> None:
        cuda.copy(device, device + 4096, 256, stream)
        cuda.synchronise(stream)

    say("copy of 256 bytes, and waiting for it", _microseconds(copy, sizes.repeat), "us")
    say("a stream waits for another", _microseconds(lambda: cuda.wait(stream, event, other), sizes.repeat), "us")
    few = max(1, sizes.repeat // 10)
    say("cudaMalloc and cudaFree of 32 MB", _microseconds(lambda: cuda.free(cuda.allocate(32 << 20)), few), "us")
    pinned = _microseconds(lambda: cuda.free_pinned(cuda.allocate_pinned(4 << 20)), few)
    say("pinned memory of 4 MB, taken and given back", pinned, "us")
    cuda.free(device)


def _rows(cuda: Cuda, say: Recorder, sizes: Sizes) -> None:
    """A new token's rows of all layers, as a step with a padded past writes them."""
    stream = cuda.stream()
    cache = cuda.allocate(sizes.layers * sizes.distance)

    def copy() -> None:
        source = cache + sizes.distance // 2
        cuda.copy_2d(cache, sizes.distance, source, sizes.distance, sizes.row, sizes.layers, stream)
        cuda.synchronise(stream)

    def clear() -> None:
        cuda.clear_2d(cache, sizes.distance, sizes.row, sizes.layers, stream)
        cuda.synchronise(stream)

    what = f"{sizes.layers} rows of {sizes.row} bytes, {sizes.distance / 1e6:.0f} MB apart"
    say("2-D copy", _microseconds(copy, sizes.repeat), "us", what)
    say("2-D clearing", _microseconds(clear, sizes.repeat), "us", what)
    cuda.free(cache)


def _captures(cuda: Cuda, say: Recorder) -> None:
    stream = cuda.stream()
    device, victim = cuda.allocate(1 << 20), cuda.allocate(4096)

    def work() -> None:
        cuda.copy(device, device + 4096, 4096, stream)
        cuda.clear_2d(device + 8192, 4096, 100, 8, stream)

    graph = cuda.capture(stream, work)
    say("a run is captured", graph is not None)
    if graph is not None:
        for _ in range(2):
            cuda.launch(graph, stream)
        cuda.synchronise(stream)
        cuda.destroy(graph)

    def finalised() -> None:
        work()
        cuda.free(victim)

    say("memory is given back within a capture", cuda.capture(stream, finalised) is not None)
    say("the next capture", cuda.capture(stream, work) is not None)
    cuda.free(device)


def _waiting(cuda: Cuda, say: Recorder, sizes: Sizes) -> None:
    """Whether another thread works while this one waits for the device: cuda-python has to let go of the GIL."""
    stream = cuda.stream()
    memory = cuda.allocate(2 * sizes.waited)
    counted, stop = [0], threading.Event()

    def work() -> None:
        while not stop.is_set():
            counted[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        time.sleep(0.05)
        for _ in range(sizes.waits):
            cuda.copy(memory, memory + sizes.waited, sizes.waited, stream)
        before, start = counted[0], time.perf_counter()
        cuda.synchronise(stream)
        spent, done = time.perf_counter() - start, counted[0] - before
    finally:
        stop.set()
        thread.join()
    cuda.free(memory)
    # A thread that has all the time counts millions a second; one that is let in now and then, some thousand.
    rate = done / max(spent, 1e-6)
    say("another thread works while one waits", rate > 1e5, note=f"{rate:,.0f} counts a second, {1e3 * spent:.0f} ms")
