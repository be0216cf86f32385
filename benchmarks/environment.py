"""What a number was measured on: everything that a stranger needs to judge it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from xsam_edge.benchmarks.chain import cores
from xsam_edge.runtime.cli.common import package_version

_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "torch", "tensorrt", "numpy", "pillow", "tokenizers")
# Instructions that decide how fast matrix products are.
_FEATURES = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8",
    "amx_bf16", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve",
)  # fmt: skip


def describe(threads: int) -> dict[str, Any]:
    """CPU, memory, devices, clocks, power mode and versions; None where the machine does not tell."""
    return {
        "cpu": _cpu(),
        "threads": threads,
        "memory_bytes": _memory("MemTotal"),
        "memory_available_bytes": _memory("MemAvailable"),
        "gpus": _gpus(),
        "power_mode": _power_mode(),
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "niceness": os.nice(0) if hasattr(os, "nice") else None,
        "thread_variables": {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ},
        "system": platform.platform(),
        "python": platform.python_version(),
        "xsam_edge": package_version(),
        "packages": _versions(),
    }


def _cpu() -> dict[str, Any]:
    fields: dict[str, str] = {}
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    clock = fields.get("cpu MHz")
    board = (_read("/proc/device-tree/model") or "").strip("\0\n")
    return {
        "model": fields.get("model name") or board or platform.processor() or platform.machine(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "cores_allowed": cores(),
        "features": [name for name in _FEATURES if name in flags],
        "mhz": float(clock) if clock else _khz("scaling_cur_freq"),
        "max_mhz": _khz("cpuinfo_max_freq"),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


def _khz(name: str) -> float | None:
    text = _read(f"/sys/devices/system/cpu/cpu0/cpufreq/{name}")
    return float(text) / 1e3 if text and text.isdigit() else None


def _memory(field: str) -> int | None:
    for line in (_read("/proc/meminfo") or "").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def _gpus() -> list[dict[str, str]]:
    names = ("name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "power.limit")
    text = output("nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader")
    rows = [[value.strip() for value in line.split(",")] for line in (text or "").splitlines()]
    return [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]


def _power_mode() -> str | None:
    """Of a Jetson."""
    text = output("nvpmodel", "-q")
    return " ".join(text.split()) if text else None


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return None


def output(*command: str) -> str | None:
    """What a program of the system prints; None where it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
