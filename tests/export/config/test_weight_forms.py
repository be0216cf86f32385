"""Of the same weights in several forms one is taken."""

from __future__ import annotations

import pytest

from xsam_edge.export.config.weight_forms import weight_forms

SHARDS = {"model.safetensors.index.json": ["b.safetensors", "a.safetensors"], "pytorch_model.bin.index.json": ["a.bin"]}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], []),
        (["config.json", "README.md"], []),
        (["pytorch_model.bin", "config.json"], [("pytorch_model.bin",)]),
        (["pytorch_model.bin", "model.safetensors"], [("model.safetensors",), ("pytorch_model.bin",)]),
        (
            ["pytorch_model.bin", "model.safetensors.index.json", "a.safetensors", "b.safetensors"],
            [("model.safetensors.index.json", "a.safetensors", "b.safetensors"), ("pytorch_model.bin",)],
        ),
        (["pytorch_model.bin.index.json", "a.bin", "training.pt"], [("pytorch_model.bin.index.json", "a.bin")]),
        (["two.pth", "one.safetensors", "notes.txt"], [("one.safetensors",), ("two.pth",)]),
    ],
)
def test_forms(names: list[str], found: list[tuple[str, ...]]) -> None:
    forms = list(weight_forms(names, SHARDS.__getitem__))
    assert [form.files for form in forms] == found
    assert all(form.head == form.files[0] for form in forms)
