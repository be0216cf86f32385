"""What one picture is asked in training: token ids and target masks, made as the runtime makes its prompts.

All exercises of a picture begin with the same tokens up to the image, and share them in one sequence (``packing``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.calibration.shapes import phrases
from xsam_edge.calibration.shapes.composition import Composition, compose
from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.export.demo.training.recipe import STUFF, THINGS, Recipe
from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.image.preprocess import mask_prompt
from xsam_edge.runtime.image.regions import box_mask, point_mask, sample_points
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.sequence import Expanded, expand
from xsam_edge.runtime.language.tokenizer import IMAGE_ID, Ids, Tokenizer, phrase_spans, seg_positions
from xsam_edge.runtime.results.iou import mask_box

# Sizes that scenes are drawn at before the input rule scales them, so that no one resampling is learnt.
_DRAWN = (1, 1, 1, 2)  # times the mask encoder's input
_CAPTION_END = " <SEG>."


@dataclass(frozen=True, eq=False)
class View:
    """A composition as the model sees it.

    ``pixels`` uint8 [size, size, 3]; ``index`` uint8 [size, size] as ``Drawing.index``; ``cover`` uint8 [segments,
    grid, grid], how much of each cell a thing or ground fills, in 255ths.
    """

    composition: Composition
    pixels: npt.NDArray[np.uint8]
    index: npt.NDArray[np.uint8]
    cover: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Exercise:
    """One prompt with its answer, and the masks to be found.

    ``row`` is the sequence after the prefix, ``answer_start`` the row where the answer begins. Target i is the union
    of the segments ``targets[i]`` and belongs to condition ``labels[i]``. ``points`` are those of ``<region>``s.
    """

    kind: str
    row: Expanded
    answer_start: int
    targets: tuple[tuple[int, ...], ...]
    labels: tuple[int, ...]
    points: npt.NDArray[np.float32] | None = None
    has_masks: bool = True


def view(seed: int, size: int, grid: int) -> View:
    """Draw the composition of a seed for an input of ``size`` pixels, with targets on ``grid`` cells along an edge."""
    composition = compose(seed)
    drawn_size = size * _DRAWN[seed % len(_DRAWN)]
    drawing = draw(composition, drawn_size)
    image = Image.fromarray(drawing.pixels)
    if drawn_size != size:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    step, cell = drawn_size // size, drawn_size // grid
    segments = len(composition.things) + len(composition.grounds)
    shown = drawing.index[None] == np.arange(segments, dtype=np.uint8)[:, None, None]
    cover = shown.reshape(segments, grid, cell, grid, cell).mean((2, 4), dtype=np.float32)
    return View(
        composition, np.asarray(image), drawing.index[step // 2 :: step, step // 2 :: step], np.uint8(255 * cover)
    )


class ExerciseMaker:
    """Makes exercises. Knows the tokenizer and the settings that the exported bundle will have."""

    def __init__(self, tokenizer: Tokenizer, settings: Settings, recipe: Recipe) -> None:
        self.tokenizer, self.settings, self.recipe = tokenizer, settings, recipe
        self._layout = lru_cache(maxsize=50_000)(self._lay_out)

    def exercises(self, seen: View, rng: np.random.Generator, lesson: int = 1) -> list[Exercise]:
        """What a picture is asked this time; ``lesson`` 0 or 1 chooses the recipe's mixture."""
        referring = self.referring(seen.composition, rng, lesson)
        makers: dict[str, Callable[[], Exercise]] = {
            "categories": lambda: self.categories(seen.composition, rng),
            "interactive": lambda: self.interactive(seen, rng),
            "similar": lambda: self.similar(seen, rng),
            "caption": lambda: self.caption(seen.composition),
            "chat": lambda: self.chat(seen.composition, rng),
        }
        return referring + [
            makers[kind]() for kind, chances in self.recipe.others.items() if rng.random() < chances[lesson]
        ]

    def referring(self, composition: Composition, rng: np.random.Generator, lesson: int = 1) -> list[Exercise]:
        """Phrases and sentences of different kinds, those of positions with their opposites."""
        kinds = list(self.recipe.kinds)
        weights = np.array([chances[lesson] for chances in self.recipe.kinds.values()])
        exercises: list[Exercise] = []
        asked = 0
        order = rng.choice(len(kinds), np.count_nonzero(weights), replace=False, p=weights / weights.sum())
        for kind in (kinds[index] for index in order):
            if asked < self.recipe.refer_asks[lesson] and (expressions := phrases.of_kind(composition, kind)):
                chosen = expressions[int(rng.integers(len(expressions)))]
                mirrored = phrases.opposite(chosen.text)
                opposites = [item for item in expressions if item.text == mirrored and item.text != chosen.text]
                exercises += [self.refer(item, kind) for item in (chosen, *opposites)]
                asked += 1
        return exercises

    def refer(self, expression: phrases.ReferringExpression, kind: str) -> Exercise:
        """A phrase, or a sentence where ``kind`` says "reason"."""
        make = prompts.reason if kind.endswith("reason") else prompts.refer
        targets = () if expression.thing is None else ((expression.thing,),)
        return self._exercise(kind, make(expression.text, self.settings.prompt), targets, (0,) * len(targets))

    def categories(self, composition: Composition, rng: np.random.Generator) -> Exercise:
        """Every category, or half of the time some of them in any order."""
        names = [*THINGS, *STUFF]
        if rng.random() < 0.5:
            names = list(rng.permutation(names)[: int(rng.integers(2, len(names) + 1))])
        targets, labels = [], []
        for index, thing in enumerate(composition.things):
            if thing.shape in names:
                targets.append((index,))
                labels.append(names.index(thing.shape))
        for index, ground in enumerate(composition.grounds):
            if ground in names:
                targets.append((len(composition.things) + index,))
                labels.append(names.index(ground))
        prompt = prompts.categories([str(name) for name in names], self.settings.prompt)
        return self._exercise("categories", prompt, tuple(targets), tuple(labels))

    def interactive(self, seen: View, rng: np.random.Generator) -> Exercise:
        """A mask, a box or a point on one thing, or on a ground."""
        segments = len(seen.composition.things) + len(seen.composition.grounds)
        things = len(seen.composition.things)
        weights = np.array([1.0] * things + [0.3] * (segments - things))
        index = int(rng.choice(segments, p=weights / weights.sum()))
        region = self._region(seen, index, rng, ("mask", "box", "point") if index < things else ("mask", "point"))
        return self._exercise("interactive", prompts.interactive(self.settings.prompt), ((index,),), (0,), [region])

    def similar(self, seen: View, rng: np.random.Generator) -> Exercise:
        """One thing of some shapes; all things of each of these shapes are wanted."""
        shapes = list(rng.permutation(sorted({thing.shape for thing in seen.composition.things})))
        shapes = shapes[: int(rng.integers(1, len(shapes) + 1))] if rng.random() < 0.4 else shapes
        regions, targets, labels = [], [], []
        for label, shape in enumerate(shapes):
            members = [index for index, thing in enumerate(seen.composition.things) if thing.shape == shape]
            regions.append(self._region(seen, int(rng.choice(members)), rng, ("mask",)))
            targets += [(index,) for index in members]
            labels += [label] * len(members)
        prompt = prompts.regions(len(shapes), self.settings.prompt)
        return self._exercise("similar", prompt, tuple(targets), tuple(labels), regions)

    def caption(self, composition: Composition) -> Exercise:
        """The caption with its phrases' masks."""
        text, named = phrases.caption(composition)
        ground = len(composition.things) + len(composition.grounds) - 1
        targets = tuple((ground if index is None else index,) for _, index in named)
        answer = text + _CAPTION_END + self.settings.prompt.answer_suffix
        prompt = prompts.describe(self.settings.prompt)
        return self._exercise("caption", prompt, targets, range(len(named)), answer=answer)

    def chat(self, composition: Composition, rng: np.random.Generator) -> Exercise:
        """A question whose answer is text."""
        question, answer = phrases.questions(composition, rng)
        prompt = prompts.chat(question, self.settings.prompt)
        answer += self.settings.prompt.answer_suffix
        return self._exercise("chat", prompt, (), (), answer=answer, has_masks=False)

    def _exercise(
        self,
        kind: str,
        prompt: prompts.Prompt,
        targets: Sequence[tuple[int, ...]],
        labels: Sequence[int],
        regions: Sequence[npt.NDArray[np.float32]] | None = None,
        answer: str | None = None,
        has_masks: bool = True,
    ) -> Exercise:
        row, start = self._layout(prompt.text, answer or prompt.answer)
        points = None if regions is None else np.stack(regions)
        return Exercise(kind, row, start, tuple(targets), tuple(labels), points, has_masks)

    def _region(
        self, seen: View, index: int, rng: np.random.Generator, forms: tuple[str, ...]
    ) -> npt.NDArray[np.float32]:
        """Sample points [points, 2] of a region on a segment, as the runtime takes them."""
        inside = seen.index == index
        form = forms[int(rng.integers(len(forms)))]
        if form == "box":
            region = box_mask(mask_box(inside), inside.shape)
        elif form == "point":
            row, column = np.argwhere(inside)[int(rng.integers(inside.sum()))]
            region = point_mask((float(column), float(row)), inside.shape)
        else:
            region = inside
        return sample_points(mask_prompt(region, self.settings.mask_input), self.settings.regions.points)

    def prefix(self) -> Ids:
        """The tokens that every prompt begins with, the image included, int64 [P]."""
        row = self._expanded(prompts.describe(self.settings.prompt).text, "")
        return row.input_ids[: self._prefix_length(row)]

    def _prefix_length(self, row: Expanded) -> int:
        return int(np.flatnonzero(row.input_ids == IMAGE_ID)[-1]) + 1

    def _lay_out(self, text: str, answer: str) -> tuple[Expanded, int]:
        """The rows after the prefix, and where the answer begins among them."""
        row = self._expanded(text, answer)
        prefix = self._prefix_length(row)
        return row.part(prefix), len(self._expanded(text, "")) - prefix

    def _expanded(self, text: str, answer: str) -> Expanded:
        ids = self.tokenizer.encode_prompt(text)
        if answer:
            ids = np.concatenate([ids, self.tokenizer.encode(answer)])
        tokens = self.settings.tokens
        return expand(
            ids,
            phrase_spans(ids, tokens),
            seg_positions(ids, tokens),
            self.settings.model.image_tokens,
            self.settings.regions.tokens,
        )
