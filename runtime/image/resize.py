"""From the mask decoder's grid to the image: the official chain of two bilinear resizes, done at once.

The official code resizes every mask logit map to the mask encoder's input, crops the padding away and resizes to
the image (``torch.nn.functional.interpolate`` twice, then ``sem_seg_postprocess``). Both steps are linear and
separable, so a pixel is a weighted sum of a few neighbouring grid cells, and any part of any mask can be computed
alone. That keeps memory small: callers walk an image in bands and never hold full-size float maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.errors import InputError

BAND_BYTES = 1 << 22  # float32 values of one band: stays in cache
BAND_ROWS = 8  # at least; every band resizes about three more grid rows than its share
COLUMN_BLOCK = 128  # output columns per matrix product: a block touches few grid columns


@dataclass(frozen=True)
class Frame:
    """Sizes, all (height, width) in pixels, of one image on its way through the mask encoder."""

    image_size: tuple[int, int]  # of the image
    scaled_size: tuple[int, int]  # of the resized image within the input
    input_size: tuple[int, int]  # of the mask encoder's input, padding included

    def __post_init__(self) -> None:
        for name in ("image_size", "scaled_size", "input_size"):
            if min(getattr(self, name)) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; both sides must be at least 1 pixel")
        if self.scaled_size[0] > self.input_size[0] or self.scaled_size[1] > self.input_size[1]:
            raise InputError(f"scaled_size {self.scaled_size} does not fit input_size {self.input_size}")


@dataclass(frozen=True)
class Window:
    """A rectangle of output pixels, stop exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an [H, W] array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, eq=False)
class Axis:
    """One dimension of a resize: output i = sum over t of weights[i, t] * input[start[i] + t].

    ``start`` is int64 [outputs] and never decreases, ``weights`` float32 [outputs, taps], none negative.
    """

    size_in: int
    start: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def size_out(self) -> int:
        """Number of outputs."""
        return len(self.start)

    @property
    def taps(self) -> int:
        """Inputs that one output is made of."""
        return int(self.weights.shape[1])

    def head(self, count: int) -> Axis:
        """The first ``count`` outputs: a crop."""
        return Axis(self.size_in, self.start[:count], self.weights[:count])

    def inputs(self, start: int, stop: int) -> slice:
        """The inputs that outputs [start, stop) need."""
        return slice(int(self.start[start]), int(self.start[stop - 1]) + self.taps)

    def outputs(self, start: int, stop: int) -> tuple[int, int]:
        """The outputs (start, stop) that inputs [start, stop) reach."""
        first = np.searchsorted(self.start, start - self.taps, side="right")
        return int(first), int(np.searchsorted(self.start, stop, side="left"))

    def matrix(self, start: int, stop: int) -> NDArray[np.float32]:
        """Weights of outputs [start, stop) over ``inputs(start, stop)``, dense float32."""
        needed = self.inputs(start, stop)
        dense = np.zeros((stop - start, needed.stop - needed.start), np.float32)
        columns = self.start[start:stop, None] - needed.start + np.arange(self.taps)
        np.put_along_axis(dense, columns, self.weights[start:stop], axis=1)
        return dense


def bilinear(size_in: int, size_out: int) -> Axis:
    """Bilinear interpolation of ``size_in`` values to ``size_out``, half-pixel centres, no antialiasing.

    As ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` rounds it: the scale and the source
    position are float32, multiplied and added in one rounding.
    """
    scale = np.float64(np.float32(size_in) / np.float32(size_out))
    # A float64 product of two float32 values is exact, so that the cast is the only rounding, as with an FMA.
    source = (scale * (np.arange(size_out) + 0.5) - 0.5).astype(np.float32)
    source = np.clip(source, 0, size_in - 1)
    if size_in == 1:
        return Axis(1, np.zeros(size_out, np.int64), np.ones((size_out, 1), np.float32))
    start = np.minimum(source.astype(np.int64), size_in - 2)
    fraction = (source - start).astype(np.float32)
    return Axis(size_in, start, np.stack([1 - fraction, fraction], axis=1))


def compose(first: Axis, second: Axis) -> Axis:
    """The axis that applies ``first``, then ``second``."""
    middle = second.start[:, None] + np.arange(second.taps)  # [outputs, taps of second]
    positions = first.start[middle][:, :, None] + np.arange(first.taps)  # [outputs, taps of second, taps of first]
    products = second.weights[:, :, None].astype(np.float64) * first.weights[middle]
    start = positions[:, 0, 0]
    taps = min(int((positions[:, -1, -1] - start).max()) + 1, first.size_in)
    start = np.minimum(start, first.size_in - taps)
    weights = np.zeros((second.size_out, taps))
    rows = np.broadcast_to(np.arange(second.size_out)[:, None, None], positions.shape)
    np.add.at(weights, (rows, positions - start[:, None, None]), products)
    return Axis(first.size_in, start, weights.astype(np.float32))


ColumnBlock = tuple[slice, slice, NDArray[np.float32]]  # output columns, the inputs they need, [inputs, outputs]


