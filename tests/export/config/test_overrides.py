"""``--config``: dotted names or objects, every value checked, and a variant's sizes with it."""

from __future__ import annotations

import pytest

from xsam_edge.export.config.overrides import random_config, read_overrides
from xsam_edge.export.config.schema import SIZES
from xsam_edge.export.config.variants import get_variant
from xsam_edge.runtime.errors import InputError


def test_every_size_has_a_meaning():
    assert len(SIZES) == len({size.meaning + name for name, size in SIZES.items()}) > 40
    assert all(size.meaning and size.name == name for name, size in SIZES.items())
    assert SIZES["llm.sliding_window"].nullable and not SIZES["llm.rope_theta"].nullable


def test_names_and_objects_are_the_same():
    dotted = read_overrides({"llm.num_layers": 2, "llm.rope_theta": 5, "mask_encoder.taps": [1, 2, 3]})
    assert dotted == {"llm": {"num_layers": 2, "rope_theta": 5.0}, "mask_encoder": {"taps": (1, 2, 3)}}
    assert isinstance(dotted["llm"]["rope_theta"], float)
    assert read_overrides({"llm": {"num_layers": 2, "rope_theta": 5.0}, "mask_encoder.taps": [1, 2, 3]}) == dotted
    assert read_overrides(dotted) == dotted
    assert read_overrides({}) == read_overrides({"llm": {}}) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"llm.num_head": 2}, r"unknown names: 'llm\.num_head' \(the nearest known one is llm\.num_heads\)"),
        ({"num_layers": 2, "taps": [1]}, r"'num_layers' \(.* llm\.num_layers\), 'taps' \(.* mask_encoder\.taps\)"),
        ({"llm": {"num_layer": 2}}, r"'llm\.num_layer' \(the nearest known one is llm\.num_layers\)"),
        ({"llm": {"num_layers": {"a": 2}}}, r"'llm\.num_layers\.a'"),
        ({"": 1}, "unknown names: ''"),
        ({"llm": 1}, "llm is 1 in --config; expected an object of its sizes"),
        ({"llm": {"num_layers": 2}, "llm.num_layers": 3}, r"llm\.num_layers twice, .*: keep one"),
        ({"llm.num_layers": True}, r"llm\.num_layers is True; expected a whole number above 0: layers"),
        ({"llm.sliding_window": 0}, "expected a whole number above 0 or null: a query sees keys"),
        ({"llm.rope_theta": float("nan")}, r"rope_theta is nan; expected a number above 0"),
        ({"llm.rope_theta": float("inf")}, r"rope_theta is inf; expected a number above 0"),
        ({"llm.rope_theta": 10**400}, r"rope_theta is 1000"),
        ({"llm.rope_theta": None}, r"rope_theta is None; expected a number above 0"),
        ({"mask_decoder.logit_clamp": -1}, r"logit_clamp is -1"),
        ({"llm.num_heads": 4.0}, r"num_heads is 4\.0"),
        ({"vision_encoder.select_layer": True}, r"select_layer is True; expected a whole number: "),
        ({"mask_encoder.taps": [1, 2, "3"]}, "expected a list of whole numbers"),
        ({"mask_encoder.taps": 3}, "expected a list of whole numbers"),
    ],
)
def test_what_is_wrong_is_named(content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_overrides(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("extra_select_layers", ["mask_encoder.taps"]),
        ("visual_select_layer", ["vision_encoder.select_layer", "mask_encoder.select_layer"]),
        ("num_attention_heads", ["llm.num_heads"]),
        ("rope_theta", ["llm.rope_theta"]),
        ("rms_norm_eps", ["llm.rms_norm_eps"]),
        ("sliding_window", ["llm.sliding_window"]),
        ("context_length", ["llm.context_length"]),
        ("vision_num_attention_heads", ["vision_encoder.num_heads"]),
        ("decoder_num_points", ["mask_decoder.num_points"]),
        ("logit_clamp", ["mask_decoder.logit_clamp"]),
    ],
)
def test_names_of_before_say_what_to_write(old, new):
    with pytest.raises(InputError, match=rf"^{old} has another name in --config: write {new[0]}") as caught:
        read_overrides({old: 1})
    assert all(name in str(caught.value) and name in SIZES for name in new)


def test_random_config():
    variant = get_variant("qwen3-4b")
    assert random_config(variant) == variant.config
    small = random_config(variant, {"llm.num_layers": 2, "mask_encoder.num_layers": 8, "vision_encoder.num_layers": 3})
    assert (small.llm.num_layers, small.llm.hidden_size, small.vision_encoder.num_layers) == (2, 2560, 3)
    assert (small.mask_encoder.taps, small.mask_encoder.global_attention_layers) == ((4, 6, 8), (1, 3, 5, 7))
    assert random_config(variant, {"mask_encoder.num_layers": 24}) == variant.config
    assert random_config(variant, {"mask_encoder": {"taps": [12, -7, -1]}}) == variant.config
