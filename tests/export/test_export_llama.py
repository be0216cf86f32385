"""A Llama checkpoint from its files to masks: what the runtime says and finds is what eager torch does.

Nothing of a Llama is recorded, so that the reference is the official chain in torch, which is checked against
recordings of other language models.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.export.conftest import Recorded
from xsam_edge.export import reference
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.image.preprocess import prepare
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.tokenizer import Tokenizer, phrase_spans, seg_positions
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.scene import Scene


@pytest.fixture
def model(llama_bundle: Path) -> XSam:
    return XSam.load(llama_bundle, threads=2, verify="none")


@pytest.fixture
def scene(model: XSam, llama_reference: Path) -> Iterator[Scene]:
    with model.look(llama_reference / "image.png") as scene:
        yield scene


@pytest.fixture
def image(llama: Recorded, llama_bundle: Path) -> reference.EncodedImage:
    pixels = prepare(llama.folder / "image.png", read_manifest(llama_bundle).settings).pixels
    assert pixels is not None
    return reference.encode_image(llama.model, torch.from_numpy(pixels.vision), torch.from_numpy(pixels.mask))


def ids_of(bundle: Path, text: str, answer: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, phrases and <SEG> positions of a prompt, [1, n] each."""
    tokenizer, tokens = Tokenizer.from_file(bundle / "tokenizer.json"), read_manifest(bundle).settings.tokens
    ids = np.concatenate([tokenizer.encode_prompt(text), tokenizer.encode(answer)])
    arrays = (ids, phrase_spans(ids, tokens), seg_positions(ids, tokens))
    ids, phrases, segs = (torch.from_numpy(array)[None] for array in arrays)
    return ids, phrases, segs


def test_a_checkpoint_becomes_a_bundle(llama_bundle: Path) -> None:
    manifest = read_manifest(llama_bundle)
    assert (manifest.variant, manifest.source.line) == ("smollm2-360m", "main")
    model = manifest.settings.model
    assert (model.num_layers, model.num_kv_heads, model.head_dim, model.context_length) == (2, 2, 8, 8192)
    assert manifest.settings.prompt.instruction.startswith("<|im_start|>user\n")


def test_decoded_tokens_are_those_of_torch(scene: Scene, llama: Recorded, llama_bundle: Path, image: Any) -> None:
    form = read_manifest(llama_bundle).settings.prompt
    ids, phrases, _ = ids_of(llama_bundle, prompts.chat("What is this?", form, ()).text)
    prompt = reference.expand(llama.model, ids, phrases, image.image_embeds)
    expected = reference.decode_greedy(llama.model, reference.prefill(llama.model, prompt.inputs_embeds), (), 12)
    said = scene.chat("What is this?", max_new_tokens=12)
    assert len(set(expected.ids)) > 3, "an answer that repeats one token shows little"
    assert list(said.token_ids) == expected.ids


def test_masks_are_those_of_torch(
    model: XSam, scene: Scene, llama: Recorded, llama_bundle: Path, image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = read_manifest(llama_bundle).settings.prompt
    question = prompts.refer("the red car", form, ())
    ids, phrases, segs = ids_of(llama_bundle, question.text, question.answer or "")
    prompt = reference.expand(llama.model, ids, phrases, image.image_embeds)
    positions = prompt.inputs_embeds.shape[1] - ids.shape[1] + (segs[0] >= 0).nonzero()[:, 0]
    hidden = reference.prefill(llama.model, prompt.inputs_embeds).hidden
    expected = reference.segment(llama.model, image, hidden, prompt.condition_ids, positions.tolist())
    assert expected is not None
    pipeline, decoded = model.pipeline, []
    decode = pipeline.decode_mask_batch
    monkeypatch.setattr(pipeline, "decode_mask_batch", lambda *a: decoded.append(decode(*a)) or decoded[-1])
    result = scene.refer("the red car", answer="append")
    ((classes, masks),) = decoded
    np.testing.assert_allclose(classes, expected.class_logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(masks, expected.mask_logits.numpy(), atol=1e-4)
    assert result.masks.shape[1:] == result.image_size
