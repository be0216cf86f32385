"""The memory that an export takes at its peak: what it must have, and that with the files that it maps.

Pages of mapped files count as resident while they are in memory, as much of them as there is room for; a system that
needs the room takes them back. So they say little of what an export needs, and are told apart.
"""

from __future__ import annotations

import resource
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from xsam_edge.runtime.units import size

_SECONDS = 0.25  # between two looks
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class PeakMemory:
    """In bytes. ``own`` leaves pages of mapped files out, and is ``resident`` where the system does not tell."""

    own: int
    resident: int


def peak_memory(peak: PeakMemory) -> str:
    """Both in a few words."""
    return f"{size(peak.own)} of memory at the peak, {size(peak.resident)} with pages of files"


class MemoryWatch:
    """Looks at this process's memory every so often, as long as a ``with`` block lasts."""

    def __init__(self) -> None:
        self._own = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="memory", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def peak(self) -> PeakMemory:
        """Until now: ``own`` since the block began, ``resident`` since the process did."""
        self._look()
        # The kernel counts in KiB, that of macOS in bytes.
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return PeakMemory(min(self._own or resident, resident), resident)

    def _look_on(self) -> None:
        while not self._stop.wait(_SECONDS):
            self._look()

    def _look(self) -> None:
        try:
            lines = _STATUS.read_text(encoding="ascii").splitlines()
        except OSError:
            return
        own = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)
        self._own = max(self._own, own)
