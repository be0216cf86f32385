"""What cameras send before it is RGB: mosaics of colour filters (Bayer), and luma with halved chroma (YUV)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Pattern -> the channel (0 red, 1 green, 2 blue) of each pixel of a block of 2 x 2, row by row.
BAYER = {"rggb": (0, 1, 1, 2), "bggr": (2, 1, 1, 0), "gbrg": (1, 2, 0, 1), "grbg": (1, 0, 2, 1)}

# BT.601 of the studio range (luma 16..235), which is what V4L2 calls SMPTE 170M, in 65,536ths.
_LUMA, _RED_V, _GREEN_V, _GREEN_U, _BLUE_U = 76309, 104597, 53279, 25675, 132201


def from_bayer(mosaic: NDArray[Any], pattern: str) -> NDArray[Any]:
    """RGB [H, W, 3] of a mosaic [H, W] of uint8 or uint16, in its dtype; at least 2 x 2 pixels.

    What a pixel lacks is the mean of its two or four nearest neighbours that have it, halves rounded up. At an edge the
    neighbour beyond is that on the near side, so that a straight ramp bends there. OpenCV's bilinear demosaicing gives
    the same but in the outermost rows and columns, where it repeats those next to them.
    """
    height, width = mosaic.shape
    wide = np.pad(mosaic, 1, mode="reflect").astype(np.uint16 if mosaic.dtype == np.uint8 else np.uint32)
    image = np.empty((height, width, 3), mosaic.dtype)
    for place, own in enumerate(BAYER[pattern]):
        y, x = divmod(place, 2)
        site = image[y::2, x::2]
        rows, columns = site.shape[:2]

        def at(dy: int, dx: int, y: int = y, x: int = x, rows: int = rows, columns: int = columns) -> NDArray[Any]:
            return wide[1 + y + dy :: 2, 1 + x + dx :: 2][:rows, :columns]

        site[..., own] = at(0, 0)
        across, along = at(0, -1) + at(0, 1), at(-1, 0) + at(1, 0)
        if own == 1:
            beside = BAYER[pattern][place ^ 1]
            site[..., beside] = (across + 1) >> 1
            site[..., 2 - beside] = (along + 1) >> 1
        else:
            site[..., 1] = (across + along + 2) >> 2
            site[..., 2 - own] = (at(-1, -1) + at(-1, 1) + at(1, -1) + at(1, 1) + 2) >> 2
    return image


def from_yuv(luma: NDArray[np.uint8], u: NDArray[np.uint8], v: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] of luma [H, W] and chroma of half its width, and of its height or half of that.

    BT.601 in the studio range; a chroma sample serves all the pixels that share it.
    """
    height, width = luma.shape
    down, right = height // u.shape[0], width // u.shape[1]
    blue, red = u.astype(np.int32) - 128, v.astype(np.int32) - 128
    bright = _LUMA * np.maximum(luma.astype(np.int32) - 16, 0) + (1 << 15)
    shifts = (_RED_V * red, -_GREEN_V * red - _GREEN_U * blue, _BLUE_U * blue)
    image = np.empty((height, width, 3), np.uint8)
    for channel, shift in enumerate(shifts):
        values = (bright + shift.repeat(down, 0).repeat(right, 1)) >> 16
        np.clip(values, 0, 255, out=image[..., channel], casting="unsafe")
    return image
