"""Names: both lines map onto one, and nothing is dropped that is not listed as unused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.export.config.naming import (
    DeadTensor,
    aaai26_name,
    computed_layers,
    dead_tensors,
    detect_line,
    main_name,
    match,
)
from xsam_edge.export.config.variants import get_variant
from xsam_edge.export.infer.config import config_from_checkpoint
from xsam_edge.runtime.errors import CheckpointError


@pytest.fixture(scope="module")
def phi3(phi3_reference):
    checkpoint = open_checkpoint(phi3_reference)
    return checkpoint, config_from_checkpoint(checkpoint.shapes, get_variant("phi3"), checkpoint.inits)


@pytest.fixture(scope="module")
def qwen3(qwen3_reference):
    checkpoint = open_checkpoint(qwen3_reference)
    return checkpoint, config_from_checkpoint(checkpoint.shapes, get_variant("qwen3-1.7b"), checkpoint.inits)


def reason(config, name: str) -> str | None:
    return next((dead.reason for dead in dead_tensors(config) if dead.covers(name)), None)


def test_lines(phi3):
    checkpoint, _ = phi3
    old = {aaai26_name(name): name for name in checkpoint}
    assert detect_line(checkpoint) == "main"
    assert detect_line(old) == "aaai26"
    assert {name: main_name(name) for name in old} == old
    assert "visual_encoder.vision_model.embeddings.patch_embedding.weight" in old
    assert old["segmentor.logit_scale"] == "segmentor.class_predictor.logit_scale"
    assert sum(name != new for name, new in old.items()) == 1 + sum(n.startswith("vision_encoder.") for n in checkpoint)
    # Names that only look alike stay.
    assert main_name("visual_projector.model.0.weight") == "visual_projector.model.0.weight"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["vision_encoder.a", "segmentor.logit_scale"], "mixes two naming lines"),
        (["visual_encoder.a", "vision_encoder.a"], "mixes two naming lines"),
        (["vlm.model.visual.a", "segmentor.class_predictor.logit_scale"], "Qwen3-VL"),
        (["bert.encoder.weight"], "not an X-SAM checkpoint"),
        ([], "not an X-SAM checkpoint"),
    ],
)
def test_lines_that_are_not(names, message):
    with pytest.raises(CheckpointError, match=message):
        detect_line(names)


@pytest.mark.parametrize(
    ("select", "depth", "layers"),
    [([-2], 27, 26), ([-1], 27, 27), ([12, 18, 24, -2], 24, 24), ([2, 3, -2], 4, 3), ([0], 4, 0)],
)
def test_computed_layers(select, depth, layers):
    assert computed_layers(select, depth) == layers


def test_what_is_dead(phi3):
    _, config = phi3
    for name in (
        "vision_encoder.vision_model.encoder.layers.2.mlp.fc1.weight",
        "vision_encoder.vision_model.post_layernorm.bias",
        "vision_encoder.vision_model.head.probe",
        "vision_encoder.vision_model.embeddings.position_ids",
        "segmentor.encoder.neck.conv1.weight",
        "segmentor.shared_image_embedding.positional_embedding",
        "segmentor.prompt_encoder.no_mask_embed.weight",
        "segmentor.mask_decoder.iou_token.weight",
        "segmentor.criterion.empty_weight",
        "llm.model.rotary_emb.inv_freq",
        "llm.model.layers.1.self_attn.rotary_emb.inv_freq",
    ):
        assert reason(config, name), name
    for name in (
        "vision_encoder.vision_model.encoder.layers.1.mlp.fc1.weight",
        "vision_encoder.vision_model.embeddings.position_embedding.weight",
        "segmentor.encoder.layers.3.mlp.lin1.weight",  # tap 4 of 4
        "segmentor.decoder.level_embed.weight",
        "segmentor.decoder.decoder.layers.0.text_cross_attn.weight",
        "llm.lm_head.weight",
        "vision_sampler.net.weight",
        "pad_embeds.weight",
    ):
        assert reason(config, name) is None, name


def test_layers_past_the_last_tap_are_dead(phi3):
    _, config = phi3
    early = replace(config, mask_encoder=replace(config.mask_encoder, taps=(0, 1, 2), select_layer=-3))
    assert reason(early, "segmentor.encoder.layers.2.mlp.lin1.weight")
    assert reason(early, "segmentor.encoder.layers.1.mlp.lin1.weight") is None
    every = replace(config, vision_encoder=replace(config.vision_encoder, select_layer=-1))
    assert reason(every, "vision_encoder.vision_model.encoder.layers.2.mlp.fc1.weight") is None


def test_a_tied_head_is_dead(phi3, qwen3):
    assert "llm.lm_head.weight" in qwen3[0]
    assert "tied" in (reason(qwen3[1], "llm.lm_head.weight") or "")
    assert reason(phi3[1], "llm.lm_head.weight") is None


def test_match_accepts_dead_tensors_only(phi3):
    checkpoint, config = phi3
    dead = dead_tensors(config)
    expected = {name: shape for name, shape in checkpoint.shapes.items() if reason(config, name) is None}
    skipped = match(expected, checkpoint.shapes, dead)
    assert set(skipped) == set(checkpoint) - set(expected)
    assert len(skipped) == 36
    assert all(skipped.values())
    assert match(expected, expected, ()) == {}


def test_match_names_what_does_not_fit():
    expected = {f"layer.{index}": (index, 2) for index in range(8)}
    with pytest.raises(CheckpointError, match=r"1 missing: layer\.3\. Check"):
        match(expected, {name: shape for name, shape in expected.items() if name != "layer.3"}, ())
    with pytest.raises(CheckpointError, match=r"1 unexpected: extra\. Check"):
        match(expected, expected | {"extra": (1,)}, (DeadTensor("extr", "part of the name"),))
    with pytest.raises(CheckpointError, match=r"layer\.3 \(found \(2, 3\), expected \(3, 2\)\)"):
        match(expected, expected | {"layer.3": (2, 3)}, ())
    with pytest.raises(CheckpointError, match=r"8 missing: layer\.0, .*layer\.4 and 3 more; 1 unexpected: other"):
        match(expected, {"other": (1,)}, ())
