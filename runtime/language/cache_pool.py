"""What open scenes keep between two questions: key-value caches and image features, within a number of bytes.

A key-value cache cannot be shared by two images without computing the image's prefix anew at every change, so there
is one per scene, as far as memory goes: the first is allocated when the model is loaded, a further one when a second
image is asked about. Nothing is copied between them. When memory runs out, the scene that was used least recently
loses its cache to the next one, and then its features; both are computed anew should it be asked again.

Scenes come and go in any thread, while one is asked: the pool has a lock of its own, held for a moment. Caches are
chosen and kept by the thread whose turn it is, one at a time.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from xsam_edge.runtime.chain.kv_cache import KVCache
from xsam_edge.runtime.chain.pipeline import ImageFeatures
from xsam_edge.runtime.language.tokenizer import REGION_ID, Ids


class FeatureHolder(Protocol):
    """A scene, seen from here."""

    def feature_bytes(self) -> int:
        """Bytes of the features that it holds now."""

    def drop_features(self) -> None:
        """Let go of them; they are computed anew when they are asked for."""


@dataclass(eq=False)
class _Slot:
    """A cache, and whose prefix it begins with: an image, and the ids up to and including it."""

    cache: KVCache
    image: weakref.ref[ImageFeatures] | None = None
    prefix: Ids = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def features(self) -> ImageFeatures | None:
        return self.image() if self.image else None


class CachePool:
    """Caches and features of all open scenes, the least recently used first.

    Args:
        first: the cache of the model.
        make: allocates another one of the same size.
        limit: bytes that features and further caches may take together. Whatever it is, the scene in use has a cache
            and its features.
    """

    def __init__(self, first: KVCache, make: Callable[[], KVCache], limit: int) -> None:
        self.limit = limit
        self._make = make
        self._slots = [_Slot(first)]
        self._holders: list[weakref.ref[FeatureHolder]] = []
        self._asked: FeatureHolder | None = None  # the one whose turn it is keeps what it has
        # Features that are let go of come back here.
        self._lock = threading.RLock()

    @property
    def count(self) -> int:
        """Caches that are allocated."""
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        """Bytes that count against the limit."""
        with self._lock:
            features = sum(holder.feature_bytes() for holder in self._alive())
            return features + sum(slot.cache.nbytes for slot in self._slots[1:])

    def cache(self, features: ImageFeatures, prefix: Ids) -> tuple[KVCache, int]:
        """Choose the cache for a prompt on an image, and tell how many of its first rows are the prompt's.

        ``prefix`` are the ids up to and including the image. The cache counts as nobody's until :meth:`keep`, since a
        forward may fail half-way.
        """
        with self._lock:
            slot = self._choose(features)
            known = self.knows(features, prefix)
            slot.image = None
            self._slots.remove(slot)
            self._slots.append(slot)
            return slot.cache, len(prefix) if known else 0

    def keep(self, features: ImageFeatures, prefix: Ids) -> None:
        """The cache that was chosen last begins with this prefix now."""
        with self._lock:
            slot = self._slots[-1]
            slot.image, slot.prefix = weakref.ref(features), prefix

    def knows(self, features: ImageFeatures, prefix: Ids | None = None) -> bool:
        """Whether a cache begins with this prefix of an image, or with any."""
        with self._lock:
            if prefix is None:
                return any(slot.features is features for slot in self._slots)
            # Regions have equal ids and other embeddings: a prefix that holds one is never known.
            return not (prefix == REGION_ID).any() and any(
                slot.features is features and np.array_equal(slot.prefix, prefix) for slot in self._slots
            )

    def forget(self, features: ImageFeatures | None = None) -> None:
        """Give the image's cache free for another one; without an image, every cache."""
        with self._lock:
            for slot in self._slots:
                if features is None or slot.features is features:
                    slot.image = None

    def close(self) -> None:
        """Let go of all caches, and of the features of all scenes."""
        with self._lock:
            self._slots.clear()
            for holder in self._alive():
                holder.drop_features()

    def use(self, holder: FeatureHolder) -> None:
        """Note that a scene is in use, and make room for its features where they are new."""
        with self._lock:
            others = [other for other in self._alive() if other is not holder]
            self._holders = [weakref.ref(kept) for kept in (*others, holder)]
            while self.nbytes > self.limit and len(self._slots) > 1:
                del self._slots[0]
            if self.nbytes > self.limit:
                for other in self._alive()[:-1]:
                    if other is not self._asked:
                        other.drop_features()
                    if self.nbytes <= self.limit:
                        break

    @contextmanager
    def asking(self, holder: FeatureHolder) -> Iterator[None]:
        """A scene's turn: it loses nothing to scenes that are used meanwhile. One at a time."""
        with self._lock:
            self._asked = holder
        try:
            yield
        finally:
            with self._lock:
                self._asked = None

    def _choose(self, features: ImageFeatures) -> _Slot:
        for slot in self._slots:
            if slot.features is features:
                return slot
        for slot in self._slots:
            if slot.features is None:
                return slot
        if self.nbytes + self._slots[0].cache.nbytes <= self.limit:
            self._slots.append(_Slot(self._make()))
            return self._slots[-1]
        return self._slots[0]

    def _alive(self) -> list[FeatureHolder]:
        return [holder for reference in self._holders if (holder := reference()) is not None]
