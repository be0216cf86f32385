"""What can be said of a composition: referring phrases, sentences to reason about, captions, questions with answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xsam_edge.calibration.shapes.composition import COLOURS, SHAPES, Composition, Thing

KINDS = ("category", "colour", "shape", "size", "position", "relation", "extreme")
"""Kinds of referring phrases: "the red circle", "the red shape", "the circle", "the small circle", "the circle on the
left", "the square left of the star", "the largest shape"."""

# How far apart things must be before a phrase may tell them apart, in edges; no phrase is a matter of pixels.
_HALF_MARGIN = 0.05
_RELATION_MARGIN = 0.1
_AREA_RATIO = 1.3

_SIDES: dict[str, Callable[[Thing], float]] = {  # positive inside
    "on the left": lambda thing: 0.5 - thing.x,
    "on the right": lambda thing: thing.x - 0.5,
    "at the top": lambda thing: 0.5 - thing.y,
    "at the bottom": lambda thing: thing.y - 0.5,
    "at the top left": lambda thing: min(0.5 - thing.x, 0.5 - thing.y),
    "at the top right": lambda thing: min(thing.x - 0.5, 0.5 - thing.y),
    "at the bottom left": lambda thing: min(0.5 - thing.x, thing.y - 0.5),
    "at the bottom right": lambda thing: min(thing.x - 0.5, thing.y - 0.5),
}
_RELATIONS: dict[str, Callable[[Thing, Thing], float]] = {  # positive where the first is so to the second
    "left of": lambda thing, anchor: anchor.x - thing.x,
    "right of": lambda thing, anchor: thing.x - anchor.x,
    "above": lambda thing, anchor: anchor.y - thing.y,
    "below": lambda thing, anchor: thing.y - anchor.y,
}

_OPPOSITES = {"left": "right", "top": "bottom", "above": "below"}
_OPPOSITES |= {second: first for first, second in _OPPOSITES.items()}

_COLOUR_HINTS = {
    "red": ("Which shape has the colour of a ripe tomato?", "Find what is coloured like a fire engine."),
    "orange": ("Which shape has the colour of a carrot?", "Find what is coloured like a pumpkin."),
    "yellow": ("Which shape has the colour of a lemon?", "Find what is coloured like a banana."),
    "green": ("Which shape has the colour of a leaf?", "Find what is coloured like a frog."),
    "blue": ("Which shape has the colour of the deep sea?", "Find what is coloured like blueberries."),
    "purple": ("Which shape has the colour of grapes?", "Find what is coloured like an aubergine."),
    "white": ("Which shape has the colour of snow?", "Find what is coloured like milk."),
    "black": ("Which shape has the colour of coal?", "Find what is coloured like the night."),
}
_SHAPE_HINTS = {
    "circle": ("Which shape could roll away?", "Find what has no corners."),
    "square": ("Which shape has four equal sides?", "Find what looks like a box."),
    "triangle": ("Which shape has three corners?", "Find what looks like a tent."),
    "star": ("Which shape has five points?", "Find what would shine in the night sky."),
    "cross": ("Which shape looks like a plus sign?", "Find what marks a first aid kit."),
}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class ReferringExpression:
    """A phrase and the index of the thing that it names; None where the composition has no such thing."""

    text: str
    thing: int | None
    kind: str


def expressions(composition: Composition) -> list[ReferringExpression]:
    """Every phrase of ``KINDS`` that names one thing of the composition without doubt."""
    return [
        *_attributes(composition.things),
        *_positions(composition.things),
        *_relations(composition.things),
        *_extremes(composition.things),
    ]


def of_kind(composition: Composition, kind: str) -> list[ReferringExpression]:
    """The phrases of one of ``KINDS``, of ``absent``, of ``sentences`` ("reason") or ``absent_sentences``."""
    others = {"absent": absent, "reason": sentences, "absent reason": absent_sentences}
    if kind in others:
        return others[kind](composition)
    makers = {"position": _positions, "relation": _relations, "extreme": _extremes}
    return [expression for expression in makers.get(kind, _attributes)(composition.things) if expression.kind == kind]


