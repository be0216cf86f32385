from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.label.labels import mask
from tests.runtime.loaded import load
from xsam_edge.runtime.errors import ContextLengthError, InputError
from xsam_edge.runtime.label import chunks
from xsam_edge.runtime.label.chunks import Part, merge, parts
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

SIZE = (10, 10)
NAMES = [f"name {number}" for number in range(10)]


def by_letters(names: Sequence[str]) -> int:
    return 5 + sum(map(len, names))


def test_as_few_parts_as_fit_of_about_one_size() -> None:
    (whole,) = parts(NAMES[:6], NAMES[6:], by_letters, 1000)
    assert whole == Part(tuple(NAMES[:6]), tuple(NAMES[6:]), tuple(range(10)))
    divided = parts(NAMES[:6], NAMES[6:], by_letters, 5 + 4 * 6)
    assert [len(part.places) for part in divided] == [3, 4, 3] or [len(p.places) for p in divided] == [3, 3, 4]
    assert [name for part in divided for name in (*part.things, *part.stuff)] == NAMES
    assert [place for part in divided for place in part.places] == list(range(10))
    assert {name for part in divided for name in part.stuff} == set(NAMES[6:])
    assert [len(part.places) for part in parts(NAMES, (), by_letters, 1000, most=4)] == [3, 4, 3]


@pytest.mark.parametrize("capacity", range(11, 80))
def test_every_part_fits(capacity: int) -> None:
    divided = parts(NAMES[:3], NAMES[3:], by_letters, capacity)
    assert all(by_letters((*part.things, *part.stuff)) <= capacity for part in divided)
    assert [place for part in divided for place in part.places] == list(range(10))


def test_a_name_that_does_not_fit_is_named() -> None:
    with pytest.raises(ContextLengthError, match="'a very long name' takes 21 tokens with the image"):
        parts(["a", "a very long name"], (), by_letters, 20)


def test_rows_are_those_of_the_prompt(phi3_bundle: Path, phi3_reference: Path) -> None:
    model = load(phi3_bundle)
    rows = chunks.rows_of(model.language)
    names = ["person", "wall-other-merged"]
    longest = rows(names)
    assert longest > rows(names[:1]) > model.manifest.settings.model.image_tokens
    with pytest.raises(InputError, match="controls the model"):
        rows(["<SEG>"])
    (whole,) = chunks.parts_of(model.language, names, ())
    assert whole.things == tuple(names)
    # The least context that holds the prompt holds it indeed, with its answer.
    small = load(phi3_bundle, longest)
    with small.look(phi3_reference / "image.png") as scene:
        scene.categories(names, answer="append")
        assert len(chunks.parts(names, (), rows, longest)) == 1
        assert len(chunks.parts(names, (), rows, longest - 1)) == 2


def segment(pixels: np.ndarray, score: float, place: int, is_thing: bool = True) -> Segment:
    return Segment.from_mask(pixels, score, f"name {place}", place, is_thing)


def panoptic(*segments: Segment) -> Result:
    ids = np.zeros(SIZE, np.int32)
    listed = []
    for number, item in enumerate(segments, 1):
        ids[item.mask] = number
        listed.append(Segment.from_mask(item.mask, item.score, item.label, item.label_id, item.is_thing, number))
    return Result("genseg", tuple(listed), SIZE, id_map=ids, timings={"image_encoder": 5.0, "llm": 1.0}, llm_forwards=1)


PARTS = [Part(("name 0", "name 1"), (), (0, 1)), Part(("name 2",), ("name 3",), (2, 3))]


def test_one_thing_under_two_names_is_the_better_one() -> None:
    first = panoptic(segment(mask(SIZE, 0, 0, 4, 5), 0.6, 0))
    second = panoptic(segment(mask(SIZE, 0, 0, 4, 4), 0.9, 0), segment(mask(SIZE, 5, 0, 10, 10), 0.7, 1, False))
    merged = merge([first, second], PARTS)
    assert [(item.label_id, item.score) for item in merged.segments] == [(2, 0.9), (3, 0.7)]
    assert merged.id_map is not None
    for item in merged.segments:
        np.testing.assert_array_equal(item.mask, merged.id_map == item.id)
        assert item.area == item.mask.sum()
    assert merged.timings == {"image_encoder": 5.0, "llm": 2.0}
    assert merged.llm_forwards == 2


