from __future__ import annotations

import numpy as np
import pytest

from xsam_edge.calibration.data.samples import TASKS, Ask, Caption, Categories, Phrase, Regions
from xsam_edge.calibration.open_data import open_data
from xsam_edge.calibration.shapes import phrases
from xsam_edge.calibration.shapes.composition import compose
from xsam_edge.calibration.shapes.dataset import SIZE, ShapesData
from xsam_edge.runtime.errors import InputError


def shown(ask: Ask) -> list[object]:
    """What an ask says, without its masks."""
    if isinstance(ask, Phrase):
        return [ask.task, ask.text, ask.kind, ask.mask is None]
    if isinstance(ask, Regions):
        return [ask.kind, ask.similar, [segment.label for segment in ask.segments]]
    return [ask.task]


def test_asks_of_a_scene() -> None:
    (picture,) = ShapesData("5-5").pictures(TASKS)
    image, composition = picture.image(), compose(5)
    assert picture.name == "shapes-5" and image.size == (SIZE, SIZE) and image.mode == "RGB"
    for ask in picture.asks:
        if isinstance(ask, Phrase):
            mask = np.zeros((SIZE, SIZE), bool) if ask.mask is None else ask.mask()
            assert mask.shape == (SIZE, SIZE) and mask.any() == (ask.kind != "absent")
        elif isinstance(ask, Categories):
            masks = np.stack([segment.mask() for segment in ask.segments])
            assert masks.any((1, 2)).all() and masks.sum(0).max() == 1
            assert len(masks) == len(composition.things) + (len(composition.grounds) if ask.task != "instances" else 0)
            assert masks.sum(0).min() == (ask.task != "instances")
            for segment, thing in zip(ask.segments, composition.things, strict=False):
                assert ask.names[segment.label] == thing.shape
        elif isinstance(ask, Regions):
            for prompt in ask.prompts:
                assert prompt().any()
            if not ask.similar:
                truth, prompt_mask = ask.segments[0].mask(), ask.prompts[0]()
                assert (truth & prompt_mask).any()
        else:
            assert isinstance(ask, Caption) and len(ask.phrases) == len(ask.masks) == len(composition.things) + 1
    assert {ask.task for ask in picture.asks} == set(TASKS)
    assert [ask.kind for ask in picture.asks if ask.task == "regions"] == ["mask", "box", "point", ""]


def test_an_ask_does_not_depend_on_the_others() -> None:
    data = ShapesData("40-49")
    together = [[shown(ask) for ask in picture.asks] for picture in data.pictures(TASKS)]
    for task in TASKS:
        alone = [[shown(ask) for ask in picture.asks] for picture in data.pictures([task])]
        flat = [ask for asks in alone for ask in asks]
        assert flat and all(ask in asks for one, asks in zip(alone, together, strict=True) for ask in one)


def test_similar_regions_are_of_one_shape() -> None:
    for picture in ShapesData("60-79").pictures(["regions"]):
        composition = compose(int(picture.name.removeprefix("shapes-")))
        similar = picture.asks[-1]
        assert isinstance(similar, Regions) and len(similar.segments) == len(composition.things)
        shapes = {segment.label: set() for segment in similar.segments}
        for segment in similar.segments:
            mask = segment.mask()
            (index,) = [i for i, truth in enumerate(_masks(composition.seed)) if (truth == mask).all()]
            shapes[segment.label].add(composition.things[index].shape)
        assert all(len(found) == 1 for found in shapes.values()) and len(shapes) == len(similar.prompts)


def _masks(seed: int) -> list[np.ndarray]:
    (picture,) = ShapesData(f"{seed}-{seed}").pictures(["instances"])
    return [segment.mask() for segment in picture.asks[0].segments]


def test_names_and_limits() -> None:
    assert open_data("shapes").count(TASKS, 300) == 300
    assert open_data("shapes:val").describe()["seeds"] == [10_000, 10_499]
    assert open_data("shapes:7-9").count(["refer"]) == 3
    assert [p.name for p in open_data("shapes:7-9").pictures(["refer"], 2)] == ["shapes-7", "shapes-8"]


@pytest.mark.parametrize("split", ["nope", "9-7", "-3", "3"])
def test_unknown_splits(split: str) -> None:
    with pytest.raises(InputError, match="shapes"):
        ShapesData(split)


def test_hard_scenes_are_smaller_paler_thinner_and_larger_pictures() -> None:
    hard, plain = open_data("shapes:hard"), ShapesData("hard-7-9")
    assert hard.describe()["seeds"] == [500_000, 500_499] and list(plain.seeds) == [7, 8, 9]
    scenes = [compose(seed, hard=True) for seed in range(500_000, 500_100)]
    things = [thing for scene in scenes for thing in scene.things]
    largest = max(thing.radius for thing in things if thing.size == "small")
    assert largest < 0.09 < 0.12 < min(thing.radius for thing in things if thing.size == "large")
    assert 0.3 < np.mean([thing.thin for thing in things]) < 0.7
    assert all(0.6 <= scene.contrast < 0.9 and len(scene.things) >= 3 for scene in scenes)
    assert all(compose(seed).contrast == 1 and not any(t.thin for t in compose(seed).things) for seed in range(20))
    sizes = [picture.image().size for picture in hard.pictures(TASKS, 4)]
    assert sizes == [(480, 480), (640, 640), (720, 720), (1080, 1080)]
    for picture in hard.pictures(["instances"], 4):
        for segment in picture.asks[0].segments:
            assert segment.mask().sum() > 40


def test_what_is_hard_has_a_stream_of_its_own() -> None:
    assert compose(7, hard=True).things != compose(7).things
    assert compose(7, hard=True) == compose(7, hard=True)
    named = [picture.name for picture in ShapesData("hard-7-9").pictures(TASKS)]
    assert named == ["shapes-7", "shapes-8", "shapes-9"]


def test_directions_are_asked_one_by_one() -> None:
    data = open_data("shapes:directions")
    assert data.tasks == ("refer",) and data.describe()["seeds"] == [600_000, 600_499]
    kinds: dict[str, int] = {}
    for picture in data.pictures(["refer"], 60):
        composition = compose(int(picture.name.removeprefix("shapes-")))
        texts = {item.text: item for item in phrases.expressions(composition)}
        for ask in picture.asks:
            assert isinstance(ask, Phrase) and ask.kind in ask.text and ask.mask is not None
            assert texts[ask.text].kind == ("relation" if ask.kind in RELATIONS else "position")
            assert phrases.direction(texts[ask.text]) == ask.kind
            kinds[ask.kind] = kinds.get(ask.kind, 0) + 1
        assert len({ask.kind for ask in picture.asks}) == len(picture.asks)
    # 150 asks of each direction take 400 scenes at the most.
    assert len(kinds) == 12 and min(kinds.values()) > 60 * 150 / 400


RELATIONS = ("left of", "right of", "above", "below")
