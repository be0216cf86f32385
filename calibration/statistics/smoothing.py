"""SmoothQuant (arXiv 2211.10438): difficulty moved from activations to weights, with alpha searched for.

A channel's activation is divided by ``s`` and the columns of the weights that read it are multiplied by it: exact in
floating point. The division is folded into what makes the activation, such as a norm's scale and bias. Equation 4 of
the paper: ``s_j = max|x_j|**alpha / max|w_j|**(1 - alpha)``. Alpha is that of the least expected error of the products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.statistics.ranges import LEVELS
from xsam_edge.calibration.statistics.stats import TensorStats

Array = npt.NDArray[np.float32]

ALPHAS = tuple(round(0.05 * i, 2) for i in range(21))
_SILENT = 1e-5  # of the largest magnitude of all: a channel below is left as it is
_BOUND = 2.0**10  # keeps norms and weights in the range of float16


@dataclass(frozen=True, eq=False)
class Smoothing:
    """``divisors`` of the activation, float32 [channels]; ``gain`` is the expected error without over that with them.

    Without a gain all divisors are 1 and ``alpha`` is None.
    """

    alpha: float | None
    divisors: Array
    gain: float


def divisors(act_amax: npt.NDArray[Any], weight_amax: npt.NDArray[Any], alpha: float) -> Array:
    """Equation 4 with a geometric mean of 1, float32 [channels]; 1 for channels that are silent or unread.

    Args:
        act_amax: largest magnitudes of the activation, [channels].
        weight_amax: largest magnitudes of all weights that read a channel, [channels].
        alpha: 0 evens out the weights, 1 the activation.
    """
    act, weight = act_amax.astype(np.float64), weight_amax.astype(np.float64)
    used = (act > _SILENT * act.max()) & (weight > _SILENT * weight.max())
    result = np.ones_like(act)
    if used.any():
        result[used] = act[used] ** alpha / weight[used] ** (1 - alpha)
        result[used] /= np.exp(np.mean(np.log(result[used])))
    return np.clip(result, 1 / _BOUND, _BOUND).astype(np.float32)


def search(stats: TensorStats, blocks: Callable[[], Iterable[Array]], least_gain: float = 1.0) -> Smoothing:
    """The best alpha for an activation that one or several weights read.

    Args:
        stats: of the activation.
        blocks: called twice; yields the rows of all weights that read the activation, in blocks [outputs, channels],
            the same ones each time.
        least_gain: a gain that is not above it is not worth a smoothing.

    The error is that of rounding: with steps D of the activation and d_o of output o's weights, summed over outputs
    and channels, ``min(D**2 / 12, E[x_j**2] / s_j**2) (w_oj s_j)**2 + d_o**2 / 12 E[x_j**2] / s_j**2``.
    """
    none = Smoothing(None, np.ones(stats.amax.size, np.float32), 1.0)
    if not stats.reached or not stats.amax.any():
        return none
    weight_amax = np.zeros_like(none.divisors)
    for block in blocks():
        np.maximum(weight_amax, np.abs(block).max(axis=0), out=weight_amax)
    candidates = [none.divisors, *(divisors(stats.amax, weight_amax, alpha) for alpha in ALPHAS)]
    squares = np.zeros(weight_amax.size)  # of each channel's weights
    step_squares = np.zeros(len(candidates))  # of the weights' steps, by candidate
    for block in blocks():
        squares += np.square(block, dtype=np.float64).sum(axis=0)
        magnitude = np.abs(block)
        for index, candidate in enumerate(candidates):
            steps = (magnitude * candidate).max(axis=1) / LEVELS
            step_squares[index] += np.square(steps, dtype=np.float64).sum()
    pairs = zip(candidates, step_squares, strict=True)
    errors = np.array([_error(stats, squares, float(steps), candidate) for candidate, steps in pairs])
    best = 1 + int(np.argmin(errors[1:]))
    gain = float(errors[0] / errors[best]) if errors[best] > 0 else 1.0
    return Smoothing(ALPHAS[best - 1], candidates[best], gain) if gain > least_gain else none


def _error(stats: TensorStats, squares: npt.NDArray[np.float64], step_squares: float, candidate: Array) -> float:
    factors = np.square(candidate, dtype=np.float64)
    energy = stats.energy / factors
    step = float((stats.amax / candidate).max()) / LEVELS
    rounding = np.minimum(step**2 / 12, energy) * squares * factors
    return float(rounding.sum() + step_squares / 12 * energy.sum())
