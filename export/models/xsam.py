"""X-SAM (arXiv 2508.04655) assembled, and the three modules that become graphs.

The graph modules share the model's parts, so their parameters keep the model's names; ``runtime.contract`` names their
inputs and outputs, in the order of the arguments and results here.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.models.connector import Connector
from xsam_edge.export.models.llm import CausalLM
from xsam_edge.export.models.mask_decoder import ClassPredictor, MaskDecoder
from xsam_edge.export.models.mask_encoder import MaskEncoder
from xsam_edge.export.models.pixel_decoder import PixelDecoder
from xsam_edge.export.models.projectors import Projector, ShuffleProjector
from xsam_edge.export.models.vision_encoder import VisionEncoder
from xsam_edge.runtime.bundle.contract import Dialect


class Segmentor(nn.Module):
    """Mask encoder, pixel decoder and mask decoder; exists for the parameter names of checkpoints."""

    def __init__(self, config: ModelConfig, deformable: Literal["grid_sample", "gather"], dialect: Dialect) -> None:
        super().__init__()
        self.encoder = MaskEncoder(config.mask_encoder, dialect)
        self.pixel_decoder = PixelDecoder(config.mask_decoder, deformable, dialect)
        self.decoder = MaskDecoder(config.mask_decoder)
        self.class_predictor = ClassPredictor(config.mask_decoder)


class XSam(nn.Module):
    """All parts, with the parameter names of the main line. Has no forward of its own: see the graph modules.

    Args:
        config: sizes of the parts.
        deformable: form of the pixel decoder's attention; results are equal.
        dialect: whom the forms of everything else are for; results are equal.
    """

    def __init__(
        self,
        config: ModelConfig,
        deformable: Literal["grid_sample", "gather"] = "gather",
        dialect: Dialect = "cpu",
    ) -> None:
        super().__init__()
        self.config, self.dialect = config, dialect
        llm_width, embed_width = config.llm.hidden_size, config.mask_decoder.hidden_dim
        self.llm = CausalLM(config.llm, dialect)
        self.vision_encoder = VisionEncoder(config.vision_encoder)
        self.segmentor = Segmentor(config, deformable, dialect)
        self.visual_projector = Projector(config.vision_encoder.hidden_size, llm_width)
        self.llm_projector = Projector(llm_width, embed_width)
        self.seg_projector = ShuffleProjector(config.mask_encoder.hidden_size, llm_width)
        self.seg_connector = Connector(config.connector, config.mask_encoder.hidden_size)
        self.bg_embeds = nn.Embedding(1, embed_width)


class ImageEncoderGraph(nn.Module):
    """Everything that depends on the image only.

    For GPUs that includes the mask decoder's keys and values of the image, which are nearly half of its work. They are
    six times as large as the levels that they are made of, so that a CPU gains nothing by them.
    """

    def __init__(self, model: XSam) -> None:
        super().__init__()
        self.projects = model.dialect != "cpu"
        self.vision_encoder = model.vision_encoder
        self.visual_projector = model.visual_projector
        self.seg_projector = model.seg_projector
        self.seg_connector = model.seg_connector
        parts = ("encoder", "pixel_decoder", "decoder") if self.projects else ("encoder", "pixel_decoder")
        self.segmentor = nn.ModuleDict({part: getattr(model.segmentor, part) for part in parts})

    def forward(self, pixel_values: Tensor, mask_pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Encodes.

        Args:
            pixel_values: for SigLIP, [B, 3, h, w].
            mask_pixel_values: for SAM, [B, 3, H, W].

        Returns:
            Image embeddings [B, vision tokens + mask tokens, llm width]; mask features [B, Cm, gh, gw]; the maps of
            every level, low resolution first, [B, C, gh_i, gw_i], or for GPUs keys and values of each layer of the mask
            decoder in turn, [B, gh_i * gw_i, C]; mask features at the size of every level that is not their own,
            [B, Cm, gh_i, gw_i].
        """
        taps, selected = self.segmentor["encoder"](mask_pixel_values)
        mask_features, multi_scale = self.segmentor["pixel_decoder"](self.seg_connector(taps))
        vision_tokens = self.visual_projector(self.vision_encoder(pixel_values))
        image_embeds = torch.cat((vision_tokens, self.seg_projector(selected)), dim=1)
        resized = MaskDecoder.prepare(mask_features, multi_scale)
        levels = multi_scale
        if self.projects:
            decoder = self.segmentor["decoder"]
            assert isinstance(decoder, MaskDecoder)
            levels = [x for pair in decoder.keys_and_values(multi_scale) for x in pair]
        return image_embeds, mask_features, *levels, *(x for x in resized if x is not mask_features)


