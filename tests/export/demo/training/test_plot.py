import json
from importlib.resources import files

from xsam_edge.export.demo.training.plot import plot


def test_the_shipped_picture_is_that_of_the_shipped_curve() -> None:
    folder = files("xsam_edge.export.demo") / "shapes"
    curve = [json.loads(line) for line in (folder / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
    assert plot(curve) == (folder / "curve.svg").read_text(encoding="utf-8")


def test_a_curve_that_has_only_begun() -> None:
    assert "minutes" in plot([{"recipe": {}}])
    assert "mask IoU" in plot([{"minutes": 1.0, "validation": {"tokens": 0.5}}])
