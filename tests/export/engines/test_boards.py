from pathlib import Path

from xsam_edge.export.engines.boards import boards

PAGE = Path(__file__).parents[3] / "export" / "engines" / "README.md"


def test_the_page_has_the_table() -> None:
    assert boards() in PAGE.read_text(encoding="utf-8")


def test_what_does_not_fit_and_what_does() -> None:
    rows = [line.split(" | ") for line in boards().splitlines()]
    nano = next(row for row in rows if row[0] == "| `orin-nano`" and row[1] == "`phi3`")
    assert nano[3].startswith("no, ") and nano[5].endswith(" GB |") and "no" not in nano[5]
    nx = next(row for row in rows if row[0] == "| `orin-nx`" and row[1] == "`phi3`")
    assert all("no" not in cell for cell in nx[3:])
