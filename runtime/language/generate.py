"""Prompts to answers: the language model's side of a segmentation.

There is one way, and it takes a batch; a single prompt is a batch of one. Every prompt is read together with what its
answer will probably be, or with the answer that is given; what follows is decoded behind the cached past, one forward
per token but for tokens that a draft foresaw (:mod:`xsam_edge.runtime.language.speculative`). Several prompts on one
image stand side by side behind it. One whose answer comes otherwise than was expected is decoded by itself, from where
it departs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.chain.pipeline import Float, ImageFeatures, Pipeline
from xsam_edge.runtime.errors import ContextLengthError, InputError
from xsam_edge.runtime.image.regions import sample_regions
from xsam_edge.runtime.language.answer import Answer, Request, appended_answer, generated_answer
from xsam_edge.runtime.language.batch import batches
from xsam_edge.runtime.language.cache_pool import CachePool
from xsam_edge.runtime.language.sequence import Expanded, JoinsRows, expand, first_row, row_parts, splice
from xsam_edge.runtime.language.speculative import NO_DRAFT, Drafter, accept, prompt_lookup
from xsam_edge.runtime.language.tokenizer import (
    IMAGE_ID,
    Ids,
    Tokenizer,
    phrase_bounds,
    phrase_spans,
    seg_positions,
)


@dataclass(frozen=True, eq=False)
class _Run:
    """A request, laid out: ``ids`` of its prompt, ``sequence`` with an appended answer, ``draft`` to be read along."""

    request: Request
    ids: Ids
    sequence: Expanded
    draft: Ids

    @property
    def rows(self) -> Expanded:
        """What its first forward reads."""
        return self.sequence.followed_by(self.draft)

    @property
    def choices(self) -> int:
        """After how many of its last rows the model's choice is needed."""
        return 0 if self.request.append else len(self.draft) + 1


@dataclass(frozen=True, eq=False)
class _Prefilled:
    """What a forward told of one run: pooled rows from position ``first`` on, and the choices that it needs."""

    hidden: Float
    first: int
    next_ids: Ids


