"""The page: well-formed, self-contained, safe against names, complete."""

from __future__ import annotations

import base64
import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from tests.export.report.sample_reports import EMPTY, FULL, GATE
from xsam_edge.export.report.facts import BlockFacts, CalibrationFacts, RaisedNodes, Report, StageFacts, WorstCase
from xsam_edge.export.report.html import html
from xsam_edge.export.report.write import write_report

VOID = {"meta", "img", "br"}
NOTHING = replace(
    FULL,
    gate=replace(GATE, token_agreement=None, stderr=math.nan),
    stages=(StageFacts("llm", "logits", None, None),),
    blocks=tuple(replace(block, sqnr_db=None, cosine=None, alone_iou=None) for block in FULL.blocks),
    tasks=tuple(replace(t, mean_iou=None, min_iou=None, share_95=None, equal_text=None) for t in FULL.tasks),
)
EXTREME = replace(
    FULL,
    gate=replace(GATE, min_iou=1.0, mean_iou=1.0, stderr=0.0),
    stages=(StageFacts("llm", "logits", math.inf, 1.0), StageFacts("llm", "seg_hidden", -math.inf, -1.0)),
    blocks=tuple(
        BlockFacts("llm", f"/llm/layers.{index}/**", "int8", value, None, None, 0, 0)
        for index, value in enumerate((math.inf, -math.inf, math.nan, 1e9, -1e9, 0.0, 55.0))
    ),
    sizes=tuple(replace(item, fp32_bytes=0) for item in FULL.sizes),
)
HOSTILE = "</style></title><script>alert(1)</script>\"'><img src=http://x/ onerror=alert(1)>&amp;\x00\x1b\udce9"


