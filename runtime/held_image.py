"""An image that was encoded: its features for as long as they are wanted, in whatever thread they are.

Knows memory, turns and closing; knows nothing of questions.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from xsam_edge.runtime.chain.pipeline import ImageFeatures, Pipeline
from xsam_edge.runtime.encoding import encode, prepare
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.preprocess import Prepared
from xsam_edge.runtime.language.generate import LanguageModel


class HeldImage:
    """Features of one image, which memory for scenes may take away and which then come back.

    Any thread may ask, and any may close it: what came before is answered, what comes after is refused.
    """

    def __init__(
        self, pipeline: Pipeline, language: LanguageModel, prepared: Prepared, features: ImageFeatures
    ) -> None:
        self.image = prepared.image
        self.frame = prepared.frame
        self._pipeline = pipeline
        self._language = language
        self._features: ImageFeatures | None = features
        self._lock = threading.Lock()
        self._questions = 0  # that came and are not answered yet
        self._closed = False
        language.cache_pool.use(self)

    @contextmanager
    def turn(self) -> Iterator[ImageFeatures]:
        """The image's features, once all questions to the model that came before are answered.

        Raises:
            InputError: it was closed.
        """
        with self._lock:
            if self._closed:
                raise InputError("this scene was closed; look at the image again")
            self._questions += 1
        try:
            with self._pipeline.turn(), self._language.cache_pool.asking(self):
                yield self._encoded()
        finally:
            with self._lock:
                self._questions -= 1
            self._drop_if_over()

    def feature_bytes(self) -> int:
        """Bytes of the features that are held now."""
        features = self._features
        return features.nbytes if features else 0

    def drop_features(self) -> None:
        """Let go of the image's features and prefix; the next question computes them anew."""
        features, self._features = self._features, None
        if features is not None:
            self._language.forget(features)

    def close(self) -> None:
        """Free the features, after the questions that came before; the key-value cache is free for the next scene."""
        with self._lock:
            self._closed = True
        self._drop_if_over()

    def _drop_if_over(self) -> None:
        with self._lock:
            over = self._closed and not self._questions
        if over:
            self.drop_features()

    def _encoded(self) -> ImageFeatures:
        features = self._features
        if features is None:
            prepared = prepare(self.image, self._pipeline, self._language.settings)
            features = self._features = encode(prepared, self._pipeline)
        self._language.cache_pool.use(self)
        return features
