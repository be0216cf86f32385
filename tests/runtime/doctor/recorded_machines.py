"""Machines as probes see them: files and the answers of commands, written down after the documentation of L4T."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from xsam_edge.runtime.doctor.host import Host, Output

ORIN_NANO = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed "
    "Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
    "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 62.50\nFeatures\t: fp asimd evtstrm aes asimdhp cpuid asimddp uscat\n"
    "CPU part\t: 0xd42\n\nprocessor\t: 1\nFeatures\t: fp asimd\n",
    "proc/meminfo": "MemTotal:        7802160 kB\nMemFree:         1021000 kB\nMemAvailable:    5011000 kB\n"
    "SwapTotal:       3901072 kB\nSwapFree:        3800000 kB\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "729600\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1728000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
}
ORIN_DEVICE = {
    "name": "Orin", "compute_capability": "8.7", "memory": 7802160 * 1024, "integrated": True, "driver": "540.4.0",
    "cuda": "12.6",
}  # fmt: skip
ORIN_COMMANDS = {
    "nvpmodel -q": Output(0, "NV Power Mode: MAXN_SUPER\n2\n"),
    "dpkg-query nvidia-l4t-core": Output(0, "36.4.3-20250107174145"),
    "dpkg-query nvidia-jetpack": Output(0, "6.2+b77"),
    "python find_device": Output(0, json.dumps(ORIN_DEVICE) + "\n"),
    "python tensorrt as m": Output(0, '"10.3.0"\n'),
    "python tensorrt_rtx as m": Output(1, "", "ModuleNotFoundError: No module named 'tensorrt_rtx'\n"),
    "python import_cudart": Output(0, "1\n"),
    "python providers import problems": Output(
        0,
        '{"cuda": "this onnxruntime 1.23.2 has no CUDAExecutionProvider; install it", "tensorrt-rtx": "none; run pip"}',
    ),
    "python onnxruntime as m": Output(0, '["1.23.2", ["CPUExecutionProvider"]]\n'),
}


def machine(root: Path, files: Mapping[str, str], commands: Mapping[str, Output]) -> Host:
    """A host of these files, where a command answers if its first word and any later part are a key's."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(command: Sequence[str]) -> Output:
        program = "python" if command[0] == sys.executable else command[0]
        for key, output in commands.items():
            first, _, rest = key.partition(" ")
            if first == program and rest in " ".join(command[1:]):
                return output
        return Output(None, "", f"{command[0]} is not installed")

    return Host(root, run)