class Page(HTMLParser):
    """Checks that tags are balanced, and keeps them and the text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open or tag in VOID, "of HTML, only void elements may close themselves"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def _hostile() -> Report:
    return replace(
        FULL,
        precision=HOSTILE,
        float_type=HOSTILE,
        ranges=HOSTILE,
        variant=HOSTILE,
        source=HOSTILE,
        calibration=CalibrationFacts(HOSTILE, 1, (HOSTILE,)),
        stages=tuple(replace(item, graph=HOSTILE, output=HOSTILE) for item in FULL.stages),
        blocks=tuple(replace(item, graph=HOSTILE, name=HOSTILE, precision=HOSTILE) for item in FULL.blocks),
        raised=(RaisedNodes(HOSTILE, HOSTILE, HOSTILE),),
        sizes=tuple(replace(item, file=HOSTILE) for item in FULL.sizes),
        tasks=tuple(replace(item, task=HOSTILE) for item in FULL.tasks),
        worst=(WorstCase(HOSTILE, HOSTILE, HOSTILE, 0.1),),
        smoothing=tuple(replace(item, norm=HOSTILE) for item in FULL.smoothing),
        unquantised=tuple(replace(item, node=HOSTILE, why=HOSTILE) for item in FULL.unquantised),
        notes=(HOSTILE,),
    )


REPORTS = {"full": FULL, "empty": EMPTY, "nothing": NOTHING, "extreme": EXTREME, "hostile": _hostile()}


@pytest.mark.parametrize("name", REPORTS)
def test_well_formed_and_self_contained(name: str, tmp_path: Path) -> None:
    report = REPORTS[name]
    write_report(tmp_path, report, {case: b"\xff\xd8jpeg" for case in report.worst})
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>\n"))
    assert "nan" not in text
    assert not re.search(r'="[^"]*inf', text)
    for kind, attributes in page.tags:
        assert kind not in ("script", "link", "iframe", "object", "base", "form", "a", "use", "image")
        assert not any(attribute.startswith("on") or attribute == "href" for attribute in attributes)
        if "src" in attributes:
            assert kind == "img"
            assert str(attributes["src"]).startswith("data:image/jpeg;base64,")
    style = text[text.index("<style>") : text.index("</style>")]
    assert not re.search(r"url\(|@import|//", style)
    if name != "hostile":
        assert "http:" not in text
        assert "//" not in re.sub(r"base64,[^\"]*", "", text)
    assert 'http-equiv="Content-Security-Policy"' in text


def test_hostile_names_are_text() -> None:
    page = Page(html(REPORTS["hostile"], {}))
    shown = re.sub("[\x00\x1b\udce9]", "\ufffd", HOSTILE)
    assert "".join(page.words).count(shown) > 20
    assert not any(kind == "img" for kind, _ in page.tags)


def test_everything_is_shown() -> None:
    text = Page(html(FULL, {})).text
    for words in (
        "Masks hold", "0.9874 ± 0.0013", "the bound is 0.9700", "731 masks on 64 pictures", "99.3%", "9 trials",
        "llm.onnx.data", "3.0 MB", "12.0 MB", "25%", "refer", "0.9911", "96.8%", "0.9641 ▼", "mask_logits", "31.0 dB",
        "0.99950", "/encoder/layers.1/attn/**", "3 of 4", "37.8 dB", "0.9970", "alone it leaves a mask IoU of 0.951",
        "input_layernorm", "0.55", "+4.2 dB", "both sides are activations", "“the red circle”", "IoU 0.4123", "scene-7",
        "256 samples of shapes", "percentile-99.999", "read from the cache", "broken.jpg", "ONNX Runtime 1.30",
        "52 min", "6.10 GB",
    ):  # fmt: skip
        assert words in text, words


def test_worst_cases_carry_their_own_picture() -> None:
    page = Page(html(FULL, {FULL.worst[1]: b"second"}))
    images = [attributes for kind, attributes in page.tags if kind == "img"]
    assert len(images) == 1
    assert str(images[0]["src"]).endswith(base64.b64encode(b"second").decode())
    assert "what rolls" in str(images[0]["alt"])
    assert "the red circle" in page.text


def test_raised_blocks_are_marked() -> None:
    marked = [title for title in re.findall(r"<title>([^<]*)</title>", html(FULL, {})) if title.endswith(", raised")]
    assert marked == ["/llm/model/layers.0/mlp/**, fp16, 58.5 dB, alone: IoU 0.9510, raised"]
    assert html(FULL, {}).count('<path class="mark"') == 2  # the column and the legend
    assert "mark" not in "".join(re.findall(r"<path[^>]*>", html(replace(FULL, raised=()), {})))


@pytest.mark.parametrize(
    ("pattern", "marked"), [("/llm/model/layers.0/**", 1), ("/llm/**", 2), ("**", 4), ("/llm/model/layers.0/norm", 0)]
)
def test_a_pattern_marks_the_blocks_within_it(pattern: str, marked: int) -> None:
    page = html(replace(FULL, raised=(RaisedNodes(pattern, "fp16", ""),)), {})
    assert len(re.findall(r"<title>[^<]*, raised</title>", page)) == marked


def test_columns_stand_for_their_values() -> None:
    heights = [
        float(h)
        for h in re.findall(r'class="fill \w+" x="[^"]*" y="[^"]*" width="[^"]*" height="([^"]*)"', html(FULL, {}))
    ]
    first, second, third, fourth = heights
    assert first / second == pytest.approx(41.25 / 37.75, abs=0.01)
    assert third / fourth == pytest.approx(58.5 / 33.5, abs=0.01)


def test_charts_stay_inside_their_frame() -> None:
    blocks = tuple(
        BlockFacts(graph, f"/{part}/layers.{index}/mlp/**", "int8", 30.0 + index, None, None, 1, 1)
        for graph, part, number in (("a", "one", 1), ("b", "one", 300), ("b", "a/long/name/of/a/module/and/more", 1))
        for index in range(number)
    )
    text = html(replace(FULL, blocks=blocks), {})
    for width, height, chart in re.findall(r'class="columns[ a-z]*" viewBox="0 0 (\d+) (\d+)"(.*?)</svg>', text):
        for x, y, wide, high in re.findall(
            r'<rect[^>]* x="([^"]*)" y="([^"]*)" width="([^"]*)" height="([^"]*)"', chart
        ):
            assert 0 <= float(x) < float(x) + float(wide) <= float(width)
            assert 0 <= float(y) < float(y) + float(high) <= float(height)


def test_upright_labels_stay_inside_and_apart() -> None:
    names = ["/one/patch_embed/*", "/a/long/name/of/a/module/and/more/*", "/x/y/projection/*", "/x/z/projection/*"]
    layers = [f"/deep/layers.{index}/**" for index in range(200)]
    blocks = tuple(BlockFacts("a", name, "int8", 30.0, None, None, 1, 1) for name in [*names, *layers])
    text = html(replace(FULL, blocks=blocks), {})
    height = float(re.findall(r'class="columns[ a-z]*" viewBox="0 0 \d+ (\d+)"', text)[0])
    labels = re.findall(r'<text transform="translate\(([\d.]+) ([\d.]+)\) rotate\(-90\)"[^>]*>([^<]*)<', text)
    assert [label.rpartition("/")[2] for _, _, label in labels] == ["patch_embed", "more", "projection", "projection"]
    assert all(float(y) + 6.5 * len(label) < height for _, y, label in labels)
    places = [float(x) for x, _, _ in labels]
    assert all(right - left >= 14 for left, right in pairwise(places))
    assert ">deep/layers</text>" in text


def test_identical_is_a_word() -> None:
    text = Page(html(EXTREME, {})).text
    assert text.count("identical") == 5  # an output; two blocks, each in the chart's title and in the table
    assert text.count("no signal") == 5
    assert "00000" not in text.replace("1.00000", "")


@pytest.mark.parametrize(
    ("gate", "degraded", "kind"),
    [
        (GATE, False, "passed"),
        (replace(GATE, passed=False, mean_iou=0.9), False, "failed"),
        (replace(GATE, passed=False, mean_iou=0.9), True, "degraded"),
        (None, False, "open"),
    ],
)
def test_verdict(gate: object, degraded: bool, kind: str) -> None:
    page = Page(html(replace(FULL, gate=gate, degraded=degraded), {}))
    assert [a["class"] for _, a in page.tags if str(a.get("class")).startswith("verdict")] == [f"verdict {kind}"]


def test_the_range_of_fp16() -> None:
    known = FULL.half_range
    assert known is not None
    page = html(FULL, {})
    assert (
        "Largest value 20,480 of 65,504 on 4 pictures" in page and "2 nodes given FP32 for values from 32,752" in page
    )
    none = html(replace(FULL, half_range=replace(known, raised=0)), {})
    assert "no node had to be FP32" in none and "given FP32 for" not in none
    unchecked = html(replace(FULL, half_range=replace(known, pictures=0)), {})
    assert "Whether values stay within 65,504 was not checked." in unchecked and "20,480" not in unchecked
    assert "Range of FP16" not in html(EMPTY, {})


def test_an_export_without_data_has_no_section_of_calibration() -> None:
    assert "<h2>Calibration" in html(EMPTY, {})
    assert "<h2>Calibration" not in html(replace(EMPTY, calibration=CalibrationFacts("", 0)), {})
