"""One prompt, given as text, through the way of all prompts."""

from __future__ import annotations

import numpy as np

from xsam_edge.runtime.chain.pipeline import ImageFeatures
from xsam_edge.runtime.language.answer import MAX_NEW_TOKENS, Answer, Request
from xsam_edge.runtime.language.generate import LanguageModel
from xsam_edge.runtime.language.prompts import Prompt
from xsam_edge.runtime.language.sequence import Expanded
from xsam_edge.runtime.language.speculative import NO_DRAFT


def generate(
    language: LanguageModel,
    text: str,
    features: ImageFeatures,
    regions: np.ndarray | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    draft: np.ndarray = NO_DRAFT,
    *,
    every_row: bool = False,
) -> Answer:
    """Decode, with a draft or none, whatever the model said before."""
    request = Request(Prompt("refseg", text, None), regions, max_new_tokens=max_new_tokens, draft=draft)
    (answer,) = language.generate([request], features, every_row=every_row)
    return answer


def append(
    language: LanguageModel, text: str, answer: str, features: ImageFeatures, regions: np.ndarray | None = None
) -> Answer:
    """Take an answer as given."""
    (given,) = language.generate([Request(Prompt("refseg", text, answer), regions, append=True)], features)
    return given


def encode(language: LanguageModel, text: str, answer: str = "") -> Expanded:
    """The rows of a prompt and of an answer behind it."""
    parts = [language.tokenizer.encode_prompt(text), language.tokenizer.encode(answer)]
    return language.layout(np.concatenate(parts))
