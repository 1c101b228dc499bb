"""How a block cuts its map into windows, and which windows see the same bias: from sizes alone.

A window is a product of one interval per axis, and so is all that tells two windows' biases apart: the
fragments that its tokens lie in, and the regions that the cyclic shift brought together. NumPy makes the
plans, so that a trace sees constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import Size

Floats = NDArray[np.float32]

# The authors' value: not -inf, so that no row of a softmax can be empty.
_MASKED = np.float32(-100)


@dataclass(frozen=True, slots=True)
class Cut:
    """Windows of a block, in some order; N is the number of tokens of one.

    Attributes
    ----------
    count : int
        Windows.
    tokens : int
        N.
    order : Tensor
        ``(count * N,)`` int64: token of the map ``(T, H, W)`` behind every token of every window;
        T * H * W stands for padding.
    back : Tensor
        ``(T * H * W,)`` int64: place in `order` of every token of the map.
    padded : bool
        Whether there is padding.
    """

    count: int
    tokens: int
    order: Tensor
    back: Tensor
    padded: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Windows with the same bias, one after the other in `Groups.cut`.

    Attributes
    ----------
    start, stop : int
        Their places.
    gate : Tensor or None
        ``(N, N)`` float32: rows plus columns of fragments between two tokens. None: 0 everywhere.
    mask : Tensor or None
        ``(N, N)`` float32: -100 between regions, else 0. None: 0 everywhere.
    """

    start: int
    stop: int
    gate: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class Groups:
    """Windows sorted so that the same bias serves neighbours."""

    cut: Cut
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows in scan order: `times` steps of time, each of S places; biases follow from places of tokens.

    As constants of a graph, biases themselves would be far larger than all weights.

    Attributes
    ----------
    rows, columns : Tensor or None
        ``(S, N)`` float32: row and column of the fragment that a token lies in. None: no gate anywhere.
    regions : Tensor or None
        ``(S, N)`` float32: region of space that a token lies in. None: one region.
    time_regions : Tensor or None
        ``(times, N)`` float32: region of time. Masks of space and time add up where both hold: next to a
        token itself, e^-100 is as much 0 in float32 as e^-200.
    """

    cut: Cut
    times: int
    rows: Tensor | None
    columns: Tensor | None
    regions: Tensor | None
    time_regions: Tensor | None

    def with_zero(self, zero: Tensor) -> Grid:
        """Add 0 to every place: a trace records what is made of traced values, and no more."""
        there = (self.rows, self.columns, self.regions, self.time_regions)
        return Grid(self.cut, self.times, *(None if p is None else p + zero for p in there))

    def gate(self) -> Tensor | None:
        """As for a group: ``(S, N, N)``."""
        if self.rows is None or self.columns is None:
            return None
        return _apart(self.rows) + _apart(self.columns)

    def mask(self) -> Tensor | None:
        """``(S, N, N)``: -100 between regions of space."""
        return None if self.regions is None else _apart(self.regions).clamp(max=1) * float(_MASKED)

    def time_mask(self) -> Tensor | None:
        """``(times, N, N)``: -100 between regions of time."""
        return None if self.time_regions is None else _apart(self.time_regions).clamp(max=1) * float(_MASKED)


def _apart(places: Tensor) -> Tensor:
    """How far two tokens of a window are apart: ``(S, N)`` to ``(S, N, N)``."""
    return (places[:, :, None] - places[:, None]).abs()


def clip_window(size: Sequence[int], window: Size, shift: Size) -> tuple[Size, Size]:
    """Return the window and shift in use on a map of `size` tokens.

    An axis that one window covers is one window, and is not shifted.
    """
    a, b, c = (min(s, w) for s, w in zip(size, window, strict=True))
    i, j, k = (d if s > w else 0 for s, w, d in zip(size, window, shift, strict=True))
    return (a, b, c), (i, j, k)


def adaptive_window(window: Size, size: Sequence[int], base: Size) -> Size:
    """Shrink `window`, in tokens, as an input of `size` pixels is smaller than `base`.

    Raises
    ------
    InvalidArgument
        When nothing is left of it, or it would grow: there are no biases for farther pairs.
    """
    a, b, c = (w * s // full for w, s, full in zip(window, size, base, strict=True))
    if min(a, b, c) < 1 or any(n > w for n, w in zip((a, b, c), window, strict=True)):
        raise InvalidArgument(
            f"adaptive window: {window} * size // {base} must be in 1..{window} on every axis, "
            f"got {(a, b, c)} for size {tuple(size)}"
        )
    return a, b, c


# One entry per kind of block and input size; 110 MB in all for FAST-VQA-B at 32 x 224 x 224.
@lru_cache(maxsize=32)
def groups(
    size: Size, window: Size, shift: Size, fragments: tuple[int, int] | None, device: torch.device
) -> Groups:
    """Cut a map of `size` tokens and sort the windows by bias.

    Parameters
    ----------
    size : Size
        T, H, W of the map.
    window, shift : Size
        In use, from `clip_window`.
    fragments : tuple of int or None
        Rows and columns of fragments; None for a block without fragment biases.
    device : torch.device
        Where the tensors are to be.
    """
    axes = _axes(size, window, shift, fragments)
    found: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for at in product(*(range(len(a.kind)) for a in axes)):
        found.setdefault(tuple(a.kind[i] for a, i in zip(axes, at, strict=True)), []).append(at)
    # Groups that differ in time alone share a gate, and different masks are few.
    gates: dict[tuple[int, ...], Tensor | None] = {}
    masks: dict[bytes, Tensor | None] = {}
    made, start = [], 0
    for kind, members in found.items():
        patterns = [a.patterns[k] for a, k in zip(axes, kind, strict=True)]
        if kind[1:] not in gates:
            gates[kind[1:]] = _some(_spread([p.gate for p in patterns]), device)
        apart = [p.apart for p in patterns]
        key = b"".join(a.tobytes() for a in apart)
        if key not in masks:
            masks[key] = _some(_masked(_spread(apart)), device)
        made.append(Group(start, start + len(members), gates[kind[1:]], masks[key]))
        start += len(members)
    places = [at for members in found.values() for at in members]
    return Groups(_cut(size, window, axes, places, device), tuple(made))


@lru_cache(maxsize=32)
def grid(
    size: Size, window: Size, shift: Size, fragments: tuple[int, int] | None, device: torch.device
) -> Grid:
    """Cut a map of `size` tokens in scan order; parameters as for `groups`."""
    axes = _axes(size, window, shift, fragments)
    time, high, wide = axes
    places = list(product(*(range(len(a.kind)) for a in axes)))
    cut = _cut(size, window, axes, places, device)

    def over_space(rows: list[list[int]], columns: list[list[int]]) -> tuple[Floats, Floats]:
        """One number of each token's row, and one of its column: ``(S, N)`` each."""
        shape = (len(rows), len(columns), *window)
        r = np.array(rows, np.float32)[:, None, None, :, None]
        c = np.array(columns, np.float32)[None, :, None, None, :]
        both = [np.broadcast_to(x, shape).reshape(-1, math.prod(window)) for x in (r, c)]
        return both[0], both[1]

    gates = over_space(high.in_windows(high.cells), wide.in_windows(wide.cells))
    by_row, by_column = over_space(high.in_windows(high.regions), wide.in_windows(wide.regions))
    steps = np.array(time.in_windows(time.regions), np.float32)[:, :, None, None]
    by_time = np.broadcast_to(steps, (len(time.kind), *window)).reshape(len(time.kind), -1)
    rows, columns = (_tensor(g, device) for g in gates) if any(map(_varies, gates)) else (None, None)
    # An axis has three regions at most, so these numbers tell all pairs apart.
    regions = by_row * 3 + by_column
    return Grid(
        cut,
        len(time.kind),
        rows,
        columns,
        _tensor(regions, device) if _varies(regions) else None,
        _tensor(by_time, device) if _varies(by_time) else None,
    )


