"""The model of activations against what the compiler said of engines at a context of their own.

``scratch_figures.json`` is of TensorRT-RTX 1.7.1, language models of few layers in FP16; those that are held out had no
part in the fit.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xsam_edge.export.config.activation_sizes import activation_sizes
from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.runtime.bundle.activation_sizes import ActivationSizes

FIGURES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("scratch_figures.json").read_text())
CONFIG = VARIANTS["phi3"].config


def sizes(case: dict[str, Any]) -> ActivationSizes:
    return activation_sizes(replace(CONFIG, llm=LLMConfig(**case["llm"])), "gpu")


@pytest.mark.parametrize("case", FIGURES, ids=lambda case: case["name"])
def test_the_model_is_within_15_percent_of_the_compiler(case: dict[str, Any]) -> None:
    llm, told = case["llm"], case["scratch_bytes"]
    of_model = sizes(case)
    assert 2 * of_model.llm(llm["context_length"]) == pytest.approx(max(told.values()), rel=0.15)
    if llm["vocab_size"] % 2:  # of smaller profiles less is known there
        return
    found = {name: 2 * of_model.profile(name, llm["context_length"]) for name in told}
    assert found == pytest.approx(told, rel=0.15)


@pytest.mark.parametrize(
    ("image_size", "feedforward", "told"),
    [(1024, 1024, 258.3e6), (768, 1024, 143.5e6), (512, 1024, 69.4e6), (1024, 512, 214.3e6)],
)
def test_an_image_encoder_needs_what_its_pixel_decoder_does(image_size: int, feedforward: int, told: float) -> None:
    config = replace(
        CONFIG,
        mask_encoder=replace(CONFIG.mask_encoder, image_size=image_size),
        mask_decoder=replace(CONFIG.mask_decoder, encoder_feedforward_dim=feedforward),
    )
    assert 2 * activation_sizes(config, "gpu").image_encoder == pytest.approx(told, rel=0.15)


def test_sizes_are_held_out() -> None:
    held_out = [case["llm"] for case in FIGURES if case["held_out"]]
    fitted = [case["llm"] for case in FIGURES if not case["held_out"]]
    for field in ("hidden_size", "intermediate_size", "num_layers"):
        assert {llm[field] for llm in held_out} - {llm[field] for llm in fitted}, field
    assert {llm["context_length"] for llm in held_out} == {2048, 4096, 8192}


def test_graphs_for_a_cpu_write_their_scores() -> None:
    cpu, gpu = (activation_sizes(CONFIG, dialect) for dialect in ("cpu", "gpu"))
    assert cpu.llm(4096) > 5 * gpu.llm(4096)
    assert cpu.llm(4096) >= 2 * CONFIG.llm.num_heads * 4096**2
