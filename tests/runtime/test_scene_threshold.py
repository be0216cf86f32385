"""Things that are not there: every task honours a threshold, and its result says whether anything was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.recorded import DATA
from tests.runtime.loaded import load
from tests.runtime.test_scene import same
from xsam_edge.runtime.bundle.settings import RejectionRule
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene

FOLDER = DATA / "golden-phi3"
TASKS: dict[str, Callable[..., Result]] = {
    "refer": lambda scene, **options: scene.refer("a car", answer="append", **options),
    "several": lambda scene, **options: scene.refer("a car", answer="append", several=True, **options),
    "batch": lambda scene, **options: scene.refer(["a dog", "a car"], answer="append", **options)[1],
    "reason": lambda scene, **options: scene.reason("What can one drive?", answer="append", **options),
    "panoptic": lambda scene, **options: scene.categories(["car", "person"], ["road"], answer="append", **options),
    "instances": lambda scene, **options: scene.categories(["car", "person"], answer="append", **options),
    "semantic": lambda scene, **options: scene.categories(stuff=["road", "sky"], answer="append", **options),
    "one stuff": lambda scene, **options: scene.categories(stuff=["road"], answer="append", **options),
    "box": lambda scene, **options: scene.regions(boxes=[(10, 10, 60, 70)], answer="append", **options),
    "similar": lambda scene, **options: scene.regions(
        boxes=[(10, 10, 60, 70)], points=[(90, 40)], answer="append", **options
    ),
    "describe": lambda scene, **options: scene.describe(**options),
}
ONE_THING = ("refer", "several", "batch", "reason", "box")


@pytest.fixture
def scene(phi3_bundle: Path) -> Scene:
    return load(phi3_bundle).look(FOLDER / "image.png")


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_found_where_nothing_scores_enough(scene: Scene, task: str) -> None:
    result = TASKS[task](scene, threshold=1.0)
    assert not result.found
    assert len(result) == 0 and result.masks.shape == (0, 100, 150)
    assert result.to_json()["found"] is False
    assert result.id_map is None or (result.id_map == (0 if task == "panoptic" else -1)).all()
    if result.answered and task in ONE_THING:
        assert result.best_score is not None and result.best_score < 1
        assert result.reason == f"the best mask scores {result.best_score:.3f}, below the threshold of 1"


@pytest.mark.parametrize("task", TASKS)
def test_what_is_found_scores_enough(scene: Scene, task: str) -> None:
    for threshold in (0.2, 0.5, 0.8, 0.95):
        result = TASKS[task](scene, threshold=threshold)
        assert (result.scores >= np.float32(threshold)).all()
        assert result.found == any(segment.area for segment in result.segments)


@pytest.mark.parametrize("task", ["refer", "several", "batch", "reason"])
def test_the_score_of_the_best_is_the_least_that_refuses_nothing(scene: Scene, task: str) -> None:
    official = TASKS[task](scene, threshold="official")
    best = official.best_score
    assert best is not None and official.found
    assert TASKS[task](scene, threshold=best).found, "what scores the threshold is there"
    above = float(np.nextafter(np.float32(best), np.float32(2)))
    refused = TASKS[task](scene, threshold=above)
    assert not refused.found
    assert refused.best_score == best


def test_of_a_region_one_that_scores_enough_takes_the_place_of_a_better_placed_one(scene: Scene) -> None:
    chosen, scores = TASKS["box"](scene), []
    while chosen.found:
        scores.append(chosen.best_score)
        assert chosen.best_score == chosen.segments[0].score
        chosen = TASKS["box"](scene, threshold=float(np.nextafter(np.float32(chosen.best_score), np.float32(2))))
    assert scores == sorted(scores)
    assert chosen.best_score == scores[-1], "nothing scores more than the last that was found"


@pytest.mark.parametrize("task", TASKS)
def test_the_official_rule_is_the_default(scene: Scene, task: str) -> None:
    assert same(TASKS[task](scene), TASKS[task](scene, threshold="official"))


@pytest.mark.parametrize("task", ["refer", "several", "reason"])
def test_a_bundle_may_have_a_rule_of_its_own(phi3_bundle: Path, task: str) -> None:
    plain = load(phi3_bundle)
    official = TASKS[task](plain.look(FOLDER / "image.png"))
    name = "reason" if task == "reason" else "refer"
    for threshold, found in ((1.0, False), (0.0, True)):
        model = with_rules(plain, {name: RejectionRule(threshold, 0.01, 100)})
        scene = model.look(FOLDER / "image.png")
        assert TASKS[task](scene).found == found
        assert same(TASKS[task](scene, threshold="official"), official)
        other = "refer" if name == "reason" else "reason"
        assert TASKS[other](scene).found, "a rule is of its own task"


def with_rules(model: XSam, rules: dict[str, RejectionRule]) -> XSam:
    """The model, were its bundle to have these rules."""
    language = model.language
    settings = replace(language.settings, rejection=rules)
    other = type(language)(model.pipeline, language.tokenizer, language._table, settings, language.cache_pool)
    return XSam(replace(model.manifest, settings=settings), model.pipeline, other)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "often", True, [0.5]])
@pytest.mark.parametrize("task", TASKS)
def test_no_threshold(scene: Scene, task: str, threshold: object) -> None:
    with pytest.raises(InputError, match=r"threshold is .*; expected a number from 0 to 1, or 'official'"):
        TASKS[task](scene, threshold=threshold)


def test_a_semantic_map_leaves_out_what_no_query_is_sure_of(scene: Scene) -> None:
    whole = TASKS["semantic"](scene)
    assert (whole.id_map >= 0).all()
    seen = [float((TASKS["semantic"](scene, threshold=t).id_map >= 0).mean()) for t in (0.0, 0.3, 0.6, 0.9, 1.0)]
    assert seen == sorted(seen, reverse=True) and seen[0] == 1 and seen[-1] == 0
