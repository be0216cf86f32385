"""The registered X-SAM models: what neither weights nor configuration files tell, as data.

A new model is a new entry of ``VARIANTS`` and, where its language model is of a new type, a file in ``models``. Sizes
are those of the released configurations; a checkpoint of other sizes takes only its prompt, region sampling, input
rules and logit clamp from here. Values are from the official ``s3_train`` (main) and ``s3_mixed_finetune`` (AAAI26)
configurations, ``utils/template.py`` and ``x_segmentor.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from xsam_edge.export.config.naming import ModelLine
from xsam_edge.export.config.sizes import (
    ConnectorConfig,
    LLMConfig,
    MaskDecoderConfig,
    MaskEncoderConfig,
    ModelConfig,
    VisionEncoderConfig,
)
from xsam_edge.runtime.bundle.settings import MaskInput, PromptFormat, RegionSampling, VisionInput
from xsam_edge.runtime.errors import InputError


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
    line: ModelLine
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
_SMOLLM2_360M = LLMConfig(
    model_type="llama",
    hidden_size=960,
    intermediate_size=2560,
    num_layers=32,
    num_heads=15,
    num_kv_heads=5,
    head_dim=64,
    vocab_size=49155,
    rms_norm_eps=1e-5,
    rope_theta=1e5,
    sliding_window=None,
    tie_word_embeddings=True,
    context_length=8192,
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
_CHATML = PromptFormat(
    instruction="<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n",
    image_token="<image>",
    answer_suffix="<|im_end|>",
    stop_words=("<|im_end|>", "<|endoftext|>"),
)
_QWEN3_NO_THINKING = replace(_CHATML, instruction=_CHATML.instruction + "<think>\n\n</think>\n\n")

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
            prompt=_CHATML,
        ),
        # Llama's architecture, in a size for small boards. No checkpoint of it is released and the official code has no
        # configuration of it: all but the language model is as in qwen3-4b.
        replace(
            _PHI3,
            name="smollm2-360m",
            config=replace(_PHI3.config, llm=_SMOLLM2_360M),
            hub=HubIds(llm="HuggingFaceTB/SmolLM2-360M-Instruct"),
            prompt=_CHATML,
        ),
        _SHAPES,
    )
}


#: Of the models here, the one whose prompt and sampling are no default for models of other sizes.
DEMO_VARIANT = _SHAPES.name


def get_variant(name: str) -> Variant:
    """Look a variant up. Raises InputError that lists the known names."""
    if name not in VARIANTS:
        raise InputError(f"unknown variant {name!r}; expected one of {', '.join(VARIANTS)}")
    return VARIANTS[name]


def language_model_types() -> tuple[str, ...]:
    """List the types of language models that variants have; each is a file in ``models``."""
    return tuple(sorted({variant.config.llm.model_type for variant in VARIANTS.values()}))
