"""The same work by others: the torch reference on the same weights, eager or compiled."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xsam_edge.benchmarks.chain import ANSWERING, Answering, script_of
from xsam_edge.benchmarks.measure import Pixels, Sample
from xsam_edge.benchmarks.watch import Call, Script
from xsam_edge.export import reference
from xsam_edge.export.models.xsam import XSam as TorchXSam
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.image.load import load_image
from xsam_edge.runtime.image.preprocess import mask_pixels, vision_pixels
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.answer import MAX_NEW_TOKENS
from xsam_edge.runtime.language.tokenizer import phrase_spans, seg_positions
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.postprocess import referred_mask
from xsam_edge.runtime.results.segment import Segment


class _Watched:
    """A language model whose forwards are noted and, with a script, answer as it says."""

    def __init__(self, llm: nn.Module, side: TorchSide) -> None:
        self.embed, self.empty_cache = llm.embed, llm.empty_cache
        self._llm = llm
        self._side = side

    def __call__(self, embeds: Tensor, positions: Tensor, past: list[Any], rows: Tensor) -> tuple[Tensor, Tensor, Any]:
        start = self._side.clock()
        hidden, logits, new = self._llm(embeds, positions, past, rows)
        axes = {contract.SEQUENCE: embeds.shape[1], contract.PAST: past[0][0].shape[1], contract.ROWS: len(rows)}
        self._side.note(contract.LLM, start, axes)
        if self._side.script is not None:
            logits = logits.cpu()
            for row, position in enumerate(positions[0, rows].tolist()):
                if (token := self._side.script.behind(position)) is not None:
                    logits[row, token] = torch.inf
        return hidden, logits, new


class TorchSide:
    """The torch reference (``export/reference.py``), with the runtime's tokenizer, pre- and post-processing."""

    def __init__(
        self,
        model: TorchXSam,
        xsam: XSam,
        answering: Answering,
        threads: int,
        *,
        compiled: bool = False,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        torch.set_num_threads(threads)
        self.name = "torch-compile" if compiled else "torch"
        self.script: Script | None = None
        self._model = model.to(device, dtype)
        self._dtype = dtype
        self._xsam = xsam
        self._answering = answering
        self._threads = threads
        self._device = device
        self._compiled = compile_parts(model) if compiled else []
        # What the language model's functions of the reference take of a model.
        self._language: Any = SimpleNamespace(llm=_Watched(model.llm, self))
        self._calls: list[Call] = []

    @property
    def setup(self) -> dict[str, Any]:
        """How this side runs."""
        return {
            "what": "the torch reference, compiled" if self._compiled else "the torch reference, eager",
            "torch": torch.__version__,
            "device": self._device,
            "precision": "fp16" if self._dtype == torch.float16 else "fp32",
            "weights": "those of the bundle, "
            + ("rounded to fp16" if self._xsam.manifest.precision == "fp16" else "not quantised"),
            "threads": self._threads,
            "mode": "eval, torch.inference_mode",
            "compiled": self._compiled,
            "cache": "the language model's keys and values within an answer; image features within a picture; "
            "of a further prompt all tokens are run",
            "shared": "tokenizer, pre- and post-processing are the runtime's",
            "answering": ANSWERING[self._answering],
        }

    def first(self, picture: Pixels, phrase: str) -> Sample:
        """See :class:`xsam_edge.benchmarks.measure.Side`."""
        self._prepare(phrase)
        start = self.clock()
        settings = self._xsam.manifest.settings
        image = load_image(picture)
        pixels = vision_pixels(image, settings.vision_input)
        masked, scaled = mask_pixels(image, settings.mask_input)
        padded = (settings.mask_input.height, settings.mask_input.width)
        self._frame = Frame((image.height, image.width), scaled, padded)
        prepared = self.clock()
        with torch.inference_mode():
            inputs = (torch.from_numpy(values).to(self._device, self._dtype) for values in (pixels, masked))
            self._features = reference.encode_image(self._model, *inputs)
        self.note(contract.IMAGE_ENCODER, prepared, {})
        return self._ask(phrase, start, 1e3 * (prepared - start))

    def next(self, phrase: str) -> Sample:
        """See :class:`xsam_edge.benchmarks.measure.Side`."""
        self._prepare(phrase)
        return self._ask(phrase, self.clock(), 0.0)

    def clock(self) -> float:
        """Seconds, once the device has done its work."""
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def note(self, graph: str, start: float, axes: dict[str, int]) -> None:
        """Note a stage that ends now."""
        self._calls.append(Call(graph, 1e3 * (self.clock() - start), axes))

    def _prepare(self, phrase: str) -> None:
        self._calls = []
        self.script = script_of(self._xsam, phrase) if self._answering == "scripted" else None

    @torch.inference_mode()
    def _ask(self, phrase: str, start: float, preprocess_ms: float) -> Sample:
        hidden, conditions, segs, ids = self._answer(phrase)
        began = self.clock()
        segmentation = reference.segment(self._model, self._features, hidden, conditions, segs)
        mask, decoded = None, self.clock()
        if segmentation is not None:
            self.note(contract.MASK_DECODER, began, {contract.CONDITIONS: segmentation.class_logits.shape[-1] - 1})
            decoded = self.clock()
            classes, masks = (
                values[0].float().cpu().numpy() for values in (segmentation.class_logits, segmentation.mask_logits)
            )
            result = referred_mask(classes, masks, self._frame)
            mask = Segment.from_mask(result.mask, result.score).mask
        end = self.clock()
        return Sample(1e3 * (end - start), preprocess_ms, 1e3 * (end - decoded), tuple(self._calls), tuple(ids), mask)

    def _answer(self, phrase: str) -> tuple[Tensor, Tensor, list[int], list[int]]:
        """Hidden states, phrase ids, places of <SEG>, and generated ids."""
        settings, tokenizer = self._xsam.manifest.settings, self._xsam.language.tokenizer
        special = settings.tokens
        prompt = prompts.refer(phrase, settings.prompt, tokenizer.reserved)
        ids = tokenizer.encode_prompt(prompt.text)
        if self._answering == "append":
            assert prompt.answer is not None
            ids = np.concatenate([ids, tokenizer.encode(prompt.answer)])
            if len(places := np.flatnonzero(seg_positions(ids, special) >= 0)) == 1:
                ids = ids[: places[0] + 1]
        spans = phrase_spans(ids, special)
        rows, phrases = (torch.from_numpy(values).to(self._device)[None] for values in (ids, spans))
        tokens = reference.expand(self._model, rows, phrases, self._features.image_embeds)
        length = tokens.inputs_embeds.shape[1]
        state = reference.prefill(self._language, tokens.inputs_embeds)
        if self._answering == "append":
            behind = (len(ids) - np.flatnonzero(ids == special.seg)).tolist()
            return state.hidden, tokens.condition_ids, [length - count for count in behind], []
        room = self._xsam.pipeline.cache.capacity - length + 1
        answer = reference.decode_greedy(self._language, state, self._stop_ids(), min(MAX_NEW_TOKENS, room))
        named = reference.generated_conditions(length, answer.ids, special.phrase_start, special.phrase_end)
        segs = [length + index for index, token in enumerate(answer.ids[:-1]) if token == special.seg]
        conditions = tokens.condition_ids if named is None else named.to(self._device)
        return answer.hidden, conditions, segs, answer.ids

    def _stop_ids(self) -> set[int]:
        """The end token, and the stop words that are one token."""
        settings, tokenizer = self._xsam.manifest.settings, self._xsam.language.tokenizer
        words = [tokenizer.encode(word).tolist() for word in settings.prompt.stop_words]
        stops = {word[0] for word in words if len(word) == 1}
        return stops | ({settings.tokens.eos} if settings.tokens.eos is not None else set())


def compile_parts(model: TorchXSam) -> list[str]:
    """Compile every part in place with ``torch.compile``'s defaults; returns their names.

    The language model and the class predictor are compiled for any length, the others for their one size.
    """
    parts: dict[str, tuple[nn.Module, bool]] = {
        "vision_encoder": (model.vision_encoder, False),
        "mask_encoder": (model.segmentor.encoder, False),
        "pixel_decoder": (model.segmentor.pixel_decoder, False),
        "seg_connector": (model.seg_connector, False),
        "llm": (model.llm, True),
        "mask_decoder": (model.segmentor.decoder, False),
        "class_predictor": (model.segmentor.class_predictor, True),
    }
    for module, dynamic in parts.values():
        module.compile(dynamic=dynamic or None)
    return list(parts)
