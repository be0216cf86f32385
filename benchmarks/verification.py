"""How long it takes to check a bundle's files, against only reading them, from a cold cache.

    python -m xsam_edge.benchmarks.verification BUNDLE [--repeat N] [--json]

Before each measurement the files are written out and the system is asked to forget what it holds of them; how much it
kept all the same is told. A disk that lies in another machine's memory is as quick as that.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.benchmarks import environment
from xsam_edge.benchmarks.measure import Distribution
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.bundle.verification import check_files
from xsam_edge.runtime.cli.common import Parser, command
from xsam_edge.runtime.cores import usable_cores
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.units import size

PROGRAM = "python -m xsam_edge.benchmarks.verification"
FORGET = "posix_fadvise(POSIX_FADV_DONTNEED) after fsync"
_BLOCK = 1 << 20  # as a check reads them


def read_all(paths: Iterable[Path]) -> None:
    """Read files one after the other, and do nothing with what is in them."""
    block = memoryview(bytearray(_BLOCK))
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass


def forget(paths: Iterable[Path]) -> None:
    """Ask the system to hold nothing of files in memory."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())  # what is not written yet would stay
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def held(path: Path) -> int:
    """Bytes of a file that the system holds in memory, in whole pages."""
    if not (length := path.stat().st_size):
        return 0
    pages = np.zeros(-(-length // mmap.PAGESIZE), np.uint8)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        first = ctypes.c_char.from_buffer(mapped)
        failed = ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(length), ctypes.c_void_p(pages.ctypes.data)
        )
        del first  # or the mapping could not be closed
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    return mmap.PAGESIZE * int((pages & 1).sum())


def measure(bundle: Path, repeat: int) -> dict[str, Any]:
    """The object that ``--json`` prints.

    Raises:
        BundleError: the bundle is not whole.
    """
    manifest = read_manifest(bundle)
    paths = list(check_files(bundle, manifest).paths.values())  # so that it can be told that they are unchanged
    ways: dict[str, Callable[[], object]] = {
        "read": lambda: read_all(paths),
        "full": lambda: check_files(bundle, manifest),
        "changed": lambda: check_files(bundle, manifest, verify="changed"),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    kept = 0
    for index in range(repeat):
        for name in sorted(ways, reverse=bool(index % 2)):
            forget(paths)
            kept = max(kept, sum(map(held, paths)))
            start = time.perf_counter()
            ways[name]()
            times[name].append(1e3 * (time.perf_counter() - start))
    found = {name: Distribution.of(values) for name, values in times.items()}
    return {
        "bundle": str(bundle),
        "bytes": sum(entry.bytes for entry in manifest.files.values()),
        "chunks": sum(len(entry.chunks.sha256) if entry.chunks else 1 for entry in manifest.files.values()),
        "cache": {"forgotten_by": FORGET, "held_bytes": kept},
        "times": {name: distribution.to_json() for name, distribution in found.items()},
        "over_reading": {name: round(found[name].p50_ms / found["read"].p50_ms, 3) for name in ("full", "changed")},
        "environment": environment.describe(usable_cores()),
    }


def as_text(result: dict[str, Any]) -> str:
    """The result in lines."""
    lines = [f"{size(result['bytes'])} in {result['chunks']} chunks, of which {size(result['cache']['held_bytes'])} "]
    lines[0] += f"at most were in memory after {FORGET}"
    for name, times in result["times"].items():
        seconds = times["p50_ms"] / 1e3
        text = f"{name:<8} {seconds:8.3f} s, {size(result['bytes'] / seconds)}/s"
        if name != "read":
            text += f", {result['over_reading'][name]:.2f} times as long as reading"
        lines.append(text)
    return "\n".join([*lines, f"p50 of {times['n']}"])


def run(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    if options.repeat < 1:
        raise InputError(f"--repeat is {options.repeat}; at least 1 round must be counted")
    if not hasattr(os, "posix_fadvise"):
        raise InputError(f"{sys.platform} has no posix_fadvise, without which no cache is cold; measure on Linux")
    result = measure(options.bundle, options.repeat)
    print(json.dumps(result) if options.json else as_text(result))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that xsam-export wrote")
    options.add_argument("--repeat", type=int, default=3, metavar="N", help="of each (default: %(default)s)")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(PROGRAM, parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