class LanguageModel:
    """Tokenizer, embedding table and the graph.

    ``cache_pool`` holds the caches of the images that are asked about. ``drafter`` knows what answers are expected;
    without it every token is decoded by a forward of its own.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        tokenizer: Tokenizer,
        table: npt.NDArray[np.floating],
        settings: Settings,
        cache_pool: CachePool | None = None,
        drafter: Drafter | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.tokenizer = tokenizer
        self.settings = settings
        self.cache_pool = cache_pool or CachePool(pipeline.cache, pipeline.make_cache, 0)
        self.drafter = drafter
        self._table = table

    def generate(
        self, requests: Sequence[Request], features: ImageFeatures, *, every_row: bool = False
    ) -> list[Answer]:
        """Answer prompts on one image.

        Decoding is greedy and ends with a stop word, the end token, the request's limit or the end of the context.
        ``every_row`` gives the pooled rows of an image that is computed too.

        Raises:
            ContextLengthError: one of the prompts, or its appended answer, does not fit the context.
            InputError: a request for no token at all.
        """
        # Without drafts a batch would tell the first token only, and every prompt would have to be read again.
        foreseen = self.drafter is not None or all(request.append for request in requests)
        size = max(1, len(requests)) if self.pipeline.batches and foreseen else 1
        answers: list[Answer] = []
        for start in range(0, len(requests), size):
            answers += self._generate_batch(requests[start : start + size], features, every_row)
        return answers

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
        image = features.image_embeds if has_image else np.empty((0, self.settings.model.hidden_size), np.float32)
        return splice(sequence, self._table, image, regions)

    def region_tokens(self, features: ImageFeatures, points: Float) -> Float:
        """Tokens of regions, [R, tokens, hidden], from points [R, points, 2] as (y, x) in 0..1 of the padded input."""
        height, width = self.settings.model.region_grid
        grid = features.image_embeds[-height * width :].reshape(height, width, -1).astype(np.float32, copy=False)
        return sample_regions(grid, points, self.settings.regions)

    def image_rows(self, sequence: Expanded) -> int:
        """Length of the prefix: the rows up to and including the image, 0 without one."""
        images = np.flatnonzero(sequence.input_ids == IMAGE_ID)
        return int(images[-1]) + 1 if len(images) else 0

    def forget(self, features: ImageFeatures | None = None) -> None:
        """Let go of an image's prefix, or of every image's; it is computed anew when it is asked for again.

        Whoever writes to the pipeline's cache by themselves must forget all first.
        """
        self.cache_pool.forget(features)

    def stops(self, ids: list[int]) -> bool:
        """Whether a generated answer is at its end."""
        if ids[-1] == self.settings.tokens.eos:
            return True
        # As StopWordStoppingCriteria: on the text, because a stop word may be several tokens, though never this many.
        text = self.tokenizer.decode(ids[-32:]).replace("\r", "").replace("\n", "")
        return text.endswith(self.settings.prompt.stop_words)

    def lay_out(self, request: Request, ids: Ids) -> Expanded:
        """The rows of a request whose prompt has these ids, and of an appended answer as far as it matters."""
        if not request.append:
            return self.layout(ids)
        sequence = self.layout(np.concatenate([ids, self.tokenizer.encode(request.prompt.answer or "")]))
        # Nothing behind <SEG> can change what stands before it.
        segs = np.flatnonzero(sequence.seg_ids >= 0)
        return sequence.part(0, int(segs[0]) + 1) if len(segs) == 1 else sequence

    def draft(self, request: Request, ids: Ids) -> Ids:
        """Ids that an answer is expected to have, int64 [n]; ``ids`` are those of its prompt."""
        if request.append:
            return NO_DRAFT
        if request.draft is not None:
            return request.draft
        prompt = request.prompt
        if self.drafter is None or prompt.answer is None:
            return NO_DRAFT
        return self.drafter.draft(prompt.task, self._phrases(ids), self.tokenizer.encode(prompt.answer))

    def _generate_batch(self, requests: Sequence[Request], features: ImageFeatures, every_row: bool) -> list[Answer]:
        runs = [self._run(request) for request in requests]
        alone = len(runs) == 1
        forwards = 1 if alone else 1 + self._prefill_image(runs[0].sequence, features)
        shared, capacity = self.image_rows(runs[0].sequence), self.pipeline.cache.capacity
        answers: dict[int, Answer] = {}
        for batch in batches([len(run.rows) for run in runs], shared, capacity):
            prefilled = self._prefill([runs[index] for index in batch], features, every_row)
            for index, state in zip(batch, prefilled, strict=True):
                run = runs[index]
                if run.request.append:
                    answers[index] = appended_answer(run.sequence, state.hidden, state.first, forwards)
                else:
                    answers[index] = self._decode(run, state, features, forwards, cached=alone, every_row=every_row)
        return [answers[index] for index in range(len(runs))]

    def _run(self, request: Request) -> _Run:
        if request.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {request.max_new_tokens}; it must be at least 1")
        ids = self.tokenizer.encode_prompt(request.prompt.text)
        sequence = self.lay_out(request, ids)
        # The forward that reads a token tells the next one, so the last of a draft need not be read.
        return _Run(request, ids, sequence, self._fitting(request, sequence, self.draft(request, ids)[:-1]))

    def _fitting(self, request: Request, sequence: Expanded, draft: Ids) -> Ids:
        """As many ids of a draft as greedy decoding would read at most."""
        return draft[: max(0, min(self.pipeline.cache.capacity - len(sequence), request.max_new_tokens - 1))]

    def _prefill_image(self, sequence: Expanded, features: ImageFeatures) -> int:
        """Compute the prefix of a sequence unless a cache holds it; returns the number of forwards, 0 or 1."""
        prefix = sequence.part(0, self.image_rows(sequence))
        if not len(prefix) or self.cache_pool.knows(features, prefix.input_ids):
            return 0
        self._begin(prefix, features)
        self.pipeline.forward(self._input_rows(prefix, features, None), np.empty(0, np.int64))
        self.cache_pool.keep(features, prefix.input_ids)
        return 1

    def _begin(self, sequence: Expanded, features: ImageFeatures) -> tuple[Ids, int]:
        """Choose the cache for a sequence and cut it back to what both begin with.

        Returns the ids up to and including the image, which :meth:`CachePool.keep` is to be given once they are
        computed, and how many of them need not be.

        Raises:
            ContextLengthError: the sequence does not fit the cache.
        """
        if len(sequence) > self.pipeline.cache.capacity:
            raise ContextLengthError(
                f"the prompt has {len(sequence)} tokens ({self.settings.model.image_tokens} of them the image), "
                f"the context holds {self.pipeline.cache.capacity}; {self.pipeline.cache.advice}"
            )
        prefix = sequence.input_ids[: self.image_rows(sequence)]
        self.pipeline.cache, known = self.cache_pool.cache(features, prefix)
        first = known if len(sequence) > known else 0
        self.pipeline.cache.truncate(first)
        return prefix, first

    def _prefill(self, runs: Sequence[_Run], features: ImageFeatures, every_row: bool) -> list[_Prefilled]:
        """Run sequences of one image in one forward, the longest last, their image prefix only if no cache has it.

        Of each the pooled rows that can matter are given, or every row that was computed.
        """
        rows = [run.rows for run in runs]
        prefix, first = self._begin(rows[-1], features)
        width = len(rows[-1]) - first
        ends = [place * width + len(sequence) - first for place, sequence in enumerate(rows)]
        choices = [np.arange(end - run.choices, end, dtype=np.int64) for run, end in zip(runs, ends, strict=True)]
        embeds = self._batch_rows(runs, [sequence.part(first) for sequence in rows], features)
        done = self.pipeline.forward(embeds, np.concatenate(choices))
        if self.pipeline.cache.length >= len(prefix):  # a batch leaves the cache as it was
            self.cache_pool.keep(features, prefix)
        start = first if every_row else max(first, min(first_row(sequence, len(prefix)) for sequence in rows))
        hidden = done.hidden(start - first).copy()  # a departing answer's forwards follow before the last is used
        chosen = np.split(done.next_ids, np.cumsum([len(part) for part in choices])[:-1])
        return [
            _Prefilled(hidden[place, : len(sequence) - start], start, chosen[place])
            for place, sequence in enumerate(rows)
        ]

    def _batch_rows(self, runs: Sequence[_Run], parts: Sequence[Expanded], features: ImageFeatures) -> Float | Buffer:
        if len(parts) == 1:
            return self._input_rows(parts[0], features, runs[0].request.regions)
        embeds = np.zeros((len(parts), len(parts[-1]), self.settings.model.hidden_size), np.float32)
        for place, (run, part) in enumerate(zip(runs, parts, strict=True)):
            embeds[place, : len(part)] = self.embed(part, features, run.request.regions)[0]
        return embeds

    def _input_rows(self, sequence: Expanded, features: ImageFeatures, regions: Float | None) -> Float | Buffer:
        backend = self.pipeline.backend
        if isinstance(backend, JoinsRows):
            return backend.assemble(row_parts(sequence, self._table, features.embeds, regions))
        return self.embed(sequence, features, regions)

    def _decode(
        self,
        run: _Run,
        state: _Prefilled,
        features: ImageFeatures,
        forwards: int,
        *,
        cached: bool,
        every_row: bool,
    ) -> Answer:
        """Take what the first forward agrees with, and decode the rest; ``cached`` tells whether its rows are kept."""
        ids = accept(run.draft, state.next_ids, self.stops)
        if not cached and not self.stops(ids):
            run = replace(run, draft=self._fitting(run.request, run.sequence, np.array(ids, np.int64)))
            (state,) = self._prefill([run], features, every_row)
            ids, forwards, cached = accept(run.draft, state.next_ids, self.stops), forwards + 1, True
        if run.request.told is not None:
            run.request.told(ids)
        rows = len(run.sequence) + len(ids) - 1
        hidden = [state.hidden[: rows - state.first]]
        if cached:
            self.pipeline.cache.truncate(rows)
            forwards += self._decode_steps(run.request, ids, hidden)
        answer = generated_answer(
            run.sequence,
            np.array(ids, np.int64),
            np.concatenate(hidden),
            state.first,
            forwards,
            self.tokenizer,
            self.settings.tokens,
        )
        self._record(run, answer)
        return answer

    def _decode_steps(self, request: Request, ids: list[int], hidden: list[Float]) -> int:
        """Decode behind the cache until the end, appending to ``ids`` and ``hidden``; returns the forwards taken."""
        cache, forwards, last_answer = self.pipeline.cache, 0, self._last_answer(request)
        while len(ids) < request.max_new_tokens and not self.stops(ids) and cache.length < cache.capacity:
            room = min(cache.capacity - cache.length, request.max_new_tokens - len(ids)) - 1
            draft = [] if last_answer is None else prompt_lookup(ids, last_answer)[:room]
            start = cache.length
            step = self.pipeline.forward(self._table[[ids[-1], *draft]][None], np.arange(1 + len(draft)))
            accepted = accept(draft, step.next_ids, self.stops, ids)
            cache.truncate(start + len(accepted))
            hidden.append(step.hidden()[0, : len(accepted)].copy())
            ids += accepted
            forwards += 1
            if request.told is not None:
                request.told(ids)
        return forwards

    def _last_answer(self, request: Request) -> list[int] | None:
        """What ids may be looked up in while the answer is decoded; None if they may not be."""
        if self.drafter is None or request.draft is not None:
            return None
        return self.drafter.last_answer(request.prompt.task)

    def _record(self, run: _Run, answer: Answer) -> None:
        """Remember an answer that came to an end by itself."""
        if self.drafter is not None and run.request.draft is None and self.stops(answer.ids.tolist()):
            self.drafter.record(run.request.prompt.task, self._phrases(run.ids), answer.ids)

    def _phrases(self, ids: Ids) -> list[Ids]:
        return [ids[start + 1 : end] for start, end in phrase_bounds(ids, self.settings.tokens)]
