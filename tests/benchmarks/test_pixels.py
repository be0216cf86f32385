from __future__ import annotations

from pathlib import Path

import pytest

from xsam_edge.benchmarks import measure, pixels


def test_ways_take_turns_and_are_compared(
    phi3_pixels_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pixels, "SIZES", {"tiny": (20, 30), "small": (40, 30)})
    monkeypatch.setattr(pixels, "SETTLE_SECONDS", 0)
    assert pixels.main([str(phi3_pixels_bundle), "--repeat", "2", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["tiny", "small"]
    assert all(all(way in line for way in (pixels.AFTER, pixels.BESIDE, pixels.DEVICE)) for line in lines)
    assert measure.SETTLE_SECONDS > 0


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--repeat", "0"], "at least 1"), (["BUNDLE"], "has no graph that resizes")]
)
def test_wrong_input_is_one_line(
    phi3_bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert pixels.main([text.replace("BUNDLE", str(phi3_bundle)) for text in arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and "Traceback" not in printed.err and not printed.out
