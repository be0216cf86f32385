from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from xsam_edge.runtime.serve.failures import RequestError
from xsam_edge.runtime.serve.limits import Limits
from xsam_edge.runtime.serve.scenes import Kept, Scenes


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Closing:
    closed = False

    def close(self) -> None:
        self.closed = True


def prepared(width: int = 10, height: int = 10) -> Any:
    return SimpleNamespace(image=SimpleNamespace(size=(width, height)), pixels=None)


def add(scenes: Scenes, name: bytes, **size: int) -> Kept:
    kept = scenes.add(name, prepared(**size))
    kept.scene = Closing()  # type: ignore[assignment]
    return kept


def test_the_least_recently_asked_goes_first() -> None:
    scenes = Scenes(Limits(scenes=2))
    first, second = add(scenes, b"1"), add(scenes, b"2")
    assert scenes.find(b"1") is first and scenes.get(first.id) is first and first.size == (10, 10)
    closing = second.scene
    third = add(scenes, b"3")
    assert closing.closed and second.scene is None  # type: ignore[union-attr]
    assert scenes.find(b"2") is None and scenes.find(b"3") is third and len(scenes) == 2


def test_memory_is_bounded_and_the_newest_stays() -> None:
    scenes = Scenes(Limits(scene_bytes=1000))
    add(scenes, b"1")
    add(scenes, b"2")
    assert scenes.nbytes == 600
    large = add(scenes, b"3", width=100, height=100)
    assert len(scenes) == 1 and scenes.get(large.id) is large


def test_time_is_bounded() -> None:
    clock = Clock()
    scenes = Scenes(Limits(scene_seconds=10), clock)
    first, second = add(scenes, b"1"), add(scenes, b"2")
    clock.now = 8
    scenes.get(first.id)
    clock.now = 15
    with pytest.raises(RequestError, match="there is no scene") as caught:
        scenes.get(second.id)
    assert caught.value.status == 404 and scenes.get(first.id) is first


def test_what_is_in_use_is_closed_afterwards() -> None:
    scenes = Scenes(Limits())
    kept = add(scenes, b"1")
    closing: Any = kept.scene
    with scenes.using(kept), scenes.using(kept):
        scenes.drop(kept.id)
        assert len(scenes) == 0 and not closing.closed
    assert closing.closed


def test_ids_cannot_be_guessed() -> None:
    scenes = Scenes(Limits())
    assert len({add(scenes, b"1").id for _ in range(9)}) == 9
    assert all(len(id) == 24 for id in scenes._kept)
    scenes.clear()
    assert len(scenes) == 0 and scenes.find(b"1") is None
