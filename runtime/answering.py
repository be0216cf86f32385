"""Prompts to answers: the language model's side of a segmentation.

Two ways to an answer. ``append`` puts a fixed answer behind the prompt and runs one forward: the conditions' and the
``<SEG>`` embeddings come out of it (mode "tensor" of the official code). ``generate`` decodes greedily, one forward per
token behind the cached past (mode "predict"). Both end in the same pooled embeddings for the mask decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.device_rows import JoinsRows, row_parts
from xsam_edge.runtime.errors import ContextLengthError, InputError
from xsam_edge.runtime.pipeline import Float, ImageFeatures, Pipeline
from xsam_edge.runtime.regions import sample_regions
from xsam_edge.runtime.sequence import Expanded, expand, splice
from xsam_edge.runtime.settings import Settings
from xsam_edge.runtime.tokens import IMAGE_ID, REGION_ID, Ids, Tokenizer, phrase_spans, seg_positions

# The official demo's GenerationConfig allows 2,048; answers that segment are far shorter.
MAX_NEW_TOKENS = 512


@dataclass(frozen=True, eq=False)
class Answer:
    """What the language model said, and what the mask decoder needs of it.

    ``ids`` are generated ids only, the stop token included; empty for an appended answer. ``hidden`` are pooled rows
    float32 [rows, embed], the first of which belongs to position ``first`` of the sequence.
    """

    ids: Ids
    text: str
    phrases: tuple[str, ...]  # of generated <p>..</p>
    conditions: Float | None  # [C, embed], None without a condition
    seg: Float | None  # [embed], None unless there is exactly one <SEG>
    hidden: Float
    first: int


class LanguageModel:
    """Tokenizer, embedding table and the graph, with a cache that holds at most one sequence."""

    def __init__(
        self, pipeline: Pipeline, tokenizer: Tokenizer, table: npt.NDArray[np.floating], settings: Settings
    ) -> None:
        self.pipeline = pipeline
        self.tokenizer = tokenizer
        self.settings = settings
        self._table = table
        # Whose prefix the cache begins with: its features and the ids up to and including the image.
        self._prefix: tuple[ImageFeatures, Ids] | None = None

    def encode(self, text: str, answer: str = "") -> Expanded:
        """Token ids of a prompt, and of an answer behind it, laid out for the language model."""
        ids = self.tokenizer.encode_prompt(text)
        if answer:
            ids = np.concatenate([ids, self.tokenizer.encode(answer)])
        return self.layout(ids)

    def layout(self, ids: Ids) -> Expanded:
        """Lay out ids [n] with their phrases and ``<SEG>`` positions."""
        tokens, settings = self.settings.tokens, self.settings
        return expand(
            ids,
            phrase_spans(ids, tokens),
            seg_positions(ids, tokens),
            settings.model.image_tokens,
            settings.regions.tokens,
        )

    def embed(self, sequence: Expanded, features: ImageFeatures, regions: Float | None = None) -> Float:
        """Input embeddings [1, S, hidden] of a sequence; ``regions`` are [R, tokens, hidden]."""
        has_image = (sequence.input_ids == IMAGE_ID).any()
        return splice(sequence, self._table, features.image_embeds if has_image else features.image_embeds[:0], regions)

    def _input_rows(self, sequence: Expanded, features: ImageFeatures, regions: Float | None) -> Float | Buffer:
        backend = self.pipeline.backend
        if isinstance(backend, JoinsRows):
            return backend.assemble(row_parts(sequence, self._table, features.embeds, regions))
        return self.embed(sequence, features, regions)

    def region_tokens(self, features: ImageFeatures, points: Float) -> Float:
        """Tokens of regions, [R, tokens, hidden], from points [R, points, 2] as (y, x) in 0..1 of the padded input."""
        height, width = self.settings.model.region_grid
        grid = features.image_embeds[-height * width :].reshape(height, width, -1).astype(np.float32, copy=False)
        return sample_regions(grid, points, self.settings.regions)

    def append(self, text: str, answer: str, features: ImageFeatures, regions: Float | None = None) -> Answer:
        """Read the embeddings of a fixed answer in one forward.

        Raises:
            ContextLengthError: prompt and answer do not fit the context.
        """
        sequence = self.encode(text, answer)
        # Nothing behind <SEG> can change what stands before it.
        segs = np.flatnonzero(sequence.seg_ids >= 0)
        if len(segs) == 1:
            sequence = sequence.part(0, int(segs[0]) + 1)
        hidden, first, _ = self._prefill(sequence, features, regions, logits=False)
        conditions = _pool(hidden, sequence.cond_ids[first:])
        return Answer(
            np.empty(0, np.int64), "", (), conditions, _single(hidden, sequence.seg_ids[first:]), hidden, first
        )

    def generate(
        self,
        text: str,
        features: ImageFeatures,
        regions: Float | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> Answer:
        """Decode greedily until a stop word, the end token, ``max_new_tokens`` or the end of the context.

        Phrases that the model generates replace the prompt's conditions (``XSamModel.predict``).

        Raises:
            ContextLengthError: the prompt alone does not fit the context.
        """
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
        sequence = self.encode(text)
        prompt, first, token = self._prefill(sequence, features, regions, logits=True)
        hidden, ids, cache = [prompt], [token], self.pipeline.cache
        last_row = np.zeros(1, np.int64)
        while len(ids) < max_new_tokens and not self._stops(ids) and cache.length < cache.capacity:
            logits, rows = self.pipeline.forward(self._table[ids[-1]][None, None], last_row)
            hidden.append(rows[0].copy())
            ids.append(int(logits[0].argmax()))
        return self._read(sequence, np.array(ids, np.int64), np.concatenate(hidden), first)

    def _read(self, sequence: Expanded, ids: Ids, hidden: Float, first: int) -> Answer:
        tokens = self.settings.tokens
        # The last token never was an input, so it has no hidden state.
        fed = ids[:-1]
        output = hidden[len(hidden) - len(fed) :]
        conditions = _pool(hidden[: len(hidden) - len(fed)], sequence.cond_ids[first:])
        if (fed == tokens.phrase_start).any():
            conditions = _pool(output, phrase_spans(fed, tokens))
        seg = _single(output, seg_positions(fed, tokens))
        phrases = tuple(self.tokenizer.phrases(fed, tokens))
        return Answer(ids, self.tokenizer.decode(ids), phrases, conditions, seg, hidden, first)

    def _prefill(
        self, sequence: Expanded, features: ImageFeatures, regions: Float | None, *, logits: bool
    ) -> tuple[Float, int, int]:
        """Run a sequence, its image prefix only if the cache does not begin with it.

        Returns the pooled rows that were computed, the position of the first of them, and the greedy next token.
        """
        cache = self.pipeline.cache
        if len(sequence) > cache.capacity:
            raise ContextLengthError(
                f"the prompt has {len(sequence)} tokens ({self.settings.model.image_tokens} of them the image), "
                f"the context holds {cache.capacity}; shorten it or load the bundle with a larger context"
            )
        images = np.flatnonzero(sequence.input_ids == IMAGE_ID)
        prefix = sequence.input_ids[: int(images[-1]) + 1] if len(images) else sequence.input_ids[:0]
        known = self._prefix is not None and self._prefix[0] is features and np.array_equal(self._prefix[1], prefix)
        # Regions have equal ids and other embeddings: a prefix that holds one is never known.
        known = known and len(sequence) > len(prefix) and not (prefix == REGION_ID).any()
        first = len(prefix) if known else 0
        self._prefix = None  # until the forward has succeeded
        cache.truncate(first)
        embeds = self._input_rows(sequence.part(first), features, regions)
        positions = np.array([embeds.shape[1] - 1] if logits else [], np.int64)
        scores, rows = self.pipeline.forward(embeds, positions)
        self._prefix = (features, prefix)
        return rows[0].copy(), first, int(scores[0].argmax()) if logits else -1

    def forget(self, features: ImageFeatures) -> None:
        """Let go of an image's features; its prefix is computed anew when it is asked for again."""
        if self._prefix is not None and self._prefix[0] is features:
            self._prefix = None

    def _stops(self, ids: list[int]) -> bool:
        if ids[-1] == self.settings.tokens.eos:
            return True
        # As StopWordStoppingCriteria: on the text, because a stop word may be several tokens, though never this many.
        text = self.tokenizer.decode(ids[-32:]).replace("\r", "").replace("\n", "")
        return text.endswith(self.settings.prompt.stop_words)


def _pool(hidden: Float, spans: Ids) -> Float | None:
    """Mean of the rows of each span; None without a span (``XSamModel._get_index_embeds``)."""
    labels = np.unique(spans[spans >= 0])
    if not len(labels):
        return None
    return np.stack([hidden[spans == label].mean(axis=0, dtype=np.float32) for label in labels])


def _single(hidden: Float, segs: Ids) -> Float | None:
    rows = np.flatnonzero(segs >= 0)
    return hidden[rows[0]] if len(rows) == 1 else None
