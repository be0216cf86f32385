"""What a runtime must know about a model: plain values, stored in the bundle's manifest.

Every class is a frozen dataclass of JSON values, so that a bundle describes itself and the runtime needs no
registry of models. The exporter fills them in; nothing here reads a file or imports another module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class VisionInput:
    """How an image becomes the vision encoder's (SigLIP's) pixels, float32 [1, 3, height, width]."""

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: int  # PIL.Image.Resampling value
    rescale_factor: float  # applied to 0..255 values before mean and std
    pad_to_square: bool  # centre the image on a square of the mean colour first


@dataclass(frozen=True)
class MaskInput:
    """How an image becomes the mask encoder's (SAM's) pixels, float32 [1, 3, height, width].

    The longest edge is resized to ``longest_edge`` and the rest padded with zeros at the right and bottom,
    after normalisation.
    """

    longest_edge: int
    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: int
    rescale_factor: float


@dataclass(frozen=True)
class PromptFormat:
    """The chat template of one language model.

    ``instruction`` holds ``{input}`` once. ``image_token`` is the text put before a question: ``<image>`` and
    whatever follows it. ``bos`` is prepended where a caller asks for it, "" where the model has none.
    """

    instruction: str
    image_token: str
    answer_suffix: str  # ends an answer, e.g. "<|end|>"
    stop_words: tuple[str, ...]  # generation ends when the text ends with one of these
    bos: str = ""


@dataclass(frozen=True)
class RegionSampling:
    """How a region prompt becomes tokens: ``points`` samples of a feature map, pooled in groups of ``group``."""

    points: int
    group: int
    pooling: Literal["max", "mean"]

    @property
    def tokens(self) -> int:
        """Tokens per region."""
        return self.points // self.group


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids with a meaning to the chain (rows of the embedding table)."""

    seg: int  # <SEG>
    phrase_start: int  # <p>
    phrase_end: int  # </p>
    eos: int | None  # generation also stops here


@dataclass(frozen=True)
class ModelFacts:
    """Sizes that the runtime needs before it opens a graph."""

    hidden_size: int  # of the language model
    embed_size: int  # of condition and segmentation embeddings (llm_projector's output)
    vocab_size: int  # rows of the embedding table
    num_layers: int
    num_kv_heads: int
    head_dim: int
    context_length: int
    image_tokens: int  # SigLIP tokens + SAM tokens, in this order
    region_grid: tuple[int, int]  # height, width of the feature map that regions are sampled from
    mask_grid: tuple[int, int]  # height, width of a mask logit map
    num_queries: int


@dataclass(frozen=True)
class Settings:
    """Everything above, plus the few choices of post-processing that differ between model lines."""

    model: ModelFacts
    vision_input: VisionInput
    mask_input: MaskInput
    prompt: PromptFormat
    regions: RegionSampling
    tokens: SpecialTokens
    interactive_match: Literal["box", "mask"]  # which IoU picks the segment of an interactive prompt
    semantic_resize: Literal["logits", "evidence"]  # what a semantic map brings to the image's size
