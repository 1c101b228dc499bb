"""Ranges of shapes that a plan is tuned for: one optimization profile for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument

from .base import Shapes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class ShapeRanges(Shapes):
    """More than one range: no call has the largest batch and the largest picture at once.

    Attributes
    ----------
    more : tuple of Shapes
        The other ranges. A call takes the first one that holds its shape.
    """

    more: tuple[Shapes, ...] = ()


def joined(ranges: Sequence[Shapes]) -> Shapes:
    """Make one or more ranges into what engines are given."""
    first, *more = ranges
    if not more:
        return first
    return ShapeRanges(first.smallest, first.usual, first.largest, tuple(more))


def split(shapes: Shapes) -> tuple[Shapes, ...]:
    """Give the ranges, in order."""
    first = Shapes(shapes.smallest, shapes.usual, shapes.largest)
    return (first, *shapes.more) if isinstance(shapes, ShapeRanges) else (first,)


def ordered(name: str, shapes: Shapes) -> Shapes:
    """Give the same with plain numbers.

    Raises
    ------
    InvalidArgument
        Unless 1 <= smallest <= usual <= largest in every range and dimension.
    """
    return joined([_ordered(name, one) for one in split(shapes)])


def by_profile(shapes: Mapping[str, Shapes]) -> list[dict[str, Shapes]]:
    """Range of each input in each optimization profile; an input with one range has it in all.

    Raises
    ------
    InvalidArgument
        When inputs have different numbers of ranges.
    """
    ranges = {name: split(one) for name, one in shapes.items()}
    counts = {name: len(several) for name, several in ranges.items()}
    count = max(counts.values(), default=0)
    if not all(number in (1, count) for number in counts.values()):
        raise InvalidArgument(
            f"tensorrt: inputs must have equally many ranges of shapes, or one, got {counts}"
        )
    return [
        {name: several[i] if len(several) > 1 else several[0] for name, several in ranges.items()}
        for i in range(count)
    ]


def _ordered(name: str, one: Shapes) -> Shapes:
    shapes = Shapes(*(tuple(int(d) for d in s) for s in (one.smallest, one.usual, one.largest)))
    rank = len(shapes.smallest)
    triples = zip(shapes.smallest, shapes.usual, shapes.largest, strict=False)
    if {len(shapes.usual), len(shapes.largest)} != {rank} or not all(1 <= a <= b <= c for a, b, c in triples):
        raise InvalidArgument(
            f"tensorrt: shapes of input {name!r} must have 1 <= smallest <= usual <= largest, got {shapes}"
        )
    return shapes
