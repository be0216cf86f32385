"""The official chain in eager torch: what every graph, precision and runtime is measured against.

Knows tensors only: pixels, token ids with placeholders, sample points. Preparing images and prompts and turning masks
into results is the runtime's work. Batch size 1, as in the official evaluation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from xsam_edge.export.models.llm import KeyValue
from xsam_edge.export.models.xsam import ImageEncoderGraph, MaskDecoderGraph, XSam

IMAGE_ID = -200  # placeholders among token ids, as in the official code
REGION_ID = -300
NO_ID = -1  # a token that belongs to no phrase


@dataclass(frozen=True)
class EncodedImage:
    """What depends on the image only; ``decoder_features`` are maps in the order of ``ImageEncoderGraph``'s results."""

    image_embeds: Tensor  # [1, vision tokens + mask tokens, hidden]
    mask_features: Tensor  # [1, Cm, gh, gw]
    decoder_features: list[Tensor]


@dataclass(frozen=True)
class Tokens:
    """A prompt as the language model reads it."""

    inputs_embeds: Tensor  # [1, S, hidden]
    condition_ids: Tensor  # int64 [1, S], which phrase a token belongs to, or NO_ID


@dataclass(frozen=True)
class Prefill:
    """The language model after a prompt."""

    hidden: Tensor  # [1, S, hidden], after the final norm
    logits: Tensor  # [N, vocab]
    cache: list[KeyValue]


@dataclass(frozen=True)
class Generation:
    """A greedy answer. The last token was not fed back: it has no hidden state."""

    ids: list[int]
    hidden: Tensor  # [1, S + len(ids) - 1, hidden], prompt included


@dataclass(frozen=True)
class DecoderLogits:
    """Predictions of the mask decoder."""

    class_logits: Tensor  # [1, Q, C + 1], background last
    mask_logits: Tensor  # [1, Q, gh, gw]


@torch.no_grad()
def encode_image(model: XSam, pixel_values: Tensor, mask_pixel_values: Tensor) -> EncodedImage:
    """Normalised pixels, [1, 3, h, w] for SigLIP and [1, 3, H, W] for SAM, to features."""
    image_embeds, mask_features, *rest = ImageEncoderGraph(model)(pixel_values, mask_pixel_values)
    return EncodedImage(image_embeds, mask_features, rest)


def sample_regions(features: Tensor, points: Tensor, group: int, pooling: Literal["max", "mean"]) -> Tensor:
    """Tokens of regions from points in them (official ``NaiveSamplerModel``).

    Args:
        features: the mask encoder's tokens, [n * n, hidden], row-major.
        points: [R, P, 2] as (y, x), coordinates divided by the sides of the mask encoder's input.
        group: neighbouring points that are pooled to one token.
        pooling: how.

    Returns:
        [R, P / group, hidden].
    """
    side = round(features.shape[0] ** 0.5)
    image = features.T.reshape(1, -1, side, side).expand(points.shape[0], -1, -1, -1)
    grid = 2 * points.flip(-1)[:, None] - 1
    sampled = F.grid_sample(image, grid, mode="bilinear", align_corners=True)[:, :, 0].transpose(1, 2)
    groups: Tensor = sampled.unflatten(1, (-1, group))
    return groups.amax(2) if pooling == "max" else groups.mean(2)


@torch.no_grad()
def expand(
    model: XSam, ids: Tensor, condition_ids: Tensor, image_embeds: Tensor, regions: Tensor | None = None
) -> Tokens:
    """Replaces placeholders by embeddings (official ``prepare_inputs_labels_for_mlm``).

    Args:
        model: gives the rows of ordinary tokens.
        ids: int64 [1, L] with IMAGE_ID and REGION_ID.
        condition_ids: int64 [1, L].
        image_embeds: [1, I, hidden].
        regions: [R, T, hidden], in the order of the placeholders.
    """
    embeds, conditions, region = [], [], 0
    for token, condition in zip(ids[0].tolist(), condition_ids[0].tolist(), strict=True):
        if token == IMAGE_ID:
            embeds.append(image_embeds[0])
        elif token == REGION_ID:
            if regions is None:
                raise ValueError("the prompt has a region placeholder, but no regions were given")
            embeds.append(regions[region])
            region += 1
        else:
            embeds.append(model.llm.embed(torch.tensor([token], device=ids.device)))
        conditions.append(torch.full((embeds[-1].shape[0],), condition, device=ids.device))
    return Tokens(torch.cat(embeds)[None], torch.cat(conditions)[None])


