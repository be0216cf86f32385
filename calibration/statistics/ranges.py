"""From statistics to the range of a symmetric quantiser: min-max, percentile, mean squared error, entropy.

A range is the magnitude that the largest code stands for; what lies beyond is clipped. All methods read the same
statistics, so that another one needs no other pass over the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.statistics.bins import EDGES
from xsam_edge.calibration.statistics.stats import TensorStats
from xsam_edge.runtime.errors import InputError

Histogram = npt.NDArray[np.float64]
Method = Callable[[Histogram, float], float]
"""From a histogram over the bins and the largest magnitude to a range, at most the largest magnitude."""

LEVELS = 127  # of int8 on one side
PERCENTILE = 99.999
_LINEAR = 2048  # bins of equal width for entropy, as TensorRT's calibrator had
_CANDIDATES = 96


def activation_range(stats: TensorStats, method: str = "percentile") -> float:
    """The range of a tensor, all channels together; 0 where every element is 0.

    Raises:
        InputError: no such method.
        ValueError: no data reached the tensor.
    """
    choose = parse_method(method)
    if not stats.reached:
        raise ValueError("no data reached this tensor, so it has no range")
    amax = float(stats.amax.max())
    return choose(stats.histogram, amax) if amax > 0 else 0.0


def parse_method(name: str) -> Method:
    """A method by its name: one of ``METHODS``, or "percentile-99.99" with any share in percent.

    Raises:
        InputError: an unknown name, or a share that is not above 0 and at most 100.
    """
    if name in METHODS:
        return METHODS[name]
    kind, dash, share = name.partition("-")
    if kind != "percentile" or not dash:
        raise InputError(
            f"the range method {name!r} is unknown; choose one of {', '.join(METHODS)}, or percentile-99.99 for "
            "another share"
        )
    try:
        percent = float(share)
    except ValueError:
        percent = np.nan
    if not 0 < percent <= 100:
        raise InputError(f"{name!r} has no share; write a percentage above 0 and at most 100, as in percentile-99.99")
    return partial(_percentile, percent=percent)


def _minmax(_histogram: Histogram, amax: float) -> float:
    """The largest magnitude: nothing is clipped."""
    return amax


def _percentile(histogram: Histogram, amax: float, *, percent: float = PERCENTILE) -> float:
    """The magnitude that ``percent`` of the values do not exceed, linear inside of a bin."""
    total = _cumulated(histogram)
    if total[-1] == 0:
        return amax
    return float(np.interp(percent / 100 * total[-1], total, _edges(amax)))


def _mse(histogram: Histogram, amax: float) -> float:
    """The range of the least mean squared error of rounding and clipping."""
    candidates = amax * np.geomspace(1 / 16, 1, _CANDIDATES)
    # Nothing lies above the largest magnitude; where that is the lower edge of its bin, the bin keeps a sliver.
    edges = _edges(amax)
    low, high = np.minimum(edges[:-1], amax * (1 - 1e-6)), edges[1:]
    errors = [_squared_error(histogram, low, high, candidate) for candidate in candidates]
    return float(candidates[int(np.argmin(errors))])


def _squared_error(histogram: Histogram, low: Histogram, high: Histogram, limit: float) -> float:
    """Sum of squared errors: x**2 below half a step, step**2 / 12 up to the limit, (x - limit)**2 beyond."""
    step = limit / LEVELS

    def integral(a: Histogram, b: Histogram, origin: float) -> Histogram:
        return ((b - origin) ** 3 - (a - origin) ** 3) / 3

    dead = integral(np.minimum(low, step / 2), np.minimum(high, step / 2), 0.0)
    rounded = step**2 / 12 * (np.clip(high, step / 2, limit) - np.clip(low, step / 2, limit))
    clipped = integral(np.maximum(low, limit), np.maximum(high, limit), limit)
    return float(np.sum(histogram / (high - low) * (dead + rounded + clipped)))


def _entropy(histogram: Histogram, amax: float) -> float:
    """The range of the least Kullback-Leibler divergence (Migacz, "8-bit inference with TensorRT", GTC 2017).

    It looks at how often values occur and not at what they weigh: rare large activations are clipped away.
    """
    total = _cumulated(histogram)
    if total[-1] == 0:
        return amax
    edges, last = np.unique(_edges(amax)[::-1], return_index=True)  # of equal edges the last one counts
    counts = np.diff(np.interp(np.linspace(0, amax, _LINEAR + 1), edges, total[::-1][last]))
    counts[0] = counts[1]  # zeros carry no information: every range represents them exactly
    groups = LEVELS + 1
    stops = range(groups, _LINEAR + 1, 8)
    divergences = [_clipped_divergence(counts, stop, groups) for stop in stops]
    return float(amax * stops[int(np.argmin(divergences))] / _LINEAR)


def _clipped_divergence(counts: Histogram, stop: int, groups: int) -> float:
    """Between the first ``stop`` bins, which take what is clipped, and what ``groups`` codes leave of them."""
    kept = counts[:stop]
    reference = kept.copy()
    reference[-1] += counts[stop:].sum()
    owner = np.arange(stop) * groups // stop
    filled = kept > 0
    sums, sizes = np.bincount(owner, kept, groups), np.bincount(owner, filled, groups)
    expanded = np.where(filled, (sums / np.maximum(sizes, 1))[owner], 0.0)
    p, q = reference / max(reference.sum(), 1e-30), expanded / max(expanded.sum(), 1e-30)
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / np.maximum(q[used], 1e-9))))


def _edges(amax: float) -> Histogram:
    """Edges of the bins, none above the largest magnitude, which the last of them reaches."""
    edges = np.minimum(EDGES, amax)
    edges[-1] = amax
    return edges


def _cumulated(histogram: Histogram) -> Histogram:
    return np.concatenate(([0.0], np.cumsum(histogram)))


METHODS: Mapping[str, Method] = {"minmax": _minmax, "percentile": _percentile, "entropy": _entropy, "mse": _mse}
"""Methods by name; "percentile" takes ``PERCENTILE``."""
