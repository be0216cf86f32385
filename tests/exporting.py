"""Bundles that the runtime's tests read where nothing can be exported; see ``tests.versions``."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "name", ["phi3", "phi3_pixels", "phi3_fp16", "phi3_fp8", "phi3_kv", "qwen3", "aaai26", "shapes"]
)
def test_a_bundle_for_other_environments(request: pytest.FixtureRequest, name: str) -> None:
    bundle: Path = request.getfixturevalue(f"{name}_bundle")
    assert (bundle / "manifest.json").is_file()
