"""The graph ``pixels``: a picture goes up as it is, and the device resizes and normalises it as the host would.

How an image of one size is resized is worked out on the host and kept on the device, since a camera's size stays.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Backend, Buffer, Graph, output_shapes
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.image.taps import FILTERS, LONGEST_EDGE, Taps, mask_taps, most_taps, vision_taps

# Sizes whose taps are kept on the device: a few hundred kilobytes each.
_KEPT_SIZES = 8


class PixelMaker:
    """Runs the graph ``pixels``. One thread at a time; what it gives is valid until the next run."""

    def __init__(self, graph: Graph, backend: Backend, settings: Settings) -> None:
        self._graph, self._backend, self._settings = graph, backend, settings
        self._kept: OrderedDict[tuple[int, int], Mapping[str, Buffer]] = OrderedDict()
        self._outputs: dict[str, Buffer] | None = None

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether a picture of a size (h, w) can be resized here."""
        vision, mask = self._settings.vision_input, self._settings.mask_input
        if max(size) > LONGEST_EDGE or not {vision.resample, mask.resample} <= FILTERS.keys():
            return False
        most = {contract.PIXEL_VALUES: most_taps(vision), contract.MASK_PIXEL_VALUES: most_taps(mask)}
        return all(taps.count <= most[pixels] for pixels, pair in self._taps(size).items() for taps in pair)

    def run(self, picture: npt.NDArray[np.uint8]) -> Mapping[str, Buffer]:
        """The image encoder's inputs, made of RGB uint8 [1, height, width, 3] of a size that is taken."""
        height, width = picture.shape[1:3]
        inputs = {contract.PICTURE: self._backend.upload(picture), **self._on_device((height, width))}
        if self._outputs is None:
            spec = self._graph.spec
            shapes = output_shapes(spec, {name: buffer.shape for name, buffer in inputs.items()})
            self._outputs = {
                name: self._backend.allocate(shape, spec.output(name).dtype) for name, shape in shapes.items()
            }
        self._graph.run(inputs, self._outputs)
        return self._outputs

    def _on_device(self, size: tuple[int, int]) -> Mapping[str, Buffer]:
        """Indices and weights of a size, by their names in the graph."""
        if size not in self._kept:
            buffers = {}
            for pixels, pair in self._taps(size).items():
                count = max(taps.count for taps in pair)
                places = self._graph.spec.output(pixels).shape[2:]
                for axis, taps, outputs in zip((contract.HEIGHT, contract.WIDTH), pair, places, strict=True):
                    framed = taps.framed(int(outputs), count)
                    buffers[contract.indices(pixels, axis)] = self._backend.upload(framed.indices)
                    buffers[contract.weights(pixels, axis)] = self._backend.upload(framed.weights)
            self._kept[size] = buffers
            if len(self._kept) > _KEPT_SIZES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(size)
        return self._kept[size]

    def _taps(self, size: tuple[int, int]) -> Mapping[str, tuple[Taps, Taps]]:
        """Rows and columns of both outputs."""
        return {
            contract.PIXEL_VALUES: vision_taps(size, self._settings.vision_input),
            contract.MASK_PIXEL_VALUES: mask_taps(size, self._settings.mask_input),
        }
