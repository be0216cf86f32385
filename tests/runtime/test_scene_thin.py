"""Images of a single row or column, every question about which has an answer of their size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.loaded import load


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (1, 4000)])
def test_a_line_of_pixels(phi3_bundle: Path, size: tuple[int, int]) -> None:
    height, width = size
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    last = (width - 1, height - 1, width, height)
    with load(phi3_bundle).look(pixels) as scene:
        results = [
            scene.refer("a car", answer="append"),
            scene.categories(["car"], ["road"], threshold=0.0, answer="append"),
            scene.categories(["car"], threshold=0.0, answer="append"),
            scene.categories(stuff=["road"], answer="append"),
            scene.regions(boxes=[last], threshold=0.0, answer="append"),
            scene.regions(points=[(0, 0)], threshold=0.0, answer="append"),
            scene.regions(masks=[np.ones(size, bool)], boxes=[last], threshold=0.0, answer="append"),
        ]
    assert all(result.answered for result in results)
    for result in results:
        assert result.masks.shape[1:] == size
        assert result.id_map is None or result.id_map.shape == size
        assert result.overlay().size == size[::-1]
        assert json.loads(json.dumps(result.to_json()))["image_size"] == list(size)
        assert all(entry["segmentation"]["size"] == list(size) for entry in result.to_coco())
