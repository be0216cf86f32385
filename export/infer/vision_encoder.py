"""Work out the vision encoder's sizes."""

from __future__ import annotations

from typing import Any

from xsam_edge.export.config.hidden_states import hidden_state
from xsam_edge.export.config.inits import vision_section
from xsam_edge.export.config.sizes import VisionEncoderConfig
from xsam_edge.export.config.tensor_shapes import agree, divide, square
from xsam_edge.export.infer.encoder_depth import encoder_depth
from xsam_edge.export.infer.evidence import Evidence
from xsam_edge.runtime.errors import CheckpointError

_STEM = "vision_encoder.vision_model"
# Fields that weights do not tell alone, by their names in a file.
_KEYS = {"num_layers": "num_hidden_layers", "num_heads": "num_attention_heads", "image_size": "image_size"}


def vision_encoder(evidence: Evidence) -> VisionEncoderConfig:
    """Work them out. Raises as ``config_from_checkpoint``."""
    tensors, registered = evidence.tensors, evidence.variant.config.vision_encoder
    hidden, channels, patch, _ = tensors.shape(f"{_STEM}.embeddings.patch_embedding.weight", 4)
    grid = square(tensors.shape(f"{_STEM}.embeddings.position_embedding.weight", 2)[0], "vision encoder positions")
    sizes = {
        "hidden_size": hidden,
        "intermediate_size": tensors.shape(f"{_STEM}.encoder.layers.0.mlp.fc1.weight", 2)[0],
        "patch_size": patch,
        "num_channels": channels,
    }
    folder = evidence.folder("vision_encoder")
    file = {} if folder is None else vision_section(folder)
    source = f"variant {evidence.variant.name}" if folder is None else str(folder / "config.json")
    chosen = evidence.chosen_keys("vision_encoder", _KEYS)
    told = (_registered(registered, hidden, patch, grid) if folder is None else file) | chosen
    layers = _layers(evidence, told.get("num_hidden_layers"))
    agree("vision encoder", sizes | {"num_hidden_layers": layers}, file | dict.fromkeys(chosen), source)
    config = VisionEncoderConfig(
        **sizes,
        num_layers=layers,
        num_heads=_heads(hidden, told.get("num_attention_heads")),
        image_size=_image_size(grid, patch, told.get("image_size"), "--config" if "image_size" in chosen else source),
        layer_norm_eps=file.get("layer_norm_eps", registered.layer_norm_eps),
        hidden_act=file.get("hidden_act", registered.hidden_act),
    )
    return evidence.settle("vision_encoder", config, [*sizes, "num_layers"])


def _registered(registered: VisionEncoderConfig, hidden: int, patch: int, grid: int) -> dict[str, Any]:
    """What the variant tells of an encoder of its size, as a file would."""
    if hidden != registered.hidden_size:
        return {}
    told = {"num_attention_heads": registered.num_heads, "num_hidden_layers": registered.num_layers}
    return told | ({"image_size": registered.image_size} if registered.image_size // patch == grid else {})


def _layers(evidence: Evidence, told: int | None) -> int:
    select = evidence.chosen("vision_encoder").get("select_layer", evidence.variant.config.vision_encoder.select_layer)
    return encoder_depth(
        evidence.tensors.layers(f"{_STEM}.encoder.layers"),
        told,
        lambda depth: [hidden_state(select, depth, "vision_encoder.select_layer")],
    )


def _heads(hidden: int, told: int | None) -> int:
    if told is None:
        raise CheckpointError(
            f"the vision encoder has hidden size {hidden} and weights do not tell its heads: give the model's inits or "
            "set vision_encoder.num_heads with --config"
        )
    divide(hidden, told, "vision encoder's hidden size by heads")
    return told


def _image_size(grid: int, patch: int, told: int | None, source: str) -> int:
    # Patches that do not fit are cut off (384 = 27 x 14 + 6), so that the grid alone gives only a lower bound.
    image = told or grid * patch
    if image // patch != grid:
        raise CheckpointError(
            f"vision encoder: {grid} x {grid} positions in the weights, {image} px by patches of {patch} in {source}"
        )
    return image
