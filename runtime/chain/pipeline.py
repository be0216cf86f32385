"""The graphs of a bundle and the memory between them.

Knows buffers, shapes and the cache; knows nothing of images, prompts or tasks. Image features stay on the device from
the encoder to the mask decoder; keys and values never leave the cache. What crosses to the host is small: token
embeddings in, next tokens and pooled rows out. Logits and masks do where they are asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Backend, Buffer, Graph, ReadsViews, output_shapes
from xsam_edge.runtime.backends.subnormals import flushed_subnormals
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.dtypes import memory_type
from xsam_edge.runtime.bundle.manifest import Manifest, bundle_path
from xsam_edge.runtime.chain.kv_cache import KVCache
from xsam_edge.runtime.chain.mask_logits import MaskLogits, Masks
from xsam_edge.runtime.chain.pixel_maker import PixelMaker
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.turns import Turn

Float = npt.NDArray[np.float32]
Int = npt.NDArray[np.int64]

# Output buffers that are kept for reuse, per graph output. Of the language model: a prefill's, some prompts', and those
# of decoding with 0 to 5 ids looked up. Of the mask decoder: one prompt's and a batch's, which are large.
_KEPT_SHAPES = {contract.LLM: 9, contract.MASK_DECODER: 2}
# Logits of a run whose rows are padded: their number is rounded up to one of these, or more.
_LOGITS_STEPS = (1, 16, 64, 256)
_NO_IDS = np.empty(0, np.int64)


@dataclass(frozen=True)
class ImageFeatures:
    """Everything that the graphs need of one image, on the device: ``embeds`` the language model, [1, image_tokens,
    hidden], ``buffers`` the mask decoder.
    """

    buffers: Mapping[str, Buffer]
    embeds: Buffer
    backend: Backend

    @cached_property
    def image_embeds(self) -> npt.NDArray[Any]:
        """The language model's tokens on the host, [image_tokens, hidden], in the bundle's precision."""
        embeds: npt.NDArray[Any] = self.backend.download(self.embeds)[0]
        return embeds

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return sum(buffer.nbytes for buffer in self.buffers.values()) + self.embeds.nbytes


@dataclass(frozen=True, eq=False)
class Forward:
    """What a run of the language model gave, for B * S tokens of which N were asked for logits.

    ``next_ids`` int64 [N] are the tokens of the greatest logits. The rest is read where it lies, until the next run.
    """

    next_ids: Int
    _logits: Buffer
    _hidden: Buffer
    _backend: Backend

    def logits(self) -> Float:
        """Float32 [N, vocab]."""
        return self._backend.download(self._logits)[: len(self.next_ids)]

    def hidden(self, first: int = 0) -> Float:
        """Pooled hidden states from the row ``first`` of each sequence on, float32 [B, S - first, embed]."""
        batch, count = self._hidden.shape[:2]
        if batch == 1 and isinstance(self._backend, ReadsViews):
            return self._backend.download_view(self._hidden.tokens(first, count))
        return self._backend.download(self._hidden)[:, first:]


class Pipeline:
    """The loaded graphs, chained by hand.

    ``cache`` is what the language model's forwards read and write; a caller may put another one of :meth:`make_cache`
    in its place. ``batches`` tells whether the graphs take several prompts at once.

    One thread at a time may use the language model, the cache and the mask decoder, whose outputs are valid until the
    next run: see :meth:`turn`. Images are encoded by any number of threads, one after the other, beside it.
    """

    def __init__(self, bundle: Path, manifest: Manifest, backend: Backend, context: int) -> None:
        self.manifest = manifest
        self.backend = backend
        on_device = {contract.PIXELS} & manifest.graphs.keys() if backend.resizes_pixels else set()
        self._graphs: dict[str, Graph] = {
            name: backend.open(bundle_path(bundle, manifest.graphs[name].file), manifest.graphs[name])
            for name in (*contract.GRAPHS, *on_device)
        }
        pixels = self._graphs.get(contract.PIXELS)
        self._pixels = PixelMaker(pixels, backend, manifest.settings) if pixels is not None else None
        self._context = context
        self.cache = self.make_cache()
        self.batches = all(
            manifest.graphs[graph].input(name).shape[0] == contract.BATCH
            for graph, name in ((contract.LLM, contract.INPUTS_EMBEDS), (contract.MASK_DECODER, contract.SEG_EMBED))
        )
        self._kept: dict[tuple[str, str], OrderedDict[tuple[int, ...], Buffer]] = {}
        self._turn, self._encoder_turn = Turn(), Turn()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn with all but the image encoder, in the order of coming; may be nested."""
        with self._turn, flushed_subnormals():
            self._require_open()
            yield

    def close(self) -> None:
        """Let go of graphs, the cache and all buffers, once what runs is done; whatever comes later is refused."""
        with self._turn, self._encoder_turn:
            if self._graphs:
                self._graphs.clear()
                self._kept.clear()
                self._pixels = None
                del self.cache

    def _require_open(self) -> None:
        """Raise InputError where it was closed."""
        if not self._graphs:
            raise InputError("this model was closed; load the bundle again")

    def make_cache(self) -> KVCache:
        """Allocate a key-value cache."""
        dtype = self.manifest.graphs[contract.LLM].input(contract.past_key(0)).dtype
        longest = longest_context(self.manifest)
        return KVCache(self.backend, self.manifest.settings.model, self._context, memory_type(dtype), longest)

    def encode_image(self, pixel_values: Float, mask_pixel_values: Float) -> ImageFeatures:
        """Run the image encoder on [1, 3, h, w] and [1, 3, H, W]; the features own their memory."""
        with self._encoder_turn, flushed_subnormals():
            self._require_open()
            pixels = {contract.PIXEL_VALUES: pixel_values, contract.MASK_PIXEL_VALUES: mask_pixel_values}
            return self._encode({name: self.backend.upload(values) for name, values in pixels.items()})

    def takes_pictures(self, size: tuple[int, int]) -> bool:
        """Whether :meth:`encode_picture` takes pictures of a size (h, w)."""
        return self._pixels is not None and self._pixels.takes(size)

    def encode_picture(self, picture: npt.NDArray[np.uint8]) -> ImageFeatures:
        """Make pixels of RGB [1, h, w, 3] on the device and run the image encoder; the features own their memory."""
        with self._encoder_turn, flushed_subnormals():
            self._require_open()
            assert self._pixels is not None, "whoever has pictures asks whether they are taken"
            return self._encode(self._pixels.run(picture))

    def _encode(self, inputs: Mapping[str, Buffer]) -> ImageFeatures:
        spec = self.manifest.graphs[contract.IMAGE_ENCODER]
        shapes = output_shapes(spec, {name: buffer.shape for name, buffer in inputs.items()})
        outputs = {name: self.backend.allocate(shape, spec.output(name).dtype) for name, shape in shapes.items()}
        self._graphs[contract.IMAGE_ENCODER].run(inputs, outputs)
        return ImageFeatures(outputs, outputs.pop(contract.IMAGE_EMBEDS), self.backend)

    def forward(self, inputs_embeds: Float | Buffer, logits_positions: Int) -> Forward:
        """Run the language model on new tokens behind the cache's past.

        Keys and values of a batch of one are kept: they are the cache's past from here on. The sequences of a larger
        batch begin behind the same past and leave the cache as it is.

        Args:
            inputs_embeds: [B, S, hidden], float32 or the bundle's precision; a buffer in that precision.
            logits_positions: [N], which of the B * S tokens need logits.

        Raises:
            ContextLengthError: the tokens do not fit the cache.
        """
        spec = self.manifest.graphs[contract.LLM]
        batch, count = inputs_embeds.shape[:2]
        self.cache.check_room(batch * count)
        if not isinstance(inputs_embeds, Buffer):
            dtype = spec.input(contract.INPUTS_EMBEDS).dtype
            inputs_embeds = self.backend.upload(inputs_embeds.astype(dtype, copy=False))
        wanted = len(logits_positions)
        if batch > 1:
            hidden = self._pooled(batch, count)
            outputs = self._run_llm(inputs_embeds, logits_positions, hidden)
        else:
            hidden, outputs = self._run_parts(inputs_embeds, logits_positions)
        ids = self.backend.download(outputs[contract.NEXT_IDS])[:wanted].copy() if wanted else _NO_IDS
        return Forward(ids, outputs[contract.LOGITS], hidden, self.backend)

    def _run_parts(self, embeds: Buffer, logits_positions: Int) -> tuple[Buffer, dict[str, Buffer]]:
        """Run one sequence, in parts and padded as the backend has it; returns its pooled rows and what the last gave.

        Rows of padding stand behind those of a part and are seen by none of them. What is computed of them is written
        behind what counts, in the cache too, where the next rows are written over it.
        """
        count, start = embeds.shape[1], self.cache.length
        divided = self._parts(count, logits_positions)
        padded = [self.cache.padded_rows(stop - first, start + first) for first, stop in divided]
        ends = [first + (rows or stop - first) for (first, stop), rows in zip(divided, padded, strict=True)]
        hidden = self._pooled(1, max(ends))
        outputs: dict[str, Buffer] = {}
        for (first, stop), end, rows in zip(divided, ends, padded, strict=True):
            wanted = logits_positions - first if stop == count else _NO_IDS
            part = self.cache.pad_rows(embeds.tokens(first, stop), end - first)
            outputs = self._run_llm(part, wanted, hidden.tokens(first, end), padded=rows is not None)
            self.cache.advance(stop - first)
        return hidden.tokens(0, count), outputs

    def _parts(self, count: int, wanted: Int) -> list[tuple[int, int]]:
        at_once, behind = self.backend.prefill_rows, self.cache.most_rows
        if behind is None:
            return parts(count, at_once, wanted)
        # Rows without a past have a profile of their own, which takes more of them.
        head = 0 if self.cache.length else min(count, at_once or count)
        if head == count:
            return [(0, count)]
        if head and len(wanted):
            head = min(head, int(wanted.min()))
        tail = [(head + start, head + stop) for start, stop in parts(count - head, behind, wanted - head)]
        return [(0, head), *tail] if head else tail

    def _run_llm(
        self, embeds: Buffer, logits_positions: Int, hidden: Buffer, *, padded: bool = False
    ) -> dict[str, Buffer]:
        (batch, count), start = embeds.shape[:2], self.cache.length
        positions = self._positions(logits_positions, batch * count, padded)
        inputs = {
            contract.INPUTS_EMBEDS: embeds,
            contract.POSITION_IDS: self.backend.upload(np.arange(start, start + count, dtype=np.int64)[None]),
            contract.LOGITS_POSITIONS: self.backend.upload(positions),
            **self.cache.past(padded=padded),
        }
        bound = {contract.SEG_HIDDEN: hidden, **self.cache.slots(count, batch)}
        outputs = self._outputs(contract.LLM, inputs, bound)
        self._graphs[contract.LLM].run(inputs, outputs)
        return outputs

    def _positions(self, logits_positions: Int, rows: int, padded: bool) -> Int:
        """Whose logits a run computes: where nobody wants any and the backend cannot do without, the last row's.

        Of a padded run their number is rounded up too, by the last one's repetition.
        """
        if not len(logits_positions):
            return logits_positions if self.backend.runs_without_logits else np.array([rows - 1], np.int64)
        if not padded:
            return logits_positions
        count = len(logits_positions)
        return np.pad(logits_positions, (0, next((n for n in _LOGITS_STEPS if n >= count), count) - count), "edge")

    def _pooled(self, batch: int, count: int) -> Buffer:
        spec = self.manifest.graphs[contract.LLM].output(contract.SEG_HIDDEN)
        return self._reuse(contract.LLM, spec.name, (batch, count, int(spec.shape[-1])), spec.dtype)

    def decode_masks(self, features: ImageFeatures, seg_embed: Float, condition_embeds: Float) -> tuple[Float, Float]:
        """Run the mask decoder for [embed] and [C, embed].

        Returns:
            class logits [queries, C + 1], background last, and mask logits [queries, gh, gw], both float32, valid
            until the next call.
        """
        class_logits, mask_logits = self.decode_mask_batch(features, seg_embed[None], condition_embeds[None])
        return class_logits[0], np.asarray(mask_logits[0])

    def decode_mask_batch(
        self, features: ImageFeatures, seg_embeds: Float, condition_embeds: Float
    ) -> tuple[Float, list[Masks]]:
        """Run the mask decoder for several prompts on one image, [B, embed] and [B, C, embed].

        Returns:
            class logits float32 [B, queries, C + 1], background last, and of each prompt its mask logits, read as they
            are needed; valid until the next call.
        """
        inputs = {
            contract.SEG_EMBED: self.backend.upload(seg_embeds[:, None]),
            contract.CONDITION_EMBEDS: self.backend.upload(condition_embeds),
            **features.buffers,
        }
        outputs = self._outputs(contract.MASK_DECODER, inputs, {})
        self._graphs[contract.MASK_DECODER].run(inputs, outputs)
        class_logits, masks = self.backend.download(outputs[contract.CLASS_LOGITS]), outputs[contract.MASK_LOGITS]
        if isinstance(self.backend, ReadsViews):
            return class_logits, [MaskLogits(masks.item(i), self.backend.download_view) for i in range(len(seg_embeds))]
        return class_logits, list(self.backend.download(masks))

    def _outputs(self, graph: str, inputs: Mapping[str, Buffer], bound: Mapping[str, Buffer]) -> dict[str, Buffer]:
        spec = self.manifest.graphs[graph]
        shapes = output_shapes(spec, {name: buffer.shape for name, buffer in inputs.items()})
        return {
            name: bound[name] if name in bound else self._reuse(graph, name, shape, spec.output(name).dtype)
            for name, shape in shapes.items()
        }

    def _reuse(self, graph: str, name: str, shape: tuple[int, ...], dtype: str) -> Buffer:
        kept = self._kept.setdefault((graph, name), OrderedDict())
        if shape not in kept:
            kept[shape] = self.backend.allocate(shape, dtype)
            if len(kept) > _KEPT_SHAPES[graph]:
                kept.popitem(last=False)
        kept.move_to_end(shape)
        return kept[shape]


def longest_context(manifest: Manifest) -> int:
    """Tokens that a bundle's graphs take at most: what the model was trained for, and its engines were built for."""
    limit = manifest.settings.model.context_length
    return limit if manifest.engine is None else min(limit, manifest.engine.context)


def parts(count: int, at_once: int | None, wanted: Int) -> list[tuple[int, int]]:
    """Divide the rows of a prefill into equal parts of ``at_once`` at most, (start, stop) each.

    A part sees the keys of those before it. Scores of parts are a fraction of the whole's, in memory and, since no part
    has any with the tokens behind it, in work. All rows of ``wanted``, whose logits are asked for, lie in the last
    part, which begins with the first of them where it has to; where they do not fit into a part, there is one.
    """
    edges = _edges(count, at_once)
    if len(wanted) and (first := int(wanted.min())) < edges[-2]:
        fits = at_once is not None and count - first <= at_once
        edges = [*_edges(first, at_once), count] if first and fits else [0, count]
    return list(pairwise(edges))


def _edges(count: int, at_once: int | None) -> list[int]:
    number = max(1, -(-count // at_once)) if at_once else 1
    return [count * index // number for index in range(number + 1)]
