"""From values to places: scales, round ticks, and what stands at them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 5, 10)
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_LARGE = 1e4  # from which a tick is written with a unit


@dataclass(frozen=True)
class AxisScale:
    """Values from ``low`` to ``high`` at places from ``start`` to ``end``; what lies outside ends at the edge.

    ``log`` spreads powers of ten evenly; both ends are above 0 then.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value."""
        return self.start + (self.end - self.start) * self._share(value)

    def _share(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return clip((value - low) / (high - low)) if high > low else 1.0

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the scale: at most ``most`` and one; of a logarithmic one, powers of ten."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [10.0**power for power in powers]
        if not self.high > self.low:
            return [self.low]
        step = _step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * number for number in range(first, last + 1)]


def clip(share: float) -> float:
    """A share within 0..1; 0 for NaN."""
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else float(share > 0)


def _step(least: float) -> float:
    """The least round step from ``least`` on."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _STEPS if step * power >= least * (1 - 1e-9))


def labels(ticks: Sequence[float]) -> list[str]:
    """What stands at ticks: as many digits as tell them apart, large ones as 20k, 3M."""
    most = max(map(abs, ticks), default=0.0)
    unit, name = next(((unit, name) for unit, name in _UNITS if most >= max(unit, _LARGE)), (1.0, ""))
    return [f"{tick / unit:,.10g}{name if tick else ''}" for tick in ticks]
