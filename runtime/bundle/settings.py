"""What a runtime must know about a model: plain values, stored in the bundle's manifest.

Every class is a frozen dataclass of JSON values, so that a bundle describes itself and the runtime needs no
registry of models. The exporter fills them in; nothing here reads a file. What the runtime relies on is declared at
each field, and ``check`` says what fields must be to each other: both are held against every manifest that is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar, Literal

from xsam_edge.runtime.bundle.constraints import Count, PositiveInt, Text, between, holding_once, one_of

#: Of an image's edge: encoders take a few thousand pixels at most, and 3 x 8,192 x 8,192 float32 are 0.8 GB.
Edge = Annotated[int, between(1, 8192)]
#: Of a vector: the widest language models have some ten thousand.
Width = Annotated[int, between(1, 1 << 16)]
#: Tokens; the longest contexts in use are some millions, and memory plans try one after the other.
Context = Annotated[int, between(1, 1 << 24)]
#: A factor of pixels. Outside, float32 pixels overflow or vanish.
Factor = Annotated[float, between(1e-6, 1_000_000)]
#: Of pixels after the factor, which are 0..255 or less.
Mean = Annotated[float, between(-255, 255)]
Share = Annotated[float, between(0, 1)]
#: Questions that the official code answers with the best mask, whatever it scores.
Referring = Annotated[str, one_of("refer", "reason")]
#: ``PIL.Image.Resampling``: nearest, Lanczos, bilinear, bicubic, box, Hamming.
Resample = Annotated[int, one_of(*range(6))]


@dataclass(frozen=True)
class VisionInput:
    """How an image becomes the vision encoder's (SigLIP's) pixels, float32 [1, 3, height, width]."""

    height: Edge
    width: Edge
    mean: tuple[Mean, Mean, Mean]
    std: tuple[Factor, Factor, Factor]
    resample: Resample
    rescale_factor: Factor  # applied to 0..255 values before mean and std
    pad_to_square: bool  # centre the image on a square of the mean colour first

    def check(self) -> None:
        """Raise ValueError where the mean is to be a colour and is none."""
        if self.pad_to_square and not all(0 <= channel <= 1 for channel in self.mean):
            raise ValueError(f"mean is {self.mean} with pad_to_square; expected a colour, three numbers from 0 to 1")


@dataclass(frozen=True)
class MaskInput:
    """How an image becomes the mask encoder's (SAM's) pixels, float32 [1, 3, height, width].

    The longest edge is resized to ``longest_edge`` and the rest padded with zeros at the right and bottom,
    after normalisation.
    """

    longest_edge: Edge
    height: Edge
    width: Edge
    mean: tuple[Mean, Mean, Mean]
    std: tuple[Factor, Factor, Factor]
    resample: Resample
    rescale_factor: Factor

    def check(self) -> None:
        """Raise ValueError where a scaled image does not fit."""
        if self.longest_edge > min(self.height, self.width):
            raise ValueError(
                f"longest_edge is {self.longest_edge}; expected at most the {self.height} x {self.width} that it is "
                "padded to"
            )


@dataclass(frozen=True)
class PromptFormat:
    """The chat template of one language model.

    ``instruction`` holds ``{input}`` once. ``image_token`` is the text put before a question: ``<image>`` and
    whatever follows it. ``bos`` is prepended where a caller asks for it, "" where the model has none.
    """

    retired_keys: ClassVar[frozenset[str]] = frozenset({"separator"})

    instruction: Annotated[str, holding_once("{input}")]
    image_token: Annotated[str, holding_once("<image>")]
    answer_suffix: str  # ends an answer, e.g. "<|end|>"
    stop_words: tuple[Text, ...]  # generation ends when the text ends with one of these
    bos: str = ""


@dataclass(frozen=True)
class RegionSampling:
    """How a region prompt becomes tokens: ``points`` samples of a feature map, pooled in groups of ``group``."""

    points: Annotated[int, between(1, 1 << 16)]  # 256 in the official code; all features are held at once
    group: PositiveInt
    pooling: Literal["max", "mean"]

    @property
    def tokens(self) -> int:
        """Tokens per region."""
        return self.points // self.group

    def check(self) -> None:
        """Raise ValueError where points are left over."""
        if self.points % self.group:
            raise ValueError(f"group is {self.group}; expected a divisor of points, {self.points}")


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids with a meaning to the chain (rows of the embedding table)."""

    seg: Count  # <SEG>
    phrase_start: Count  # <p>
    phrase_end: Count  # </p>
    eos: Count | None  # generation also stops here

    def check(self) -> None:
        """Raise ValueError where two have one id."""
        if len({self.seg, self.phrase_start, self.phrase_end}) < 3:
            raise ValueError(
                f"seg, phrase_start, phrase_end are {self.seg}, {self.phrase_start}, {self.phrase_end}; "
                "expected three different ids"
            )


@dataclass(frozen=True)
class ModelFacts:
    """Sizes that the runtime needs before it opens a graph."""

    hidden_size: Width  # of the language model
    embed_size: Width  # of condition and segmentation embeddings (llm_projector's output)
    vocab_size: PositiveInt  # rows of the embedding table
    num_layers: Annotated[int, between(1, 1024)]
    num_kv_heads: Width
    head_dim: Width
    context_length: Context
    image_tokens: PositiveInt  # SigLIP tokens + SAM tokens, in this order
    region_grid: tuple[Edge, Edge]  # height, width of the feature map that regions are sampled from
    mask_grid: tuple[Edge, Edge]  # height, width of a mask logit map
    num_queries: PositiveInt

    def check(self) -> None:
        """Raise ValueError for absurd keys, more regions than tokens to sample, or a context without room for text."""
        if (width := self.num_kv_heads * self.head_dim) > 1 << 16:
            raise ValueError(f"num_kv_heads x head_dim is {width}; expected at most {1 << 16}")
        if prod(self.region_grid) > self.image_tokens:
            raise ValueError(
                f"region_grid is {self.region_grid[0]} x {self.region_grid[1]}; expected at most the "
                f"{self.image_tokens} image_tokens"
            )
        if self.context_length <= self.image_tokens:
            raise ValueError(
                f"context_length is {self.context_length}; expected more than the {self.image_tokens} image_tokens"
            )


@dataclass(frozen=True)
class RejectionRule:
    """The score below which a thing counts as absent, and what it was chosen by.

    Of ``asks`` questions for things that are not there, a share of ``false_alarms`` at most scored more.
    """

    threshold: Share
    false_alarms: Share
    asks: Count


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
    rejection: Mapping[Referring, RejectionRule] | None = None  # None: the best mask is given, whatever it scores

    def check(self) -> None:
        """Raise ValueError for a token without an embedding."""
        for name, token in vars(self.tokens).items():
            if token is not None and token >= self.model.vocab_size:
                raise ValueError(f"tokens.{name} is {token}; expected an id below vocab_size, {self.model.vocab_size}")
