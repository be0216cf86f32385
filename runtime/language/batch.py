"""Several prompts on one image as one batch of the language model.

All begin with the image, which is computed once; behind it the prompts stand side by side, padded on the right to the
longest: no token sees what follows it, so padding changes nothing. What each will probably answer is read along
(:mod:`xsam_edge.runtime.language.speculative`). A prompt whose answer comes otherwise is decoded by itself, from where
it departs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from xsam_edge.runtime.chain.pipeline import Float, ImageFeatures
from xsam_edge.runtime.language.generate import Answer, LanguageModel
from xsam_edge.runtime.language.prompts import Prompt
from xsam_edge.runtime.language.sequence import Expanded
from xsam_edge.runtime.language.speculative import agreed
from xsam_edge.runtime.language.tokenizer import Ids

MAX_BATCH = 8
"""Prompts in one forward. Activations grow with it, and beyond a few hundred rows a forward gains nothing."""

BATCHED_TOKENS = 256
"""Tokens that a prompt of a batch may have behind the image; a longer one fills a forward by itself."""

_ROWS = 512  # of one forward, unless the image has more: then its prefill is larger anyway


def ask_together(language: LanguageModel, prompts: Sequence[Prompt], features: ImageFeatures) -> list[Answer]:
    """Answer prompts without regions as ``LanguageModel.ask`` does one by one.

    Raises:
        ContextLengthError: one of the prompts does not fit the context.
    """
    if len(prompts) < 2 or language.drafts is None or not language.pipeline.batches:
        return [language.ask(prompt, features) for prompt in prompts]
    ids = [language.tokenizer.encode_prompt(prompt.text) for prompt in prompts]
    sequences = [language.layout(one) for one in ids]
    reads = [
        language.fitting(sequence, language.expect(prompt, one)[:-1])
        for prompt, one, sequence in zip(prompts, ids, sequences, strict=True)
    ]
    extended = [sequence.followed_by(read) for sequence, read in zip(sequences, reads, strict=True)]
    answers: dict[int, Answer] = {}
    for index, hidden, first, chosen, forwards in _forwards(language, extended, [len(r) + 1 for r in reads], features):
        said = agreed(reads[index], chosen, language.stops)
        if language.stops(said):
            rows = hidden[: len(sequences[index]) + len(said) - 1 - first]
            given = language.read_generated(sequences[index], np.array(said, np.int64), rows, first, forwards)
        else:
            read = np.array(said, np.int64)
            before = language.said(prompts[index])
            given = language.decode(sequences[index], features, read=read, said=before, forwards=forwards)
        language.learn(prompts[index], ids[index], given)
        answers[index] = given
    return [answers[index] for index in range(len(prompts))]


def append_together(language: LanguageModel, prompts: Sequence[Prompt], features: ImageFeatures) -> list[Answer]:
    """Read the embeddings of the prompts' fixed answers as ``LanguageModel.append`` does one by one.

    Raises:
        ContextLengthError: one of the prompts does not fit the context.
    """
    texts = [(prompt.text, prompt.answer or "") for prompt in prompts]
    if len(prompts) < 2 or not language.pipeline.batches:
        return [language.append(text, answer, features) for text, answer in texts]
    sequences = [language.lay_out_answer(text, answer) for text, answer in texts]
    answers = {
        index: language.read_appended(sequences[index], hidden, first, forwards)
        for index, hidden, first, _, forwards in _forwards(language, sequences, [0] * len(prompts), features)
    }
    return [answers[index] for index in range(len(prompts))]


def _forwards(
    language: LanguageModel, sequences: Sequence[Expanded], choices: Sequence[int], features: ImageFeatures
) -> Iterator[tuple[int, Float, int, Ids, int]]:
    """Run sequences of one image, in any order.

    Yields of each its index, its pooled rows behind the image, the position of the first of them, what the model
    chooses after each of its last ``choices`` tokens, and the number of forwards that it took part in.
    """
    fresh = language.prefill_image(sequences[0], features)
    lengths = [len(sequence) for sequence in sequences]
    for group in groups(lengths, language.image_rows(sequences[0]), language.pipeline.cache.capacity):
        prefix, first = language.begin(sequences[group[-1]], features)
        rows = lengths[group[-1]] - first  # the longest
        embeds = np.zeros((len(group), rows, language.settings.model.hidden_size), np.float32)
        wanted = []
        for place, index in enumerate(group):
            part = language.embed(sequences[index].part(first), features)
            embeds[place, : part.shape[1]] = part[0]
            end = place * rows + part.shape[1]
            wanted.append(np.arange(end - choices[index], end, dtype=np.int64))
        done = language.pipeline.forward(embeds, np.concatenate(wanted))
        if language.pipeline.cache.length >= len(prefix):
            language.memory.keep(features, prefix)
        chosen = np.split(done.next_ids, np.cumsum([len(part) for part in wanted])[:-1])
        states = done.hidden().copy()  # the next forward may be one of a prompt that departs from its draft
        for place, index in enumerate(group):
            yield index, states[place, : lengths[index] - first], first, chosen[place], 1 + fresh


def groups(lengths: Sequence[int], shared: int, capacity: int) -> list[list[int]]:
    """Divide sequences into batches of similar length, the longest of each last.

    ``shared`` rows at the beginning of all are computed already. The rows of a batch, padding included, fit into the
    rest of a cache of ``capacity`` tokens, where their keys and values are written.
    """
    limit = min(capacity - shared, max(shared, _ROWS))
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        size, rows = len(batches[-1]) + 1 if batches else 1, lengths[index] - shared
        if batches and size <= MAX_BATCH and rows <= BATCHED_TOKENS and size * rows <= limit:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