@torch.no_grad()
def prefill(model: XSam, inputs_embeds: Tensor, logits_positions: Tensor | None = None) -> Prefill:
    """Runs a prompt [1, S, hidden]; logits at ``logits_positions``, or at the last token."""
    length, device = inputs_embeds.shape[1], inputs_embeds.device
    if logits_positions is None:
        logits_positions = torch.tensor([length - 1], device=device)
    positions = torch.arange(length, device=device)[None]
    return Prefill(*model.llm(inputs_embeds, positions, model.llm.empty_cache(), logits_positions))


@torch.no_grad()
def decode_greedy(model: XSam, prompt: Prefill, stop_ids: Collection[int], max_new_tokens: int = 512) -> Generation:
    """Continues a prompt token by token, until one of ``stop_ids`` (kept) or ``max_new_tokens``."""
    cache, states = prompt.cache, [prompt.hidden]
    ids = [int(prompt.logits[-1].argmax())]
    first = torch.zeros(1, dtype=torch.int64, device=prompt.hidden.device)
    while ids[-1] not in stop_ids and len(ids) < max_new_tokens:
        position = first[None] + cache[0][0].shape[1]
        hidden, logits, new = model.llm(model.llm.embed(first[None] + ids[-1]), position, cache, first)
        cache = [(torch.cat((k, nk), 1), torch.cat((v, nv), 1)) for (k, v), (nk, nv) in zip(cache, new, strict=True)]
        states.append(hidden)
        ids.append(int(logits[0].argmax()))
    return Generation(ids, torch.cat(states, dim=1))


def pool_phrases(embeds: Tensor, condition_ids: Tensor) -> Tensor:
    """Means of the tokens of each phrase, [1, S, E] to [1, C, E] by ascending id; C may be 0."""
    ids = condition_ids[0]
    phrases = [embeds[0, ids == phrase].mean(0) for phrase in ids[ids != NO_ID].unique()]
    return torch.stack(phrases)[None] if phrases else embeds[:, :0]


def generated_conditions(prompt_length: int, ids: list[int], phrase_start: int, phrase_end: int) -> Tensor | None:
    """Phrase ids of a prompt and its answer, int64 [1, prompt_length + len(ids) - 1], from the answer's <p> spans.

    Spans include both tags; the last generated token is not looked at. None where the answer has no span.
    """
    fed = ids[:-1]
    starts = [i for i, token in enumerate(fed) if token == phrase_start]
    ends = [i for i, token in enumerate(fed) if token == phrase_end]
    if not starts:
        return None
    conditions = torch.full((1, prompt_length + len(fed)), NO_ID)
    for phrase, (start, end) in enumerate(zip(starts, ends, strict=False)):
        conditions[:, prompt_length + start : prompt_length + end + 1] = phrase
    return conditions


@torch.no_grad()
def segment(
    model: XSam, image: EncodedImage, hidden: Tensor, condition_ids: Tensor, seg_positions: list[int]
) -> DecoderLogits | None:
    """Masks from the language model's hidden states.

    Args:
        model: the model.
        image: from ``encode_image``.
        hidden: [1, S, hidden], after the final norm.
        condition_ids: int64 [1, T] with T <= S; tokens past T belong to no phrase.
        seg_positions: where <SEG> is an input token.

    Returns:
        None where the official code segments nothing: without a phrase, or with no or several <SEG>.
    """
    embeds = model.llm_projector(hidden)
    conditions = pool_phrases(embeds[:, : condition_ids.shape[1]], condition_ids)
    if conditions.shape[1] == 0 or len(seg_positions) != 1:
        return None
    seg_embed = embeds[:, seg_positions]
    return DecoderLogits(*MaskDecoderGraph(model)(seg_embed, conditions, image.mask_features, image.decoder_features))
