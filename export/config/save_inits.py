"""Write the Hugging Face style folders of the four parts, as :mod:`xsam_edge.export.config.inits` reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xsam_edge.export.config.inits import Part
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import Variant
from xsam_edge.runtime.bundle.settings import MaskInput, VisionInput


def save_inits(variant: Variant, tokenizer_json: str, folder: Path, names: Mapping[Part, str]) -> None:
    """Write a folder per part, of these names, as transformers would: ``config.json``, preprocessor, tokenizer."""
    config = variant.config
    parts: dict[Part, dict[str, dict[str, Any]]] = {
        "llm": {"config.json": _language_model(config)},
        "vision_encoder": {
            "config.json": _vision_encoder(config),
            "preprocessor_config.json": _vision_input(variant.vision_input),
        },
        "mask_encoder": {
            "config.json": {"model_type": "sam", "vision_config": _mask_encoder(config)},
            "preprocessor_config.json": _mask_input(variant.mask_input),
        },
        "mask_decoder": {"config.json": _mask_decoder(config)},
    }
    for part, contents in parts.items():
        (folder / names[part]).mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / names[part] / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / names["llm"] / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")


def _language_model(config: ModelConfig) -> dict[str, Any]:
    llm = config.llm
    return {
        "model_type": llm.model_type,
        "hidden_size": llm.hidden_size,
        "intermediate_size": llm.intermediate_size,
        "num_hidden_layers": llm.num_layers,
        "num_attention_heads": llm.num_heads,
        "num_key_value_heads": llm.num_kv_heads,
        "vocab_size": llm.vocab_size,
        "rms_norm_eps": llm.rms_norm_eps,
        "rope_theta": llm.rope_theta,
        "rope_scaling": None,
        "sliding_window": llm.sliding_window,
        "tie_word_embeddings": llm.tie_word_embeddings,
        "max_position_embeddings": llm.context_length,
        "original_max_position_embeddings": llm.context_length,
        "hidden_act": "silu",
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _vision_encoder(config: ModelConfig) -> dict[str, Any]:
    encoder = config.vision_encoder
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": encoder.hidden_size,
        "intermediate_size": encoder.intermediate_size,
        "num_hidden_layers": encoder.num_layers,
        "num_attention_heads": encoder.num_heads,
        "num_channels": encoder.num_channels,
        "image_size": encoder.image_size,
        "patch_size": encoder.patch_size,
        "layer_norm_eps": encoder.layer_norm_eps,
        "hidden_act": encoder.hidden_act,
    }


def _mask_encoder(config: ModelConfig) -> dict[str, Any]:
    encoder = config.mask_encoder
    return {
        "hidden_size": encoder.hidden_size,
        "mlp_dim": encoder.mlp_dim,
        "num_hidden_layers": encoder.num_layers,
        "num_attention_heads": encoder.num_heads,
        "num_channels": encoder.num_channels,
        "image_size": encoder.image_size,
        "patch_size": encoder.patch_size,
        "window_size": encoder.window_size,
        "global_attn_indexes": list(encoder.global_attention_layers),
        "layer_norm_eps": encoder.layer_norm_eps,
        "hidden_act": encoder.hidden_act,
    }


def _mask_decoder(config: ModelConfig) -> dict[str, Any]:
    decoder = config.mask_decoder
    return {
        "model_type": "mask2former",
        "hidden_dim": decoder.hidden_dim,
        "feature_size": decoder.feature_size,
        "mask_feature_size": decoder.mask_feature_size,
        "encoder_feedforward_dim": decoder.encoder_feedforward_dim,
        "dim_feedforward": decoder.feedforward_dim,
        "num_attention_heads": decoder.num_heads,
        "encoder_layers": decoder.encoder_layers,
        "decoder_layers": decoder.decoder_layers + 1,  # transformers counts the prediction before the first layer
        "num_queries": decoder.num_queries,
        "pre_norm": False,
        "enforce_input_projection": False,
        "activation_function": "relu",
    }


def _vision_input(rule: VisionInput) -> dict[str, Any]:
    return {**_input(rule), "size": {"height": rule.height, "width": rule.width}}


def _mask_input(rule: MaskInput) -> dict[str, Any]:
    return {
        **_input(rule),
        "do_pad": True,
        "size": {"longest_edge": rule.longest_edge},
        "pad_size": {"height": rule.height, "width": rule.width},
    }


def _input(rule: VisionInput | MaskInput) -> dict[str, Any]:
    return {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": list(rule.mean),
        "image_std": list(rule.std),
        "resample": rule.resample,
        "rescale_factor": rule.rescale_factor,
    }