class LanguageModelGraph(nn.Module):
    """The language model and the projection of its hidden states to segmentation embeddings."""

    def __init__(self, model: XSam) -> None:
        super().__init__()
        self.llm = model.llm
        self.llm_projector = model.llm_projector

    def forward(
        self, inputs_embeds: Tensor, position_ids: Tensor, logits_positions: Tensor, past: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Runs new tokens after a past.

        Args:
            inputs_embeds: [B, S, hidden].
            position_ids: int64 [1, S].
            logits_positions: int64 [N], indices into B * S.
            past: keys of layer 0, values of layer 0, keys of layer 1 and so on, [1, P, kv_heads, head_dim] each; rows
                from the first new position on are padding.

        Returns:
            Logits [N, vocab]; int64 [N], the first of the greatest logits of each row; projected hidden states [B, S,
            embed]; new keys and values in the order of ``past``, [B, S, kv_heads, head_dim] each.
        """
        pairs = list(zip(past[::2], past[1::2], strict=True))
        hidden, logits, new = self.llm(inputs_embeds, position_ids, pairs, logits_positions)
        return logits, logits.argmax(-1), self.llm_projector(hidden), *(tensor for pair in new for tensor in pair)


class MaskDecoderGraph(nn.Module):
    """Mask decoder and class predictor; appends the background to the conditions."""

    def __init__(self, model: XSam) -> None:
        super().__init__()
        config = model.config.mask_decoder
        self.projects = model.dialect == "cpu"
        self.num_levels = config.num_levels
        self.num_maps = self.num_levels if self.projects else 2 * config.decoder_layers
        self.segmentor = nn.ModuleDict(
            {"decoder": model.segmentor.decoder, "class_predictor": model.segmentor.class_predictor}
        )
        self.bg_embeds = model.bg_embeds

    def forward(
        self, seg_embed: Tensor, condition_embeds: Tensor, mask_features: Tensor, features: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Decodes one mask per query and its likeness to every condition.

        Args:
            seg_embed: [B, 1, E].
            condition_embeds: [B, C, E], background not included.
            mask_features: [B, Cm, gh, gw], or [1, Cm, gh, gw] where all prompts are of one image.
            features: the other feature maps, in the order of ``ImageEncoderGraph``'s results.

        Returns:
            Class logits [B, Q, C + 1], background last, and mask logits [B, Q, gh, gw].
        """
        maps, resized = features[: self.num_maps], features[self.num_maps :]
        # Levels come low resolution first; the last ones may be of the mask features' own size.
        level_mask_features = [*resized, *[mask_features] * (self.num_levels - len(resized))]
        decoder = self.segmentor["decoder"]
        assert isinstance(decoder, MaskDecoder)
        levels = decoder.keys_and_values(maps) if self.projects else zip(maps[::2], maps[1::2], strict=True)
        queries, masks = decoder(seg_embed, mask_features, levels, level_mask_features)
        background = self.bg_embeds.weight.expand(condition_embeds.shape[0], -1, -1)
        classes = torch.cat((condition_embeds, background), dim=1)
        return self.segmentor["class_predictor"](queries[-1], classes), masks[-1]
