"""Which pixels of a mask that a user has are the region: by grey, by what is not transparent, or by an id.

Programs that draw masks put the shape into black and white, into the alpha channel of a colour, or into the indices of
a palette; those that segment write the ids of segments, in 8 or 16 bits. What could be meant in two ways is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import to_rgb

BoolMask = npt.NDArray[np.bool_]
Values = npt.NDArray[Any]

_HALF_8, _HALF_16 = 128, 32767  # greys above are set; the first is that of the official ``load_image(mode="L")``
_LARGEST_8, _LARGEST_16 = 255, 65535
_BRIGHT_16 = 49152  # what a drawn mask reaches; ids of 16 bits such as Cityscapes' 33,001 lie above the half too
_NEARLY_GREY = 32  # how far the channels of a grey differ after lossy compression
_SHOWN = 8  # values in a message


def of_values(values: Values, chosen: int | None = None) -> BoolMask:
    """The region of an array of bool or integers [H, W]: the value ``chosen``, or without, what stands out.

    Two values of which one is 0 are a mask, whatever the other is. More are greys, of 8 or 16 bits, and those above the
    half are set.

    Raises:
        InputError: there is no such value; or more than two that are no greys, but might be ids.
    """
    if chosen is not None:
        return _equal(values, chosen)
    if values.dtype == bool:
        return values.astype(bool)
    distinct = _distinct(values)
    if not distinct:
        return np.zeros(values.shape, bool)
    threshold = _threshold(distinct)
    if threshold is None:
        raise _undecided(distinct)
    return np.asarray(values > threshold)


def of_picture(image: Image.Image, name: str, chosen: int | None = None) -> BoolMask:
    """The region of a decoded picture of any mode, bool [H, W]; ``chosen`` as in :func:`of_values`.

    What is transparent in part has its shape in what is not, whatever the colours are. A palette's colours are as good
    as ids, unless they are greys.

    Raises:
        InputError: as :func:`of_values`, or an id is asked of a picture of colours.
    """
    integers = image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16")
    if chosen is not None:
        if not integers:
            raise InputError(f"{name} has mode {image.mode}, which holds no ids; leave the id {chosen} out")
        return of_values(np.asarray(image), chosen)
    if "A" in image.getbands() or ("transparency" in image.info and not image.mode.startswith("I")):
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        low, high = int(alpha.min()), int(alpha.max())
        if low <= high / 2 < high:
            return np.asarray(alpha > high / 2)
    elif image.mode == "P":
        return _of_palette(image)
    elif integers:
        return of_values(np.asarray(image))
    return _of_colours(to_rgb(image, name), name)


def _of_colours(image: Image.Image, name: str) -> BoolMask:
    """The region of an RGB picture: of greys by their brightness, of two colours the one that is not black."""
    spread = int(np.ptp(np.asarray(image), -1).max())  # of a pixel's channels
    if spread == 0:
        return of_values(np.asarray(image.getchannel(0)))
    colours = image.getcolors(2) or []
    if len(colours) == 2 and (0, 0, 0) in (colours[0][1], colours[1][1]):
        return np.asarray(np.asarray(image).any(-1))
    grey = np.asarray(image.convert("L"))
    if not colours and spread <= _NEARLY_GREY and grey.max() > _HALF_8:
        return of_values(grey)
    raise InputError(
        f"{name} holds {len(colours) or 'more than two'} colours, and nothing says which is the region; give a mask in "
        "black and white, or one of ids with the id: (mask, id), or of a file --mask FILE:ID"
    )


def _of_palette(image: Image.Image) -> BoolMask:
    indices = np.asarray(image)
    used = _distinct(indices)
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    shown = [tuple(colours[index]) if index < len(colours) else (0, 0, 0) for index in used]
    if all(red == green == blue for red, green, blue in shown):
        return of_values(np.asarray(image.convert("L")))
    if len(used) > 2:
        raise _undecided(used)
    black = [index for index, colour in zip(used, shown, strict=True) if not any(colour)]
    region = used[0] if black == used[1:] else used[-1]
    return np.asarray(indices == region)


def _equal(values: Values, chosen: int) -> BoolMask:
    mask = np.asarray(values == chosen)
    if not mask.any():
        raise InputError(f"the mask has no pixel of the id {chosen}; it holds {_listed(_distinct(values))}")
    return mask


def _threshold(distinct: Sequence[int]) -> int | None:
    """Above which value pixels are set; None where the values are no greys."""
    low, high = distinct[0], distinct[-1]
    if low < 0 or high > _LARGEST_16:
        return None
    if high <= 1 or (len(distinct) == 2 and low == 0):
        return 0
    if high <= _LARGEST_8:
        return _HALF_8 if high > _HALF_8 or low == high else None
    # Ids of 16 bits are small numbers, beside the greatest of all where there is none.
    greys = high >= _BRIGHT_16 and any(_LARGEST_8 < value < _LARGEST_16 for value in distinct)
    return _HALF_16 if greys or low == high else None


def _undecided(distinct: Sequence[int]) -> InputError:
    return InputError(
        f"the mask holds {_listed(distinct)}, which may be ids; say which one is the region: (mask, id), or of a file "
        "--mask FILE:ID"
    )


def _listed(distinct: Sequence[int]) -> str:
    shown = ", ".join(map(str, distinct[:_SHOWN]))
    return f"the values {shown}" + (f" and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else "")


def _distinct(values: Values) -> list[int]:
    """The values that occur, ascending."""
    if values.dtype.itemsize > 2 or values.dtype.kind != "u":
        return [int(value) for value in np.unique(values)]
    seen = np.zeros(1 << 8 * values.dtype.itemsize, bool)
    for row in values:  # one at a time: indices are of 64 bits
        seen[row] = True
    return [int(value) for value in np.flatnonzero(seen)]
