"""The board, its power mode and clocks, the processor, the memory."""

from __future__ import annotations

import os
import platform
import re

from xsam_edge.runtime.cores import usable_cores
from xsam_edge.runtime.doctor.host import Fact, Host, Section

# L4T release -> JetPack, for boards where the package of JetPack itself is not installed.
_JETPACKS = {
    "R35.4": "5.1.2", "R35.5": "5.1.3", "R35.6": "5.1.4 or newer 5.1", "R36.2": "6.0 DP", "R36.3": "6.0",
    "R36.4": "6.1 or 6.2", "R38.2": "7.0", "R38.4": "7.1",
}  # fmt: skip
_GPU_CLOCKS = ("*gpu*", "*ga10b*", "*gv11b*")
_FEATURES = (
    "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",  # x86
    "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2",  # Arm
)  # fmt: skip


def board(host: Host) -> Section:
    """The board's name and, of a Jetson, its software."""
    model = host.read("/proc/device-tree/model") or host.read("/sys/devices/virtual/dmi/id/product_name")
    facts = [Fact("board", model, "" if model else "neither the device tree nor the firmware says")]
    release = parse_l4t(host.read("/etc/nv_tegra_release") or "")
    package = host.output("dpkg-query", "--show", "--showformat", "${Version}", "nvidia-l4t-core")
    if release is None and package:
        release = "R" + package.split("-")[0]
    if release is None:
        facts.append(Fact("JetPack", None, "no Jetson: /etc/nv_tegra_release is absent"))
    else:
        jetpack = host.output("dpkg-query", "--show", "--showformat", "${Version}", "nvidia-jetpack")
        guess = _JETPACKS.get(".".join(release.split(".")[:2]))
        note = "" if jetpack else "told by L4T; the package nvidia-jetpack is not installed"
        facts += [Fact("L4T", release), Fact("JetPack", jetpack or guess, note)]
    facts.append(Fact("system", _system(host)))
    return Section("board", tuple(facts))


def parse_l4t(text: str) -> str | None:
    """The release of /etc/nv_tegra_release, such as "R36.4.3"."""
    release = re.search(r"# (R\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{release[1]}.{release[2]}" if release else None


def _system(host: Host) -> str:
    named = re.search(r'^PRETTY_NAME="?([^"\n]*)', host.read("/etc/os-release") or "", re.MULTILINE)
    return f"{named[1] if named else platform.system()}, kernel {platform.release()}, {platform.machine()}"


def power(host: Host) -> Section:
    """Power mode and clocks; what is not at its maximum makes a measurement slow."""
    mode = parse_power_mode(host.output("nvpmodel", "-q") or "")
    facts = [Fact("power mode", mode, "" if mode else "`nvpmodel -q` does not answer; Jetsons have power modes")]
    gpu = next((path for name in _GPU_CLOCKS for path in host.glob(f"/sys/class/devfreq/{name}")), None)
    if gpu is None:
        smi = host.output("nvidia-smi", "--query-gpu=clocks.sm,clocks.max.sm,power.limit", "--format=csv,noheader")
        facts.append(Fact("GPU clock", smi, "now, at most, and the limit of power" if smi else "not told"))
    else:
        facts.append(_clock("GPU clock", host, f"{gpu}/cur_freq", f"{gpu}/max_freq", 1e6))
    cores = host.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq")
    if cores:
        facts.append(_clock("CPU clock", host, f"{cores[0]}/scaling_cur_freq", f"{cores[0]}/scaling_max_freq", 1e3))
        facts.append(Fact("CPU governor", host.read(f"{cores[0]}/scaling_governor")))
    else:
        clock = re.search(r"^cpu MHz\s*:\s*([\d.]+)$", host.read("/proc/cpuinfo") or "", re.MULTILINE)
        note = "of the first core" if clock else "not told, as in most virtual machines"
        facts.append(Fact("CPU clock", f"{float(clock[1]):.0f} MHz" if clock else None, note))
    return Section("power", tuple(facts))


def parse_power_mode(text: str) -> str | None:
    """The name of the mode that ``nvpmodel -q`` prints, such as "MAXN_SUPER"."""
    mode = re.search(r"NV Power Mode:\s*(\S+)", text)
    return mode[1] if mode else None


def _clock(name: str, host: Host, now: str, most: str, hertz: float) -> Fact:
    values = [host.read(path) for path in (now, most)]
    if not all(value and value.isdigit() for value in values):
        return Fact(name, None, "not told")
    current, maximum = (float(value or 0) / hertz for value in values)
    slow = "below its maximum: it idles, or run `sudo jetson_clocks` before measuring" if current < maximum else ""
    return Fact(name, f"{current:.0f} of {maximum:.0f} MHz", slow)


def processor(host: Host) -> Section:
    """The processor: its name, its cores, and what speeds up integer arithmetic."""
    info = host.read("/proc/cpuinfo") or ""
    named = re.search(r"^(?:model name|Processor|CPU part)\s*:\s*(.+)$", info, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", info, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    features = [name for name in _FEATURES if name in known]
    quick = bool({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"} & known)
    note = "" if quick else "no dot product of 8-bit integers: INT8 bundles gain little on this CPU"
    return Section(
        "processor",
        (
            Fact("CPU", named[1].strip() if named else None, "" if named else "not told"),
            Fact("cores", info.count("processor\t:") or os.cpu_count()),
            Fact("usable cores", usable_cores(), "by this process"),
            Fact("features", features, note),
        ),
    )


def memory(host: Host) -> Section:
    """Memory and swap, in bytes."""
    sizes = {
        name: 1024 * int(size)
        for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", host.read("/proc/meminfo") or "", re.MULTILINE)
    }
    swap = sizes.get("SwapTotal")
    note = "none: building engines on a small Jetson needs some" if swap == 0 else ""
    return Section(
        "memory",
        (
            Fact("memory", sizes.get("MemTotal")),
            Fact("available", sizes.get("MemAvailable")),
            Fact("swap", swap, note),
            Fact("swap in use", swap - sizes.get("SwapFree", swap) if swap is not None else None),
        ),
    )
