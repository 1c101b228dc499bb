"""Charts as SVG; colours come from the page's style sheet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    Points = Sequence[tuple[float, float]]

# Of the charts that are as wide as the page.
_WIDE, _LEFT, _BOTTOM = 1040, 44, 24
#: Colours for lines; after them they begin again.
COLOURS = 8


def histogram(bars: Sequence[int], low: float, high: float, marks: Sequence[tuple[str, float]]) -> Markup:
    """Counts over equal parts of a scale, with lines at the named scores of `marks`."""
    head = 8 + 16 * len(marks)
    tall = head + 180
    top = max(*bars, 1)
    span, step = (high - low) / len(bars), (_WIDE - _LEFT) / len(bars)
    parts = [_text(_LEFT - 6, head + 4, "end", f"{top}"), _text(_LEFT - 6, tall, "end", "0")]
    for i, count in enumerate(bars):
        height = 180 * count / top
        title = f"{low + i * span:g} to {low + (i + 1) * span:g}: {count}"
        parts.append(
            f'<rect class="bar" x="{_LEFT + i * step + 1:.1f}" y="{tall - height:.1f}" '
            f'width="{step - 2:.1f}" height="{height:.1f}"><title>{title}</title></rect>'
        )
    # From left to right, so that no line goes through the name of another one.
    for i, (name, value) in enumerate(sorted(marks, key=lambda mark: mark[1])):
        x, y = _LEFT + (_WIDE - _LEFT) * _share(value, low, high), 12 + 16 * i
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 10}" y2="{tall}"/>')
        inside = -5 if _share(value, low, high) > 0.85 else 5
        parts.append(_text(x + inside, y, "end" if inside < 0 else "start", f"{name} {value:.3g}"))
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDE}" y1="{tall}" y2="{tall}"/>')
    for value in _ticks(low, high):
        x = _LEFT + (_WIDE - _LEFT) * _share(value, low, high)
        parts.append(_text(x, tall + 17, "end" if value == high else "middle", f"{value:g}"))
    return _svg(_WIDE, tall + _BOTTOM, parts, "Number of files by score")


def spark(points: Points, low: float, high: float) -> Markup:
    """Score over time, in a cell of a table: from the bottom to the top of the scale."""
    wide, tall = 150, 34
    if len(points) < 2:
        return Markup("")
    begin, end = points[0][0], points[-1][0]
    at, worst = min(points, key=lambda point: point[1])
    x, y = _place(at, worst, begin, end, low, high, wide - 6, tall - 6)
    line = _line(points, begin, end, low, high, wide - 6, tall - 6, 3, 3)
    parts = [
        f"<title>lowest {worst:.4g} at {at:.1f} s</title>",
        f'<rect class="panel" width="{wide}" height="{tall}"/>',
        f'<polyline class="line s0" points="{line}"/>',
        f'<circle class="worst" cx="{x + 3:.1f}" cy="{y + 3:.1f}" r="2.5"/>',
    ]
    return _svg(wide, tall, parts, "Score over time", "spark")


def over_time(series: Sequence[tuple[int, str, Points]], low: float, high: float) -> Markup:
    """Score over time of several videos, each in the colour of its place."""
    tall = 260
    end = max((points[-1][0] for _, _, points in series if points), default=0.0) or 1.0
    parts = _grid(low, high, tall)
    for i, name, points in series:
        if len(points) > 1:
            line = _line(points, 0.0, end, low, high, _WIDE - _LEFT, tall, _LEFT, 0)
            title = Markup("<title>{}</title>").format(name)
            parts.append(f'<polyline class="line s{i % COLOURS}" points="{line}">{title}</polyline>')
    for second in _ticks(0.0, end):
        x = _LEFT + (_WIDE - _LEFT) * second / end
        parts.append(_text(x, tall + 18, "end" if x > _WIDE - 20 else "middle", f"{second:g} s"))
    return _svg(_WIDE, tall + _BOTTOM, parts, "Score over time")


def curve(
    points: Sequence[tuple[int, str, float, float, str]], efficient: Sequence[int], low: float, high: float
) -> Markup:
    """Score against bit rate, on a logarithmic axis.

    Parameters
    ----------
    points : sequence of (place, name, bits per second, score, label)
        The place says the colour; the label stands beside the dot.
    efficient : sequence of int
        Places that a line joins.
    """
    tall = 280
    rates = [math.log10(rate) for _, _, rate, _, _ in points]
    margin = 0.06 * (max(rates) - min(rates)) or 0.2
    first, last = min(rates) - margin, max(rates) + margin
    parts, dots, placed = _grid(low, high, tall), [], []
    for rate, label in _decades(first, last) or [(r, f"{10**r / 1e6:.3g}") for r in sorted({*rates})]:
        x = _LEFT + (rate - first) / (last - first) * (_WIDE - _LEFT)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{tall}"/>')
        parts.append(_text(x, tall + 18, "middle", label))
    for i, name, rate, score, label in points:
        x, y = _place(math.log10(rate), score, first, last, low, high, _WIDE - _LEFT, tall)
        x += _LEFT
        placed.append((x, y, i))
        title = Markup("<title>{}: {:.3g} Mbit/s, {:.4g}</title>").format(name, rate / 1e6, score)
        dots.append(f'<circle class="dot s{i % COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="6">{title}</circle>')
        # Below and to the right, where a curve that rises leaves room; never under the axis.
        dots.append(_text(x + 9, min(y + 15, tall - 4), "start", label))
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, i in sorted(placed) if i in efficient)
    parts.append(f'<polyline class="line joined" points="{line}"/>')
    return _svg(_WIDE, tall + _BOTTOM, [*parts, *dots], "Score against bit rate in Mbit/s")


def _decades(first: float, last: float) -> list[tuple[float, str]]:
    """1, 2 and 5 of every power of ten between two logarithms of bits per second, in Mbit/s."""
    ticks = []
    for power in range(math.floor(first), math.ceil(last)):
        for step in (1, 2, 5):
            at = math.log10(step) + power
            if first <= at <= last:
                ticks.append((at, f"{step * 10.0 ** (power - 6):g}"))
    return ticks if len(ticks) > 1 else []


def _grid(low: float, high: float, tall: int) -> list[str]:
    parts = []
    for value in _ticks(low, high):
        y = tall * (1 - _share(value, low, high))
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDE}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 6, max(y, 8) + 4, "end", f"{value:g}"))
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range: at most seven, in steps of 1, 2 or 5 of a power of ten."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _line(
    points: Points,
    begin: float,
    end: float,
    low: float,
    high: float,
    wide: int,
    tall: int,
    left: int,
    top: int,
) -> str:
    places = (_place(t, s, begin, end, low, high, wide, tall) for t, s in points)
    return " ".join(f"{left + x:.1f},{top + y:.1f}" for x, y in places)


def _place(
    x: float, score: float, begin: float, end: float, low: float, high: float, wide: int, tall: int
) -> tuple[float, float]:
    return (x - begin) / ((end - begin) or 1.0) * wide, tall * (1 - _share(score, low, high))


def _share(score: float, low: float, high: float) -> float:
    return min(max((score - low) / ((high - low) or 1.0), 0.0), 1.0)


def _text(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{Markup.escape(words)}</text>'


def _svg(wide: int, tall: int, parts: Sequence[str], name: str, kind: str = "chart") -> Markup:
    inside = "".join(parts)
    # Every text in it that is not ours was escaped where it was put in.
    return Markup(
        f'<svg viewBox="0 0 {wide} {tall}" class="{kind}" role="img" aria-label="{name}">{inside}</svg>'
    )
