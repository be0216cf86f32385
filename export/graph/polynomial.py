"""Sizes as polynomials in the axes of a graph, found from the sizes themselves at a few places.

Tools that infer shapes tell them of given sizes only. A dimension is a sum of axes and of products of an axis with
the batch (``past + sequence``, ``10*batch``, ``batch*sequence``), which a few places settle exactly: there is nothing
to round, and a place that was not used shows whether it is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xsam_edge.runtime.bundle.contract import AXES, BATCH
from xsam_edge.runtime.bundle.work import CONSTANT, factors, term_of

Place = Mapping[str, int]
"""The size of each axis."""

# Two sizes of each axis, and a third that is left for the proof. Primes, so that none is the size of something else.
_FIRST = (101, 211, 307, 401, 503, 601, 701, 809, 907, 1009)
_LAST = (1103, 1201, 1301, 1409, 1511, 1601, 1709, 1801, 1901, 2003)


@dataclass(frozen=True)
class Size:
    """A polynomial: what each term is multiplied by, never 0."""

    terms: Mapping[str, int]

    @classmethod
    def of(cls, value: int | Size) -> Size:
        """A number as a size that no axis changes."""
        return value if isinstance(value, Size) else cls({CONSTANT: value} if value else {})

    def __add__(self, other: int | Size) -> Size:
        terms = dict(self.terms)
        for term, count in Size.of(other).terms.items():
            terms[term] = terms.get(term, 0) + count
        return Size({term: count for term, count in terms.items() if count})

    def __mul__(self, other: int | Size) -> Size:
        terms: dict[str, int] = {}
        for term, count in self.terms.items():
            for further, times in Size.of(other).terms.items():
                product = term_of((*factors(term), *factors(further)))
                terms[product] = terms.get(product, 0) + count * times
        return Size({term: count for term, count in terms.items() if count})

    __radd__, __rmul__ = __add__, __mul__

    def __sub__(self, other: int | Size) -> Size:
        return self + Size.of(other) * -1

    def covers(self, other: Size) -> bool:
        """Whether it is as large or larger wherever no axis is negative, as can be told of each term alone."""
        return all(count >= 0 for count in (self - other).terms.values())


def places(axes: Sequence[str]) -> list[Place]:
    """Where sizes have to be known for :func:`fit`. The last is for the proof, unless there is no axis."""
    chosen = [axis for axis in AXES if axis in axes]
    first = dict(zip(chosen, _FIRST, strict=False))
    found = [first, *(_one_more(first, axis) for axis in chosen)]
    if BATCH in chosen:
        found += [_one_more(_one_more(first, BATCH), axis) for axis in chosen if axis != BATCH]
    return [*found, dict(zip(chosen, _LAST, strict=False))] if chosen else found


def _one_more(place: Place, axis: str) -> Place:
    return {**place, axis: place[axis] + 1}


def fit(axes: Sequence[str], values: Sequence[int]) -> Size | None:
    """The size that has these values at :func:`places`, None where no sum of axes and of their products with the batch
    has."""
    if len(set(values)) == 1:
        return Size.of(values[0])
    where = places(axes)
    first, base = where[0], values[0]
    found = {tuple(sorted(place.items())): value for place, value in zip(where, values, strict=True)}

    def at(place: Place) -> int:
        return found[tuple(sorted(place.items()))]

    terms, left = {}, base
    for axis, size in first.items():
        if axis == BATCH:
            continue
        slope, both = at(_one_more(first, axis)) - base, 0
        if BATCH in first:
            more = _one_more(first, BATCH)
            both = at(_one_more(more, axis)) - at(more) - slope
            slope -= both * first[BATCH]
            left -= both * first[BATCH] * size
            terms[term_of((BATCH, axis))] = both
        left -= slope * size
        terms[axis] = slope
    if BATCH in first:
        crossed = sum(terms[term_of((BATCH, axis))] * size for axis, size in first.items() if axis != BATCH)
        terms[BATCH] = at(_one_more(first, BATCH)) - base - crossed
        left -= terms[BATCH] * first[BATCH]
    whole = Size({term: count for term, count in {**terms, CONSTANT: left}.items() if count})
    return whole if _at(whole, where[-1]) == values[-1] else None


def _at(size: Size, place: Place) -> int:
    total = 0
    for term, count in size.terms.items():
        for axis in factors(term):
            count *= place[axis]
        total += count
    return total
