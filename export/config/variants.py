"""The registered X-SAM models: what neither weights nor configuration files tell, as data.

A new model is a new entry of ``VARIANTS``. Sizes are those of the released configurations; a checkpoint of other
sizes takes only its prompt, region sampling, input rules and logit clamp from here. Values are from the official
``s3_train`` (main) and ``s3_mixed_finetune`` (AAAI26) configurations, ``utils/template.py`` and ``x_segmentor.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from xsam_edge.export.config.inits import language_models
from xsam_edge.export.config.naming import Line, detect_line
from xsam_edge.export.config.sizes import (
    ConnectorConfig,
    LLMConfig,
    MaskDecoderConfig,
    MaskEncoderConfig,
    ModelConfig,
    VisionEncoderConfig,
)
from xsam_edge.runtime.bundle.settings import MaskInput, PromptFormat, RegionSampling, VisionInput
from xsam_edge.runtime.errors import CheckpointError, InputError


@dataclass(frozen=True)
class HubIds:
    """Hugging Face repositories of the four parts (configuration and tokenizer) and of the weights, if released."""

    llm: str
    vision_encoder: str = "google/siglip2-so400m-patch14-384"
    mask_encoder: str = "facebook/sam-vit-large"
    mask_decoder: str = "facebook/mask2former-swin-large-coco-panoptic"
    checkpoint: str | None = None  # owner/name:folder


@dataclass(frozen=True)
class Variant:
    """One model of the family. ``config`` has the logit clamp, ``vision_input`` the padding, ``prompt`` the BOS."""

    name: str
    line: Line
    config: ModelConfig
    hub: HubIds
    prompt: PromptFormat
    regions: RegionSampling
    interactive_match: Literal["box", "mask"]
    semantic_resize: Literal["logits", "evidence"]
    vision_input: VisionInput
    mask_input: MaskInput


_PHI3_MINI = LLMConfig(
    model_type="phi3",
    hidden_size=3072,
    intermediate_size=8192,
    num_layers=32,
    num_heads=32,
    num_kv_heads=32,
    head_dim=96,
    vocab_size=32014,
    rms_norm_eps=1e-5,
    rope_theta=1e4,
    sliding_window=2047,
    tie_word_embeddings=False,
    context_length=4096,
)
_QWEN3_1_7B = LLMConfig(
    model_type="qwen3",
    hidden_size=2048,
    intermediate_size=6144,
    num_layers=28,
    num_heads=16,
    num_kv_heads=8,
    head_dim=128,
    vocab_size=151672,
    rms_norm_eps=1e-6,
    rope_theta=1e6,
    sliding_window=None,
    tie_word_embeddings=True,
    context_length=40960,
)
_QWEN3_4B = replace(
    _QWEN3_1_7B,
    hidden_size=2560,
    intermediate_size=9728,
    num_layers=36,
    num_heads=32,
    rope_theta=5e6,
    context_length=262144,
)
_SO400M = VisionEncoderConfig(
    hidden_size=1152, intermediate_size=4304, num_layers=27, num_heads=16, image_size=384, patch_size=14
)
_SAM_LARGE = MaskEncoderConfig(
    hidden_size=1024,
    mlp_dim=4096,
    num_layers=24,
    num_heads=16,
    image_size=1024,
    patch_size=16,
    window_size=14,
    global_attention_layers=(5, 11, 17, 23),
    taps=(12, 18, 24),
)
_MASK2FORMER = MaskDecoderConfig(
    hidden_dim=256,
    feature_size=256,
    mask_feature_size=256,
    encoder_feedforward_dim=1024,
    feedforward_dim=2048,
    num_heads=8,
    encoder_layers=6,
    decoder_layers=9,
    num_queries=200,
    num_levels=3,
    num_points=4,
    feature_channels=(512, 1024, 2048),
    logit_clamp=50.0,
)
_VISION_INPUT = VisionInput(
    height=384,
    width=384,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    resample=2,
    rescale_factor=1 / 255,
    pad_to_square=False,
)
_MASK_INPUT = MaskInput(
    longest_edge=1024,
    height=1024,
    width=1024,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    resample=2,
    rescale_factor=1 / 255,
)
_PHI3_CHAT = PromptFormat(
    instruction="<|user|>\n{input}<|end|>\n<|assistant|>\n",
    image_token="<image>",
    answer_suffix="<|end|>",
    stop_words=("<|end|>",),
    bos="<s>",
)
_QWEN3_INSTRUCT = PromptFormat(
    instruction="<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n",
    image_token="<image>",
    answer_suffix="<|im_end|>",
    stop_words=("<|im_end|>", "<|endoftext|>"),
)
_QWEN3_NO_THINKING = replace(_QWEN3_INSTRUCT, instruction=_QWEN3_INSTRUCT.instruction + "<think>\n\n</think>\n\n")

_PHI3 = Variant(
    name="phi3",
    line="main",
    config=ModelConfig(_PHI3_MINI, _SO400M, _SAM_LARGE, ConnectorConfig(512), _MASK2FORMER),
    hub=HubIds(llm="microsoft/Phi-3-mini-4k-instruct"),
    prompt=_PHI3_CHAT,
    regions=RegionSampling(points=256, group=4, pooling="mean"),
    interactive_match="mask",
    semantic_resize="logits",
    vision_input=_VISION_INPUT,
    mask_input=_MASK_INPUT,
)
# The demo model, for drawn scenes of 96 pixels.
_SHAPES = replace(
    _PHI3,
    name="shapes",
    config=ModelConfig(
        llm=LLMConfig(
            model_type="phi3",
            hidden_size=96,
            intermediate_size=256,
            num_layers=6,
            num_heads=3,
            num_kv_heads=3,
            head_dim=32,
            vocab_size=640,
            rms_norm_eps=1e-5,
            rope_theta=1e4,
            sliding_window=None,
            tie_word_embeddings=False,
            context_length=1024,
        ),
        vision_encoder=VisionEncoderConfig(
            hidden_size=64, intermediate_size=192, num_layers=4, num_heads=2, image_size=96, patch_size=16
        ),
        mask_encoder=MaskEncoderConfig(
            hidden_size=96,
            mlp_dim=288,
            num_layers=6,
            num_heads=3,
            image_size=96,
            patch_size=8,
            window_size=6,
            global_attention_layers=(2, 5),
            taps=(3, 4, 6),
        ),
        connector=ConnectorConfig(64),
        mask_decoder=MaskDecoderConfig(
            hidden_dim=64,
            feature_size=64,
            mask_feature_size=64,
            encoder_feedforward_dim=192,
            feedforward_dim=256,
            num_heads=4,
            encoder_layers=1,
            decoder_layers=3,
            num_queries=12,
            num_levels=3,
            num_points=2,
            feature_channels=(48, 96, 192),
            logit_clamp=50.0,
        ),
    ),
    hub=HubIds(llm="language-model"),
    regions=RegionSampling(points=64, group=16, pooling="mean"),
    vision_input=replace(_VISION_INPUT, height=96, width=96),
    mask_input=replace(_MASK_INPUT, longest_edge=96, height=96, width=96),
)
_QWEN3_SMALL = replace(
    _PHI3,
    name="qwen3-1.7b",
    config=replace(_PHI3.config, llm=_QWEN3_1_7B),
    hub=HubIds(llm="Qwen/Qwen3-1.7B"),
    prompt=_QWEN3_NO_THINKING,
)

#: Name -> variant. "phi3-aaai26" is the only one whose weights are released; those of "shapes" come with the package.
VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        replace(
            _PHI3,
            name="phi3-aaai26",
            line="aaai26",
            config=replace(_PHI3.config, mask_decoder=replace(_MASK2FORMER, logit_clamp=500.0)),
            hub=replace(
                _PHI3.hub,
                checkpoint="hao9610/X-SAM:s3_mixed_finetune/"
                "xsam_phi3_mini_4k_instruct_siglip2_so400m_p14_384_sam_large_m2f_gpu16_mixed_finetune",
            ),
            prompt=replace(_PHI3_CHAT, image_token="<image>\n"),
            regions=RegionSampling(points=256, group=256, pooling="max"),
            interactive_match="box",
            semantic_resize="evidence",
            vision_input=replace(_VISION_INPUT, pad_to_square=True),
        ),
        _PHI3,
        _QWEN3_SMALL,
        replace(
            _QWEN3_SMALL,
            name="qwen3-4b",
            config=replace(_PHI3.config, llm=_QWEN3_4B),
            hub=HubIds(llm="Qwen/Qwen3-4B-Instruct-2507"),
            prompt=_QWEN3_INSTRUCT,
        ),
        _SHAPES,
    )
}


def get_variant(name: str) -> Variant:
    """Look a variant up. Raises InputError that lists the known names."""
    if name not in VARIANTS:
        raise InputError(f"unknown variant {name!r}; expected one of {', '.join(VARIANTS)}")
    return VARIANTS[name]


def guess_variant(shapes: Mapping[str, tuple[int, ...]], inits: Path | None = None) -> Variant:
    """Tell the variant of a checkpoint from its names (of either line) and shapes.

    Where several variants differ in the prompt only, the language model's sizes decide, then the name of its folder
    in ``inits``.

    Raises:
        CheckpointError: no registered variant fits, or several do and ``inits`` does not tell which.
    """
    line = detect_line(shapes)
    model_type = language_model_type(shapes)
    fitting = [v for v in VARIANTS.values() if v.line == line and v.config.llm.model_type == model_type]
    if not fitting:
        raise CheckpointError(f"no variant has a {model_type} language model with names of the {line} line")
    if len(fitting) > 1:
        sizes = _llm_sizes(shapes)
        of_size = [v for v in fitting if (v.config.llm.hidden_size, v.config.llm.num_layers) == sizes]
        # The demo model's prompt and sampling are no default for models of other sizes.
        fitting = of_size or [v for v in fitting if v is not _SHAPES]
    if len(fitting) > 1 and inits is not None:
        folders = {folder.name for folder in language_models(inits, model_type)}
        fitting = [v for v in fitting if v.hub.llm.split("/")[-1] in folders] or fitting
    if len(fitting) > 1:
        names = ", ".join(v.name for v in fitting)
        raise CheckpointError(
            f"the checkpoint could be any of {names}, which differ in the prompt: choose with --variant"
        )
    return fitting[0]


def language_model_type(names: Mapping[str, tuple[int, ...]]) -> str:
    """Tell the ``model_type`` of the language model from its tensors' names. Raises CheckpointError if unknown."""
    if any(name.startswith("llm.") and name.endswith(".self_attn.qkv_proj.weight") for name in names):
        return "phi3"
    if any(name.startswith("llm.") and name.endswith(".self_attn.q_norm.weight") for name in names):
        return "qwen3"
    raise CheckpointError("the language model is unknown: expected llm.* tensors of Phi-3 (qkv_proj) or Qwen3 (q_norm)")


def _llm_sizes(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    norms = [
        name for name in shapes if name.startswith("llm.model.layers.") and name.endswith(".input_layernorm.weight")
    ]
    return (shapes[norms[0]][0] if norms and shapes[norms[0]] else 0), len(norms)
