from xsam_edge.calibration.page.numbers import count, milliseconds, percent, ratio
from xsam_edge.calibration.page.text import aligned, markdown


def test_columns_of_text() -> None:
    rows = [("name", "n", ""), ("a", "1000", "x"), ("long name", "1")]
    assert aligned(rows) == ["name       n", "a          1000  x", "long name  1"]
    assert aligned(rows, {"n"}) == ["name          n", "a          1000  x", "long name     1"]
    assert aligned([]) == []


def test_markdown() -> None:
    assert markdown(["a", "b"], [["1", "x|y"]]) == ["| a | b |", "|---|---|", "| 1 | x\\|y |"]


def test_numbers() -> None:
    assert [percent(value) for value in (0.9996, 1.0, 0.5, None, float("nan"))] == ["99.9%", "100%", "50%", "–", "–"]
    assert [milliseconds(value) for value in (0.254, 12.34, 2103.4)] == ["0.25", "12.3", "2103"]
    assert (ratio(0.98765), ratio(None), count(1, "block"), count(1200, "block")) == (
        "0.9877", "–", "1 block", "1,200 blocks",
    )  # fmt: skip
