"""What goes between the host and a GPU while a model answers, told from a manifest alone.

Image features, keys and values and logits are not among it: they stay on the device, of engines and of ONNX Runtime
alike. So do the image's embeddings, but for prompts with regions, which are sampled from them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.dtypes import ITEM_SIZES
from xsam_edge.runtime.bundle.manifest import Manifest, TensorSpec


@dataclass(frozen=True)
class Transfer:
    """``nbytes`` that cross ``times`` times each, per image or per question."""

    tensor: str
    direction: Literal["up", "down"]
    per: Literal["image", "question"]
    nbytes: int
    times: int = 1


def transfers(
    manifest: Manifest,
    new_tokens: int,
    answer_tokens: int,
    conditions: int,
    masks: int = 1,
    size: tuple[int, int] = (1080, 1920),
) -> tuple[Transfer, ...]:
    """What crosses for one image and one question about it.

    Args:
        manifest: the bundle's.
        new_tokens: tokens of the prompt that are neither cached nor the image's.
        answer_tokens: forwards that decode; 0 where the answer is given.
        conditions: what the mask decoder is asked for.
        masks: queries whose mask logits are read: one for a phrase, all for a semantic map.
        size: (height, width) of the picture, which goes up as it is where the device resizes it.
    """
    encoder, llm, decoder = (manifest.graphs[name] for name in contract.GRAPHS)
    planned: list[Transfer] = []

    def add(
        tensor: TensorSpec,
        direction: Literal["up", "down"],
        per: Literal["image", "question"],
        times: int = 1,
        **axes: int,
    ) -> None:
        sizes = [axes[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
        nbytes = prod(sizes) * ITEM_SIZES[tensor.dtype]
        if nbytes and times:
            planned.append(Transfer(tensor.name, direction, per, nbytes, times))

    if contract.PIXELS in manifest.graphs:
        add(manifest.graphs[contract.PIXELS].input(contract.PICTURE), "up", "image", height=size[0], width=size[1])
    else:
        for tensor in encoder.inputs:
            add(tensor, "up", "image")
    # Of a first prefill's rows, those of the image stay where they are.
    rows = int(answer_tokens > 0)
    image = manifest.settings.model.image_tokens
    batch = {"batch": 1}
    add(llm.input(contract.INPUTS_EMBEDS), "up", "question", sequence=new_tokens, **batch)
    add(llm.input(contract.POSITION_IDS), "up", "question", sequence=new_tokens + image, **batch)
    add(llm.input(contract.LOGITS_POSITIONS), "up", "question", rows=1)
    add(llm.output(contract.SEG_HIDDEN), "down", "question", sequence=new_tokens, **batch)
    add(llm.output(contract.NEXT_IDS), "down", "question", rows=rows)
    for name in (contract.INPUTS_EMBEDS, contract.POSITION_IDS, contract.LOGITS_POSITIONS):
        add(llm.input(name), "up", "question", answer_tokens, sequence=1, rows=1, **batch)
    for name in (contract.NEXT_IDS, contract.SEG_HIDDEN):
        add(llm.output(name), "down", "question", answer_tokens, sequence=1, rows=1, **batch)
    for name in (contract.SEG_EMBED, contract.CONDITION_EMBEDS):
        add(decoder.input(name), "up", "question", conditions=conditions, **batch)
    add(decoder.output(contract.CLASS_LOGITS), "down", "question", classes=conditions + 1, **batch)
    whole = decoder.output(contract.MASK_LOGITS)
    add(replace(whole, shape=whole.shape[2:]), "down", "question", masks)
    return tuple(planned)
