"""Energy per answer, where the machine counts it: NVML, a Jetson's tegrastats, or Intel's RAPL."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

# The least time to measure for: counters are updated some ten times a second, and sampled as often.
_SECONDS = 10.0

_RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
_INPUT_POWER = re.compile(r"\b(?:VDD_IN|POM_5V_IN|VIN_SYS_5V0) (\d+)(?:mW)?/")


class Meter(Protocol):
    """Counts energy from ``start`` to ``stop``, which gives joules."""

    name: str

    def start(self) -> None:
        """Begin."""

    def stop(self) -> float:
        """End; joules since ``start``."""


class Counter:
    """A counter of joules that runs all the time."""

    def __init__(self, name: str, read: Callable[[], float], wrap: float | None = None) -> None:
        self.name = name
        self._read = read
        self._wrap = wrap  # joules at which the counter begins anew
        self._begin = 0.0

    def start(self) -> None:
        """See :class:`Meter`."""
        self._begin = self._read()

    def stop(self) -> float:
        """See :class:`Meter`."""
        used = self._read() - self._begin
        return used + self._wrap if used < 0 and self._wrap else used


class Tegrastats:
    """The board's input power, sampled ten times a second."""

    name = "tegrastats, power at the board's input"

    def start(self) -> None:
        """See :class:`Meter`."""
        self._began = time.perf_counter()
        self._watts: list[float] = []
        self._process = subprocess.Popen(["tegrastats", "--interval", "100"], stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if (watts := board_watts(line)) is not None:
                self._watts.append(watts)

    def stop(self) -> float:
        """See :class:`Meter`."""
        elapsed = time.perf_counter() - self._began
        self._process.terminate()
        self._process.wait()
        self._reader.join(timeout=1)
        return elapsed * sum(self._watts) / len(self._watts) if self._watts else float("nan")


def board_watts(line: str) -> float | None:
    """The board's input power of a line of tegrastats; None where it does not tell."""
    power = _INPUT_POWER.search(line)
    return int(power[1]) / 1e3 if power else None


def find_meter(device: str) -> tuple[Meter | None, str]:
    """The meter that covers ``device``, or None and the reason."""
    if shutil.which("tegrastats"):
        return Tegrastats(), ""
    if device == "cuda":
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except Exception as error:  # the package is missing, or the driver does not count
            return None, f"NVML does not tell ({type(error).__name__}: {error}); it needs the package nvidia-ml-py"
        return Counter("NVML, the GPU", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3), ""
    try:
        wrap = int((_RAPL.parent / "max_energy_range_uj").read_text()) / 1e6
        int(_RAPL.read_text())
    except (OSError, ValueError):
        return None, "neither tegrastats nor a readable RAPL counter of the CPU is there"
    return Counter("RAPL, the CPU's package", lambda: int(_RAPL.read_text()) / 1e6, wrap), ""


def measure(answer: Callable[[], object], times: int, device: str) -> dict[str, Any]:
    """Joules of one answer: the mean of ``times`` or more, as many as take ten seconds.

    None and a reason where nothing counts them.
    """
    meter, reason = find_meter(device)
    if meter is None:
        return {"joules_per_answer": None, "reason": reason}
    meter.start()
    start = time.perf_counter()
    answers, elapsed = 0, 0.0
    while answers < times or elapsed < _SECONDS:
        answer()
        answers, elapsed = answers + 1, time.perf_counter() - start
    joules = meter.stop()
    if math.isnan(joules):
        return {"joules_per_answer": None, "reason": f"{meter.name} gave no sample"}
    return {
        "joules_per_answer": joules / answers,
        "answers": answers,
        "mean_watts": joules / elapsed,
        "source": meter.name,
        "included": "first answers on new images, one after the other; the idle power of what is metered is included",
    }
