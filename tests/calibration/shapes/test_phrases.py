"""Phrases are read back by an interpreter that knows English, not how they were made."""

from __future__ import annotations

import re

import numpy as np
import pytest

from xsam_edge.calibration.shapes import phrases
from xsam_edge.calibration.shapes.composition import COLOURS, SHAPES, Composition, Thing, compose

SEEDS = range(80)
PHRASE = re.compile(
    r"the (?P<extreme>largest |smallest )?(?P<size>small |large )?(?P<noun>.+?)"
    r"(?: (?P<side>on the left|on the right|at the top left|at the top right|at the bottom left|at the bottom right"
    r"|at the top|at the bottom)| (?P<relation>left of|right of|above|below) the (?P<anchor>.+))?"
)


def named(noun: str, things: list[Thing]) -> list[Thing]:
    words = noun.split()
    return [thing for thing in things if all(word in (thing.colour, thing.shape, "shape") for word in words)]


def inside(thing: Thing, side: str) -> bool:
    return all(
        {"left": thing.x < 0.5, "right": thing.x > 0.5, "top": thing.y < 0.5, "bottom": thing.y > 0.5}[word]
        for word in side.split()
        if word in ("left", "right", "top", "bottom")
    )


def related(thing: Thing, relation: str, anchor: Thing) -> bool:
    return {
        "left of": thing.x < anchor.x,
        "right of": thing.x > anchor.x,
        "above": thing.y < anchor.y,
        "below": thing.y > anchor.y,
    }[relation]


def understood(text: str, composition: Composition) -> list[Thing]:
    match = PHRASE.fullmatch(text)
    assert match, text
    found = named(match["noun"], list(composition.things))
    if match["size"]:
        found = [thing for thing in found if thing.size == match["size"].strip()]
    if match["side"]:
        found = [thing for thing in found if inside(thing, match["side"])]
    if match["relation"]:
        anchors = named(match["anchor"], list(composition.things))
        assert len(anchors) == 1, text
        found = [t for t in found if t is not anchors[0] and related(t, match["relation"], anchors[0])]
    if match["extreme"]:
        pick = max if match["extreme"].startswith("largest") else min
        found = [pick(found, key=lambda thing: thing.radius)] if found else []
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_phrase_names_one_thing(seed: int) -> None:
    composition = compose(seed)
    for expression in phrases.expressions(composition):
        assert expression.thing is not None
        assert understood(expression.text, composition) == [composition.things[expression.thing]], expression


@pytest.mark.parametrize("seed", SEEDS)
def test_an_absent_phrase_names_nothing(seed: int) -> None:
    composition = compose(seed)
    found = phrases.absent(composition)
    assert found and all(
        expression.thing is None and not understood(expression.text, composition) for expression in found
    )


def test_every_kind_occurs_and_needs_what_it_says() -> None:
    found = [(compose(seed), item) for seed in SEEDS for item in phrases.expressions(compose(seed))]
    assert {item.kind for _, item in found} == set(phrases.KINDS)
    for composition, item in found:
        if item.kind in ("position", "relation", "extreme", "size"):
            noun = PHRASE.fullmatch(item.text)["noun"]
            assert len(named(noun, list(composition.things))) > 1, f"{item.text} needs no {item.kind}"


def test_of_kind_gives_the_same_phrases() -> None:
    composition = compose(12)
    by_kind = [item for kind in phrases.KINDS for item in phrases.of_kind(composition, kind)]
    assert sorted(map(str, by_kind)) == sorted(map(str, phrases.expressions(composition)))
    assert phrases.of_kind(composition, "absent") == phrases.absent(composition)
    assert phrases.of_kind(composition, "reason") == phrases.sentences(composition)


def test_sentences_hint_at_one_thing() -> None:
    kinds = set()
    for seed in SEEDS:
        composition = compose(seed)
        for expression in phrases.sentences(composition):
            part = expression.kind.split()[0]
            values = [getattr(thing, part) for thing in composition.things]
            assert values.count(values[expression.thing]) == 1
            kinds.add((part, values[expression.thing]))
    assert kinds == {("colour", colour) for colour in COLOURS} | {("shape", shape) for shape in SHAPES}


def test_a_caption_lists_every_thing() -> None:
    for seed in SEEDS:
        composition = compose(seed)
        tagged, named_things = phrases.caption(composition)
        assert re.findall(r"<p>(.+?)</p>", tagged) == [text for text, _ in named_things]
        assert sorted(index for _, index in named_things if index is not None) == list(range(len(composition.things)))
        assert named_things[-1] == (composition.grounds[-1], None)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", re.sub("</?p>", "", tagged))


def test_questions_have_right_answers() -> None:
    rng, asked = np.random.default_rng(0), set()
    for seed in SEEDS:
        composition = compose(seed)
        question, answer = phrases.questions(composition, rng)
        if match := re.fullmatch(r"How many (.+) are there\?", question):
            noun = "cross" if match[1] == "crosses" else match[1].removesuffix("s")
            count = len(named(noun, list(composition.things)))
            assert answer == f"There {'is' if count == 1 else 'are'} {phrases.NUMBERS[count]}."
            asked.add("count")
        elif match := re.fullmatch(r"What colour is the (.+)\?", question):
            (thing,) = named(match[1], list(composition.things))
            assert answer == f"It is {thing.colour}."
            asked.add("colour")
        else:
            match = re.fullmatch(r"Is there an? (.+)\?", question)
            assert match and answer == ("Yes." if named(match[1], list(composition.things)) else "No.")
            asked.add(answer)
    assert asked == {"count", "colour", "Yes.", "No."}
