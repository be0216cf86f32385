"""What a benchmark says, as rows and sentences: the same in Markdown and on a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xsam_edge.calibration.page.numbers import milliseconds
from xsam_edge.calibration.page.text import Row
from xsam_edge.runtime.doctor.software import show

Benchmark = Mapping[str, Any]
"""The object that ``--json`` prints, or one of the sides in it."""

ANSWERS = {"first": "first answer, new image", "next": "next answer, same image"}
_PERCENTILES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms")


def title(benchmark: Benchmark) -> str:
    """What was measured, against what."""
    bundle = benchmark["bundle"]
    others = ", ".join(name(side) for side in against(benchmark))
    return f"{bundle['path']} ({bundle['variant']}, {bundle['precision']})" + (f" against {others}" if others else "")


def against(benchmark: Benchmark) -> list[Benchmark]:
    """The other sides."""
    return [side for side in (benchmark["against"], *benchmark["others"]) if side]


def name(side: Benchmark) -> str:
    """A side in a word."""
    return Path(str(side["name"])).name


def answers(benchmark: Benchmark) -> tuple[Row, list[Row]]:
    """Head and rows of the table of answers."""
    others = against(benchmark)
    rows: list[Row] = []
    for side in (benchmark, *others):
        for answer, words in ANSWERS.items():
            ratios = [f"{other['ratio'][answer]:.2f}" if side is benchmark else "" for other in others]
            rows.append([name(side), words, *_times(side["answers"][answer]), *ratios])
        for part in ("preprocess", "postprocess"):
            rows.append([name(side), f"of it {part}", *_times(side[part]), *([""] * len(others))])
    return ["side", "answer", "p50 ms", "p90", "p95", "p99", "n", *(f"{name(side)} / this" for side in others)], rows


def _times(times: Mapping[str, Any]) -> list[str]:
    return [*(milliseconds(times[key]) for key in _PERCENTILES), str(times["n"])]


def stages(side: Benchmark) -> tuple[Row, list[Row]]:
    """Head and rows of the table of stages."""
    head = ["stage", "sizes", "runs", "p50 ms", "p95", "GFLOP", "MB", "at best ms", "bound by", "of the peak"]
    return head, [_stage(stage) for stage in side["stages"]]


def _stage(stage: Mapping[str, Any]) -> Row:
    return [
        stage["name"],
        ", ".join(f"{axis} {size}" for axis, size in stage["axes"].items()),
        str(stage["n"]),
        milliseconds(stage["p50_ms"]),
        milliseconds(stage["p95_ms"]),
        *_work(stage),
    ]


def _work(stage: Mapping[str, Any]) -> Row:
    """What is not known is empty."""
    work = ["", ""] if stage["flops"] is None else [f"{stage['flops'] / 1e9:.3g}", f"{stage['bytes'] / 1e6:.3g}"]
    if stage["limit_ms"] is None:
        return [*work, "", "", ""]
    return [*work, milliseconds(stage["limit_ms"]), stage["bound"], f"{stage['peak_fraction']:.0%}"]


def notes(benchmark: Benchmark) -> Iterable[str]:
    """What stands below the answers, a sentence each."""
    yield (
        f"the next answer is {benchmark['next_is_faster_by']:.1f} times as fast as the first; "
        f"{benchmark['llm_forwards_per_answer']:.2f} LLM forwards and {benchmark['tokens_per_answer']:.1f} tokens an "
        "answer"
    )
    yield _overhead(benchmark["overhead"])
    if together := benchmark["together"]:
        one_by_one, at_once = (together[way]["p50_ms"] for way in ("one_by_one", "together"))
        yield (
            f"{together['prompts']} prompts at once: {together['rate']:.2f} times the rate of one by one "
            f"({milliseconds(at_once)} ms against {milliseconds(one_by_one)}), "
            f"masks of IoU {together['min_mask_iou']:.4f} at least"
        )
    if benchmark["unread"]:
        yield f"what graphs have to compute and move is not known: {benchmark['unread']}"
    if benchmark.get("products_unread"):
        yield f"integer products were not counted: {benchmark['products_unread']}"
    for graph, counts in benchmark.get("products", {}).items():
        yield f"products of {graph}: " + ", ".join(f"{number} {op}" for op, number in counts.items())
    yield _memory(benchmark["memory"])
    yield _energy(benchmark["energy"])
    for side in against(benchmark):
        same = "the same tokens" if side["same_tokens"] else f"{side['answers_with_same_tokens']:.0%} the same tokens"
        yield f"{name(side)} says {same}, and draws masks of IoU {side['min_mask_iou']:.4f} at least"


def _overhead(overhead: Mapping[str, Any]) -> str:
    first, following = overhead["first"], overhead["next"]
    return (
        f"outside of the graphs: {milliseconds(first['outside_graphs_ms'])} ms of a first answer "
        f"({first['outside_graphs_share']:.1%}), {milliseconds(following['outside_graphs_ms'])} ms of a "
        f"next one ({following['outside_graphs_share']:.1%}); without pre- and post-processing "
        f"{milliseconds(first['runtime_ms'])} and {milliseconds(following['runtime_ms'])} ms"
    )


def _memory(memory: Mapping[str, Any]) -> str:
    if not memory.get("host_peak_bytes"):
        return f"peak memory: not measured, {memory['reason']}"
    peak, imports = (memory[f"{name}_bytes"] / 1e6 for name in ("host_peak", "imports"))
    needed, device = memory.get("needed_bytes"), memory["device_peak_bytes"]
    return (
        f"peak memory {peak:.0f} MB, of which {imports:.0f} MB are there before the bundle is loaded"
        + (f"; weights, cache and activations are {needed / 1e6:.0f} MB" if needed else "")
        + (f"; on the device {device / 1e6:.0f} MB" if device else "")
    )


def _energy(energy: Mapping[str, Any]) -> str:
    joules = energy["joules_per_answer"]
    if joules is None:
        return f"energy: not measured, {energy['reason']}"
    return f"energy: {joules:.3g} J a first answer ({energy['source']})"


def peaks(benchmark: Benchmark) -> Iterable[str]:
    """What the machine could do, and what a share of it means."""
    for precision, peak in benchmark["peaks"].items():
        if peak["flops_per_second"] is None:
            yield f"peak {precision}: not measured, {peak['reason']}"
            continue
        yield (
            f"peak {peak['precision']}: {peak['flops_per_second'] / 1e9:.0f} GFLOP/s ({peak['gemm']}), "
            f"{peak['bytes_per_second'] / 1e9:.1f} GB/s ({peak['copy']})"
        )
    yield benchmark["explained"]["peak_fraction"]


def facts(benchmark: Benchmark) -> Iterable[tuple[str, str]]:
    """Everything that the numbers hold for."""
    yield "included", benchmark["included"]
    yield "bundle", _flat(benchmark["bundle"])
    yield "settings", _flat(benchmark["settings"])
    for side in (benchmark, *against(benchmark)):
        yield f"set-up of {name(side)}", _flat({**side["setup"], "warmup seconds": side["warmup_seconds"]})
    for section, values in benchmark["environment"].items():
        yield section, "; ".join(f"{fact} {show(fact, value)}" for fact, value in values.items())


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key.replace('_', ' ')} {_flat(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_flat(item) for item in value) or "none"
    return "not told" if value is None else str(value)