def test_pixels_are_the_best_ones() -> None:
    first = panoptic(segment(mask(SIZE, 0, 0, 5, 5), 0.9, 0))
    second = panoptic(
        segment(mask(SIZE, 4, 4, 9, 9), 0.8, 0),  # keeps 24 of 25
        segment(mask(SIZE, 0, 5, 3, 10), 0.4, 1, False),
    )
    merged = merge([first, second], PARTS)
    assert [(item.label_id, item.area) for item in merged.segments] == [(0, 25), (2, 24), (3, 15)]
    small = panoptic(segment(mask(SIZE, 0, 0, 5, 8), 0.8, 0))  # IoU 0.625: the same thing
    assert [item.label_id for item in merge([first, small], PARTS).segments] == [0]
    other = panoptic(segment(mask(SIZE, 0, 0, 5, 9), 0.8, 0))  # IoU 0.56, but most of it is another's
    assert [item.label_id for item in merge([first, other], PARTS).segments] == [0]
    stuff = panoptic(segment(mask(SIZE, 0, 0, 10, 10), 0.5, 1, False))  # stuff keeps what is left of it
    assert [(item.label_id, item.area) for item in merge([first, stuff], PARTS).segments] == [(0, 25), (3, 75)]


def test_instances_may_overlap() -> None:
    first = Result("genseg", (segment(mask(SIZE, 0, 0, 5, 5), 0.5, 1),), SIZE)
    second = Result("genseg", (segment(mask(SIZE, 0, 0, 5, 9), 0.8, 0), segment(mask(SIZE, 0, 0, 5, 9), 0.7, 0)), SIZE)
    merged = merge([first, second], PARTS)
    # Two of one part are the model's own choice.
    assert [(item.label_id, item.score) for item in merged.segments] == [(2, 0.8), (2, 0.7), (1, 0.5)]
    assert merged.id_map is None


def test_parts_of_a_scene(phi3_bundle: Path, phi3_reference: Path) -> None:
    model = load(phi3_bundle)
    things, stuff = ["person", "car"], ["road"]
    with model.look(phi3_reference / "image.png") as scene:
        whole = scene.categories(things, stuff, threshold=0.1)
        (one,) = chunks.parts_of(scene.language, things, stuff)
        alone = chunks.categories(scene, [one], threshold=0.1)
        assert [item.label_id for item in alone] == [item.label_id for item in whole]
        divided = chunks.parts(things, stuff, by_letters, 1000, most=1)
        merged = chunks.categories(scene, divided, threshold=0.1)
        # What any part found is asked together.
        found = [scene.categories(p.things, p.stuff, threshold=0.1, instances=False, semantic=False) for p in divided]
        assert merged.llm_forwards > sum(result.llm_forwards for result in found)
        names = {part.places[0] for part, result in zip(divided, found, strict=True) if result.segments}
        if names == {0, 1, 2}:
            assert [(s.label_id, s.area) for s in merged.segments] == [
                (s.label_id, s.area) for s in sorted(whole.segments, key=lambda segment: -segment.score)
            ]
        assert merged.id_map is not None and merged.segments
        assert {item.label for item in merged.segments} <= {*things, *stuff}
        for item in merged.segments:
            assert item.label == [*things, *stuff][item.label_id]
            assert item.is_thing == (item.label in things)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks, "parts", lambda *_: divided)  # what was found is too much for a prompt
            assert chunks.categories(scene, divided, threshold=0.1).segments == merge(found, divided).segments
        instances = chunks.categories(scene, divided[:2], threshold=0.1)
        assert instances.id_map is None
