from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xsam_edge.runtime.errors import BundleError, ImageError, InputError
from xsam_edge.runtime.label.asks import Ask, Same
from xsam_edge.runtime.label.journal import Journal
from xsam_edge.runtime.label.labeller import Options
from xsam_edge.runtime.label.pictures import Pictures
from xsam_edge.runtime.label.run import Counts, bundle_hash, fill, header, jobs, missing
from xsam_edge.runtime.progress import Step

PICTURES = Pictures(Path("/p"), ["a.jpg", "b.jpg", "c.jpg"])
GOOD, BAD = {"size": [1, 1], "segments": []}, {"error": "damaged"}


def records(**kinds: dict[str, Any]) -> Any:
    return ({"picture": f"{name}.jpg", **kind} for name, kind in kinds.items())


def test_what_is_missing_is_done_and_what_failed_tried_again(tmp_path: Path) -> None:
    steps: list[Step] = []
    with Journal(tmp_path, {}, PICTURES) as journal:
        assert fill(journal, PICTURES, records(b=GOOD, a=BAD), 3, steps.append) == Counts(1, 1)
        assert missing(journal, PICTURES).tolist() == [0, 2]
        todo = list(jobs(missing(journal, PICTURES), PICTURES, Same(Ask(("x",)))))
    assert [(job.place, job.name, job.path, job.ask) for job in todo] == [
        (0, "a.jpg", Path("/p/a.jpg"), Ask(("x",))),
        (2, "c.jpg", Path("/p/c.jpg"), Ask(("x",))),
    ]
    assert [(step.done, step.total, step.detail) for step in steps] == [(0, 3, ""), (1, 3, "b.jpg"), (2, 3, "a.jpg")]


def test_names_do_not_break_the_line_of_progress(tmp_path: Path) -> None:
    pictures = Pictures(Path("/p"), ["a\n\x1b[2J\udcff.jpg"])
    steps: list[Step] = []
    with Journal(tmp_path, {}, pictures) as journal:
        fill(journal, pictures, iter([{"picture": pictures.names[0], **GOOD}]), 1, steps.append)
    assert steps[-1].detail == "a??[2J?.jpg"


def test_strict(tmp_path: Path) -> None:
    with Journal(tmp_path, {}, PICTURES) as journal:
        with pytest.raises(ImageError, match=r"b\.jpg: damaged"):
            fill(journal, PICTURES, records(a=GOOD, b=BAD, c=GOOD), 3, strict=True)
        assert missing(journal, PICTURES).tolist() == [1, 2]


def test_where_every_picture_fails(tmp_path: Path) -> None:
    with Journal(tmp_path, {}, PICTURES) as journal, pytest.raises(InputError, match="none of 3 pictures"):
        fill(journal, PICTURES, records(a=BAD, b=BAD, c=BAD), 3)


def test_what_answers_follow_from(phi3_bundle: Path, tmp_path: Path) -> None:
    hashed = bundle_hash(phi3_bundle)
    assert len(hashed) == 64
    assert header(hashed, Same(Ask(("x",))), Options(0.5)) == {
        "journal": "xsam-label 1",
        "bundle": hashed,
        "things": ["x"],
        "threshold": 0.5,
    }
    with pytest.raises(BundleError, match="is not a bundle"):
        bundle_hash(tmp_path)
