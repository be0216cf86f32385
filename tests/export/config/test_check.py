from __future__ import annotations

from dataclasses import replace

import pytest

from xsam_edge.export.config.check import check_config, feature_channels
from xsam_edge.export.config.overrides import random_config
from xsam_edge.export.config.variants import VARIANTS, get_variant, language_model_types
from xsam_edge.runtime.errors import InputError

TYPES = ", ".join(language_model_types())


@pytest.mark.parametrize("name", VARIANTS)
def test_registered_models_fit(name: str) -> None:
    check_config(VARIANTS[name].config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("llm.num_layers", "two", "llm.num_layers is 'two'; expected a whole number above 0"),
        ("llm.num_layers", 0, "expected a whole number above 0"),
        ("llm.num_layers", True, "expected a whole number above 0"),
        ("llm.num_layers", 2.5, "expected a whole number"),
        ("llm.num_layers", None, "llm.num_layers is None"),
        ("llm.sliding_window", 0, "expected a whole number above 0"),
        ("llm.rope_theta", -1, "expected a number above 0"),
        ("llm.rms_norm_eps", float("nan"), "expected a number above 0"),
        ("llm.tie_word_embeddings", 1, "expected true or false"),
        ("llm.model_type", 3, "expected a text"),
        ("llm.num_kv_heads", 3, r"llm.num_heads is 32; expected a multiple of 3"),
        ("llm.head_dim", 15, r"llm.head_dim is 15; expected a multiple of 2"),
        ("vision_encoder.num_heads", 7, r"vision_encoder.hidden_size is 1152; expected a multiple of 7"),
        ("vision_encoder.image_size", 10, "expected at least a patch of 14"),
        ("vision_encoder.select_layer", -40, "vision_encoder.select_layer has -40"),
        ("mask_encoder.patch_size", 0, "mask_encoder.patch_size is 0"),
        ("mask_encoder.num_layers", "many", "mask_encoder.num_layers is 'many'"),
        ("mask_encoder.hidden_size", "wide", "mask_encoder.hidden_size is 'wide'"),
        ("mask_encoder.taps", [1, 2, 99], "mask_encoder.taps has 99"),
        ("mask_encoder.taps", [1, 2], "mask_encoder.taps has 2 values; expected one for each of 3 levels"),
        ("mask_encoder.taps", "abc", "expected a list of whole numbers"),
        ("mask_encoder.global_attention_layers", [24], "expected layers of 0 to 23"),
        ("connector.scales", [3, 1, 0.5], "expected values of 0.5, 1 and 2"),
        ("connector.scales", [0, 1, 0.5], "expected a list of numbers above 0"),
        ("connector.scales", [float("nan"), 1, 0.5], "expected a list of numbers above 0"),
        ("mask_decoder.num_levels", 2, "expected one for each of 2 levels"),
        ("mask_decoder.feature_channels", [1, 2, 3], r"expected \[512, 1024, 2048\]"),
        ("mask_decoder.feature_size", 128, "expected 256, that of hidden_dim"),
        ("mask_decoder.num_heads", 7, "mask_decoder.hidden_dim is 256; expected a multiple of 7"),
        ("llm.model_type", "gpt2", f"llm.model_type is 'gpt2'; expected one of {TYPES}"),
        ("vision_encoder.hidden_act", "tanh", "vision_encoder.hidden_act is 'tanh'; expected one of gelu, "),
        ("mask_encoder.hidden_act", "", "mask_encoder.hidden_act is ''; expected a text"),
        ("llm.__class__", 1, "unknown names: 'llm.__class__'"),
        ("mask_encoder.grid", 1, r"unknown names: 'mask_encoder\.grid'"),
        ("__class__.x", 1, "unknown names"),
        ("llm", 1, "llm is 1 in --config; expected an object of its sizes"),
    ],
)
def test_what_does_not_fit_is_named(key: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        random_config(get_variant("phi3"), {key: value})


def test_an_optional_size_may_be_absent() -> None:
    assert random_config(get_variant("phi3"), {"llm.sliding_window": None}).llm.sliding_window is None


def test_narrow_decoders_must_split_into_groups() -> None:
    sizes = {"mask_decoder.feature_size": 48, "mask_decoder.hidden_dim": 48}
    with pytest.raises(InputError, match=r"mask_decoder\.hidden_dim is 48; expected a multiple of 32"):
        random_config(get_variant("phi3"), sizes)


def test_feature_channels_follow_the_width() -> None:
    config = random_config(get_variant("phi3"), {"mask_encoder.hidden_size": 512})
    assert config.mask_decoder.feature_channels == (256, 512, 1024)
    assert feature_channels(1024, (2, 1, 0.5)) == (512, 1024, 2048)
    with pytest.raises(InputError, match="feature_channels"):
        check_config(replace(config, connector=replace(config.connector, scales=(1, 2, 0.5))))
