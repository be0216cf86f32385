"""Prompts to answers: the language model's side of a segmentation.

Two ways to an answer. ``append`` puts a fixed answer behind the prompt and runs one forward: the conditions' and the
``<SEG>`` embeddings come out of it (mode "tensor" of the official code). ``generate`` decodes greedily behind the
cached past (mode "predict"): one forward per token, but for tokens that a draft foresaw. Both end in the same pooled
embeddings for the mask decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.chain.pipeline import Float, ImageFeatures, Pipeline
from xsam_edge.runtime.errors import ContextLengthError, InputError
from xsam_edge.runtime.image.regions import sample_regions
from xsam_edge.runtime.language.cache_pool import SceneMemory
from xsam_edge.runtime.language.device_rows import JoinsRows, row_parts
from xsam_edge.runtime.language.prompts import Prompt
from xsam_edge.runtime.language.sequence import Expanded, expand, first_row, splice
from xsam_edge.runtime.language.speculative import NO_DRAFT, DraftBook, agreed, look_up
from xsam_edge.runtime.language.tokenizer import IMAGE_ID, Ids, Tokenizer, phrase_bounds, phrase_spans, seg_positions

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
    forwards: int = 1  # of the language model


class LanguageModel:
    """Tokenizer, embedding table and the graph.

    ``memory`` holds the caches of the images that are asked about, ``drafts`` what answers are expected; without it
    every token is decoded by a forward of its own.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        tokenizer: Tokenizer,
        table: npt.NDArray[np.floating],
        settings: Settings,
        memory: SceneMemory | None = None,
        drafts: DraftBook | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.tokenizer = tokenizer
        self.settings = settings
        self.memory = memory or SceneMemory(pipeline.cache, pipeline.make_cache, 0)
        self.drafts = drafts
        self._table = table

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
        sequence = self.lay_out_answer(text, answer)
        hidden, first, _ = self._prefill(sequence, features, regions)
        return self.read_appended(sequence, hidden, first)

    def lay_out_answer(self, text: str, answer: str) -> Expanded:
        """A prompt with a fixed answer behind it, as far as the answer matters."""
        sequence = self.encode(text, answer)
        # Nothing behind <SEG> can change what stands before it.
        segs = np.flatnonzero(sequence.seg_ids >= 0)
        return sequence.part(0, int(segs[0]) + 1) if len(segs) == 1 else sequence

    def read_appended(self, sequence: Expanded, hidden: Float, first: int, forwards: int = 1) -> Answer:
        """The answer of a sequence from :meth:`lay_out_answer`, from its pooled rows from ``first`` on."""
        conditions = _pool(hidden, sequence.cond_ids[first:])
        seg = _single(hidden, sequence.seg_ids[first:])
        return Answer(np.empty(0, np.int64), "", (), conditions, seg, hidden, first, forwards)

    def ask(
        self,
        prompt: Prompt,
        features: ImageFeatures,
        regions: Float | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> Answer:
        """Decode as :meth:`generate`, with the answer in view that the task is expected to have.

        Raises:
            ContextLengthError: the prompt alone does not fit the context.
        """
        ids = self.tokenizer.encode_prompt(prompt.text)
        draft = self.expect(prompt, ids)
        given = self.decode(self.layout(ids), features, regions, max_new_tokens, draft[:-1], self.said(prompt))
        self.learn(prompt, ids, given)
        return given

    def expect(self, prompt: Prompt, ids: Ids) -> Ids:
        """The draft of a prompt's answer, int64 [n]; ``ids`` are the prompt's."""
        if self.drafts is None or prompt.answer is None:
            return NO_DRAFT
        return self.drafts.draft(prompt.task, self._phrases(ids), self.tokenizer.encode(prompt.answer))

    def said(self, prompt: Prompt) -> list[int] | None:
        """What may be looked up while the prompt's answer is decoded; None if nothing may."""
        return None if self.drafts is None else self.drafts.said(prompt.task)

    def learn(self, prompt: Prompt, ids: Ids, given: Answer) -> None:
        """Remember what the model said to a prompt of ``ids``, where it came to an end by itself."""
        if self.drafts is not None and self.stops(given.ids.tolist()):
            self.drafts.learn(prompt.task, self._phrases(ids), given.ids)

    def generate(
        self,
        text: str,
        features: ImageFeatures,
        regions: Float | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        draft: Ids = NO_DRAFT,
        *,
        every_row: bool = False,
    ) -> Answer:
        """Decode greedily until a stop word, the end token, ``max_new_tokens`` or the end of the context.

        Phrases that the model generates replace the prompt's conditions (``XSamModel.predict``). ``draft`` is the
        expected answer, checked along with the prompt: it saves forwards and changes nothing else. ``every_row`` gives
        the pooled rows of an image that is computed too.

        Raises:
            ContextLengthError: the prompt alone does not fit the context.
        """
        # The forward that reads a token tells the next one, so the last of a draft need not be read.
        sequence = self.encode(text)
        return self.decode(sequence, features, regions, max_new_tokens, draft[:-1], every_row=every_row)

    def fitting(self, sequence: Expanded, read: Ids, max_new_tokens: int = MAX_NEW_TOKENS) -> Ids:
        """As many of the ids to be read behind a prompt as greedy decoding would read at most."""
        return read[: max(0, min(self.pipeline.cache.capacity - len(sequence), max_new_tokens - 1))]

    def decode(
        self,
        sequence: Expanded,
        features: ImageFeatures,
        regions: Float | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        read: Ids = NO_DRAFT,
        said: list[int] | None = None,
        forwards: int = 0,
        *,
        every_row: bool = False,
    ) -> Answer:
        """Decode as :meth:`generate`, from a prompt that is laid out.

        ``read`` are expected ids that the first forward reads. Further ones are looked up in ``said``, an earlier
        answer, and in what this one has said so far, unless it is None. ``forwards`` were spent on this answer before.
        """
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
        read = self.fitting(sequence, read, max_new_tokens)
        prompt, first, chosen = self._prefill(
            sequence.followed_by(read), features, regions, choices=len(read) + 1, every_row=every_row
        )
        ids = agreed(read, chosen, self.stops)
        cache, rows = self.pipeline.cache, len(sequence) + len(ids) - 1
        cache.truncate(rows)
        hidden, forwards = [prompt[: rows - first]], forwards + 1
        while len(ids) < max_new_tokens and not self.stops(ids) and cache.length < cache.capacity:
            room = min(cache.capacity - cache.length, max_new_tokens - len(ids)) - 1
            guess = [] if said is None else look_up(ids, said)[:room]
            step = self.pipeline.forward(self._table[[ids[-1], *guess]][None], np.arange(1 + len(guess)))
            further = agreed(guess, step.next_ids, self.stops, ids)
            rows += len(further)
            cache.truncate(rows)
            hidden.append(step.hidden()[0, : len(further)].copy())
            ids += further
            forwards += 1
        return self.read_generated(sequence, np.array(ids, np.int64), np.concatenate(hidden), first, forwards)

    def read_generated(self, sequence: Expanded, ids: Ids, hidden: Float, first: int, forwards: int) -> Answer:
        """The answer ``ids`` to a prompt, from the pooled rows from ``first`` on of all but the last of both."""
        tokens = self.settings.tokens
        # The last token never was an input, so it has no hidden state.
        fed = ids[:-1]
        output = hidden[len(hidden) - len(fed) :]
        conditions = _pool(hidden[: len(hidden) - len(fed)], sequence.cond_ids[first:])
        if (fed == tokens.phrase_start).any():
            conditions = _pool(output, phrase_spans(fed, tokens))
        seg = _single(output, seg_positions(fed, tokens))
        phrases = tuple(self.tokenizer.phrases(fed, tokens))
        return Answer(ids, self.tokenizer.decode(ids), phrases, conditions, seg, hidden, first, forwards)

    def begin(self, sequence: Expanded, features: ImageFeatures) -> tuple[Ids, int]:
        """Choose the cache for a sequence and cut it back to what both begin with.

        Returns the ids up to and including the image, which :meth:`SceneMemory.keep` is to be given once they are
        computed, and how many of them need not be.

        Raises:
            ContextLengthError: the sequence does not fit the cache.
        """
        if len(sequence) > self.pipeline.cache.capacity:
            raise ContextLengthError(
                f"the prompt has {len(sequence)} tokens ({self.settings.model.image_tokens} of them the image), "
                f"the context holds {self.pipeline.cache.capacity}; shorten it or load the bundle with a larger context"
            )
        prefix = sequence.input_ids[: self.image_rows(sequence)]
        self.pipeline.cache, known = self.memory.cache(features, prefix)
        first = known if len(sequence) > known else 0
        self.pipeline.cache.truncate(first)
        return prefix, first

    def image_rows(self, sequence: Expanded) -> int:
        """Length of the prefix: the rows up to and including the image, 0 without one."""
        images = np.flatnonzero(sequence.input_ids == IMAGE_ID)
        return int(images[-1]) + 1 if len(images) else 0

    def prefill_image(self, sequence: Expanded, features: ImageFeatures) -> int:
        """Compute the prefix of a sequence unless a cache holds it; returns the number of forwards, 0 or 1."""
        prefix = sequence.part(0, self.image_rows(sequence))
        if len(prefix) and not self.memory.knows(features, prefix.input_ids):
            self._prefill(prefix, features, None)
            return 1
        return 0

    def _prefill(
        self,
        sequence: Expanded,
        features: ImageFeatures,
        regions: Float | None,
        *,
        choices: int = 0,
        every_row: bool = False,
    ) -> tuple[Float, int, Ids]:
        """Run a sequence, its image prefix only if no cache begins with it.

        Returns the pooled rows that can matter, or every row that was computed, the position of the first of them, and
        what the model chooses after each of the last ``choices`` tokens.
        """
        prefix, first = self.begin(sequence, features)
        embeds = self._input_rows(sequence.part(first), features, regions)
        count = embeds.shape[1]
        done = self.pipeline.forward(embeds, np.arange(count - choices, count, dtype=np.int64))
        self.memory.keep(features, prefix)
        start = first if every_row else max(first, first_row(sequence, len(prefix)))
        return done.hidden(start - first)[0].copy(), start, done.next_ids

    def forget(self, features: ImageFeatures | None = None) -> None:
        """Let go of an image's prefix, or of every image's; it is computed anew when it is asked for again.

        Whoever writes to the pipeline's cache by themselves must forget all first.
        """
        self.memory.forget(features)

    def stops(self, ids: list[int]) -> bool:
        """Whether a generated answer is at its end."""
        if ids[-1] == self.settings.tokens.eos:
            return True
        # As StopWordStoppingCriteria: on the text, because a stop word may be several tokens, though never this many.
        text = self.tokenizer.decode(ids[-32:]).replace("\r", "").replace("\n", "")
        return text.endswith(self.settings.prompt.stop_words)

    def _phrases(self, ids: Ids) -> list[Ids]:
        return [ids[start + 1 : end] for start, end in phrase_bounds(ids, self.settings.tokens)]


def _pool(hidden: Float, spans: Ids) -> Float | None:
    """Mean of the rows of each span; None without a span (``XSamModel._get_index_embeds``)."""
    labels = np.unique(spans[spans >= 0])
    if not len(labels):
        return None
    return np.stack([hidden[spans == label].mean(axis=0, dtype=np.float32) for label in labels])


def _single(hidden: Float, segs: Ids) -> Float | None:
    rows = np.flatnonzero(segs >= 0)
    return hidden[rows[0]] if len(rows) == 1 else None