@dataclass(frozen=True, eq=False)
class Resizer:
    """A separable resize of [h, w] maps to [H, W]."""

    rows: Axis
    columns: Axis

    @property
    def size_out(self) -> tuple[int, int]:
        """(H, W)."""
        return self.rows.size_out, self.columns.size_out

    @property
    def window(self) -> Window:
        """All of the output."""
        return Window(0, self.rows.size_out, 0, self.columns.size_out)

    def reach(self, cells: NDArray[np.bool_]) -> Window | None:
        """The smallest window that holds every pixel which a true cell of bool [h, w] has a weight in; None if none."""
        rows, columns = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
        if not len(rows):
            return None
        top, bottom = self.rows.outputs(int(rows[0]), int(rows[-1]) + 1)
        left, right = self.columns.outputs(int(columns[0]), int(columns[-1]) + 1)
        return Window(top, bottom, left, right) if top < bottom and left < right else None

    def plan(self, count: int, window: Window | None = None, band_bytes: int = BAND_BYTES) -> Iterator[Window]:
        """Bands that cover ``window`` (default: everything), sized for ``count`` float32 maps.

        They are as wide as the window, or, where a few rows of that are too much already, some blocks of columns wide;
        top down, and then from left to right.
        """
        window = window or self.window
        blocks = max(1, band_bytes // (4 * max(1, count) * BAND_ROWS) // COLUMN_BLOCK)
        width = min(window.right - window.left, blocks * COLUMN_BLOCK)
        height = max(BAND_ROWS, band_bytes // (4 * max(1, count) * width))
        for left in range(window.left, window.right, width):
            for top in range(window.top, window.bottom, height):
                yield Window(top, min(top + height, window.bottom), left, min(left + width, window.right))

    def column_blocks(self, window: Window) -> list[ColumnBlock]:
        """What ``render`` needs of the columns of ``window``."""
        blocks = []
        for left in range(window.left, window.right, COLUMN_BLOCK):
            right = min(left + COLUMN_BLOCK, window.right)
            outputs = slice(left - window.left, right - window.left)
            blocks.append((outputs, self.columns.inputs(left, right), self.columns.matrix(left, right).T))
        return blocks

    def render(self, cells: NDArray[np.float32], band: Window, blocks: list[ColumnBlock]) -> NDArray[np.float32]:
        """One band: float32 [N, the rows that ``rows.inputs`` names, w] -> [N, rows of the band, its columns]."""
        wide = np.empty((*cells.shape[:2], band.right - band.left), np.float32)
        for outputs, inputs, matrix in blocks:
            np.matmul(cells[:, :, inputs], matrix, out=wide[:, :, outputs])
        out: NDArray[np.float32] = np.matmul(self.rows.matrix(band.top, band.bottom), wide)
        return out

    def bands(
        self, maps: NDArray[np.float32], window: Window | None = None, band_bytes: int = BAND_BYTES
    ) -> Iterator[tuple[Window, NDArray[np.float32]]]:
        """Resize float32 [N, h, w] band by band (see ``plan``): (window of the band, float32 [N, rows, columns])."""
        left, blocks = -1, []
        for band in self.plan(len(maps), window, band_bytes):
            if band.left != left:
                left, blocks = band.left, self.column_blocks(band)
            yield band, self.render(maps[:, self.rows.inputs(band.top, band.bottom)], band, blocks)

    def resize(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resize float32 [N, h, w] to [N, H, W] at once; for small outputs."""
        out = np.empty((len(maps), *self.size_out), np.float32)
        for band, values in self.bands(maps):
            rows, columns = band.slices
            out[:, rows, columns] = values
        return out


def input_resizer(grid: tuple[int, int], frame: Frame) -> Resizer:
    """Mask grid (h, w) -> the part of the mask encoder's input that the image covers (the scaled size)."""
    (height, width), (scaled_height, scaled_width) = frame.input_size, frame.scaled_size
    return Resizer(bilinear(grid[0], height).head(scaled_height), bilinear(grid[1], width).head(scaled_width))


def scaled_resizer(frame: Frame) -> Resizer:
    """Scaled size -> the image."""
    (height, width), (scaled_height, scaled_width) = frame.image_size, frame.scaled_size
    return Resizer(bilinear(scaled_height, height), bilinear(scaled_width, width))


def image_resizer(grid: tuple[int, int], frame: Frame) -> Resizer:
    """Mask grid (h, w) -> the image: both steps in one."""
    first, second = input_resizer(grid, frame), scaled_resizer(frame)
    return Resizer(compose(first.rows, second.rows), compose(first.columns, second.columns))


def restore_mask(mask: NDArray[np.uint8] | NDArray[np.bool_], frame: Frame) -> NDArray[np.bool_]:
    """A mask on the mask encoder's input [input height, input width] -> bool [H, W] at the image's size.

    Crop and nearest neighbour, as the official ``sem_seg_postprocess(mode="nearest")`` does to a region prompt.
    """
    rows = _nearest(frame.scaled_size[0], frame.image_size[0])
    columns = _nearest(frame.scaled_size[1], frame.image_size[1])
    restored: NDArray[np.bool_] = mask[rows[:, None], columns] != 0
    return restored


def _nearest(size_in: int, size_out: int) -> NDArray[np.int64]:
    """Source indices of ``interpolate(mode="nearest")``, which rounds in float32."""
    scale = np.float32(size_in) / np.float32(size_out)
    indices: NDArray[np.int64] = (np.arange(size_out, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(indices, size_in - 1)