def direction(expression: ReferringExpression) -> str:
    """The words of a phrase of position or relation that say where: "on the left", "left of"."""
    if expression.kind == "position":
        return next(words for words in _SIDES if expression.text.endswith(f" {words}"))
    return next(words for words in _RELATIONS if f" {words} " in expression.text)


def opposite(text: str) -> str:
    """A phrase with every word of position exchanged for its opposite; another one as it is."""
    return " ".join(_OPPOSITES.get(word, word) for word in text.split(" "))


def absent(composition: Composition) -> list[ReferringExpression]:
    """Phrases for things that are not there; colour or shape may be there on another thing."""
    colours, shapes = ({getattr(thing, part) for thing in composition.things} for part in ("colour", "shape"))
    names = {thing.name for thing in composition.things}
    texts = [f"the {colour} {shape}" for colour in COLOURS for shape in SHAPES if f"{colour} {shape}" not in names]
    texts += [f"the {colour} shape" for colour in COLOURS if colour not in colours]
    texts += [f"the {shape}" for shape in SHAPES if shape not in shapes]
    return [ReferringExpression(text, None, "absent") for text in texts]


def sentences(composition: Composition) -> list[ReferringExpression]:
    """Sentences that name one thing by what follows from its colour or shape."""
    expressions = []
    for part, hints in (("colour", _COLOUR_HINTS), ("shape", _SHAPE_HINTS)):
        values = [getattr(thing, part) for thing in composition.things]
        for index, value in enumerate(values):
            if values.count(value) == 1:
                expressions += [ReferringExpression(text, index, f"{part} hint") for text in hints[value]]
    return expressions


def absent_sentences(composition: Composition) -> list[ReferringExpression]:
    """Sentences that hint at a colour or shape which nothing has."""
    colours, shapes = ({getattr(thing, part) for thing in composition.things} for part in ("colour", "shape"))
    hints = [*_missing(_COLOUR_HINTS, colours), *_missing(_SHAPE_HINTS, shapes)]
    return [ReferringExpression(text, None, "absent") for text in hints]


def _missing(hints: Mapping[str, Sequence[str]], there: Collection[str]) -> Iterator[str]:
    for value, texts in hints.items():
        if value not in there:
            yield from texts


def caption(composition: Composition) -> tuple[str, list[tuple[str, int | None]]]:
    """A sentence with its phrases in ``<p>`` tags, and each phrase with its thing, or None for the ground.

    Things come in the order of ``COLOURS`` and ``SHAPES``, then the lowest ground.
    """
    order = sorted(range(len(composition.things)), key=lambda index: _rank(composition.things[index]))
    named: list[tuple[str, int | None]] = [(_with_article(composition.things[i].name), i) for i in order]
    parts = [f"<p>{text}</p>" for text, _ in named]
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    ground = composition.grounds[-1]
    return f"{listed} in front of <p>{ground}</p>.", [*named, (ground, None)]


def questions(composition: Composition, rng: np.random.Generator) -> tuple[str, str]:
    """A simple question and its answer: how many, which colour, which shape, or whether there is one."""
    form = rng.choice(["count", "colour", "exists"], p=[0.4, 0.35, 0.25])
    unique = [
        i for i, thing in enumerate(composition.things) if [t.shape for t in composition.things].count(thing.shape) == 1
    ]
    if form == "colour" and unique:
        thing = composition.things[int(rng.choice(unique))]
        return f"What colour is the {thing.shape}?", f"It is {thing.colour}."
    if form == "exists":
        if rng.random() < 0.5:
            return (
                f"Is there {_with_article(composition.things[int(rng.integers(len(composition.things)))].name)}?",
                "Yes.",
            )
        names = {thing.name for thing in composition.things}
        missing = [name for colour in COLOURS for shape in SHAPES if (name := f"{colour} {shape}") not in names]
        return f"Is there {_with_article(str(rng.choice(missing)))}?", "No."
    if rng.random() < 0.4:
        return "How many shapes are there?", f"There are {NUMBERS[len(composition.things)]}."
    shape = str(rng.choice(SHAPES))
    count = sum(thing.shape == shape for thing in composition.things)
    return f"How many {'crosses' if shape == 'cross' else shape + 's'} are there?", _there(count)


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _there(count: int) -> str:
    return f"There {'is' if count == 1 else 'are'} {NUMBERS[count]}."


