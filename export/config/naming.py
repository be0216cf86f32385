"""Names of the tensors of an X-SAM checkpoint: the two lines of the official code, unused tensors, and a strict match.

Everything past this module uses the names of the official ``main`` branch. The ``AAAI26_Archive`` branch, which wrote
the released weights, differs in one prefix and one name (official ``convert_xsam_s3_checkpoint.py``); its region
sampler and connector have the same tensors. The official loader drops what does not fit without a word; ``match``
accepts only tensors that are listed here as unused, each with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.runtime.errors import CheckpointError

ModelLine = Literal["main", "aaai26"]

_RENAMED_PREFIXES = {"visual_encoder.": "vision_encoder."}
_RENAMED = {"segmentor.logit_scale": "segmentor.class_predictor.logit_scale"}
_SHOWN = 5  # names in an error message


@dataclass(frozen=True)
class DeadTensor:
    """Tensors that a checkpoint may hold and no result depends on. ``pattern`` must match a whole name."""

    pattern: str
    reason: str

    def covers(self, name: str) -> bool:
        """Tell whether a tensor is one of these."""
        return re.fullmatch(self.pattern, name) is not None


def detect_line(names: Iterable[str]) -> ModelLine:
    """Tell which line of the official code wrote a checkpoint.

    Raises CheckpointError for names of both lines or of none.
    """
    names = set(names)
    old = [name for name in names if name in _RENAMED or name.startswith(tuple(_RENAMED_PREFIXES))]
    new = [name for name in names if name in _RENAMED.values() or name.startswith(tuple(_RENAMED_PREFIXES.values()))]
    if old and new:
        raise CheckpointError(f"the checkpoint mixes two naming lines: it has both {min(old)} and {min(new)}")
    if any(name.startswith("vlm.") for name in names):
        raise CheckpointError(
            "the checkpoint holds a vision-language model (vlm.*), as the Qwen3-VL variants: not supported"
        )
    if not old and not new:
        example = min(names, default="nothing")
        raise CheckpointError(
            f"not an X-SAM checkpoint: no vision_encoder.* or visual_encoder.* tensor (has {example})"
        )
    return "aaai26" if old else "main"


def main_name(name: str) -> str:
    """Give the ``main`` line's name of a tensor of either line."""
    for old, new in _RENAMED_PREFIXES.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return _RENAMED.get(name, name)


def aaai26_name(name: str) -> str:
    """Give the AAAI26 line's name of a tensor: the inverse of ``main_name``."""
    for old, new in _RENAMED_PREFIXES.items():
        if name.startswith(new):
            return old + name[len(new) :]
    return {new: old for old, new in _RENAMED.items()}.get(name, name)


def computed_layers(select: Iterable[int], num_layers: int) -> int:
    """Count the layers needed for some hidden states (0 = embeddings, negative = from the end, N + 1 in all)."""
    return max(index if index >= 0 else num_layers + 1 + index for index in select)


def dead_tensors(config: ModelConfig) -> tuple[DeadTensor, ...]:
    """List the tensors that a checkpoint of this configuration may hold in vain (``main`` names)."""
    vision, mask = config.vision_encoder, config.mask_encoder
    dead = [
        *_dead_layers(
            "vision_encoder.vision_model.encoder",
            range(computed_layers([vision.select_layer], vision.num_layers), vision.num_layers),
            "lies past the hidden state that feeds visual_projector",
        ),
        *_dead_layers(
            "segmentor.encoder",
            range(computed_layers([*mask.taps, mask.select_layer], mask.num_layers), mask.num_layers),
            "lies past the hidden states that feed seg_connector and seg_projector",
        ),
        DeadTensor(
            r"vision_encoder\.vision_model\.post_layernorm\..+", "normalises the vision encoder's unused output"
        ),
        DeadTensor(r"vision_encoder\.vision_model\.head\..+", "pools the vision encoder's unused output"),
        DeadTensor(r"vision_encoder\.vision_model\.embeddings\.position_ids", "a buffer: 0, 1, 2, ..."),
        DeadTensor(r"segmentor\.encoder\.neck\..+", "SAM's neck: hidden states are taken before it"),
        DeadTensor(
            r"segmentor\.(shared_image_embedding|prompt_encoder|mask_decoder)\..+", "SAM's own decoder is not used"
        ),
        DeadTensor(r"segmentor\.criterion\..+", "a constant of the training loss"),
        DeadTensor(r"llm\.(.+\.)?rotary_emb\.inv_freq", "a buffer: computed from rope_theta"),
    ]
    if config.llm.tie_word_embeddings:
        dead.append(DeadTensor(r"llm\.lm_head\.weight", "tied to llm.model.embed_tokens.weight"))
    return tuple(dead)


def match(
    expected: Mapping[str, tuple[int, ...]], present: Mapping[str, tuple[int, ...]], dead: Collection[DeadTensor]
) -> dict[str, str]:
    """Check that a checkpoint holds exactly the tensors of a model.

    Args:
        expected: name -> shape of every tensor the model has.
        present: name -> shape of every tensor of the checkpoint, in ``main`` names.
        dead: what the checkpoint may hold besides.

    Returns:
        Name -> reason of every tensor of the checkpoint that is left out.

    Raises:
        CheckpointError: names the tensors that are missing, unexpected or of another shape.
    """
    skipped: dict[str, str] = {}
    extra = []
    for name in present:
        if name not in expected:
            reason = next((item.reason for item in dead if item.covers(name)), None)
            if reason is None:
                extra.append(name)
            else:
                skipped[name] = reason
    missing = [name for name in expected if name not in present]
    misshapen = [
        f"{name} (found {tuple(present[name])}, expected {tuple(shape)})"
        for name, shape in expected.items()
        if name in present and tuple(present[name]) != tuple(shape)
    ]
    problems = {"missing": missing, "unexpected": extra, "of another shape": misshapen}
    told = [f"{len(names)} {kind}: {_shorten(names)}" for kind, names in problems.items() if names]
    if told:
        raise CheckpointError(f"the checkpoint does not fit the model; {'; '.join(told)}. Check --variant and --config")
    return skipped


def _dead_layers(stem: str, layers: range, why: str) -> list[DeadTensor]:
    return [DeadTensor(rf"{re.escape(stem)}\.layers\.{layer}\..+", f"layer {layer} {why}") for layer in layers]


def _shorten(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
