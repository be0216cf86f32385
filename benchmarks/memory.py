"""Peak memory of loading a bundle and answering twice, in a process of its own.

    python -m xsam_edge.benchmarks.memory BUNDLE [--device cpu] [--threads N]

prints one JSON object. Nothing but the runtime is imported there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.runtime.doctor.host import Host
from xsam_edge.runtime.model import XSam

_TIMEOUT = 1800  # seconds; loading a large bundle from a slow disk takes minutes


def measure(bundle: Path, *, device: str, threads: int, context: int | None, phrase: str) -> dict[str, Any]:
    """Run this module in a fresh process.

    Returns:
        its object, or ``{"host_peak_bytes": None, "reason": ...}`` where that fails.
    """
    command = [sys.executable, "-m", __name__, str(bundle), "--device", device, "--threads", str(threads)]
    command += ["--phrase", phrase] + ([] if context is None else ["--context", str(context)])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        if done.returncode == 0:
            usage: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return usage
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
    return {"host_peak_bytes": None, "reason": f"the measuring process failed: {reason}"}


def judge(usage: dict[str, Any], activation_bytes: int) -> dict[str, Any]:
    """Add what the peak should be at most: weights, cache and the largest stage's activations, and the shares of it."""
    if not usage.get("host_peak_bytes"):
        return usage
    needed = usage["weight_bytes"] + usage["kv_cache_bytes"] + activation_bytes
    peak = usage["host_peak_bytes"]
    return {
        **usage,
        "activation_bytes": activation_bytes,
        "needed_bytes": needed,
        "peak_over_needed": round(peak / needed, 3),
        "peak_without_imports_over_needed": round((peak - usage["imports_bytes"]) / needed, 3),
    }


def _status(field: str) -> int | None:
    """A field of this process in bytes: VmRSS now, VmHWM at the peak."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    if field == "VmHWM":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return None


def _device_bytes() -> int | None:
    """GPU memory of this process."""
    text = Host().output("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits") or ""
    rows = [line.split(",") for line in text.splitlines() if line.count(",") == 1]
    used = [int(mib) << 20 for pid, mib in rows if pid.strip() == str(os.getpid()) and mib.strip().isdigit()]
    return sum(used) if used else None


def _run(options: argparse.Namespace) -> dict[str, Any]:
    import onnxruntime  # noqa: F401  # counted as an import, not as the bundle's

    imports = _status("VmRSS")
    # Hashes are not checked: that reads files, which says nothing about what the model needs.
    xsam = XSam.load(
        options.bundle, device=options.device, threads=options.threads, context=options.context, verify="none"
    )
    loaded = _status("VmRSS")
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with xsam.look(picture) as scene:
        for _ in range(2):
            # Given, not decoded: a model without training would fill its whole context.
            scene.refer(options.phrase, answer="append", threshold="official")
        device = _device_bytes() if options.device != "cpu" else None
    manifest = xsam.manifest
    return {
        "host_peak_bytes": _status("VmHWM"),
        "host_loaded_bytes": loaded,
        "imports_bytes": imports,
        "device_peak_bytes": device,
        "weight_bytes": sum(entry.bytes for name, entry in manifest.files.items() if not name.endswith(".json")),
        "kv_cache_bytes": xsam.pipeline.cache.nbytes,
        "context": xsam.pipeline.cache.capacity,
        "included": "a fresh process that loads the bundle, looks at a picture of 640 x 480 and answers twice",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the fresh process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--context", type=int)
    parser.add_argument("--phrase", default="the thing")
    print(json.dumps(_run(parser.parse_args(arguments))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
