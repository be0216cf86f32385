"""Room on the disk: the figure, and that it is asked for before any work."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from types import SimpleNamespace

import pytest

from xsam_edge.export.bundle import expected_tensors
from xsam_edge.export.cli import main
from xsam_edge.export.config.variants import get_variant
from xsam_edge.export.disk import check_room, needed_bytes
from xsam_edge.export.quantize_plan import QuantizeOptions
from xsam_edge.runtime.errors import XSamError


def test_the_figure_of_the_released_model() -> None:
    config = get_variant("phi3").config
    values = sum(map(prod, expected_tensors(config).values()))
    assert needed_bytes(config, None) == 4 * values + 10**9
    half = QuantizeOptions("fp16", min_iou=0.0)
    assert needed_bytes(config, replace(half, checked=0)) == 2 * values + 10**9
    stages = 8 * 10**9
    assert needed_bytes(config, half) == (4 + 2) * values + stages + 10**9
    narrow = frozenset(expected_tensors(config))
    assert needed_bytes(config, half, narrow) == (2 + 2) * values + stages + 10**9
    sizes = {
        p: needed_bytes(config, QuantizeOptions(p), narrow) - 2 * values - stages - 10**9 for p in ("int8", "int4")
    }
    assert needed_bytes(config, QuantizeOptions("int8"), narrow) < 24e9
    assert 4.6e9 < sizes["int8"] < 5.2e9
    assert 3.5e9 < sizes["int4"] < 4.5e9


def test_a_small_model_is_tried_in_whole() -> None:
    config = get_variant("shapes").config
    plain, compared = (needed_bytes(config, QuantizeOptions("int8", min_iou=bound)) for bound in (0.0, 0.9))
    assert compared - plain >= 4 * sum(map(prod, expected_tensors(config).values()))


def test_tied_embeddings_are_written_twice() -> None:
    config = get_variant("shapes").config
    tied = replace(config, llm=replace(config.llm, tie_word_embeddings=True))
    assert expected_tensors(tied).keys() < expected_tensors(config).keys()
    assert needed_bytes(tied, None) == needed_bytes(config, None)


def test_small_models_need_little_more_than_they_are() -> None:
    config = get_variant("shapes").config
    assert needed_bytes(config, None) < 4.5 * sum(map(prod, expected_tensors(config).values())) + (1 << 24) + 1


def test_room_is_that_of_the_nearest_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def usage(folder: Path) -> SimpleNamespace:
        asked.append(folder)
        return SimpleNamespace(free=10**9)

    monkeypatch.setattr("shutil.disk_usage", usage)
    check_room(tmp_path / "deep" / "er" / "bundle", 10**9)
    with pytest.raises(XSamError, match=r"1\.00 GB free, 2\.00 GB are needed; free some space"):
        check_room(tmp_path / "deep" / "er" / "bundle", 2 * 10**9)
    assert set(asked) == {tmp_path}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_too_little_is_refused_before_a_weight_is_read(
    tmp_path: Path,
    phi3_reference: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    precision: str,
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    (tmp_path / ".out.123-abcdef.partial").mkdir()  # of a run that was killed, whose room counts as free
    (tmp_path / ".out.123-abcdef.lock").touch()
    monkeypatch.setattr("xsam_edge.export.prepare.sha256", lambda *_: pytest.fail("read"))
    given = ["--checkpoint", str(phi3_reference), "--precision", precision, "-o", str(tmp_path / "out")]
    assert main(given) == 2
    error = capsys.readouterr().err
    note, error = error.splitlines()
    assert note.startswith(f"note: removed {tmp_path / '.out.123-abcdef.partial'}, 0 B that")
    assert error.startswith("xsam-export: error: ")
    assert f"{tmp_path} has 1.0 kB free, " in error and "are needed; free some space" in error
    assert list(tmp_path.iterdir()) == []
