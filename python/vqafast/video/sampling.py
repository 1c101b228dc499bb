"""Which frames, crops and fragments are scored: pure functions of time, size, draw and seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from fractions import Fraction

    from numpy.typing import NDArray

# Seconds: half a tick of the coarsest common time base (1 ms). It is forgiven whatever the tick, so
# that a video is sampled at the same frames in every container and as a stream.
_TOLERANCE = 0.0005 + 1e-9


class Picker(Protocol):
    """State of a selector over one video; frames are offered in presentation order."""

    def start(self, index: int, pts: float, /) -> int | None:
        """Return k when sample k starts at the frame ``(index, pts)``, else None."""
        ...


class Selector(Protocol):
    """A rule that chooses samples. A sample is `burst` frames from a start frame on, `stride` apart.

    Attributes
    ----------
    burst : int
        Frames per sample.
    stride : int
        Frames from one frame of a sample to its next.
    needs_length : bool
        True when `begin` must be told the number of frames.
    """

    @property
    def burst(self) -> int:
        """Frames per sample."""
        ...

    @property
    def stride(self) -> int:
        """Frames from one frame of a sample to its next."""
        ...

    @property
    def needs_length(self) -> bool:
        """Whether `begin` must be told the number of frames."""
        ...

    def begin(self, *, length: int | None = None) -> Picker:
        """Start on a video that has `length` frames."""
        ...


def _check_burst(burst: int) -> None:
    if burst < 1:
        raise InvalidArgument(f"selector: burst must be at least 1, got {burst}")


class _GridPicker:
    def __init__(self, rate: float, tolerance: float) -> None:
        self._rate = rate
        self._tolerance = tolerance
        self._next = 0

    def start(self, _index: int, pts: float, /) -> int | None:
        k = math.floor((pts + self._tolerance) * self._rate)
        if k < self._next:
            return None
        self._next = k + 1
        return k


@dataclass(frozen=True, slots=True)
class TimeGrid:
    """Sample k is the first frame with ``pts >= k / rate``, give or take half a millisecond.

    A frame is never sampled twice: when frames are further apart than ``1 / rate``, a frame that
    is the first one after several grid times is sampled once, under the last of them, and the grid
    goes on behind it. So k may skip values, and ``k / rate`` is always close to the frame's time.

    Parameters
    ----------
    rate : Fraction or float
        Samples per second.
    burst : int
        Frames per sample; bursts of different samples may share frames.
    """

    rate: Fraction | float
    burst: int = 1

    def __post_init__(self) -> None:
        if not (float(self.rate) > 0 and math.isfinite(float(self.rate))):
            raise InvalidArgument(f"TimeGrid: rate must be positive and finite, got {self.rate}")
        _check_burst(self.burst)

    @property
    def stride(self) -> int:
        """1: the frames of a sample are neighbours."""
        return 1

    @property
    def needs_length(self) -> bool:
        """Whether `begin` must be told the number of frames."""
        return False

    def begin(self, *, length: int | None = None) -> Picker:  # noqa: ARG002, D102
        return _GridPicker(float(self.rate), _TOLERANCE)


class _EveryPicker:
    def start(self, index: int, _pts: float, /) -> int | None:
        return index


@dataclass(frozen=True, slots=True)
class EveryFrame:
    """Every frame starts a sample; k is the frame's index."""

    burst: int = 1

    def __post_init__(self) -> None:
        _check_burst(self.burst)

    @property
    def stride(self) -> int:
        """1: the frames of a sample are neighbours."""
        return 1

    @property
    def needs_length(self) -> bool:
        """Whether `begin` must be told the number of frames."""
        return False

    def begin(self, *, length: int | None = None) -> Picker:  # noqa: ARG002, D102
        return _EveryPicker()


class _UniformPicker:
    def __init__(self, indices: list[int]) -> None:
        self._k_of = {index: k for k, index in enumerate(indices)}

    def start(self, index: int, _pts: float, /) -> int | None:
        return self._k_of.get(index)


