"""The report in a few lines of plain text."""

from __future__ import annotations

from xsam_edge.calibration.page.numbers import count, known, percent, ratio
from xsam_edge.export.memory import PeakMemory, peak_memory
from xsam_edge.export.report.facts import GateFacts, Report, SizeFacts
from xsam_edge.export.report.wording import decibels, half_range, of_fp32, printable, total, verdict
from xsam_edge.runtime.units import duration, size

WIDTH = 100
_LABEL = 12
_LARGEST = 3  # files whose share is named


def summary_lines(report: Report) -> list[str]:
    """At most eleven lines of at most ``WIDTH`` columns: verdict, masks, sizes, what was raised, what to look at."""
    judged = verdict(report)
    lines = [_line(report.precision, f"{judged.title}: {judged.text}")]
    if report.gate is not None:
        lines.append(_line("masks", _masks(report.gate)))
    tasks = [f"{task.task} {ratio(task.mean_iou, 3)}" for task in report.tasks]
    if tasks:
        lines.append(_line("by task", ", ".join(tasks)))
    if report.worst:
        worst = min(report.worst, key=lambda case: case.iou)
        prompt = f" {worst.prompt!r}" if worst.prompt else ""
        lines.append(_line("worst", f"{ratio(worst.iou, 3)}: {worst.task}{prompt} on {worst.picture}"))
    if report.sizes:
        lines.append(_line("size", _sizes(report)))
    measured = [stage for stage in report.stages if known(stage.sqnr_db)]
    if measured:
        noisiest = min(measured, key=lambda stage: stage.sqnr_db or 0.0)
        text = f"lowest SQNR {decibels(noisiest.sqnr_db)}, {noisiest.output} of {noisiest.graph}"
        lines.append(_line("outputs", f"{text} (cosine {ratio(noisiest.cosine)})"))
    lines.append(_line("layers", _layers(report)))
    if report.half_range is not None:
        lines.append(_line("fp16 range", half_range(report.half_range)))
    if report.calibration.data:
        lines.append(_line("calibration", _calibration(report)))
    if report.notes:
        more = f" (and {len(report.notes) - 1} more in the report)" if len(report.notes) > 1 else ""
        room = WIDTH - _LABEL - len(more)
        lines.append(_line("note", _cut(printable(report.notes[0]), room) + more))
    peak = PeakMemory(report.peak_memory_bytes, report.peak_resident_bytes)
    lines.append(_line("took", f"{duration(report.seconds)}, {peak_memory(peak)}"))
    return lines


def _calibration(report: Report) -> str:
    calibration = report.calibration
    text = f"{count(calibration.samples, 'sample')} of {calibration.data}, {report.ranges}"
    if calibration.from_cache:
        text += ", from the cache"
    elif calibration.device == "cuda":
        text += ", on a GPU"
    if calibration.unreadable:
        text += f"; {count(len(calibration.unreadable), 'image')} could not be read"
    return text


def _masks(gate: GateFacts) -> str:
    text = f"{count(gate.masks, 'mask')} on {count(gate.pictures, 'picture')}"
    if gate.token_agreement is not None:
        text += f"; {percent(gate.token_agreement)} of tokens equal"
    return f"{text}; {count(gate.trials, 'trial')} in {duration(gate.seconds)}"


def _sizes(report: Report) -> str:
    whole = total(report.sizes)
    models: dict[str, list[SizeFacts]] = {}  # a graph and its weights are one
    for item in report.sizes:
        models.setdefault(item.file.partition(".")[0], []).append(item)
    wholes = {name: total(tuple(items)) for name, items in models.items()}
    largest = sorted(wholes, key=lambda name: -wholes[name].fp32_bytes)[:_LARGEST]
    parts = [f"{name} {ratio(of_fp32(wholes[name]), 2)}" for name in largest]
    return f"{size(whole.bytes)}, {ratio(of_fp32(whole), 2)} of FP32 ({', '.join(parts)})"


def _layers(report: Report) -> str:
    sites = sum(block.sites for block in report.blocks)
    quantised = sum(block.quantised_sites for block in report.blocks)
    text = f"{quantised:,} of {count(sites, 'product')} quantised in {count(len(report.blocks), 'block')}; "
    if not report.raised:
        return text + "none raised"
    return text + f"{len(report.raised)} raised: {', '.join(f'{item.pattern} to {item.to}' for item in report.raised)}"


def _line(label: str, text: str) -> str:
    return _cut(f"{printable(label):<{_LABEL - 1}} {printable(text)}", WIDTH)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3].rstrip()}..."
