"""What one run of a graph has to do, for who measures speed: counted at export, for any sizes of the graph's axes.

Counting takes packages that a device lacks; a polynomial in the axes takes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Annotated

from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.constraints import Count, Line, matching

#: The term of a polynomial that no axis is in.
CONSTANT = "1"
_AXIS = f"({'|'.join(contract.AXES)})"
_Term = Annotated[str, matching(rf"{CONSTANT}|{_AXIS}(\*{_AXIS})*", f"{CONSTANT}, or names of axes with * between")]
Polynomial = Mapping[_Term, int]
"""A sum: each term, such as ``batch*sequence*sequence``, with what it is multiplied by."""


@dataclass(frozen=True)
class Cost:
    """Of one run of a graph. ``uncounted`` are operators that compute products but are not understood."""

    flops: int
    weight_bytes: int
    io_bytes: int
    activation_bytes: int
    uncounted: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """The least that crosses memory."""
        return self.weight_bytes + self.io_bytes


@dataclass(frozen=True)
class GraphWork:
    """The cost of a graph at any sizes of its axes.

    ``flops`` are those of matrix products and convolutions, two per multiplication and addition. ``weight_bytes`` are
    those that the graph's file brings; ``io_bytes`` those of inputs and outputs. ``activation_bytes`` is the greatest
    of several sums, each of what is alive at one place in the order of the file, inputs and outputs included.
    """

    flops: Polynomial
    weight_bytes: Count
    io_bytes: Polynomial
    activation_bytes: tuple[Polynomial, ...]
    uncounted: tuple[Line, ...] = ()

    @property
    def axes(self) -> frozenset[str]:
        """Names of the axes that it depends on."""
        polynomials = (self.flops, self.io_bytes, *self.activation_bytes)
        return frozenset(axis for terms in polynomials for term in terms for axis in factors(term))

    def at(self, axes: Mapping[str, int]) -> Cost:
        """The cost where the axes have these sizes; KeyError where one is missing."""
        return Cost(
            flops=value_at(self.flops, axes),
            weight_bytes=self.weight_bytes,
            io_bytes=value_at(self.io_bytes, axes),
            activation_bytes=max((value_at(terms, axes) for terms in self.activation_bytes), default=0),
            uncounted=self.uncounted,
        )


def factors(term: str) -> tuple[str, ...]:
    """The axes of a term, one as often as it is in it."""
    return () if term == CONSTANT else tuple(term.split("*"))


def term_of(axes: Iterable[str]) -> str:
    """The term of a product of axes."""
    return "*".join(sorted(axes)) or CONSTANT


def value_at(terms: Polynomial, axes: Mapping[str, int]) -> int:
    """A polynomial where the axes have these sizes; KeyError where one is missing."""
    return sum(count * prod(axes[axis] for axis in factors(term)) for term, count in terms.items())
