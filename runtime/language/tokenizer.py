"""Text to token ids and back, and where phrases and ``<SEG>`` lie among the ids.

Needs the ``tokenizers`` library and a bundle's ``tokenizer.json``, which holds every added token; nothing else of
the language model. Ids below zero stand for what is not text: an image or a region.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers

from xsam_edge.runtime.bundle.settings import SpecialTokens
from xsam_edge.runtime.errors import BundleError, InputError

IMAGE_ID = -200
"""Stands for all tokens of the image."""
REGION_ID = -300
"""Stands for all tokens of one region."""

_MARKER_IDS = {"<image>": IMAGE_ID, "<region>": REGION_ID}
_MARKER = re.compile("(" + "|".join(map(re.escape, _MARKER_IDS)) + ")")

Ids = npt.NDArray[np.int64]


class Tokenizer:
    """A language model's tokenizer, as ``encode_fn`` and ``tokenizer.decode`` of the official code use it."""

    def __init__(self, tokenizer_json: str) -> None:
        """Parse the text of a ``tokenizer.json``. Raises BundleError if it is not one."""
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json)
        except Exception as error:  # the library raises plain Exception
            raise BundleError(f"tokenizer.json cannot be read ({error}); export the bundle again") from error
        added = [token.content for token in self._tokenizer.get_added_tokens_decoder().values()]
        # Longest first, so that an error names the whole token; some models add runs of blanks, which are harmless.
        self.reserved: tuple[str, ...] = tuple(sorted(filter(str.strip, added), key=len, reverse=True))
        """Text of every added token: what a user's text may not contain."""

    @classmethod
    def from_file(cls, path: str | Path) -> Tokenizer:
        """Read a ``tokenizer.json``. Raises BundleError if it is missing or not one."""
        try:
            return cls(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"{path} cannot be read ({error}); export the bundle again") from error

    def encode(self, text: str) -> Ids:
        """Return the ids of plain text, int64 [n]; no BOS or EOS is added."""
        return np.asarray(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def encode_prompt(self, text: str) -> Ids:
        """Return the ids of a prompt, int64 [n], with ``IMAGE_ID`` and ``REGION_ID`` for ``<image>``, ``<region>``.

        The text between markers is tokenised piece by piece and blank pieces are dropped (``encode_fn`` of the
        official code); a text without markers is tokenised whole.
        """
        if not _MARKER.search(text):
            return self.encode(text)
        pieces = [piece for piece in _MARKER.split(text) if piece.strip()]
        ids = [np.array([_MARKER_IDS[piece]]) if piece in _MARKER_IDS else self.encode(piece) for piece in pieces]
        return np.concatenate(ids).astype(np.int64)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """Return the text of generated ids, special tokens included.

        Raises InputError for an id below zero: images and regions have no text.
        """
        values = [int(index) for index in ids]
        if any(index < 0 for index in values):
            raise InputError(f"ids to decode must not be negative, found {min(values)}; decode generated ids only")
        return str(self._tokenizer.decode(values, skip_special_tokens=False))

    def phrases(self, ids: Sequence[int] | Ids, tokens: SpecialTokens) -> list[str]:
        """Return the text inside each ``<p>..</p>``; "" where it holds an image or a region.

        Source: ``_get_phrases_ids`` and ``_decode_phrases_ids`` of the official demo.
        """
        ids = np.asarray(ids, np.int64)
        inner = [ids[start + 1 : end] for start, end in phrase_bounds(ids, tokens)]
        return ["" if (part < 0).any() else self.decode(part).strip() for part in inner]


def phrase_bounds(ids: Ids, tokens: SpecialTokens) -> list[tuple[int, int]]:
    """Return the positions of the i-th ``<p>`` and the i-th ``</p>``, for as many as have both."""
    ids = np.asarray(ids)
    starts = np.flatnonzero(ids == tokens.phrase_start).tolist()
    ends = np.flatnonzero(ids == tokens.phrase_end).tolist()
    return list(zip(starts, ends, strict=False))


def phrase_spans(ids: Ids, tokens: SpecialTokens) -> Ids:
    """Return the condition of each position, int64 [n]: i inside the i-th ``<p>..</p>``, both included, else -1.

    Where spans overlap, which only ill-formed generated text can cause, the later one wins; a span that ends before
    it begins covers nothing. Source: ``_get_cond_ids`` of the official code.
    """
    spans = np.full(len(ids), -1, np.int64)
    for index, (start, end) in enumerate(phrase_bounds(ids, tokens)):
        spans[start : end + 1] = index
    return spans


def seg_positions(ids: Ids, tokens: SpecialTokens) -> Ids:
    """Return int64 [n]: i at the i-th ``<SEG>``, else -1. Source: ``_get_seg_ids`` of the official code."""
    is_seg = np.asarray(ids) == tokens.seg
    return np.where(is_seg, np.cumsum(is_seg) - 1, -1).astype(np.int64)
