"""The language model's input: each placeholder id becomes the rows that it stands for.

``expand`` lays out the sequence (integers only), ``splice`` fills in the embeddings. Both follow
``prepare_inputs_labels_for_mlm`` in ``model/utils/input_process.py`` of the official code, for one image. Where the
device's memory is not the host's, ``row_parts`` does the same without bringing the image's rows to the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Array, Buffer
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.language.tokenizer import IMAGE_ID, REGION_ID, Ids


@dataclass(frozen=True)
class Expanded:
    """A sequence of S rows; every array is int64 [S].

    ``input_ids`` repeats ``IMAGE_ID`` and ``REGION_ID`` on the rows of an image or a region. ``cond_ids`` is the
    condition that a row belongs to and ``seg_ids`` the ordinal of a ``<SEG>``, both -1 elsewhere.
    """

    input_ids: Ids
    cond_ids: Ids
    seg_ids: Ids

    def __len__(self) -> int:
        return len(self.input_ids)

    def part(self, start: int, stop: int | None = None) -> Expanded:
        """Rows ``start:stop``."""
        return Expanded(self.input_ids[start:stop], self.cond_ids[start:stop], self.seg_ids[start:stop])

    def followed_by(self, ids: Ids) -> Expanded:
        """These rows and then those of generated ids [n], which belong to no condition and count as no ``<SEG>``."""
        if not len(ids):
            return self
        none = np.full(len(ids), -1, np.int64)
        return Expanded(
            np.concatenate([self.input_ids, ids]),
            np.concatenate([self.cond_ids, none]),
            np.concatenate([self.seg_ids, none]),
        )


def expand(ids: Ids, cond_ids: Ids, seg_ids: Ids, image_tokens: int, region_tokens: int) -> Expanded:
    """Repeat each placeholder of int64 [n] arrays as often as it has rows.

    The rows of the i-th region get the condition i, those of an image none.

    Raises InputError if the three arrays differ in length.
    """
    if not len(ids) == len(cond_ids) == len(seg_ids):
        raise InputError(
            f"ids, cond_ids and seg_ids must have one length, not {len(ids)}, {len(cond_ids)}, {len(seg_ids)}"
        )
    ids = np.asarray(ids, np.int64)
    is_image, is_region = ids == IMAGE_ID, ids == REGION_ID
    rows = np.where(is_image, image_tokens, np.where(is_region, region_tokens, 1))
    conditions = np.where(is_image, -1, np.where(is_region, np.cumsum(is_region) - 1, cond_ids))
    segs = np.where(is_image | is_region, -1, seg_ids)
    return Expanded(np.repeat(ids, rows), np.repeat(conditions, rows), np.repeat(segs, rows))


def splice(
    expanded: Expanded,
    table: npt.NDArray[np.floating],
    image_embeds: npt.NDArray[np.floating],
    region_embeds: npt.NDArray[np.floating] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the embeddings of a sequence, float32 [1, S, H].

    ``table`` is the token embedding [V, H], float32 or float16; a memory-mapped file is read only where a token
    occurs. ``image_embeds`` is [I, H], ``region_embeds`` [R, T, H] in the order of the regions.

    Raises InputError if the rows of an image or of the regions are not as many as the sequence has, if a width
    differs, or if an id is not in the table.
    """
    ids = expanded.input_ids
    vocabulary, width = table.shape
    out = np.empty((1, len(ids), width), np.float32)
    is_image, is_region = ids == IMAGE_ID, ids == REGION_ID
    _fill(out[0], is_image, image_embeds, "image")
    regions = (
        np.empty((0, width), np.float32)
        if region_embeds is None
        else region_embeds.reshape(-1, region_embeds.shape[-1])
    )
    _fill(out[0], is_region, regions, "region")
    is_text = ~(is_image | is_region)
    text = ids[is_text]
    if text.size and not 0 <= text.min() <= text.max() < vocabulary:
        raise InputError(
            f"token ids {text.min()}..{text.max()} do not fit an embedding table of {vocabulary} rows; "
            "the tokenizer and the table must come from one bundle"
        )
    out[0, is_text] = table[text]
    return out


def _fill(
    out: npt.NDArray[np.float32], rows: npt.NDArray[np.bool_], embeds: npt.NDArray[np.floating], what: str
) -> None:
    expected = (int(rows.sum()), out.shape[1])
    if embeds.shape != expected:
        raise InputError(f"{what} embeddings are {list(embeds.shape)}, the sequence needs {list(expected)}")
    out[rows] = embeds


def first_row(sequence: Expanded, prefix: int) -> int:
    """The first row whose pooled state can matter: behind an image ``prefix``, or of a phrase or ``<SEG>`` before."""
    named = np.flatnonzero((sequence.cond_ids >= 0) | (sequence.seg_ids >= 0))
    return min(prefix, int(named[0])) if len(named) else prefix


@runtime_checkable
class JoinsRows(Protocol):
    """A backend that joins tensors of the host and of its device."""

    def assemble(self, parts: Sequence[Array | Buffer]) -> Buffer:
        """Join tensors [1, n, ...] along axis 1."""


def row_parts(
    sequence: Expanded,
    table: npt.NDArray[np.floating],
    image: Buffer,
    regions: npt.NDArray[np.floating] | None,
) -> list[Array | Buffer]:
    """Parts that in a row are the embeddings of a sequence: arrays of text and region rows, views of the image's.

    Args:
        sequence: S rows.
        table: token embeddings, [V, H].
        image: the image's rows on the device, [1, I, H].
        regions: [R, T, H], in the order of the regions.

    Returns:
        [1, n, H] each, in the image's dtype, S rows in all.

    Raises:
        InputError: the sequence holds other rows of an image than ``image`` has, or as in ``splice``.
    """
    is_image = sequence.input_ids == IMAGE_ID
    if is_image.any() and is_image.sum() != image.shape[1]:
        raise InputError(f"the image has {image.shape[1]} rows, the sequence needs {is_image.sum()}")
    others = Expanded(sequence.input_ids[~is_image], sequence.cond_ids[~is_image], sequence.seg_ids[~is_image])
    host = splice(others, table, np.empty((0, table.shape[1]), np.float32), regions).astype(image.dtype, copy=False)
    edges = [0, *(np.flatnonzero(np.diff(is_image)) + 1).tolist(), len(is_image)]
    parts: list[Array | Buffer] = []
    of_host = of_image = 0
    for start, stop in pairwise(edges):
        count = stop - start
        if start < stop and is_image[start]:
            parts.append(image.tokens(of_image, of_image + count))
            of_image += count
        else:
            parts.append(host[:, of_host : of_host + count])
            of_host += count
    return parts