def _rank(thing: Thing) -> tuple[int, int]:
    return COLOURS.index(thing.colour), SHAPES.index(thing.shape)


def _nouns(things: Sequence[Thing]) -> Iterator[tuple[str, list[int]]]:
    """Nouns that fit several things, with the things that they fit."""
    everything = list(range(len(things)))
    yield "shape", everything
    for shape in SHAPES:
        yield shape, [i for i in everything if things[i].shape == shape]
    for colour in COLOURS:
        yield f"{colour} shape", [i for i in everything if things[i].colour == colour]


def _attributes(things: Sequence[Thing]) -> Iterator[ReferringExpression]:
    for index, thing in enumerate(things):
        yield ReferringExpression(f"the {thing.name}", index, "category")
    for noun, fitting in _nouns(things):
        kind = "shape" if " " not in noun else "colour"
        if len(fitting) == 1 and noun != "shape":
            yield ReferringExpression(f"the {noun}", fitting[0], kind)
        for size in ("small", "large"):
            of_size = [index for index in fitting if things[index].size == size]
            if len(of_size) == 1 and len(fitting) > 1:
                yield ReferringExpression(f"the {size} {noun}", of_size[0], "size")


def _positions(things: Sequence[Thing]) -> Iterator[ReferringExpression]:
    for noun, fitting in _nouns(things):
        for words, inside in _SIDES.items():
            values = {index: inside(things[index]) for index in fitting}
            there = [index for index, value in values.items() if value > _HALF_MARGIN]
            if len(fitting) > 1 and len(there) == 1 and sum(v > -_HALF_MARGIN for v in values.values()) == 1:
                yield ReferringExpression(f"the {noun} {words}", there[0], "position")


def _relations(things: Sequence[Thing]) -> Iterator[ReferringExpression]:
    for noun, candidates in _nouns(things):
        for anchor_noun, anchors in [*_nouns(things), *((thing.name, [i]) for i, thing in enumerate(things))]:
            if len(anchors) != 1:
                continue
            anchor = anchors[0]
            fitting = [index for index in candidates if index != anchor]
            for words, holds in _RELATIONS.items():
                values = {index: holds(things[index], things[anchor]) for index in fitting}
                there = [index for index, value in values.items() if value > _RELATION_MARGIN]
                # One fits and every other one clearly does not; a lone candidate would need no relation.
                if len(fitting) > 1 and len(there) == 1 and sum(v > 0 for v in values.values()) == 1:
                    yield ReferringExpression(f"the {noun} {words} the {anchor_noun}", there[0], "relation")


def _extremes(things: Sequence[Thing]) -> Iterator[ReferringExpression]:
    for noun, fitting in _nouns(things):
        if len(fitting) < 2:
            continue
        by_size = sorted(fitting, key=lambda index: things[index].radius)
        areas = [things[index].radius ** 2 for index in by_size]
        if areas[-1] > _AREA_RATIO * areas[-2]:
            yield ReferringExpression(f"the largest {noun}", by_size[-1], "extreme")
        if areas[1] > _AREA_RATIO * areas[0]:
            yield ReferringExpression(f"the smallest {noun}", by_size[0], "extreme")