def _varies(places: Floats) -> bool:
    """Whether two tokens of one window are at different places."""
    return bool((places != places[:, :1]).any())


@dataclass(frozen=True, slots=True)
class _Pattern:
    gate: Floats  # (w, w): fragments between two tokens
    apart: Floats  # (w, w): 1 between regions, else 0


@dataclass(frozen=True, slots=True)
class _Axis:
    source: list[int]  # where every token of the padded, shifted axis was
    cells: list[int]  # the fragment it lies in
    regions: list[int]  # the region
    window: int
    kind: list[int]  # of every window
    patterns: list[_Pattern]  # of every kind

    def in_windows(self, values: list[int]) -> list[list[int]]:
        """Cut what every token has into windows."""
        return [values[i : i + self.window] for i in range(0, len(values), self.window)]


def _axes(size: Size, window: Size, shift: Size, fragments: tuple[int, int] | None) -> list[_Axis]:
    # Time has one fragment, and a block without fragment biases one in all.
    return [_axis(*a) for a in zip(size, window, shift, (1, *(fragments or (1, 1))), strict=True)]


def _axis(size: int, window: int, shift: int, fragments: int) -> _Axis:
    length = -(-size // window) * window
    source = [(i + shift) % length for i in range(length)]
    cells = [nearest(i, fragments, length) for i in source]
    # The authors' slices: a shift of 0 makes the third the whole axis, and a shift above the window makes
    # it reach into the first.
    regions = [0] * length
    for i, part in enumerate((slice(-window), slice(-window, -shift), slice(-shift, None))):
        for at in range(*part.indices(length)):
            regions[at] = i
    kinds: dict[tuple[int, ...], int] = {}
    kind: list[int] = []
    patterns: list[_Pattern] = []
    for first in range(0, length, window):
        cell, region = cells[first : first + window], regions[first : first + window]
        key = (*(c - cell[0] for c in cell), *(r - region[0] for r in region))
        if key not in kinds:
            kinds[key] = len(patterns)
            patterns.append(_Pattern(_distance(cell), np.sign(_distance(region))))
        kind.append(kinds[key])
    return _Axis(source, cells, regions, window, kind, patterns)


def nearest(at: int, cells: int, length: int) -> int:
    """Cell of place `at` when `cells` are stretched over `length`: `interpolate`'s "nearest" in float32."""
    return min(int(np.float32(at) * (np.float32(cells) / np.float32(length))), cells - 1)


def _distance(values: list[int]) -> Floats:
    x = np.array(values, np.float32)
    distance: Floats = np.abs(x[:, None] - x)
    return distance


def _spread(parts: list[Floats]) -> Floats:
    """Sum of one ``(w, w)`` matrix per axis, over all pairs of tokens: ``(N, N)``."""
    t, h, w = parts
    volume = len(t) * len(h) * len(w)
    total: Floats = (
        t[:, None, None, :, None, None] + h[None, :, None, None, :, None] + w[None, None, :, None, None, :]
    )
    spread: Floats = total.reshape(volume, volume)
    return spread


def _masked(apart: Floats) -> Floats:
    mask: Floats = np.where(apart > 0, _MASKED, np.float32(0))
    return mask


def _some(x: Floats, device: torch.device) -> Tensor | None:
    """`x` on the device; None where it is 0 everywhere."""
    return _tensor(x, device) if x.any() else None


def _tensor(x: Floats, device: torch.device) -> Tensor:
    # Plans outlive the inference mode in which they may be made first.
    with torch.inference_mode(False):
        return torch.from_numpy(x).to(device)


def _cut(
    size: Size, window: Size, axes: list[_Axis], places: list[tuple[int, ...]], device: torch.device
) -> Cut:
    total = math.prod(size)
    order = np.concatenate([_tokens(size, window, axes, at) for at in places])
    back = np.empty(total + 1, np.int64)
    back[order] = np.arange(len(order))
    with torch.inference_mode(False):
        there, and_back = (torch.from_numpy(x).to(device) for x in (order, back[:-1]))
    return Cut(len(places), math.prod(window), there, and_back, padded=len(order) > total)


def _tokens(size: Size, window: Size, axes: list[_Axis], at: Sequence[int]) -> NDArray[np.int64]:
    """Map's token behind each token of the window at place `at`; size's product for padding."""
    t, h, w = np.ix_(*(a.source[i * n : (i + 1) * n] for a, i, n in zip(axes, at, window, strict=True)))
    inside = (t < size[0]) & (h < size[1]) & (w < size[2])
    return np.where(inside, (t * size[1] + h) * size[2] + w, math.prod(size)).astype(np.int64).ravel()
