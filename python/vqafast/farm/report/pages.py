"""The pages themselves, from templates of this package."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import vqafast
from vqafast.errors import EngineUnavailable, OutputError
from vqafast.scoring.assessment import decimals

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from vqafast.farm.ladder import Ladder
    from vqafast.farm.record import Record
    from vqafast.farm.report.gather import Gathered

Point = tuple[float, float]


def report_page(g: Gathered, *, title: str, source: str, threshold: float | None = None) -> str:
    """HTML of a batch's report.

    Parameters
    ----------
    source : str
        Where the records came from, for the page's head.
    threshold : float, optional
        That `gather` counted with.
    """
    _need_jinja2()
    from vqafast.farm.report import charts

    reasons = json.loads(_text("reasons.json"))
    marks = [("5 % below", g.p5), ("median", g.median), ("threshold", threshold)]
    return _rendered(
        "report.html.j2",
        title=title,
        source=source,
        g=g,
        threshold=threshold,
        d=decimals(g.low, g.high),
        reasons=reasons,
        histogram=charts.histogram(g.bars, g.low, g.high, [(n, v) for n, v in marks if v is not None]),
        sparks=[charts.spark(timeline(r), g.low, g.high) for r in g.worst],
    )


def ladder_page(ladder: Ladder, *, title: str) -> str:
    """HTML of a ladder."""
    _need_jinja2()
    from vqafast.farm.report import charts

    # A rung keeps the colour of its row, whether or not those above it have a score.
    rungs = [(i, r) for i, r in enumerate(ladder.rungs) if r.score is not None]
    scores = [s for _, r in rungs for _, s in r.timeline] + [r.score for _, r in rungs if r.score is not None]
    low, high = _around(scores, ladder.scale_min, ladder.scale_max)
    digits = decimals(ladder.scale_min, ladder.scale_max)
    points = [
        (i, shown(r.name), r.bit_rate, r.score, "" if r.delta is None else f"{r.delta:+.{digits}f}")
        for i, r in rungs
        if r.bit_rate and r.score is not None
    ]
    efficient = [
        i for i, _, rate, score, _ in points if not any(o[2] < rate and o[3] >= score for o in points)
    ]
    return _rendered(
        "ladder.html.j2",
        title=title,
        ladder=ladder,
        d=digits,
        curve=charts.curve(points, efficient, low, high) if points else "",
        times=charts.over_time([(i, shown(r.name), r.timeline) for i, r in rungs], low, high),
    )


def timeline(record: Record) -> list[Point]:
    """Seconds and scores of a record: of its frames, else of its segments; empty without either."""
    if record.frames:
        return list(record.frames)
    return [((s["start"] + s["end"]) / 2, s["score"]) for s in record.segments]


def write_page(path: str | os.PathLike[str], html: str) -> None:
    """Write a page.

    Raises
    ------
    OutputError
    """
    try:
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(html)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}", path=str(path)) from error


def _around(scores: Sequence[float], low: float, high: float) -> tuple[float, float]:
    """The part of the scale that has scores, and some room: rungs lie close to each other."""
    if not scores:
        return low, high
    step = (high - low) / 20
    return (
        max(low, step * ((min(scores) - step / 2) // step)),
        min(high, step * (1 + (max(scores) + step / 2) // step)),
    )


def _rendered(name: str, **values: Any) -> str:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(_text), trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"shown": shown, "bytes": _bytes, "rate": _rate, "span": _span}
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(name).render(version=vqafast.__version__, now=now, **values)


def shown(text: str) -> str:
    """A path or message as it can be read: bytes that are no text, and control characters, become a mark."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _need_jinja2() -> None:
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise EngineUnavailable(f"report: pages need jinja2: pip install 'vqafast[farm]': {error}") from error


def _bytes(size: float | None) -> str:
    if size is None:
        return ""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"
        size /= 1000
    return ""


def _rate(bits: float | None) -> str:
    return "" if bits is None else f"{bits / 1e6:.3g} Mbit/s" if bits >= 1e5 else f"{bits / 1e3:.3g} kbit/s"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _text(name: str) -> str:
    return files("vqafast.farm.report").joinpath(name).read_text(encoding="utf-8")
