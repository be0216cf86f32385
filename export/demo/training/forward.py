"""One pass over a batch through the exported modules, with every layer's predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from xsam_edge.export.demo.training.packing import Batch
from xsam_edge.export.models.mask_decoder import MaskDecoder
from xsam_edge.export.models.xsam import XSam
from xsam_edge.runtime.bundle.settings import MaskInput, RegionSampling, Settings, VisionInput
from xsam_edge.runtime.language.tokenizer import IMAGE_ID, REGION_ID


@dataclass(frozen=True, eq=False)
class Predictions:
    """N exercises: class logits [N, Q, C + 1] (background last), mask logits [N, Q, h, w] of every prediction point.

    ``next_logits`` [rows, vocab] belong to the rows of the groups' ``next_ids`` that are judged, in their order.
    ``image`` [B, T, hidden] are the pictures' tokens, ``mask_features`` [B, C, h, w] what masks are made of, ``seg``
    [N, E] the embeddings of <SEG>, ``conditions`` [N, C, E] those of conditions and ``queries`` [N, Q, E] what they are
    compared with at last.
    """

    class_logits: list[Tensor]
    mask_logits: list[Tensor]
    next_logits: Tensor
    image: Tensor
    mask_features: Tensor
    seg: Tensor
    conditions: Tensor
    queries: Tensor


def normalise(pixels: Tensor, rule: VisionInput | MaskInput) -> Tensor:
    """Uint8 [B, H, W, 3] to [B, 3, H, W], as ``runtime.image.preprocess`` does."""
    mean, std = torch.tensor(rule.mean, device=pixels.device), torch.tensor(rule.std, device=pixels.device)
    return ((pixels * rule.rescale_factor - mean) / std).permute(0, 3, 1, 2)


def sample_regions(maps: Tensor, points: Tensor, rule: RegionSampling) -> Tensor:
    """Tokens of regions [R, tokens, hidden] from a map per region [R, side * side, hidden] and points [R, n, 2]."""
    side = round(maps.shape[1] ** 0.5)
    grid = 2 * points.flip(-1)[:, None] - 1
    image = maps.transpose(1, 2).unflatten(2, (side, side))
    sampled = F.grid_sample(image, grid, mode="bilinear", align_corners=True)[:, :, 0].transpose(1, 2)
    groups: Tensor = sampled.unflatten(1, (rule.tokens, rule.group))
    return groups.amax(2) if rule.pooling == "max" else groups.mean(2)


def forward(model: XSam, batch: Batch, settings: Settings, all_layers: bool = True) -> Predictions:
    """Run a batch."""
    segmentor = model.segmentor
    taps, selected = segmentor.encoder(normalise(batch.pixels, settings.mask_input))
    mask_features, multi_scale = segmentor.pixel_decoder(model.seg_connector(taps))
    vision = model.visual_projector(model.vision_encoder(normalise(batch.pixels, settings.vision_input)))
    image = torch.cat((vision, model.seg_projector(selected)), dim=1)
    seg, conditions, next_logits = _language(model, batch, image, settings)

    picture = batch.exercise_picture
    resized = [level[picture] for level in MaskDecoder.prepare(mask_features, multi_scale)]
    levels = segmentor.decoder.keys_and_values([level[picture] for level in multi_scale])
    queries, masks = segmentor.decoder(seg[:, None], mask_features[picture], levels, resized, all_layers)
    background = model.bg_embeds.weight.expand(len(picture), -1, -1)
    phrases, conditions = conditions, torch.cat((conditions, background), dim=1)
    absent = torch.cat((~batch.has_condition, batch.has_condition.new_zeros(len(picture), 1)), dim=1)[:, None]
    classes = [segmentor.class_predictor(query, conditions).masked_fill(absent, float("-inf")) for query in queries]
    return Predictions(classes, masks, next_logits, image, mask_features, seg, phrases, queries[-1])


def _language(model: XSam, batch: Batch, image: Tensor, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of <SEG> [N, E] and of conditions [N, C, E], and the logits of the tokens that are judged."""
    llm, start, none = model.llm, len(batch.prefix), batch.prefix.new_zeros(0)
    prefix = llm.embed(batch.prefix.clamp(min=0)).expand(len(image), -1, -1)
    prefix = prefix.masked_scatter((batch.prefix == IMAGE_ID)[None, :, None], image)
    positions = torch.arange(start, device=image.device)[None]
    _, _, cache = llm(prefix, positions, llm.empty_cache(), none)

    height, width = settings.model.region_grid
    regions = image[:0]
    if len(batch.points):
        regions = sample_regions(image[batch.region_picture, -height * width :], batch.points, settings.regions)
    segs, conditions, logits, used = [], [], [], 0
    for group in batch.groups:
        is_region = group.ids == REGION_ID
        count = int(is_region.sum()) // settings.regions.tokens
        embeds = llm.embed(group.ids.clamp(min=0))
        embeds = embeds.masked_scatter(is_region[..., None], regions[used : used + count])
        used += count
        past = [(key[group.picture], value[group.picture]) for key, value in cache]
        positions = start + torch.arange(group.ids.shape[1], device=image.device)[None]
        hidden, _, _ = llm(embeds, positions, past, none)
        logits.append(llm.logits(hidden[group.next_ids >= 0]))
        projected = model.llm_projector(hidden[group.segmenting])
        segs.append(projected[torch.arange(len(projected)), group.seg_row])
        conditions.append(group.pooling @ projected)
    return torch.cat(segs), torch.cat(conditions), torch.cat(logits)
