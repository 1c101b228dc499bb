"""What a report needs of the records of a batch, in one pass and in bounded memory."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqafast.errors import InvalidArgument, MissingFile, VqafastError
from vqafast.farm.record import Record
from vqafast.farm.report.checks import check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Bars of the histogram.
BARS = 50
# Finer bins, from which quantiles are read: within a thousandth of the scale.
_BINS = 1000
# Example paths of each kind of failure, and models that are listed.
_EXAMPLES, _MODELS = 3, 10


@dataclass(slots=True)
class Gathered:
    """See `gather`.

    Attributes
    ----------
    scored, failed : int
    seconds, bytes : float
        Of all scored videos together: duration, and size.
    low, high : float
        The scale; 0 and 1 without a score.
    bars : list of int
        Scores in each of `BARS` equal parts of the scale.
    mean, lowest, median, p5 : float or None
        Quantiles are within a thousandth of the scale.
    below : int
        Scores below the threshold.
    worst : list of Record
        Lowest scores first.
    segments : list of (Record, dict)
        The worst segments over all files.
    codes, examples
        Failures by code, and the paths of the first ones with their messages.
    warnings : Counter
        Files by code of their warnings.
    models : Counter
        Files by name and version of the model.
    """

    scored: int = 0
    failed: int = 0
    seconds: float = 0.0
    bytes: float = 0.0
    low: float = 0.0
    high: float = 1.0
    bars: list[int] = field(default_factory=lambda: [0] * BARS)
    mean: float | None = None
    lowest: float | None = None
    median: float | None = None
    p5: float | None = None
    below: int = 0
    worst: list[Record] = field(default_factory=list)
    segments: list[tuple[Record, dict[str, Any]]] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)


class _Worst:
    """The `count` items with the lowest scores of all that were offered."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._heap: list[tuple[float, int, Any]] = []
        self._offered = 0

    def offer(self, score: float, item: Any) -> None:
        self._offered += 1
        # The number keeps items from being compared, and of equal scores the first ones stay.
        entry = (-score, -self._offered, item)
        if len(self._heap) < self._count:
            heapq.heappush(self._heap, entry)
        elif self._heap and entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def items(self) -> list[Any]:
        return [item for _, _, item in sorted(self._heap, key=lambda e: (-e[0], -e[1]))]


def read_records(inputs: Iterable[str]) -> Iterator[Record]:
    """Records of JSON Lines, or of ``records.jsonl`` in folders.

    Raises
    ------
    MissingFile
    InvalidArgument, Unsupported
        For a line that is no record or cannot be shown, with its number; see `checks.check`. A last line
        without its end is left out.
    """
    for name in inputs:
        path = Path(name)
        path = path / "records.jsonl" if path.is_dir() else path
        if not path.is_file():
            raise MissingFile(
                f"{path}: must be a file of records, as vqafast batch writes them", path=str(path)
            )
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = Record.from_json(line)
                    check(record)
                except VqafastError as error:
                    if not line.endswith("\n"):
                        # The batch may still run, and be in the middle of this line.
                        continue
                    raise type(error)(f"{path}:{number}: {error}", path=str(path)) from error
                yield record


def gather(records: Iterable[Record], *, worst: int = 20, threshold: float | None = None) -> Gathered:
    """Go through the records once; see `Gathered`.

    Raises
    ------
    InvalidArgument
        For records on different scales.
    """
    g = Gathered()
    files, segments = _Worst(worst), _Worst(worst)
    bins, total = [0] * _BINS, 0.0
    for record in records:
        for note in {w["code"] for w in record.warnings}:
            g.warnings[note] += 1
        if record.score is None:
            g.failed += 1
            code = record.code or "internal"
            g.codes[code] += 1
            some = g.examples.setdefault(code, [])
            if len(some) < _EXAMPLES:
                some.append((record.path, record.message or ""))
            continue
        low, high = record.scale_min, record.scale_max
        assert low is not None
        assert high is not None
        if g.scored and (low, high) != (g.low, g.high):
            raise InvalidArgument(
                f"report: records must be on one scale, got {g.low:g}..{g.high:g} and {low:g}..{high:g}"
            )
        g.low, g.high = low, high
        score = record.score
        place = min(max((score - low) / (high - low), 0.0), 1.0)
        g.bars[min(int(place * BARS), BARS - 1)] += 1
        bins[min(int(place * _BINS), _BINS - 1)] += 1
        g.scored += 1
        total += score
        g.lowest = score if g.lowest is None else min(g.lowest, score)
        g.below += threshold is not None and score < threshold
        g.seconds += record.duration or 0.0
        g.bytes += record.size or 0
        model = f"{record.model} {record.model_version}"
        if model in g.models or len(g.models) < _MODELS:
            g.models[model] += 1
        files.offer(score, record)
        for segment in record.segments:
            segments.offer(float(segment["score"]), (record, segment))
    if g.scored:
        g.mean = total / g.scored
        g.median, g.p5 = (_quantile(bins, share, g) for share in (0.5, 0.05))
    g.worst, g.segments = files.items(), segments.items()
    return g


def _quantile(bins: list[int], share: float, g: Gathered) -> float:
    wanted, seen = share * g.scored, 0
    for i, count in enumerate(bins):
        seen += count
        if seen >= wanted:
            return g.low + (i + 0.5) / _BINS * (g.high - g.low)
    return g.high
