"""A page to review labels with: how many of what there are, and the pictures that the model was least sure of."""

from __future__ import annotations

import base64
import heapq
import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from xsam_edge.runtime.label.categories import Category
from xsam_edge.runtime.label.look import jpeg, thumbnail
from xsam_edge.runtime.label.records import Picture

REVIEW = "review.html"
LEAST_SURE, EMPTY = 96, 24  # pictures of the page, whatever the set's size
_SIDE = 260  # pixels of a picture on the page
_LABELS = 8  # of a picture that are written out
_CATEGORIES = 250  # rows of the table

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1a1f29; --soft: #5a6475; --line: #dfe3ea; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12151b; --card: #1b2029; --ink: #e6e9ef; --soft: #9ba6b8; --line: #303846; } }
body { margin: 0 auto; max-width: 1180px; padding: 24px; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 22px; } h2 { font-size: 17px; margin-top: 32px; } p, .soft { color: var(--soft); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 12px; }
figure { margin: 0; padding: 10px; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
img { display: block; width: 100%; height: auto; border-radius: 4px; }
figcaption { font-size: 13px; margin-top: 6px; overflow-wrap: anywhere; }
table { border-collapse: collapse; background: var(--card); } .wide { overflow-x: auto; }
td, th { padding: 4px 12px; border: 1px solid var(--line); text-align: left; } td + td, th + th { text-align: right; }
"""


class Tally:
    """What there is of each category; pictures are added one by one."""

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = tuple(categories)
        self.segments = dict.fromkeys((category.id for category in categories), 0)
        self.pictures = dict.fromkeys(self.segments, 0)
        self.scores = dict.fromkeys(self.segments, 0.0)

    def add(self, picture: Picture) -> None:
        """Count a picture."""
        for segment in picture.segments:
            self.segments[segment.category.id] += 1
            self.scores[segment.category.id] += segment.score
        for id in {segment.category.id for segment in picture.segments}:
            self.pictures[id] += 1


class Review:
    """Keeps the pictures that the model was least sure of: those whose worst segment scores least, and empty ones."""

    def __init__(self, categories: Sequence[Category]) -> None:
        self.tally = Tally(categories)
        self.count = 0
        self._least: list[tuple[float, int, Picture]] = []  # a heap, the surest first
        self._empty: list[Picture] = []
        self._empties = 0

    def add(self, picture: Picture) -> None:
        """See a picture."""
        self.count += 1
        self.tally.add(picture)
        score = picture.least_score()
        if score is None:
            self._empties += 1
            if len(self._empty) < EMPTY:
                self._empty.append(picture)
            return
        entry = (-score, -picture.id, picture)
        if len(self._least) < LEAST_SURE:
            heapq.heappush(self._least, entry)
        else:
            heapq.heappushpop(self._least, entry)

    def write(self, path: Path, damaged: int) -> None:
        """Write the page."""
        with open(path, "x", encoding="utf-8") as file:
            file.writelines(self._page(damaged))

    def _page(self, damaged: int) -> Iterator[str]:
        yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield f"<title>Labels to review</title>\n<style>{_STYLE}</style></head><body>\n"
        yield "<h1>Labels to review</h1>\n"
        segments = sum(self.tally.segments.values())
        yield f"<p>{self.count:,} pictures, {segments:,} segments, {self._empties:,} pictures without one"
        yield f", {damaged:,} damaged.</p>\n" if damaged else ".</p>\n"
        sure = sorted(self._least, reverse=True)
        yield f"<h2>Least sure</h2>\n<p>The {len(sure)} pictures whose worst segment scores least, the worst first.</p>"
        yield from _grid(picture for _, _, picture in sure)
        if self._empty:
            yield f"<h2>Nothing found</h2>\n<p>{len(self._empty)} of {self._empties:,} pictures without a segment.</p>"
            yield from _grid(self._empty)
        yield "<h2>Categories</h2>\n" + '<div class="wide"><table><tr><th>category</th><th>segments</th>'
        yield "<th>pictures</th><th>mean score</th></tr>\n"
        for category in sorted(self.tally.categories, key=lambda item: -self.tally.segments[item.id])[:_CATEGORIES]:
            count = self.tally.segments[category.id]
            score = f"{self.tally.scores[category.id] / count:.3f}" if count else ""
            yield f"<tr><td>{escape(category.name)}</td><td>{count:,}</td>"
            yield f"<td>{self.tally.pictures[category.id]:,}</td><td>{score}</td></tr>\n"
        yield "</table></div>\n</body></html>\n"


def _grid(pictures: Iterator[Picture] | Sequence[Picture]) -> Iterator[str]:
    yield '<div class="grid">\n'
    for picture in pictures:
        name = escape(os.fsencode(picture.name).decode("utf-8", "backslashreplace"))
        yield "<figure>"
        if (image := thumbnail(picture, _SIDE)) is not None:
            content = base64.b64encode(jpeg(image)).decode("ascii")
            yield f'<img src="data:image/jpeg;base64,{content}" alt="{name}" loading="lazy">'
        worst = sorted(picture.segments, key=lambda segment: segment.score)
        texts = [f"{escape(segment.category.name)} {segment.score:.2f}" for segment in worst[:_LABELS]]
        more = f" and {len(worst) - _LABELS} more" if len(worst) > _LABELS else ""
        yield f'<figcaption><b>{name}</b><br><span class="soft">{", ".join(texts)}{more}</span></figcaption></figure>\n'
    yield "</div>\n"