@dataclass(frozen=True, slots=True)
class UniformCount:
    """`n` frames at equal intervals: sample k is frame ``floor((k + 1/2) * length / n)``.

    A video with fewer than `n` frames is sampled at every frame; nothing is repeated.
    """

    n: int
    burst: int = 1

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InvalidArgument(f"UniformCount: n must be at least 1, got {self.n}")
        _check_burst(self.burst)

    @property
    def stride(self) -> int:
        """1: the frames of a sample are neighbours."""
        return 1

    @property
    def needs_length(self) -> bool:
        """Whether `begin` must be told the number of frames."""
        return True

    def begin(self, *, length: int | None = None) -> Picker:  # noqa: D102
        if length is None:
            raise InvalidArgument(
                "UniformCount: the number of frames must be known; use TimeGrid on a stream"
            )
        n = min(self.n, length)
        return _UniformPicker([(2 * k + 1) * length // (2 * n) for k in range(n)])


@dataclass(frozen=True, slots=True)
class _Runs:
    """`count` runs of `burst` frames, `stride` apart, placed by the length of the video."""

    burst: int
    stride: int
    count: int

    def __post_init__(self) -> None:
        _check_burst(self.burst)
        if self.stride < 1 or self.count < 1:
            raise InvalidArgument(
                f"{type(self).__name__}: stride and count must be at least 1, got {self.stride}, {self.count}"
            )

    @property
    def needs_length(self) -> bool:
        """Whether `begin` must be told the number of frames."""
        return True

    def begin(self, *, length: int | None = None) -> Picker:
        """Start on a video that has `length` frames."""
        if length is None:
            raise InvalidArgument(
                f"{type(self).__name__}: the number of frames must be known; a stream does not say it"
            )
        return _UniformPicker(sorted(set(self._starts(length))))

    def _starts(self, length: int) -> list[int]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Clips(_Runs):
    """`count` clips spread over the video: FAST-VQA's temporal sampling.

    With ``s = burst * stride`` and ``a = (length - s + 1) / count``, clip k begins at frame
    ``floor((k + 1/2) a)``. A video of fewer than s frames has one clip, from its first frame on, cut
    short by its end. Clips that begin at the same frame are one.
    """

    def _starts(self, length: int) -> list[int]:
        places = length - self.burst * self.stride + 1
        return [(2 * k + 1) * places // (2 * self.count) for k in range(self.count)] if places > 0 else [0]


@dataclass(frozen=True, slots=True)
class Segments(_Runs):
    """A run in each of `count` parts of the video: FasterVQA's temporal sampling.

    Part k begins at frame ``k floor(length / count)``, and its run lies in the middle of the part, or at
    its beginning where it is longer than the part.
    """

    def _starts(self, length: int) -> list[int]:
        part = length // self.count
        middle = max(0, part - self.burst * self.stride) // 2
        return [k * part + middle for k in range(self.count)]


def splitmix64(*words: int) -> int:
    """Counter-based hash of integers to 64 bits: the splitmix64 finaliser chained over `words`."""
    mask = (1 << 64) - 1
    state = 0
    for word in words:
        state = (state + (word & mask) + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state


def _offset(span: int, draw: int, seed: int, cell: int, axis: int) -> int:
    """Offset in 0..span: the middle for draw 0, else uniform by hash."""
    if draw == 0:
        return span // 2
    return splitmix64(seed, draw, cell, axis) * (span + 1) >> 64


def _check_grid(name: str, size: tuple[int, int], nx: int, ny: int, draw: int) -> None:
    width, height = size
    if width < 1 or height < 1 or nx < 1 or ny < 1:
        raise InvalidArgument(
            f"{name}: frame and grid must be at least 1x1, got {width}x{height}, grid {nx}x{ny}"
        )
    if draw < 0:
        raise InvalidArgument(f"{name}: draw must be at least 0, got {draw}")


def patch_grid(
    width: int,
    height: int,
    nx: int,
    ny: int,
    size: int,
    align: int = 16,
    draw: int = 0,
    seed: int = 0,
) -> NDArray[np.int32]:
    """Square patches, one per cell of an `nx` by `ny` grid over the frame.

    Each patch lies inside its cell, or covers it where the patch is the larger one; it never
    leaves the frame, so patches overlap when they must. Corners are snapped down to multiples of
    `align`, so that a patch shows a codec's block grid always in the same phase.

    Parameters
    ----------
    width, height : int
        Frame in pixels.
    size : int
        Side of a patch in pixels, clipped to the frame in each direction.
    draw : int
        0 is the centred grid; each draw above 0 is another fixed jitter inside the cells.
    seed : int
        Changes the jitters of all draws above 0.

    Returns
    -------
    ndarray
        ``(nx * ny, 4)`` int32, rows ``x, y, w, h``, cells in row-major order.
    """
    _check_grid("patch_grid", (width, height), nx, ny, draw)
    if size < 1 or align < 1:
        raise InvalidArgument(f"patch_grid: size and align must be at least 1, got {size}, {align}")
    w, h = min(size, width), min(size, height)

    def corner(cell: int, axis: int) -> int:
        length, n, side = (width, nx, w) if axis == 0 else (height, ny, h)
        i = cell % nx if axis == 0 else cell // nx
        first, last = length * i // n, length * (i + 1) // n - side
        low, high = max(0, min(first, last)), min(length - side, max(first, last))
        position = low + _offset(high - low, draw, seed, cell, axis)
        return position - position % align

    rows = [(corner(cell, 0), corner(cell, 1), w, h) for cell in range(nx * ny)]
    return np.array(rows, dtype=np.int32)


def fragment_grid(
    width: int, height: int, grid: int, patch: int, draw: int = 0, seed: int = 0
) -> NDArray[np.int32]:
    """Positions of FAST-VQA's mini-patches: one `patch` square per cell of a `grid` by `grid` grid.

    Returns
    -------
    ndarray
        ``(grid, grid, 2)`` int32, ``[row, column] = (x, y)`` of the patch's corner in pixels.
    """
    _check_grid("fragment_grid", (width, height), grid, grid, draw)
    if patch < 1 or patch > min(width, height):
        raise InvalidArgument(
            f"fragment_grid: patch must be in 1..min(width, height), got {patch} for {width}x{height}"
        )
    positions = np.empty((grid, grid, 2), dtype=np.int32)
    for row in range(grid):
        for column in range(grid):
            for axis, (length, i) in enumerate(((width, column), (height, row))):
                first = min(length // grid * i, length - patch)
                span = max(0, length // grid - patch)
                cell = row * grid + column
                positions[row, column, axis] = first + _offset(span, draw, seed, cell, axis)
    return positions


def fit_short_side(
    display_width: int,
    display_height: int,
    short: int,
    multiple: int = 1,
    never_enlarge: bool = True,
) -> tuple[int, int]:
    """Size whose short side is `short` and that keeps the aspect.

    Both sides are rounded to the nearest multiple of `multiple`, at least one multiple; with
    `never_enlarge` a side that would come out larger than the picture is the picture's own, rounded
    down to a multiple where the picture has one.
    """
    if min(display_width, display_height, short, multiple) < 1:
        raise InvalidArgument(
            "fit_short_side: sizes and multiple must be at least 1, "
            f"got {display_width}x{display_height}, short {short}, multiple {multiple}"
        )
    side = min(display_width, display_height)
    target = min(short, side) if never_enlarge else short

    def fit(length: int) -> int:
        scaled = (2 * length * target + side * multiple) // (2 * side * multiple) * multiple
        return max(multiple, scaled - multiple if never_enlarge and scaled > length else scaled)

    return fit(display_width), fit(display_height)
