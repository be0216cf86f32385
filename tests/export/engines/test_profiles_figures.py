"""What the compiler says of graphs at true widths: a fused attention needs megabytes, one that is not gigabytes.

One build for three kinds of GPU, whose figures are equal; kinds on their own give the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.export.engines.wide_graphs import Built, build, shallow
from xsam_edge.export.precision.plan import CachePrecision
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.engine_info import DECODE, FIRST, PROMPTS, SUFFIX

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install xsam-edge[dev])")
pytest.importorskip("polygraphy", reason="polygraphy is not installed (pip install xsam-edge[dev])")

pytestmark = pytest.mark.engines

# Megabytes of activations at a context of 4,096 tokens, a twentieth above what they are.
LANGUAGE_MODELS = {
    "phi3": {FIRST: 380, SUFFIX: 85, DECODE: 57, PROMPTS: 217},
    "qwen3-4b": {FIRST: 485, SUFFIX: 157, DECODE: 83, PROMPTS: 335},
}
ENCODERS = {contract.IMAGE_ENCODER: {"only": 300}, contract.MASK_DECODER: {"one": 25, "several": 179}}
_KERNELS = 20e6  # bytes of an engine that are no weights


def check(built: Built, bounds: Mapping[str, float]) -> None:
    found = {profile: built.megabytes(profile) for profile in built.figures.profiles}
    assert found.keys() == bounds.keys()
    assert not {name: size for name, size in found.items() if not 0 < size <= bounds[name]}, found


@pytest.mark.parametrize("variant", LANGUAGE_MODELS)
def test_scores_of_attention_never_lie_in_memory_and_weights_once(variant: str, tmp_path: Path) -> None:
    two, four = (build(shallow(variant, layers), contract.LLM, tmp_path) for layers in (2, 4))
    check(two, LANGUAGE_MODELS[variant])
    assert two.figures.engine_bytes <= 1.05 * two.weights
    assert four.figures.engine_bytes - two.figures.engine_bytes <= 1.05 * (four.weights - two.weights)
    assert two.engine.warnings == {}


@pytest.mark.parametrize(
    ("graph", "bounds"),
    [(contract.LLM, LANGUAGE_MODELS["phi3"]), (contract.IMAGE_ENCODER, ENCODERS[contract.IMAGE_ENCODER])],
)
def test_fp8_leaves_attention_fused_and_stores_a_byte_a_weight(
    graph: str, bounds: Mapping[str, float], tmp_path: Path
) -> None:
    """For GPUs from Ada on; in no profile more memory than FP16 is given."""
    built = build(shallow("phi3", 2), graph, tmp_path, precision="fp8")
    check(built, bounds)
    assert built.figures.engine_bytes <= 1.05 * built.weights + _KERNELS
    assert built.engine.warnings == {}


@pytest.mark.parametrize("kv_cache", ["int8", "fp8"])
def test_a_cache_of_codes_leaves_attention_fused(kv_cache: CachePrecision, tmp_path: Path) -> None:
    """No past lies in memory as floats; of a batch, the new rows of a layer do, before they are codes (13 MB)."""
    built = build(shallow("phi3", 2), contract.LLM, tmp_path, kv_cache=kv_cache)
    check(built, {**LANGUAGE_MODELS["phi3"], PROMPTS: 230})
    assert built.figures.engine_bytes <= 1.05 * built.weights
    assert built.engine.warnings == {}


@pytest.mark.parametrize("graph", ENCODERS)
def test_graphs_around_the_language_model(graph: str, tmp_path: Path) -> None:
    built = build(shallow("phi3", 1), graph, tmp_path)
    check(built, ENCODERS[graph])
    assert built.figures.engine_bytes <= 1.05 * built.weights + _KERNELS
