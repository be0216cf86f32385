import xml.etree.ElementTree as ElementTree

import pytest

from xsam_edge.calibration.page.markup import Markup, escape, join, tag
from xsam_edge.calibration.page.parts import facts, legend, page, table

HOSTILE = "</style></title><script>alert(1)</script>\"'><img src=http://x/ onerror=alert(1)>&amp;\x00\x1b\udce9"


def test_markup() -> None:
    assert tag("b", "a<b", Markup("<i/>"), None, class_="x", title='"', id=None, data_n=2) == (
        '<b class="x" title="&quot;" data-n="2">a&lt;b<i/></b>'
    )
    assert tag("rect", width=1.5, height=2.0, x=3) == '<rect width="1.5" height="2" x="3"/>'
    assert tag("p") == "<p></p>"
    assert escape(escape("&")) == "&amp;"
    assert join("<", None, Markup("<br/>")) == "&lt;<br/>"


def test_a_page_of_hostile_names_is_well_formed_and_loads_nothing() -> None:
    body = (table((HOSTILE, HOSTILE), [(HOSTILE, tag("code", HOSTILE))]), facts({HOSTILE: HOSTILE}))
    text = page(HOSTILE, tag("h1", HOSTILE, title=HOSTILE), *body, legend([("s0", HOSTILE)], marked=HOSTILE))
    root = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>\n"))
    assert not list(root.iter("script")) and not list(root.iter("img"))
    shown = HOSTILE.translate({0x00: "\ufffd", 0x1B: "\ufffd", 0xDCE9: "\ufffd"})
    assert "".join(root.itertext()).count(shown) == 10
    policy = next(meta.get("content") for meta in root.iter("meta") if meta.get("http-equiv"))
    assert policy is not None and "default-src 'none'" in policy


@pytest.mark.parametrize("columns", ["cn", "cnw"])
def test_a_table_has_a_cell_for_every_column(columns: str) -> None:
    cells = ["x"] * len(columns)
    root = ElementTree.fromstring(table(cells, [cells, cells], columns, foot=cells))
    assert [row.get("class") for row in root.iter("tr")] == [None] * 4
    assert len(list(root.iter("td"))) == 3 * (len(columns) - 1)
    with pytest.raises(ValueError, match="zip"):
        table(cells, [["x"]], columns)
