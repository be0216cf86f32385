"""The demo model's tokenizer, trained on what can be said about drawn scenes."""

from __future__ import annotations

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from xsam_edge.calibration.shapes import phrases
from xsam_edge.calibration.shapes.composition import GROUNDS, SHAPES, compose
from xsam_edge.export.tokenizer import with_special_tokens
from xsam_edge.runtime.bundle.settings import PromptFormat
from xsam_edge.runtime.language.prompts import QUESTIONS

_CORPUS_SCENES = 400
_MAX_VOCABULARY = 1024


def train_tokenizer(form: PromptFormat) -> str:
    """Train the demo model's tokenizer: byte-level BPE in which every word of the drawn scenes is one token.

    Any other text is made of smaller pieces, bytes in the end, so that every prompt has ids. Returns the text of a
    ``tokenizer.json`` with the chat tokens of ``form`` and X-SAM's own.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_MAX_VOCABULARY,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    chat = [form.bos, "<|user|>", "<|assistant|>", "<|end|>"]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False, rstrip=True) for token in chat])
    return with_special_tokens(tokenizer.to_str())


def _corpus() -> list[str]:
    words = list(QUESTIONS) + [f"{{}}{name}, {name} {name}? {name}." for name in (*SHAPES, *GROUNDS)]
    words += ["It is.", " .", "Yes.", "No."]
    for seed in range(_CORPUS_SCENES):
        composition = compose(seed)
        expressions = [*phrases.expressions(composition), *phrases.sentences(composition), *phrases.absent(composition)]
        words += [f"{expression.text} {expression.text}" for expression in expressions]
        words.append(phrases.caption(composition)[0].replace("<p>", "|").replace("</p>", "|"))
        rng = np.random.default_rng(seed)
        words += [text for _ in range(4) for text in phrases.questions(composition, rng)]
    return words
