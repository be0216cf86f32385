"""Many prompts on one image: asked one by one, and as one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from xsam_edge.benchmarks.chain import RuntimeSide
from xsam_edge.benchmarks.measure import SETTLE_SECONDS, Distribution, Pixels
from xsam_edge.benchmarks.report import iou
from xsam_edge.runtime.progress import Progress, Step, silent
from xsam_edge.runtime.results.result import Result

INCLUDED = (
    "all answers to the prompts, on an image whose features and prefix are there, pre- and post-processing included"
)


def measure(
    side: RuntimeSide,
    picture: Callable[[int], Pixels],
    phrases: Sequence[str],
    *,
    prompts: int,
    repeat: int,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Ask ``prompts`` phrases of each of ``repeat`` pictures in both ways, which take turns in coming first.

    Phrases are taken in a circle. Answers that models without training would be made to give are given here.
    """
    prompt_phrases = [phrases[index % len(phrases)] for index in range(prompts)]
    times: dict[str, list[float]] = {"one_by_one": [], "together": []}
    same_tokens, overlaps = True, []
    for index in range(repeat + 1):  # the first is not counted
        progress(Step(f"{prompts} prompts at once", index, repeat + 1, "rounds"))
        results: dict[str, list[Result]] = {}
        with side.look(picture(index)) as scene:
            side.ask(scene, prompt_phrases[:1])
            for way in sorted(times, reverse=bool(index % 2)):
                time.sleep(SETTLE_SECONDS)
                start = time.perf_counter()
                if way == "together":
                    results[way] = side.ask(scene, prompt_phrases)
                else:
                    results[way] = [result for phrase in prompt_phrases for result in side.ask(scene, [phrase])]
                if index:
                    times[way].append(1e3 * (time.perf_counter() - start))
        for one, other in zip(results["one_by_one"], results["together"], strict=True):
            same_tokens &= one.token_ids == other.token_ids
            overlaps.append(iou(*(result.segments[0].mask if result.segments else None for result in (one, other))))
    ways = {name: Distribution.of(values) for name, values in times.items()}
    return {
        "prompts": prompts,
        **{name: distribution.to_json() for name, distribution in ways.items()},
        "rate": ways["one_by_one"].p50_ms / ways["together"].p50_ms,
        "same_tokens": same_tokens,
        "min_mask_iou": min(overlaps),
        "included": INCLUDED,
    }
