"""``report.html``: one file with everything in it, for any browser, without a script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import get_args

from xsam_edge.calibration.page.markup import Markup, join, tag
from xsam_edge.calibration.page.numbers import count, known, percent, ratio
from xsam_edge.calibration.page.parts import Cell, bullets, chip, fold, legend, page, scroll, section, table, tiles
from xsam_edge.calibration.page.rows import bar, dot, interval
from xsam_edge.export.precision.plan import Quantized
from xsam_edge.export.report.charts import PRECISIONS, block_chart, kind_of
from xsam_edge.export.report.facts import BlockFacts, Report, SizeFacts, WorstCase
from xsam_edge.export.report.style import CSS
from xsam_edge.export.report.wording import decibels, half_range, is_raised, of_fp32, spread, total, verdict
from xsam_edge.runtime.units import duration, size

_FULL_BAR = 60.0  # dB
_OPEN = 16  # rows up to which a table is shown at once


def html(report: Report, pictures: Mapping[WorstCase, bytes]) -> str:
    """The page. ``pictures`` are JPEGs, such as those of ``worst_case_picture``; a case without one has its caption."""
    sections = (
        _verdict(report),
        _tiles(report),
        _sizes(report),
        _tasks(report),
        _worst(report, pictures),
        _raised(report),
        _half_range(report),
        _stages(report),
        _blocks(report),
        _smoothing(report),
        _unquantised(report),
        _calibration(report),
        _notes(report),
    )
    return page(f"X-SAM in {report.precision}: {report.variant}", *_head(report), *sections, _foot(), style=CSS)


def _head(report: Report) -> Iterable[Markup]:
    yield tag("h1", f"X-SAM in {report.precision}")
    around = f", {report.float_type} around it" if report.precision in get_args(Quantized) else ""
    yield tag("p", f"{report.variant}{around}, from ", tag("span", report.source, class_="name"), class_="lead")


def _verdict(report: Report) -> Markup:
    judged = verdict(report)
    scale = note = None
    if report.gate is not None:
        gate = report.gate
        words = f"mean {ratio(gate.mean_iou)}", f"bound {ratio(gate.min_iou)}"
        label = f"mean mask IoU {ratio(gate.mean_iou)}, bound {ratio(gate.min_iou)}"
        scale = interval(gate.mean_iou, gate.stderr, gate.min_iou, "state", words, label)
        note = tag(
            "p",
            f"Over {count(gate.masks, 'mask')} on {count(gate.pictures, 'picture')} that calibration has not seen; "
            f"the bar spans two standard errors. {count(gate.trials, 'trial')} in {duration(gate.seconds)}.",
            class_="note",
        )
    return tag("div", tag("h2", judged.title), tag("p", judged.text), scale, note, class_=f"verdict {judged.kind}")


def _tiles(report: Report) -> Markup:
    shown = []
    if report.gate is not None:
        shown.append(("mask IoU with FP32", ratio(report.gate.mean_iou), spread(report.gate)))
        shown.append(("equal tokens", percent(report.gate.token_agreement), "of those generated"))
    if report.sizes:
        whole = total(report.sizes)
        shown.append(("size", size(whole.bytes), f"{percent(of_fp32(whole))} of FP32"))
    sites = sum(block.sites for block in report.blocks)
    quantised = sum(block.quantised_sites for block in report.blocks)
    shown.append(("products quantised", f"{quantised:,}", f"of {sites:,} in {count(len(report.blocks), 'block')}"))
    shown.append(("raised", str(len(report.raised)), "to a higher precision"))
    shown.append(("export", duration(report.seconds), f"{size(report.peak_memory_bytes)} of memory at the peak"))
    return tiles(shown)


def _sizes(report: Report) -> Markup | None:
    if not report.sizes:
        return None
    widest = max(item.fp32_bytes for item in report.sizes) or 1

    def row(item: SizeFacts) -> tuple[Cell, ...]:
        chart = bar(item.bytes / widest, kind_of(report.precision), item.fp32_bytes / widest)
        numbers = (size(item.bytes), size(item.fp32_bytes), percent(of_fp32(item)))
        return (tag("code", item.file), chart, *numbers)

    whole = total(report.sizes)
    foot = ("in all", "", size(whole.bytes), size(whole.fp32_bytes), percent(of_fp32(whole)))
    head = ("file", "", report.precision, "FP32", "of FP32")
    return section("Sizes", "The faint bar is the file at FP32.", table(head, map(row, report.sizes), "cwnnn", foot))


def _tasks(report: Report) -> Markup | None:
    if not report.tasks:
        return None
    bound = report.gate.min_iou if report.gate is not None else 0.0

    means = [item.mean_iou for item in report.tasks if known(item.mean_iou)]
    lowest = min([*means, bound] if bound else means, default=0.0)
    low = max(0.0, lowest - 0.25 * (1 - lowest) - 0.002)
    rows = []
    for item in report.tasks:
        mean: Cell = ratio(item.mean_iou)
        if known(item.mean_iou) and item.mean_iou < bound:
            mean = tag("b", f"{mean} ▼", title="below the bound")
        chart = dot(item.mean_iou, bound, low, kind_of(report.precision)) if known(item.mean_iou) else ""
        shares = (percent(item.share_95), percent(item.equal_text), percent(item.equal_tokens))
        rows.append((item.task, f"{item.asks:,}", f"{item.masks:,}", chart, mean, ratio(item.min_iou), *shares))
    head = ("task", "asks", "masks", "", "mean IoU", "lowest", "IoU ≥ 0.95", "equal text", "equal tokens")
    text = (
        f"Masks and answers against those of FP32, on the same pictures and prompts. The line runs from {low:.3f} to 1"
    )
    text += ", its tick is the bound; ▼ is below it." if bound else "."
    return section("Masks by task", text, table(head, rows, "cnnwnnnnn"))


def _worst(report: Report, pictures: Mapping[WorstCase, bytes]) -> Markup | None:
    if not report.worst:
        return None
    figures = []
    for case in report.worst:
        prompt = f"“{case.prompt}”" if case.prompt else ""
        image = None
        if case in pictures:
            source = f"data:image/jpeg;base64,{base64.b64encode(pictures[case]).decode()}"
            text = f"image, FP32 mask, {report.precision} mask and difference for {case.task} {prompt}"
            image = tag("img", src=source, alt=text, loading="lazy")
        words = (tag("b", f"IoU {ratio(case.iou)}"), f" · {case.task} ", tag("span", prompt, class_="name"))
        caption = tag("figcaption", *words, " · ", tag("code", case.picture))
        figures.append(tag("figure", image, caption))
    if not any(case in pictures for case in report.worst):
        return section("Worst cases", None, *figures)
    colours = legend([("mask", "mask"), ("only-fp32", "only FP32"), ("only-reduced", f"only {report.precision}")])
    text = f"From left to right: image, mask of FP32, mask of {report.precision}, where they differ."
    return section("Worst cases", text, colours, *figures)


def _raised(report: Report) -> Markup:
    if not report.raised:
        return section("Raised", "Nothing had to be raised to a higher precision.")
    rows = [(tag("code", item.pattern), chip(item.to, kind_of(item.to)), item.why) for item in report.raised]
    return section(
        "Raised", "Nodes that were given a higher precision than was asked for.", table(("nodes", "to", "why"), rows)
    )


def _half_range(report: Report) -> Markup | None:
    if report.half_range is None:
        return None
    text = half_range(report.half_range)
    return section("Range of FP16", f"{text[0].upper()}{text[1:]}.")


def _stages(report: Report) -> Markup | None:
    if not report.stages:
        return None
    rows = []
    for item in report.stages:
        chart = bar(item.sqnr_db / _FULL_BAR, kind_of(report.precision)) if known(item.sqnr_db) else ""
        rows.append((item.graph, tag("code", item.output), chart, decibels(item.sqnr_db), ratio(item.cosine, 5)))
    head = ("graph", "output", "", "SQNR", "cosine")
    content = table(head, rows, "ccwnn")
    if len(rows) > _OPEN:
        content = fold(count(len(rows), "output"), content)
    return section("Outputs of the graphs", f"Against FP32; the bar is full at {_FULL_BAR:.0f} dB.", content)


def _blocks(report: Report) -> Markup | None:
    if not report.blocks:
        return None
    used = {kind_of(block.precision) for block in report.blocks}
    marked = "raised" if _any_raised(report) else ""
    kinds = legend([(kind, kind) for kind in PRECISIONS if kind in used], marked=marked)
    parts = []
    for graph, members in groupby(report.blocks, lambda block: block.graph):
        blocks = list(members)
        raised = [is_raised(report, block) for block in blocks]
        figures = table(
            ("block", "precision", "quantised", "", "SQNR", "cosine", "IoU alone"),
            map(_block_row, blocks, raised),
            "ccnwnnn",
        )
        chart = scroll(block_chart(blocks, raised))
        parts.append(join(tag("h3", graph), chart, fold(f"{count(len(blocks), 'block')} in figures", figures)))
    text = (
        "SQNR of each block's output against FP32, in the order of depth: higher is better. IoU alone is the mean mask "
        "IoU where nothing but this block is quantised. A circle is a block without a measurement."
    )
    return section("Blocks", text, kinds, *parts)


def _any_raised(report: Report) -> bool:
    return any(is_raised(report, block) for block in report.blocks)


def _block_row(block: BlockFacts, raised: bool) -> tuple[Cell, ...]:
    chips = join(chip(block.precision, kind_of(block.precision)), chip("raised", "up") if raised else None)
    chart = bar(block.sqnr_db / _FULL_BAR, kind_of(block.precision)) if known(block.sqnr_db) else ""
    numbers = (decibels(block.sqnr_db), ratio(block.cosine, 5), ratio(block.alone_iou))
    return (tag("code", block.name), chips, f"{block.quantised_sites} of {block.sites}", chart, *numbers)


def _smoothing(report: Report) -> Markup | None:
    if not report.smoothing:
        return None
    rows = [(tag("code", item.norm), ratio(item.alpha, 2), f"{item.gain:+.1f} dB") for item in report.smoothing]
    text = "Outliers moved from activations into the weights behind a norm; exact in floating point."
    return section("Smoothing", text, fold(count(len(rows), "norm"), table(("norm", "alpha", "gain"), rows, "cnn")))


def _unquantised(report: Report) -> Markup | None:
    if not report.unquantised:
        return None
    rows = [(tag("code", item.node), item.why) for item in report.unquantised]
    return section("Left in floating point", None, fold(count(len(rows), "product"), table(("node", "why"), rows)))


def _calibration(report: Report) -> Markup | None:
    facts = report.calibration
    if not facts.data:
        return None
    where = ", read from the cache" if facts.from_cache else " on a GPU" if facts.device == "cuda" else ""
    samples = count(facts.samples, "sample")
    text = join(f"{samples} of ", tag("code", facts.data), f"{where}. Ranges: {report.ranges}.")
    names = None
    if facts.unreadable:
        items = bullets(tag("code", name) for name in facts.unreadable)
        names = fold(f"{count(len(facts.unreadable), 'image')} could not be read", items)
    return section("Calibration", text, names)


def _notes(report: Report) -> Markup | None:
    if not report.notes:
        return None
    return section("Notes", None, bullets(report.notes))


def _foot() -> Markup:
    return tag("footer", tag("p", "SQNR is the power of the FP32 values over that of the difference. ",
               "All figures are in ", tag("code", "report.json"), "."))  # fmt: skip
