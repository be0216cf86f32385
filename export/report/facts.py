"""What a report says, as plain values: the schema of ``report.json``.

Every field of every class is a key of the file, under its name. Ratios, IoUs and cosines lie in 0..1 (cosines in
-1..1), sizes are bytes, times seconds. None, ``null`` in the file, is what was not measured or has no value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FORMAT = 1
"""Of ``report.json``: its key ``format``."""

IDENTICAL_DB = 200.0
"""SQNR from which two tensors count as identical; float32 itself ends near 150 dB.

JSON has no infinity: ``report.json`` holds this value in its place, and its negative for noise without any signal.
"""


@dataclass(frozen=True)
class CalibrationFacts:
    """Where ranges come from: the data, how many samples were seen, the names of those that could not be read.

    ``device`` computed them, in FP32, unless they are ``from_cache``.
    """

    data: str
    samples: int
    unreadable: tuple[str, ...] = ()
    from_cache: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class GateFacts:
    """The last comparison with FP32 on pictures that were held out of calibration.

    ``mean_iou`` and its standard error are of the ``masks`` masks on ``pictures`` pictures, ``min_iou`` is the bound
    that the mean has to reach. ``token_agreement`` is the share of generated tokens that are equal at their place.
    ``trials`` counts the comparisons that the search made, ``seconds`` is what they took.
    """

    min_iou: float
    mean_iou: float
    stderr: float
    token_agreement: float | None
    pictures: int
    masks: int
    trials: int
    seconds: float
    passed: bool


@dataclass(frozen=True)
class HalfRangeFacts:
    """What was seen of the range of FP16 values.

    ``largest`` is the greatest magnitude in FP32 of what is FP16 in the bundle, ``value`` names it with its graph; that
    is over ``pictures`` pictures, and of 0 nothing was checked. From ``bound`` on, which leaves room for other
    pictures, ``raised`` nodes were given FP32.
    """

    pictures: int
    largest: float
    value: str
    raised: int
    bound: float


@dataclass(frozen=True)
class StageFacts:
    """An output of one of the graphs, against FP32. ``sqnr_db`` may be infinite: no difference."""

    graph: str
    output: str
    sqnr_db: float | None
    cosine: float | None


@dataclass(frozen=True)
class BlockFacts:
    """A block of a graph, in the order of depth.

    ``precision`` is ``int8``, ``int4``, ``fp8``, ``fp16``, ``fp32`` or ``mixed``; ``sqnr_db`` and ``cosine`` are those
    of the block's output against FP32, ``alone_iou`` is the mean mask IoU where only this block is quantised. Of its
    ``sites`` products, ``quantised_sites`` are quantised.
    """

    graph: str
    name: str
    precision: str
    sqnr_db: float | None
    cosine: float | None
    alone_iou: float | None
    sites: int
    quantised_sites: int


@dataclass(frozen=True)
class RaisedNodes:
    """Nodes that were raised to a higher precision: their pattern, the precision and the reason."""

    pattern: str
    to: str
    why: str


@dataclass(frozen=True)
class SizeFacts:
    """A file of the bundle and its size at FP32."""

    file: str
    bytes: int
    fp32_bytes: int


@dataclass(frozen=True)
class TaskFacts:
    """Agreement with FP32 by task.

    ``share_95`` is the share of masks with an IoU of at least 0.95, ``equal_text`` that of answers with the very same
    text, ``equal_tokens`` that of equal tokens.
    """

    task: str
    asks: int
    masks: int
    mean_iou: float | None
    min_iou: float | None
    share_95: float | None
    equal_text: float | None
    equal_tokens: float | None


@dataclass(frozen=True)
class WorstCase:
    """An ask whose mask differs most from FP32. Its picture is kept apart, so that the facts stay small."""

    task: str
    picture: str
    prompt: str
    iou: float


@dataclass(frozen=True)
class SmoothingFacts:
    """What smoothing chose for the linears behind a norm; ``gain`` is that of their predicted SQNR in dB."""

    norm: str
    alpha: float
    gain: float


@dataclass(frozen=True)
class Unquantised:
    """A product that stays in floating point, and why."""

    node: str
    why: str


@dataclass(frozen=True)
class Report:
    """An export: what was asked for, what was measured, what was decided.

    ``float_type`` is the type of what is not quantised, ``ranges`` the method that ranges come from; ``gate`` is None
    where masks were not compared, ``half_range`` where no value is FP16. ``degraded`` says that the bound does not hold
    and that this was allowed. ``seconds`` and the memory are of the whole export: ``peak_memory_bytes`` is what it must
    have, ``peak_resident_bytes`` counts pages of mapped files too.
    """

    precision: str
    float_type: str
    ranges: str
    variant: str
    source: str
    calibration: CalibrationFacts
    gate: GateFacts | None
    stages: tuple[StageFacts, ...]
    blocks: tuple[BlockFacts, ...]
    half_range: HalfRangeFacts | None
    raised: tuple[RaisedNodes, ...]
    sizes: tuple[SizeFacts, ...]
    tasks: tuple[TaskFacts, ...]
    worst: tuple[WorstCase, ...]
    smoothing: tuple[SmoothingFacts, ...]
    unquantised: tuple[Unquantised, ...]
    notes: tuple[str, ...]
    degraded: bool
    seconds: float
    peak_memory_bytes: int
    peak_resident_bytes: int

    def to_json(self) -> str:
        """The text of ``report.json``, ASCII and strict JSON.

        An SQNR is held within ±``IDENTICAL_DB``; any other float that is not finite becomes ``null``.
        """
        content = {"format": FORMAT, **_plain(asdict(self))}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _plain(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, key) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, float) or math.isnan(value):
        return None if isinstance(value, float) else value
    if key == "sqnr_db":
        return min(max(value, -IDENTICAL_DB), IDENTICAL_DB)
    return value if math.isfinite(value) else None
