"""Which scenes are kept, and that the others are closed."""

from __future__ import annotations

from typing import Any

import pytest

from xsam_edge.runtime.errors import ImageError
from xsam_edge.runtime.triton.requests import Picture
from xsam_edge.runtime.triton.scenes import Scenes


class Stub:
    def __init__(self, picture: Picture, closed: list[object]) -> None:
        self.content, self.closed = picture.content, closed

    def close(self) -> None:
        self.closed.append(self.content)


def looks(scenes: Scenes, *contents: bytes) -> list[bool]:
    found = []
    for content in contents:
        with scenes.scene(Picture(content)) as (scene, kept):
            assert getattr(scene, "content", None) == content
            found.append(kept)
    return found


@pytest.mark.parametrize(
    ("limit", "kept", "left"),
    [
        (0, [False, False, False, False, False], []),
        (1, [False, False, False, True, False], [b"b"]),
        (2, [False, False, True, True, False], [b"a", b"b"]),
        (3, [False, False, True, True, False], [b"a", b"b", b"c"]),
    ],
)
def test_those_that_were_asked_last_are_kept(limit: int, kept: list[bool], left: list[bytes]) -> None:
    closed: list[Any] = []
    scenes = Scenes(lambda picture: Stub(picture, closed), limit)  # type: ignore[arg-type, return-value]
    order = [b"a", b"c", b"a", b"a", b"b"] if limit < 3 else [b"a", b"c", b"c", b"a", b"b"]
    assert looks(scenes, *order) == kept
    assert len(scenes) == limit
    before = list(closed)
    scenes.close()
    assert sorted(closed[len(before) :]) == left
    assert len(scenes) == 0


def test_what_is_no_image_is_not_kept() -> None:
    def look(picture: Picture) -> Any:
        raise ImageError("no image")

    scenes = Scenes(look, 2)
    with pytest.raises(ImageError), scenes.scene(Picture(b"")):
        pass
    assert len(scenes) == 0


def test_scenes_are_trimmed_after_an_error_too() -> None:
    closed: list[Any] = []
    scenes = Scenes(lambda picture: Stub(picture, closed), 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(ZeroDivisionError), scenes.scene(Picture(b"a")):
        raise ZeroDivisionError
    assert closed == [b"a"]
