"""The language model's input put together on the device: image rows never come to the host.

Only for a backend whose memory is not the host's; on a CPU, ``sequence.splice`` does the same in one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Array, Buffer
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.language.sequence import Expanded, splice
from xsam_edge.runtime.language.tokenizer import IMAGE_ID


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
