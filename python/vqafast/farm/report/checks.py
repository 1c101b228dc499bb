"""What a page needs of a record: lines may come from another program, or from a damaged file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from vqafast.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from vqafast.farm.record import Record

_NUMBERS = (
    "score", "uncertainty", "duration", "width", "height", "bit_rate", "size", "scale_min", "scale_max",
)  # fmt: skip
_TEXTS = ("code", "message", "codec", "direction", "model", "model_version")


def check(record: Record) -> None:
    """Refuse a record that no page can show.

    Raises
    ------
    InvalidArgument
        For values of other types, numbers that are not finite, and a score without its scale.
    Unsupported
        For a scale on which lower is better.
    """
    _text("path", record.path)
    for name in _TEXTS:
        if getattr(record, name) is not None:
            _text(name, getattr(record, name))
    for name in _NUMBERS:
        if getattr(record, name) is not None:
            _number(name, getattr(record, name))
    for second, score in record.frames:
        _number("frames", second)
        _number("frames", score)
    for segment in record.segments:
        for name in ("start", "end", "score"):
            _number(f"segments.{name}", _of(segment, name))
    for warning in record.warnings:
        for name in ("code", "message"):
            _text(f"warnings.{name}", _of(warning, name))
    if record.score is None:
        return
    low, high = record.scale_min, record.scale_max
    if low is None or high is None or low >= high:
        raise InvalidArgument(f"record: scale_min must be below scale_max, got {low!r} and {high!r}")
    if record.direction == "lower_is_better":
        raise Unsupported("report: higher scores must be the better ones, got a scale of lower_is_better")


def _of(part: Any, name: str) -> Any:
    return part.get(name) if isinstance(part, dict) else None


def _number(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidArgument(f"record: {name} must be a finite number, got {value!r}")


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise InvalidArgument(f"record: {name} must be text, got {value!r}")
