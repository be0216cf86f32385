"""``python -m xsam_edge.export.demo.training.plot CURVE -o FILE``: a training curve as an SVG picture."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xsam_edge.calibration.page.lines import Panel, panels

_TERMS = ("classes", "mask", "dice", "language")
_LEAST = 1e-4  # of a loss: less is drawn there


def plot(curve: Sequence[Mapping[str, Any]]) -> str:
    """Draw the lines of a ``curve.jsonl``: the terms of the loss, and the validation by kind of exercise."""
    losses = [line for line in curve if "total" in line]
    checks = [line for line in curve if "validation" in line]
    terms = {name: [(line["minutes"], max(line[name], _LEAST)) for line in losses] for name in _TERMS}
    kinds = sorted({kind for line in checks for kind in line["validation"]})
    scores = {
        kind: [(line["minutes"], line["validation"][kind]) for line in checks if kind in line["validation"]]
        for kind in kinds
    }
    end = max((line["minutes"] for line in curve if "minutes" in line), default=1.0)
    least = min((y for line in terms.values() for _, y in line), default=0.1)
    low = 10.0 ** math.floor(math.log10(least))
    drawn = [
        Panel("loss, training scenes", terms, (0, end), (low, 10), "minutes", log=True),
        Panel("mask IoU and right tokens, validation scenes", scores, (0, end), (0, 1), "minutes"),
    ]
    return panels(drawn, "loss and validation over the time of training", alone=True) + "\n"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("curve", type=Path, help="curve.jsonl that training wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, help="SVG file")
    options = parser.parse_args()
    lines = [json.loads(line) for line in options.curve.read_text(encoding="utf-8").splitlines()]
    options.output.write_text(plot(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
