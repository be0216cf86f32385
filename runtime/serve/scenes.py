"""Pictures that are kept between requests, so that a further question skips the image encoder.

The store belongs to the event loop's thread and has no lock.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xsam_edge.runtime.image.preprocess import Prepared
from xsam_edge.runtime.scene import Scene
from xsam_edge.runtime.serve.failures import RequestError
from xsam_edge.runtime.serve.limits import Limits

_CHANNELS = 3
_ID_BYTES = 12


class Kept:
    """A picture: prepared at first, a scene once the model's thread encoded it.

    ``size`` is (height, width) in pixels.
    """

    def __init__(self, id: str, digest: bytes, prepared: Prepared) -> None:
        self.id, self.digest = id, digest
        self.prepared: Prepared | None = prepared
        self.scene: Scene | None = None
        width, height = prepared.image.size
        self.size = height, width
        self.used = 0.0
        self.users = 0
        self.dropped = False

    @property
    def nbytes(self) -> int:
        """What its pixels take, those that were made for the encoder among them until it is a scene."""
        made = None if self.prepared is None else self.prepared.pixels
        return self.size[0] * self.size[1] * _CHANNELS + (made.vision.nbytes + made.mask.nbytes if made else 0)

    def close(self) -> None:
        """Free the scene; what asks it still is answered."""
        if self.scene is not None:
            self.scene.close()
        self.prepared = self.scene = None


class Scenes:
    """Kept pictures, the least recently asked one first.

    One that is let go of while a request uses it is closed when the last of these is done.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._by_digest: dict[bytes, Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of the pictures' pixels."""
        return sum(kept.nbytes for kept in self._kept.values())

    def get(self, id: str) -> Kept:
        """A kept picture by its id. Raises RequestError (404) where there is none, or none any more."""
        self.expire()
        if (kept := self._kept.get(id)) is None:
            raise RequestError(
                404,
                f"there is no scene {id[:80]!r}, or not any more: {self._limits.scenes} pictures are kept, and for "
                f"{self._limits.scene_seconds:g} s after the last question; send the picture again as image",
                "scene",
                "scene_not_found",
            )
        return self._touch(kept)

    def find(self, digest: bytes) -> Kept | None:
        """The kept picture of a file with this hash."""
        self.expire()
        kept = self._by_digest.get(digest)
        return None if kept is None else self._touch(kept)

    def add(self, digest: bytes, prepared: Prepared) -> Kept:
        """Keep a picture, and let go of others where there are too many or they are too large."""
        kept = Kept(secrets.token_hex(_ID_BYTES), digest, prepared)
        self._kept[kept.id] = self._by_digest[digest] = self._touch(kept)
        while len(self._kept) > 1 and (len(self._kept) > self._limits.scenes or self.nbytes > self._limits.scene_bytes):
            self._drop(next(iter(self._kept.values())))
        return kept

    @contextmanager
    def using(self, kept: Kept) -> Iterator[Kept]:
        """Keep a picture usable within a block, whatever else comes."""
        self.take(kept)
        try:
            yield kept
        finally:
            self.give_back(kept)

    def take(self, kept: Kept) -> None:
        """Keep a picture usable until it is given back as often as it was taken."""
        kept.users += 1

    def give_back(self, kept: Kept) -> None:
        """The end of a use."""
        kept.users -= 1
        self._close_unused(kept)

    def drop(self, id: str) -> None:
        """Let go of a picture. Raises RequestError (404) where there is none."""
        self._drop(self.get(id))

    def expire(self) -> None:
        """Let go of what was not asked for too long."""
        oldest = self._clock() - self._limits.scene_seconds
        while self._kept and (first := next(iter(self._kept.values()))).used < oldest:
            self._drop(first)

    def clear(self) -> None:
        """Let go of everything."""
        for kept in list(self._kept.values()):
            self._drop(kept)

    def _touch(self, kept: Kept) -> Kept:
        kept.used = self._clock()
        if kept.id in self._kept:
            self._kept.move_to_end(kept.id)
        return kept

    def _drop(self, kept: Kept) -> None:
        del self._kept[kept.id]
        if self._by_digest.get(kept.digest) is kept:
            del self._by_digest[kept.digest]
        kept.dropped = True
        self._close_unused(kept)

    @staticmethod
    def _close_unused(kept: Kept) -> None:
        if kept.dropped and not kept.users:
            kept.close()
