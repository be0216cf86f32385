"""Small hand-made values for tests."""

from __future__ import annotations

from xsam_edge.runtime.bundle.settings import (
    MaskInput,
    ModelFacts,
    PromptFormat,
    RegionSampling,
    Settings,
    SpecialTokens,
    VisionInput,
)

SETTINGS = Settings(
    model=ModelFacts(8, 4, 16, 1, 1, 4, 64, 6, (1, 2), (4, 4), 3),
    vision_input=VisionInput(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 2, 1 / 255, False),
    mask_input=MaskInput(8, 8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 2, 1 / 255),
    prompt=PromptFormat("<|user|>{input}", "<image>", "<|end|>", ("<|end|>",)),
    regions=RegionSampling(256, 4, "mean"),
    tokens=SpecialTokens(13, 14, 15, None),
    interactive_match="mask",
    semantic_resize="logits",
)
