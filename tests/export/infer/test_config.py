"""Configurations: sizes from weights, the rest from files or variant, and an error wherever they disagree."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from tests.export.part_files import MASK2FORMER, PHI3, SAM, SIGLIP, edit
from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.export.config.hidden_states import default_taps
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import VARIANTS, get_variant
from xsam_edge.export.infer.config import config_from_checkpoint
from xsam_edge.export.models.xsam import XSam
from xsam_edge.runtime.errors import CheckpointError, InputError


def module_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = XSam(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_phi3_reference(shapes, inits, phi3_reference):
    tiny = json.loads((phi3_reference / "config.json").read_text())["tiny"]
    config = config_from_checkpoint(shapes, get_variant("phi3"), inits)
    llm, vision, mask, decoder = config.llm, config.vision_encoder, config.mask_encoder, config.mask_decoder
    assert llm.vocab_size == 602  # rows of the table; config.json of the language model says 704
    assert (llm.num_heads, llm.num_kv_heads, llm.head_dim, llm.num_layers) == (4, 4, 16, 2)
    assert (llm.sliding_window, llm.rope_theta, llm.context_length) == (127, 1e4, 4096)
    assert (llm.rms_norm_eps, llm.tie_word_embeddings) == (1e-5, False)
    assert (vision.num_layers, vision.num_heads, vision.image_size, vision.select_layer) == (3, 4, 56, -2)
    assert (mask.window_size, mask.global_attention_layers) == (3, (1, 3))
    assert (mask.num_heads, mask.image_size, mask.mlp_dim) == (2, 128, 64)
    assert mask.taps == tuple(tiny["xsam"]["extra_select_layers"][-3:])
    assert config.connector.scales == (2, 1, 0.5)
    assert config.connector.hidden_channels == tiny["xsam"]["connector_hidden_dim"]
    assert decoder.feature_channels == tuple(tiny["xsam"]["feature_channels"])
    assert (decoder.decoder_layers, decoder.encoder_layers) == (3, 2)
    assert (decoder.num_heads, decoder.num_points, decoder.num_levels) == (4, 4, 3)
    assert (decoder.feedforward_dim, decoder.encoder_feedforward_dim, decoder.num_queries) == (112, 96, 10)
    assert decoder.logit_clamp == 50
    assert config_from_checkpoint(shapes, get_variant("phi3-aaai26"), inits) == replace(
        config, mask_decoder=replace(decoder, logit_clamp=500.0)
    )


def test_qwen3_reference(qwen3_reference):
    checkpoint = open_checkpoint(qwen3_reference)
    llm = config_from_checkpoint(checkpoint.shapes, get_variant("qwen3-1.7b"), checkpoint.inits).llm
    assert (llm.num_heads, llm.num_kv_heads, llm.head_dim, llm.vocab_size) == (4, 2, 32, 412)
    assert (llm.sliding_window, llm.rope_theta, llm.tie_word_embeddings) == (None, 1e6, True)
    with pytest.raises(CheckpointError, match="language model is qwen3, that of phi3 is phi3"):
        config_from_checkpoint(checkpoint.shapes, get_variant("phi3"), checkpoint.inits)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_real_sizes_without_files(variant):
    # The modules leave out the vision encoder's last layer, so this also covers a checkpoint that they saved.
    assert config_from_checkpoint(module_shapes(variant.config), variant) == variant.config


def write_inits(folder: Path, config: ModelConfig) -> Path:
    """Files that tell what the weights cannot, and nothing else."""
    llm, vision = config.llm, config.vision_encoder
    parts = {
        "llm": {
            "model_type": llm.model_type,
            "hidden_size": llm.hidden_size,
            "intermediate_size": llm.intermediate_size,
            "num_hidden_layers": llm.num_layers,
            "num_attention_heads": llm.num_heads,
            "num_key_value_heads": llm.num_kv_heads,
            "rms_norm_eps": llm.rms_norm_eps,
            "rope_theta": llm.rope_theta,
            "sliding_window": llm.sliding_window,
            "max_position_embeddings": llm.context_length,
            "tie_word_embeddings": llm.tie_word_embeddings,
            "eos_token_id": 0,
            "bos_token_id": 0,
            "pad_token_id": 0,
        },
        "vision": {
            "model_type": "siglip",
            "vision_config": {
                "num_attention_heads": vision.num_heads,
                "num_hidden_layers": vision.num_layers,
                "image_size": vision.image_size,
            },
        },
    }
    if llm.model_type == "qwen3":
        parts["llm"]["head_dim"] = llm.head_dim
    for name, content in parts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["phi3", "qwen3-1.7b", "smollm2-360m"])
def test_other_sizes_survive_the_round_trip(name, seed, tmp_path):
    rng = random.Random(seed)
    base = get_variant(name)
    heads, kv_heads, head_dim = rng.choice([(2, 2, 8), (4, 2, 16), (6, 3, 4)])
    depth, patch, grid = rng.randint(3, 9), rng.choice([8, 16]), rng.randint(5, 12)
    channels = rng.choice([16, 32])
    config = ModelConfig(
        llm=replace(
            base.config.llm,
            hidden_size=heads * head_dim,
            intermediate_size=rng.randint(3, 50),
            num_layers=rng.randint(1, 4),
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=head_dim,
            vocab_size=rng.randint(20, 90),
            rope_theta=rng.choice([1e4, 5e5]),
            sliding_window=rng.choice([None, 7]) if name == "phi3" else None,
            context_length=128,
        ),
        vision_encoder=replace(
            base.config.vision_encoder,
            hidden_size=24,
            intermediate_size=rng.randint(3, 50),
            num_layers=rng.randint(2, 5),
            num_heads=rng.choice([2, 3]),
            image_size=rng.randint(30, 60),
            patch_size=rng.randint(7, 9),
        ),
        mask_encoder=replace(
            base.config.mask_encoder,
            hidden_size=channels,
            mlp_dim=rng.randint(3, 50),
            num_layers=depth,
            num_heads=rng.choice([2, 4]),
            image_size=grid * patch,
            patch_size=patch,
            window_size=rng.randint(2, 4),
            global_attention_layers=tuple(sorted(rng.sample(range(depth - 1), 1))),
            taps=default_taps(depth, 3),
        ),
        connector=replace(base.config.connector, hidden_channels=rng.randint(3, 20)),
        mask_decoder=replace(
            base.config.mask_decoder,
            hidden_dim=32,
            feature_size=32,
            mask_feature_size=32,
            encoder_feedforward_dim=rng.randint(3, 50),
            feedforward_dim=rng.randint(3, 50),
            num_heads=rng.choice([2, 4]),
            encoder_layers=rng.randint(1, 3),
            decoder_layers=rng.randint(1, 4),
            num_queries=rng.randint(3, 9),
            feature_channels=(channels // 2, channels, channels * 2),
        ),
    )
    assert config_from_checkpoint(module_shapes(config), base, write_inits(tmp_path / "inits", config)) == config


def test_attention_windows(shapes, inits):
    def windows(*rows: int, **told: object) -> tuple[int, tuple[int, ...]]:
        changed = {f"segmentor.encoder.layers.{i}.attn.rel_pos_h": (count, 16) for i, count in enumerate(rows)}
        edit(inits, SAM, "vision_config", window_size=None, global_attn_indexes=None)
        edit(inits, SAM, "vision_config", **told)
        mask = config_from_checkpoint(shapes | changed, get_variant("phi3"), inits).mask_encoder
        return mask.window_size, mask.global_attention_layers

    assert windows(5, 15, 5, 15) == (3, (1, 3))
    assert windows(7, 7, 15, 7) == (4, (2,))
    assert windows(5, 5, 5, 5) == (3, ())
    assert windows(15, 15, 15, 15) == (8, (0, 1, 2, 3))
    assert windows(15, 15, 15, 15, window_size=8, global_attn_indexes=[1]) == (8, (1,))
    assert windows(5, 27, 5, 27) == (3, (1, 3))  # a table for a larger grid is interpolated
    with pytest.raises(CheckpointError, match="3 window sizes"):
        windows(5, 7, 5, 15)
    with pytest.raises(CheckpointError, match="window_size is 3 in the weights, 4 in"):
        windows(5, 15, 5, 15, window_size=4)
    with pytest.raises(CheckpointError, match=r"global_attn_indexes is \[1, 3\] in the weights, \[1\] in"):
        windows(5, 15, 5, 15, global_attn_indexes=[1])


def test_without_files_the_untold_is_asked_for(shapes):
    variant = get_variant("phi3")
    with pytest.raises(
        CheckpointError, match=r"tell llm\.num_heads, llm\.rope_theta, .*inits or set them with --config"
    ):
        config_from_checkpoint(shapes, variant)
    told = {
        "llm.num_heads": 2,
        "llm.rope_theta": 5e5,
        "llm.rms_norm_eps": 1e-6,
        "llm.sliding_window": None,
        "llm.context_length": 99,
    }
    with pytest.raises(CheckpointError, match=r"set vision_encoder\.num_heads"):
        config_from_checkpoint(shapes, variant, None, told)
    config = config_from_checkpoint(shapes, variant, None, told | {"vision_encoder.num_heads": 8})
    assert (config.llm.num_heads, config.llm.num_kv_heads, config.llm.head_dim) == (2, 2, 32)
    assert (config.llm.rope_theta, config.llm.rms_norm_eps, config.llm.sliding_window) == (5e5, 1e-6, None)
    assert (config.llm.context_length, config.vision_encoder.num_heads) == (99, 8)
    assert config.vision_encoder.image_size == 56
    # The size of a head tells their number as well.
    by_size = {"llm": {"head_dim": 32} | {name[4:]: told[name] for name in told if name != "llm.num_heads"}}
    assert config_from_checkpoint(shapes, variant, None, by_size | {"vision_encoder.num_heads": 8}) == config


def test_qwen3_shows_its_heads(qwen3_reference):
    shapes = open_checkpoint(qwen3_reference).shapes
    with pytest.raises(CheckpointError, match=r"do not tell llm\.rope_theta, llm\.rms_norm_eps"):
        config_from_checkpoint(shapes, get_variant("qwen3-1.7b"))


def test_what_a_file_and_the_weights_lack_is_asked_for(shapes, inits):
    path = inits / PHI3 / "config.json"
    content = json.loads(path.read_text())
    del content["num_attention_heads"], content["num_key_value_heads"]
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"config\.json and the weights do not tell llm\.num_heads: set"):
        config_from_checkpoint(shapes, get_variant("phi3"), inits)
    assert config_from_checkpoint(shapes, get_variant("phi3"), inits, {"llm.num_heads": 4}).llm.num_kv_heads == 4


def test_overrides_win_over_files(shapes, inits):
    overrides = {
        "mask_encoder": {"taps": [1, -3, 3], "select_layer": -1, "layer_norm_eps": 1e-3},
        "vision_encoder.select_layer": -1,
        "vision_encoder.num_heads": 2,
        "vision_encoder.image_size": 60,
        "llm.num_heads": 8,
        "llm.sliding_window": 9,
        "llm.context_length": 77,
        "mask_decoder.logit_clamp": 7,
    }
    config = config_from_checkpoint(shapes, get_variant("phi3"), inits, overrides)
    assert (config.mask_encoder.taps, config.mask_encoder.layer_norm_eps) == ((1, 2, 3), 1e-3)
    assert (config.mask_encoder.select_layer, config.vision_encoder.select_layer) == (-1, -1)
    assert (config.llm.num_heads, config.llm.num_kv_heads, config.llm.head_dim) == (8, 8, 8)
    assert (config.llm.sliding_window, config.llm.context_length) == (9, 77)
    assert (config.vision_encoder.num_heads, config.vision_encoder.image_size) == (2, 60)
    assert config.mask_decoder.logit_clamp == 7
    assert config_from_checkpoint(shapes, get_variant("phi3"), inits, {"llm.head_dim": 8}).llm == replace(
        config.llm, sliding_window=127, context_length=4096
    )


def test_every_size_of_a_checkpoint_may_be_repeated(shapes, inits):
    """And what is repeated wrongly is refused, unless nothing but a file tells it."""
    config = config_from_checkpoint(shapes, get_variant("phi3"), inits)
    assert config_from_checkpoint(shapes, get_variant("phi3"), inits, asdict(config)) == config
    free = {
        "llm": {"num_heads", "rms_norm_eps", "rope_theta", "sliding_window", "tie_word_embeddings", "context_length"},
        "vision_encoder": {"layer_norm_eps", "hidden_act", "select_layer", "num_layers", "num_heads", "image_size"},
        "mask_encoder": {"layer_norm_eps", "hidden_act", "select_layer", "taps"},
        "connector": set(),
        "mask_decoder": {"logit_clamp"},
    }
    for part, fields in asdict(config).items():
        for field, value in fields.items():
            wrong = 2 * value if field == "num_heads" else _other(value)
            if field in free[part]:
                made = config_from_checkpoint(shapes, get_variant("phi3"), inits, {part: {field: wrong}})
                assert getattr(getattr(made, part), field) == wrong, f"{part}.{field}"
            else:
                with pytest.raises((InputError, CheckpointError), match=r"--config|in the weights|be split") as caught:
                    config_from_checkpoint(shapes, get_variant("phi3"), inits, {part: {field: wrong}})
                assert "\n" not in str(caught.value)


def _other(value: object) -> object:
    """Another value that the schema allows."""
    others = {bool: lambda: not value, str: lambda: "relu", float: lambda: 2 * value, int: lambda: value + 1}
    others |= {tuple: lambda: value[::-1], type(None): lambda: 5}
    return others[type(value)]()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"llm.hidden_size": 2048}, r"^llm\.hidden_size is 64 in the weights, 2048 in --config; leave it out"),
        ({"llm.model_type": "qwen3"}, r"llm\.model_type is phi3 in the weights, qwen3 in --config"),
        ({"llm": {"vocab_size": 704}}, r"llm\.vocab_size is 602 in the weights, 704 in --config"),
        ({"llm.num_kv_heads": 2}, r"llm\.num_kv_heads is 4 in the weights, 2 in --config"),
        ({"mask_encoder.num_layers": 9}, r"mask_encoder\.num_layers is 4 in the weights, 9 in --config"),
        ({"mask_encoder.global_attention_layers": [1]}, r"layers is \[1, 3\] in the weights, \[1\] in --config"),
        ({"vision_encoder.image_size": 70}, r"4 x 4 positions in the weights, 70 px by patches of 14 in --config"),
        ({"connector.scales": [1, 1, 1]}, r"connector\.scales is \[2, 1, 0\.5\] in the weights"),
    ],
)
def test_what_weights_show_is_not_overridden(shapes, inits, overrides, message):
    with pytest.raises((InputError, CheckpointError), match=message):
        config_from_checkpoint(shapes, get_variant("phi3"), inits, overrides)


def test_points_and_heads_share_rows(shapes, inits):
    edit(inits, MASK2FORMER, num_attention_heads=8)
    with pytest.raises(CheckpointError, match="num_attention_heads is 4 in the weights, 8 in"):
        config_from_checkpoint(shapes, get_variant("phi3"), inits)
    decoder = config_from_checkpoint(shapes, get_variant("phi3"), inits, {"mask_decoder.num_points": 2}).mask_decoder
    assert (decoder.num_points, decoder.num_heads) == (2, 8)
    by_heads = {"mask_decoder.num_heads": 8}
    assert config_from_checkpoint(shapes, get_variant("phi3"), inits, by_heads).mask_decoder == decoder
    with pytest.raises(CheckpointError, match="48 cannot be split by 15"):
        config_from_checkpoint(shapes, get_variant("phi3"), inits, {"mask_decoder.num_points": 5})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"mask_encoder.taps": [1, 2]}, "mask_encoder.taps has 2 values; expected one for each of 3 levels"),
        ({"mask_encoder.taps": []}, "expected one for each of 3 levels|mask_encoder.taps"),
        ({"mask_encoder.taps": [1, 2, 5]}, "has 5; expected -5 to 4"),
        ({"mask_encoder.select_layer": -9}, "mask_encoder.select_layer has -9"),
        ({"vision_encoder.select_layer": -9}, "vision_encoder.select_layer has -9"),
        ({"llm.num_heads": 0}, "llm.num_heads is 0"),
    ],
)
def test_wrong_overrides(shapes, inits, overrides, message):
    with pytest.raises(InputError, match=message):
        config_from_checkpoint(shapes, get_variant("phi3"), inits, overrides)


@pytest.mark.parametrize(
    ("folder", "section", "values", "message"),
    [
        (PHI3, None, {"hidden_size": 128}, "hidden_size is 64 in the weights, 128 in .*Phi-3"),
        (PHI3, None, {"num_hidden_layers": 3}, "num_layers is 2 in the weights, 3 in"),
        (PHI3, None, {"intermediate_size": 64}, "intermediate_size is 128 in the weights, 64 in"),
        (PHI3, None, {"num_attention_heads": 3, "num_key_value_heads": 3}, "64 cannot be split by 3"),
        (PHI3, None, {"num_key_value_heads": 2}, "num_kv_heads is 4 in the weights, 2 in"),
        (PHI3, None, {"attention_bias": True}, "attention_bias True: not supported"),
        (PHI3, None, {"hidden_act": "gelu"}, "hidden_act gelu: not supported"),
        (PHI3, None, {"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5: not supported"),
        (PHI3, None, {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling linear: not supported"),
        (PHI3, None, {"hidden_size": "wide"}, "unusable"),
        (SIGLIP, None, {"hidden_size": 64}, "hidden_size is 32 in the weights, 64 in .*siglip2"),
        (SIGLIP, None, {"num_hidden_layers": 5}, "num_hidden_layers is 3 in the weights, 5 in"),
        (SIGLIP, None, {"num_attention_heads": 5}, "32 cannot be split by 5"),
        (SIGLIP, None, {"image_size": 70}, "4 x 4 positions in the weights, 70 px by patches of 14"),
        (SAM, "vision_config", {"num_attention_heads": 4}, "num_attention_heads is 2 in the weights, 4 in .*sam"),
        (SAM, "vision_config", {"image_size": 256}, "image_size is 128 in the weights, 256 in"),
        (SAM, "vision_config", {"num_hidden_layers": 6}, "num_hidden_layers is 4 in the weights, 6 in"),
        (MASK2FORMER, None, {"decoder_layers": 5}, "decoder_layers is 4 in the weights, 5 in .*mask2former"),
        (MASK2FORMER, None, {"num_queries": 100}, "num_queries is 10 in the weights, 100 in"),
        (MASK2FORMER, None, {"pre_norm": True}, "pre_norm True: not supported"),
    ],
)
def test_files_that_do_not_fit(shapes, inits, folder, section, values, message):
    edit(inits, folder, section, **values)
    with pytest.raises(CheckpointError, match=message) as caught:
        config_from_checkpoint(shapes, get_variant("phi3"), inits)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "llm.model.embed_tokens.weight",
        "llm.model.layers.0.input_layernorm.weight",
        "vision_encoder.vision_model.embeddings.position_embedding.weight",
        "segmentor.encoder.layers.2.attn.rel_pos_h",
        "segmentor.pixel_decoder.mask_projection.weight",
        "seg_connector.model.1.model.4.weight",
    ],
)
def test_incomplete_checkpoints(shapes, inits, name):
    stem = name.rpartition(".layers.0.")[0] + ".layers.0." if ".layers.0." in name else name
    rest = {key: shape for key, shape in shapes.items() if not key.startswith(stem)}
    with pytest.raises(CheckpointError, match=r"the checkpoint has no|language model is unknown"):
        config_from_checkpoint(rest, get_variant("phi3"), inits)
    with pytest.raises(CheckpointError, match="dimensions"):
        config_from_checkpoint(shapes | {"llm.model.embed_tokens.weight": (602,)}, get_variant("phi3"), inits)


def test_connector_stacks_must_fit_the_levels(shapes, inits):
    fourth = {name.replace("model.2.", "model.3.", 1): s for name, s in shapes.items() if "connector.model.2." in name}
    with pytest.raises(CheckpointError, match="4 stacks for the pixel decoder's 3 levels"):
        config_from_checkpoint(shapes | fourth, get_variant("phi3"), inits)
    wide = {"seg_connector.model.2.model.4.weight": (32, 48, 1, 1)}
    with pytest.raises(CheckpointError, match="turns 32 channels into 32"):
        config_from_checkpoint(shapes | wide, get_variant("phi3"), inits)
