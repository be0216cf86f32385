"""Scales and charts: what is drawn stands where its value is, and nothing leaves its frame."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from xsam_edge.calibration.page.lines import Panel, panels, spread
from xsam_edge.calibration.page.rows import Bar, Dots, bar, bars, dot, dots, interval
from xsam_edge.calibration.page.scale import AxisScale, labels
from xsam_edge.calibration.page.style import CSS, file_style


def percents(root: ElementTree.Element, element: str, attribute: str) -> list[float]:
    values = [item.get(attribute, "") for item in root.iter(element)]
    return [float(value.removesuffix("%")) for value in values if value.endswith("%")]


def test_a_scale_ends_at_its_edges() -> None:
    scale = AxisScale(10, 20, 100, 0)
    assert [scale.at(value) for value in (10, 15, 20, -math.inf, math.inf)] == [100, 50, 0, 100, 0]
    assert AxisScale(0.1, 1000, 0, 4, log=True).at(10) == pytest.approx(2)
    assert AxisScale(0.1, 1000, 0, 4, log=True).at(0) == 0
    assert AxisScale(1, 1, 0, 7).at(1) == 7, "nothing lies between"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 112, ["0", "20", "40", "60", "80", "100"]),
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (-40, 100, ["-40", "-20", "0", "20", "40", "60", "80", "100"]),
        (0.985, 1, ["0.985", "0.99", "0.995", "1"]),
        (0, 2103, ["0", "500", "1,000", "1,500", "2,000"]),
        (0, 130_000, ["0", "50k", "100k"]),
        (0, 7e9, ["0", "2G", "4G", "6G"]),
        (5, 5, ["5"]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[str]) -> None:
    assert labels(AxisScale(low, high, 0, 1).ticks(7 if low < 0 else 6)) == expected


def test_ticks_of_a_logarithm_are_powers() -> None:
    assert labels(AxisScale(0.001, 10, 0, 1, log=True).ticks()) == ["0.001", "0.01", "0.1", "1", "10"]
    assert labels(AxisScale(0.002, 30, 0, 1, log=True).ticks()) == ["0.01", "0.1", "1", "10"]


def test_bars_and_dots_stand_for_their_values() -> None:
    root = ElementTree.fromstring(bars([Bar("a", 50, 10, "", ("", "")), Bar("b", 25, 5, "", ("", ""))], "bars"))
    first, part, second, _ = percents(root, "rect", "width")
    assert first / second == pytest.approx(2, rel=1e-3) and first / part == pytest.approx(5, rel=1e-3)
    root = ElementTree.fromstring(dots([Dots("a", (10, 20, 40), (20.0,), "20 ms")], "dots", str))
    places = percents(root, "circle", "cx")
    assert (places[2] - 1) / (places[0] - 1) == pytest.approx(4, rel=1e-3)
    assert [title.text for title in root.iter("title")] == ["10", "20", "40"]
    assert [line.get("x1") for line in root.iter("line") if line.get("class") == "bound"] == [f"{places[1]:.2f}%"]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 1.7, -3.0, math.inf, math.nan])
def test_rows_stay_inside(value: float) -> None:
    drawn = (bar(value, "s0"), dot(value, 0.9, 0.5, "s0"), interval(value, 0.1, 0.9, "s0", ("mean", "bound"), "scale"))
    for text in drawn:
        assert "nan" not in text and "inf%" not in text
        root = ElementTree.fromstring(text)
        for name in ("x", "x1", "x2", "cx", "width"):
            assert all(0 <= place <= 100 for place in percents(root, "*", name))
    assert bars([Bar("a", 0.0, 0.0, "", ("", ""))], "bars") and dots([], "dots", str)


def test_names_at_the_ends_of_lines_keep_apart() -> None:
    places = {str(number): 50.0 + number % 3 for number in range(8)} | {"low": 200.0, "high": 1.0}
    moved = spread(places, 0, 200)
    order = sorted(moved, key=lambda name: moved[name])
    assert all(moved[below] - moved[above] >= 13.9 for above, below in pairwise(order))
    assert (order[0], order[-1]) == ("high", "low") and moved["high"] == 1 and moved["low"] == 200


def test_curves_as_a_file() -> None:
    lines = {f"line {number}": [(0.0, 0.001), (10.0, 10.0 ** (number % 4 - 2))] for number in range(12)}
    text = panels([Panel("loss", lines, (0, 10), (0.001, 100), "minutes", log=True)], "curves", alone=True)
    root = ElementTree.fromstring(text)
    svg = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{svg}svg" and "var(" not in text
    _, _, width, height = map(float, root.get("viewBox", "").split())
    curves = [line for line in root.iter(f"{svg}polyline") if line.find(f"{svg}title") is not None]
    assert len(curves) == 12 and len({line.get("class") for line in curves}) == 12, "each looks different"
    for line in root.iter(f"{svg}polyline"):
        points = [tuple(map(float, point.split(","))) for point in line.get("points", "").split()]
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    for label in root.iter(f"{svg}text"):
        assert 0 <= float(label.get("x", 0)) <= width - 6.5 * len(label.text or "") * (label.get("text-anchor") is None)


def test_every_colour_is_there_in_light_and_dark() -> None:
    used = set(re.findall(r"var\(--([\w-]+)\)", CSS))
    for scheme in re.findall(r":root \{([^}]*)\}", CSS):
        declared = set(re.findall(r"--([\w-]+):", scheme))
        assert not declared or used <= declared
    assert "var(" not in file_style()
