"""Scenes that are kept between requests, by what their images are: a client needs no name for its image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xsam_edge.runtime.scene import Scene
from xsam_edge.runtime.triton.requests import Picture


class Scenes:
    """The ``limit`` scenes that were asked last; with 0 none is kept."""

    def __init__(self, look: Callable[[Picture], Scene], limit: int) -> None:
        self._look = look
        self._limit = limit
        self._kept: OrderedDict[str, Scene] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @contextmanager
    def scene(self, picture: Picture) -> Iterator[tuple[Scene, bool]]:
        """The scene of an image, and whether it was kept; afterwards those beyond the limit are closed.

        Raises:
            InputError: not an image.
        """
        kept = picture.key in self._kept
        if not kept:
            self._kept[picture.key] = self._look(picture)
        self._kept.move_to_end(picture.key)
        try:
            yield self._kept[picture.key], kept
        finally:
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)[1].close()

    def close(self) -> None:
        """Close all."""
        while self._kept:
            self._kept.popitem()[1].close()
